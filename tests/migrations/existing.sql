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
grant all on public.agent_artifacts to service_role;
grant select on public.agent_artifacts to authenticated;
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
  insert into agent_task_contracts (parent_agent, target_agent, objective)
  values (p_parent_agent, p_target_agent, p_objective) returning id, objective
$$;
create function public.claim_task_contract(p_target_agent varchar)
returns table (contract_id uuid, objective text, input_summary text, input_artifacts uuid[],
               constraints jsonb, max_tokens integer, timeout_minutes integer) language sql as $$
  update agent_task_contracts set status = 'in_progress', started_at = now()
  where id = (select id from agent_task_contracts where target_agent = p_target_agent limit 1)
  returning id, objective, input_summary, input_artifacts, constraints, max_tokens, timeout_minutes
$$;
create function public.complete_task_contract(
  p_contract_id uuid, p_output_artifact_id uuid default null, p_result_summary text default null,
  p_execution_tokens integer default null, p_success boolean default true, p_error_message text default null)
returns table (success boolean, message text) language sql as $$ select true, 'done'::text $$;
create function public.read_task_contract(p_contract_id uuid)
returns table (contract_id uuid, parent_agent varchar, target_agent varchar) language sql as $$
  select id, parent_agent, target_agent from agent_task_contracts where id = p_contract_id
$$;
create function public.cleanup_stale_contracts()
returns table (failed_count integer, cancelled_count integer) language sql as $$ select 0, 0 $$;
create function public.fn_complete_task_contract_idempotent(
  p_contract_id uuid, p_idempotency_key uuid, p_output_artifact_id uuid default null,
  p_result_summary text default null, p_tokens_used integer default 0, p_agent_id uuid default null)
returns table (success boolean, was_duplicate boolean, message text, contract_id uuid) language sql as $$
  select true, false, 'done'::text, p_contract_id
$$;
