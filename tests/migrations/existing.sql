-- An existing database: the table, the tables it references and the earlier functions, with rows in
-- every status.

create table public.strategic_directives_v2 (
  id varchar(50) primary key,
  title text not null,
  status varchar(20) default 'draft'
);
alter table public.strategic_directives_v2 enable row level security;
grant select on public.strategic_directives_v2 to anon, authenticated;
insert into public.strategic_directives_v2 (id, title) values ('SD-1', 'One directive');

create table public.agent_artifacts (
  id uuid primary key default gen_random_uuid(),
  sd_id text,
  execution_id uuid,
  type text not null check (type in (
    'contract_input', 'contract_output', 'analysis', 'decision', 'validation', 'summary', 'context',
    'research', 'plan', 'tool_output', 'file_read')),
  summary text not null,
  confidence text default 'HIGH' check (confidence in ('HIGH', 'MEDIUM', 'LOW')),
  content_text text,
  content_blob_path text,
  token_count integer,
  metadata jsonb default '{}',
  created_at timestamptz default now(),
  created_by text,
  expires_at timestamptz,
  session_id uuid,
  source_tool varchar(50) check (source_tool in ('contract-system', 'other')),
  quality_score integer check (quality_score between 0 and 100),
  validation_status varchar(20) default 'pending',
  validated_at timestamptz,
  validated_by text,
  updated_at timestamptz default now()
);
alter table public.agent_artifacts enable row level security;
create policy "service" on public.agent_artifacts for all to service_role using (true) with check (true);
create policy "read" on public.agent_artifacts for select to authenticated using (true);
grant all on public.agent_artifacts to anon, authenticated, service_role;  -- as older projects do by default
insert into public.agent_artifacts (id, type, summary, content_text)
values ('00000000-0000-4000-8000-0000000000a1', 'contract_output', 'an old result', 'plain text, not JSON');

create function public.update_task_contracts_timestamp() returns trigger language plpgsql as
$$ begin new.updated_at := now(); return new; end $$;

-- {table}: created here, from the specification.

insert into public.agent_task_contracts
  (id, parent_agent, target_agent, objective, status, sd_id, started_at, completed_at, output_artifact_id,
   result_summary, error_message, retry_count, max_retries, timeout_minutes, constraints)
values
  ('00000000-0000-4000-8000-000000000001', 'P', 'T', 'waits', 'pending', 'SD-1', null, null, null,
   null, null, 0, 2, 30, '{"color": "red"}'),
  ('00000000-0000-4000-8000-000000000002', 'P', 'T', 'is worked on', 'in_progress', null, now(), null,
   null, null, null, 1, 2, 30, '{}'),
  ('00000000-0000-4000-8000-000000000003', 'P', 'T', 'was forgotten', 'in_progress', null,
   now() - interval '2 days', null, null, null, null, null, null, null, null),
  ('00000000-0000-4000-8000-000000000004', 'P', 'T', 'is done', 'completed', null, now(), now(),
   '00000000-0000-4000-8000-0000000000a1', 'done', null, 0, 2, 30, '{}'),
  ('00000000-0000-4000-8000-000000000005', 'P', 'T', 'went wrong', 'failed', null, now(), now(), null,
   null, 'no luck', 2, 2, 30, '{}'),
  ('00000000-0000-4000-8000-000000000006', 'P', 'T', 'is not wanted', 'cancelled', null, null, now(), null,
   null, null, 0, 2, 30, '{}');
-- Pending contracts in the order in which they can be claimed, with times and a name that need care.
insert into public.agent_task_contracts
  (id, parent_agent, target_agent, objective, priority, retry_count, created_at, updated_at)
values
  ('00000000-0000-4000-8000-000000000011', 'P', 'U', 'is urgent', 90, 0, now() - interval '2 hours',
   now() - interval '1 hour'),
  ('00000000-0000-4000-8000-000000000012', 'P', 'U', 'has no beginning', 50, 0, '-infinity',
   now() - interval '1 hour'),
  ('00000000-0000-4000-8000-000000000013', 'P', ' U ', 'has waited for long', 50, 0, now() - interval '3 days',
   now() - interval '1 hour'),
  ('00000000-0000-4000-8000-000000000014', 'P', 'U', 'comes from the future', 50, 0, now() + interval '1 year',
   'infinity'),
  ('00000000-0000-4000-8000-000000000015', 'P', 'U', 'never was', 50, 0, 'infinity', now() - interval '1 hour');

