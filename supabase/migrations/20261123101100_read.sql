-- Read: what callers may see of contracts and artifacts.
--
--   task_contract_outcomes   anyone who knows the ids: status and result, or why a contract waits
--   task_contract_history    anyone who knows the id: its attempts
--   task_contract_inputs     the holder of a claim: the input artifacts in full
--   read_task_contract       anyone who may read the table: one contract, with previews of its inputs
--
-- An answer holds at most 8 MiB of texts. Where more was asked for, every row is there, and those
-- beyond the limit come without their texts (omitted = true). Ask for them again.

set local lock_timeout = '10s';

-- Earlier definition (see the foundation migration), which has the same parameters.
do $$
begin
  if (
    select ('search_path=pg_catalog, pg_temp' = any (p.proconfig)) is not true
    from pg_catalog.pg_proc p
    where p.oid = to_regprocedure('public.read_task_contract(uuid)')
  ) then
    drop function public.read_task_contract(uuid);
  end if;
end
$$;

create or replace function ehg_tasks.task_contract_outcomes(p_contract_ids uuid[])
returns setof public.task_contract_outcome
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  if p_contract_ids is null then
    raise exception using errcode = 'TC005', message = 'p_contract_ids must not be null';
  end if;
  perform ehg_tasks.check_count('p_contract_ids', cardinality(p_contract_ids));
  return query
  with found as (
    select i.place, c.*, a.content_text, l.attempt, l.progress, l.ended_at, h.not_before, h.waits_for,
           sum(coalesce(octet_length(a.content_text), 0) + coalesce(octet_length(c.result_summary), 0)
               + coalesce(octet_length(c.error_message), 0) + coalesce(octet_length(l.progress::text), 0)
             ) over w as total,
           row_number() over w as number
    from (
      select u.id, min(u.place) as place
      from unnest(p_contract_ids) with ordinality as u (id, place)
      group by u.id
    ) as i
    join public.agent_task_contracts c on c.id = i.id
    left join public.agent_artifacts a on a.id = c.output_artifact_id
    left join ehg_tasks.held h on h.contract_id = c.id
    left join lateral (
      select t.attempt, t.progress, t.ended_at
      from ehg_tasks.attempts t where t.contract_id = c.id order by t.attempt desc limit 1
    ) as l on true
    window w as (order by i.place)
  )
  select f.id, f.status::text,
         case when not o.omitted then f.result_summary end,
         case when not o.omitted then f.error_message end,
         f.output_artifact_id,
         case when not o.omitted then ehg_tasks.as_json(f.content_text) end,
         f.execution_tokens, f.retry_count, f.started_at, f.completed_at, f.attempt,
         case when not o.omitted then f.progress end,
         case
           when f.status <> 'pending' then null
           when exists (
             select from ehg_tasks.agents g
             where g.name = ehg_tasks.queue_name(f.target_agent) and g.paused_at is not null) then 'paused'
           when f.waits_for > 0 then 'dependencies'
           when f.not_before > clock_timestamp() then case when f.attempt is null then 'delayed' else 'retry' end
           else 'ready'
         end,
         case when f.not_before > clock_timestamp() then f.not_before end,
         f.waits_for, o.omitted
  from found f, lateral (select f.total > 8388608 and f.number > 1 as omitted) as o
  order by f.place;
end
$$;
revoke all on function ehg_tasks.task_contract_outcomes(uuid[]) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.task_contract_outcomes(uuid[]) to anon, service_role;

create or replace function public.task_contract_outcomes(p_contract_ids uuid[])
returns setof public.task_contract_outcome
language sql stable security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.task_contract_outcomes(p_contract_ids) $$;
comment on function public.task_contract_outcomes(uuid[]) is
  'Status and result of up to 1000 contracts whose ids the caller knows, in the order of the ids, with the last attempt and its progress, and why a pending contract waits. Unknown ids are left out.';
revoke all on function public.task_contract_outcomes(uuid[]) from public, anon, authenticated, service_role;
grant execute on function public.task_contract_outcomes(uuid[]) to anon, service_role;

create or replace function ehg_tasks.task_contract_history(p_contract_id uuid)
returns setof public.task_contract_attempt
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  if not exists (select from public.agent_task_contracts c where c.id = p_contract_id) then
    raise exception using
      errcode = 'TC001', message = format('there is no task contract %s', p_contract_id);
  end if;
  return query
  select a.contract_id, a.attempt, a.agent_id, a.claimed_at, a.expires_at, a.ended_at, a.outcome,
         a.error_message, a.execution_tokens, a.retry_at, a.progress
  from (
    select b.* from ehg_tasks.attempts b
    where b.contract_id = p_contract_id
    order by b.attempt desc
    limit 100
  ) as a
  order by a.attempt;
