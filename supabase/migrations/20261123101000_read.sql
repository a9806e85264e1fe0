-- Read: what callers may see of contracts and artifacts.
--
--   task_contract_outcomes   anyone who knows the ids: status and result
--   task_contract_inputs     the holder of a claim: the input artifacts in full
--   read_task_contract       anyone who may read the table: one contract, with previews of its inputs

-- Earlier definition (see the foundation migration).
drop function if exists public.read_task_contract(uuid);

create or replace function ehg_tasks.task_contract_outcomes(p_contract_ids uuid[])
returns setof public.task_contract_outcome
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_contract_ids is null then
    raise exception using errcode = 'TC005', message = 'p_contract_ids must not be null';
  end if;
  perform ehg_tasks.check_count('p_contract_ids', cardinality(p_contract_ids));
  return query
  select c.id, c.status::text, c.result_summary, c.error_message, c.output_artifact_id,
         ehg_tasks.as_json(a.content_text), c.execution_tokens, c.retry_count, c.started_at, c.completed_at
  from (
    select u.id, min(u.place) as place
    from unnest(p_contract_ids) with ordinality as u (id, place)
    group by u.id
  ) as i
  join public.agent_task_contracts c on c.id = i.id
  left join public.agent_artifacts a on a.id = c.output_artifact_id
  order by i.place;
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
  'Status and result of up to 1000 contracts whose ids the caller knows, in the order of the ids. Unknown ids are left out.';
revoke all on function public.task_contract_outcomes(uuid[]) from public, anon, authenticated, service_role;
grant execute on function public.task_contract_outcomes(uuid[]) to anon, service_role;

create or replace function ehg_tasks.task_contract_inputs(p_contract_id uuid, p_claim_token uuid)
returns setof public.task_contract_input_artifact
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  perform ehg_tasks.check_claim(v_contract, p_claim_token);
  return query
  select a.id, a.type, a.summary, a.content_text, a.token_count, a.created_at
  from (
    select u.id, min(u.place) as place
    from unnest(v_contract.input_artifacts) with ordinality as u (id, place)
    group by u.id
  ) as i
  join public.agent_artifacts a on a.id = i.id
  order by i.place;
end
$$;
revoke all on function ehg_tasks.task_contract_inputs(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.task_contract_inputs(uuid, uuid) to anon, service_role;

create or replace function public.task_contract_inputs(p_contract_id uuid, p_claim_token uuid)
returns setof public.task_contract_input_artifact
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.task_contract_inputs(p_contract_id, p_claim_token) $$;
comment on function public.task_contract_inputs(uuid, uuid) is
  'The input artifacts of a contract for the holder of its claim: in full, in order, each once.';
revoke all on function public.task_contract_inputs(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.task_contract_inputs(uuid, uuid) to anon, service_role;

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