-- The earlier functions: with their caller's rights, no search_path, and EXECUTE granted to PUBLIC.
create function public.create_task_contract(
  p_parent_agent varchar, p_target_agent varchar, p_objective text, p_session_id uuid default null,
  p_sd_id varchar default null, p_input_artifacts uuid[] default '{}', p_input_summary text default null,
  p_constraints jsonb default '{}', p_expected_output_type varchar default 'artifact',
  p_priority integer default 50, p_max_tokens integer default 4000)
returns table (contract_id uuid, contract_summary text) language sql as $$
  insert into agent_task_contracts (
    parent_agent, target_agent, objective, session_id, sd_id, input_artifacts, input_summary, constraints,
    expected_output_type, priority, max_tokens)
  values (
    p_parent_agent, p_target_agent, p_objective, p_session_id, p_sd_id, p_input_artifacts, p_input_summary,
    p_constraints, p_expected_output_type, p_priority, p_max_tokens)
  returning id, left(objective, 100)
$$;
create function public.claim_task_contract(p_target_agent varchar)
returns table (contract_id uuid, objective text, input_summary text, input_artifacts uuid[],
               constraints jsonb, max_tokens integer, timeout_minutes integer) language sql as $$
  update agent_task_contracts c set status = 'in_progress', started_at = now()
  where c.id = (
    select w.id from agent_task_contracts w
    where w.target_agent = p_target_agent and w.status = 'pending'
    order by w.priority desc, w.created_at
    limit 1
    for update skip locked)
  returning c.id, c.objective, c.input_summary, c.input_artifacts, c.constraints, c.max_tokens, c.timeout_minutes
$$;
create function public.complete_task_contract(
  p_contract_id uuid, p_output_artifact_id uuid default null, p_result_summary text default null,
  p_execution_tokens integer default null, p_success boolean default true, p_error_message text default null)
returns table (success boolean, message text) language plpgsql as $$
begin
  update agent_task_contracts c
  set status = case when p_success then 'completed' else 'failed' end, completed_at = now(),
      output_artifact_id = p_output_artifact_id, result_summary = p_result_summary,
      execution_tokens = p_execution_tokens, error_message = p_error_message
  where c.id = p_contract_id and c.status = 'in_progress';
  return query select found, case when found then 'Contract ended' else 'Contract not found or not in progress' end;
end $$;
create function public.read_task_contract(p_contract_id uuid)
returns table (
  contract_id uuid, parent_agent varchar, target_agent varchar, objective text, input_summary text,
  input_artifact_contents jsonb, constraints jsonb, expected_output_type varchar, output_schema jsonb,
  max_tokens integer, timeout_minutes integer, status varchar) language sql as $$
  select c.id, c.parent_agent, c.target_agent, c.objective, c.input_summary,
         (select coalesce(jsonb_agg(jsonb_build_object(
                   'id', a.id, 'type', a.type, 'summary', a.summary, 'token_count', a.token_count,
                   'content_preview', left(a.content_text, 200))), '[]')
          from agent_artifacts a where a.id = any (c.input_artifacts)),
         c.constraints, c.expected_output_type, c.output_schema, c.max_tokens, c.timeout_minutes, c.status
  from agent_task_contracts c where c.id = p_contract_id
$$;
create function public.cleanup_stale_contracts()
returns table (failed_count integer, cancelled_count integer) language sql as $$
  with failed as (
    update agent_task_contracts set status = 'failed', completed_at = now(), error_message = 'timed out'
    where status = 'in_progress' and started_at < now() - timeout_minutes * interval '1 minute'
    returning 1
  ),
  cancelled as (
    update agent_task_contracts set status = 'cancelled', completed_at = now(), error_message = 'not claimed'
    where status = 'pending' and created_at < now() - interval '24 hours'
    returning 1
  )
  select (select count(*) from failed)::integer, (select count(*) from cancelled)::integer
$$;
create function public.fn_complete_task_contract_idempotent(
  p_contract_id uuid, p_idempotency_key uuid, p_output_artifact_id uuid default null,
  p_result_summary text default null, p_tokens_used integer default 0, p_agent_id uuid default null)
returns table (success boolean, was_duplicate boolean, message text, contract_id uuid) language plpgsql as $$
declare
  v_status varchar;
begin
  select c.status into v_status from agent_task_contracts c where c.id = p_contract_id;
  if v_status is null or v_status not in ('pending', 'in_progress') then
    return query select false, false, 'invalid status', p_contract_id;
    return;
  end if;
  update agent_task_contracts c
  set status = 'completed', completed_at = now(), output_artifact_id = p_output_artifact_id,
      result_summary = p_result_summary, tokens_used = p_tokens_used,  -- there is no such column
      completion_idempotency_key = p_idempotency_key, completed_by_agent_id = p_agent_id
  where c.id = p_contract_id;
  return query select true, false, 'completed', p_contract_id;
end $$;