end
$$;
revoke all on function ehg_tasks.task_contract_history(uuid) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.task_contract_history(uuid) to anon, authenticated, service_role;

create or replace function public.task_contract_history(p_contract_id uuid)
returns setof public.task_contract_attempt
language sql stable security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.task_contract_history(p_contract_id) $$;
comment on function public.task_contract_history(uuid) is
  'The last 100 attempts of a contract whose id the caller knows, oldest first, without their tokens.';
revoke all on function public.task_contract_history(uuid) from public, anon, authenticated, service_role;
grant execute on function public.task_contract_history(uuid) to anon, authenticated, service_role;

create or replace function ehg_tasks.task_contract_inputs(p_contract_id uuid, p_claim_token uuid, p_artifact_ids uuid[])
returns setof public.task_contract_input_artifact
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
  v_missing text;
begin
  perform ehg_tasks.check_claim(v_contract, p_claim_token);
  select string_agg(i.id::text, ', ') into v_missing
  from unnest(v_contract.input_artifacts) as i (id)
  where not exists (select from public.agent_artifacts a where a.id = i.id);
  if v_missing is not null then
    raise exception using
      errcode = 'TC001',
      message = format('input artifact %s of task contract %s no longer exists', left(v_missing, 200), v_contract.id);
  end if;
  return query
  with found as (
    select a.*, i.place, row_number() over w as number,
           sum(coalesce(octet_length(a.content_text), 0) + octet_length(a.summary)) over w as total
    from (
      select u.id, min(u.place) as place
      from unnest(v_contract.input_artifacts) with ordinality as u (id, place)
      where p_artifact_ids is null or u.id = any (p_artifact_ids)
      group by u.id
    ) as i
    join public.agent_artifacts a on a.id = i.id
    window w as (order by i.place)
  )
  select f.id, f.type, f.summary, case when not o.omitted then f.content_text end, f.token_count, f.created_at,
         o.omitted
  from found f, lateral (select f.total > 8388608 and f.number > 1 as omitted) as o
  order by f.place;
end
$$;
revoke all on function ehg_tasks.task_contract_inputs(uuid, uuid, uuid[]) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.task_contract_inputs(uuid, uuid, uuid[]) to anon, service_role;

create or replace function public.task_contract_inputs(
  p_contract_id uuid, p_claim_token uuid, p_artifact_ids uuid[] default null)
returns setof public.task_contract_input_artifact
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.task_contract_inputs(p_contract_id, p_claim_token, p_artifact_ids) $$;
comment on function public.task_contract_inputs(uuid, uuid, uuid[]) is
  'The input artifacts of a contract for the holder of its claim: in full, in order, each once; only p_artifact_ids if given. An artifact that no longer exists is an error (TC001).';
revoke all on function public.task_contract_inputs(uuid, uuid, uuid[]) from public, anon, authenticated, service_role;
grant execute on function public.task_contract_inputs(uuid, uuid, uuid[]) to anon, service_role;

-- The only function with no counterpart in the engine. It runs with its caller's rights, so row
-- level security decides what it returns, and an agent is refused (42501) as it is on the table.
create or replace function public.read_task_contract(p_contract_id uuid)
returns table (
  contract_id uuid, parent_agent text, target_agent text, objective text, input_summary text,
  input_artifact_contents jsonb, constraints jsonb, expected_output_type text, output_schema jsonb,
  max_tokens integer, timeout_minutes integer, status text)
language sql stable security invoker
set search_path = pg_catalog, pg_temp
as $$
  select c.id, c.parent_agent, c.target_agent, c.objective, c.input_summary,
         (
           select coalesce(jsonb_agg(jsonb_build_object(
                    'id', a.id, 'summary', a.summary, 'type', a.type, 'token_count', a.token_count,
                    'content_preview', left(a.content_text, 200)) order by i.place), '[]')
           from unnest(c.input_artifacts) with ordinality as i (id, place)
           join public.agent_artifacts a on a.id = i.id
         ),
         c.constraints, c.expected_output_type, c.output_schema, c.max_tokens, c.timeout_minutes, c.status
  from public.agent_task_contracts c
  where c.id = p_contract_id
$$;
comment on function public.read_task_contract(uuid) is
  'One contract with previews of its input artifacts, as far as row level security lets the caller see them.';
revoke all on function public.read_task_contract(uuid) from public, anon, authenticated, service_role;
grant execute on function public.read_task_contract(uuid) to anon, authenticated, service_role;
