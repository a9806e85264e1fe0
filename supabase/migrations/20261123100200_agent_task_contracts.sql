-- Agent task contracts: the table.
--
-- A row is one piece of work that `parent_agent` hands to `target_agent`. The table, its
-- constraints, indexes, policies and trigger follow the specification exactly. What else the engine
-- needs is in the migrations after this one.
--
-- Row level security:
--   anon            may insert and update contracts but cannot read them. A filtered UPDATE needs
--                   SELECT on the filtered columns, so it is refused. An unfiltered one reaches
--                   every row; a guard limits it to one. Agents claim and finish work through
--                   functions.
--   authenticated   can read every contract and change none.
--   service_role    has full access.
-- The grants match the policies. Row level security does not cover TRUNCATE, REFERENCES and
-- TRIGGER, so none of the three roles has those privileges.

set local lock_timeout = '10s';

create table if not exists public.agent_task_contracts (
  id uuid not null default gen_random_uuid(),
  session_id uuid,
  sd_id varchar(50),
  parent_agent varchar(50) not null,
  target_agent varchar(50) not null,
  objective text not null,
  constraints jsonb default '{}'::jsonb,
  input_artifacts uuid[] default array[]::uuid[],
  input_summary text,
  expected_output_type varchar(50) not null default 'artifact',
  output_schema jsonb,
  priority integer not null default 50,
  max_tokens integer default 4000,
  timeout_minutes integer default 30,
  status varchar(20) not null default 'pending',
  started_at timestamptz,
  completed_at timestamptz,
  output_artifact_id uuid,
  result_summary text,
  execution_tokens integer,
  error_message text,
  retry_count integer default 0,
  max_retries integer default 2,
  created_by varchar(100) default 'system',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  completion_idempotency_key uuid,
  completed_by_agent_id uuid,
  constraint agent_task_contracts_pkey primary key (id),
  constraint agent_task_contracts_output_artifact_id_fkey
    foreign key (output_artifact_id) references public.agent_artifacts (id) on delete set null,
  constraint agent_task_contracts_sd_id_fkey
    foreign key (sd_id) references public.strategic_directives_v2 (id) on delete set null,
  constraint agent_task_contracts_status_check
    check (status in ('pending', 'in_progress', 'completed', 'failed', 'cancelled'))
);

-- A table of an earlier version had no columns for the idempotent completion.
alter table public.agent_task_contracts
  add column if not exists completion_idempotency_key uuid,
  add column if not exists completed_by_agent_id uuid;

comment on table public.agent_task_contracts is
  'Work that one agent hands to another: pending -> in_progress -> completed | failed | cancelled. Agents use the task contract functions instead of writing to the table.';
comment on column public.agent_task_contracts.id is
  'Treat it as a secret: whoever knows it can read the outcome and the history, and cancel the contract.';
comment on column public.agent_task_contracts.session_id is
  'The session that the work belongs to.';
comment on column public.agent_task_contracts.sd_id is
  'The strategic directive that the work serves.';
comment on column public.agent_task_contracts.parent_agent is
  'The agent that hands the work over.';
comment on column public.agent_task_contracts.target_agent is
  'The agent that does the work.';
comment on column public.agent_task_contracts.objective is
  'What to do.';
comment on column public.agent_task_contracts.constraints is
  'Rules for the work. For the agent to observe; the database does not enforce them.';
comment on column public.agent_task_contracts.input_artifacts is
  'Ids of the artifacts that the work reads.';
comment on column public.agent_task_contracts.input_summary is
  'What the inputs are, in words.';
comment on column public.agent_task_contracts.expected_output_type is
  'The kind of result that is expected.';
comment on column public.agent_task_contracts.output_schema is
  'JSON Schema of the output. The Python worker checks outputs against it; the database does not.';
comment on column public.agent_task_contracts.priority is
  'Higher priorities are claimed first; within a priority, the oldest contract.';
comment on column public.agent_task_contracts.timeout_minutes is
  'Time limit of one attempt in minutes, from started_at. No lease lasts longer.';
comment on column public.agent_task_contracts.max_tokens is
  'Token budget of one attempt. For the agent to observe; the database does not enforce it.';
comment on column public.agent_task_contracts.status is
  'pending, in_progress, completed, failed or cancelled. The last three are final.';
comment on column public.agent_task_contracts.started_at is
  'When the current or last attempt began. Null while the contract is pending.';
comment on column public.agent_task_contracts.completed_at is
  'When the contract became final.';
comment on column public.agent_task_contracts.output_artifact_id is
  'The artifact that holds the output.';
comment on column public.agent_task_contracts.result_summary is
  'The result in words.';
comment on column public.agent_task_contracts.execution_tokens is
  'How many tokens the work used.';
comment on column public.agent_task_contracts.error_message is
  'Why the contract failed or was cancelled; before that, why the previous attempt ended.';
comment on column public.agent_task_contracts.retry_count is
  'How many failed or abandoned attempts were retried.';
comment on column public.agent_task_contracts.max_retries is
  'How many failed or abandoned attempts are retried before the contract fails.';
comment on column public.agent_task_contracts.created_by is
  'The program or person that created the contract.';
comment on column public.agent_task_contracts.created_at is
  'When the contract was created.';
comment on column public.agent_task_contracts.updated_at is
  'When the row was last changed. A trigger sets it.';
comment on column public.agent_task_contracts.completion_idempotency_key is
  'Key of the call that finished the contract. A repeated call with the same key gets the same answer.';
comment on column public.agent_task_contracts.completed_by_agent_id is
  'Who finished the contract: the p_agent_id of the call, or of its claim.';

create unique index if not exists idx_task_contracts_idempotency
  on public.agent_task_contracts (id, completion_idempotency_key)
  where completion_idempotency_key is not null;
create index if not exists idx_task_contracts_pending
  on public.agent_task_contracts (target_agent, priority desc)
  where status = 'pending';
create index if not exists idx_task_contracts_sd on public.agent_task_contracts (sd_id);
create index if not exists idx_task_contracts_session on public.agent_task_contracts (session_id);
create index if not exists idx_task_contracts_status on public.agent_task_contracts (status);
create index if not exists idx_task_contracts_target on public.agent_task_contracts (target_agent, status);

create or replace function public.update_task_contracts_timestamp()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.updated_at = now();
  return new;
end
$$;
comment on function public.update_task_contracts_timestamp() is
  'Trigger function: sets updated_at on every update.';
revoke all on function public.update_task_contracts_timestamp()
  from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_updated
  before update on public.agent_task_contracts
  for each row execute function public.update_task_contracts_timestamp();

-- The two policies for anon, and their grants. An empty project gets them, as specified. A database
-- that has row level security on the table and has dropped them keeps it that way (the hardened
-- profile, see optional/hardened.sql): applying a migration never opens what was closed. The setting
-- ehg_tasks.profile chooses one or the other on purpose: specified or hardened.
revoke all on table public.agent_task_contracts from public, anon, authenticated, service_role;

do $$
declare
  v_profile constant text := coalesce(nullif(current_setting('ehg_tasks.profile', true), ''), 'as it is');
  v_is_new constant boolean := not c.relrowsecurity
    from pg_catalog.pg_class c where c.oid = 'public.agent_task_contracts'::regclass;
  v_wanted boolean;
  v_policy record;
begin
  if v_profile not in ('specified', 'hardened', 'as it is') then
    raise exception using
      message = format('ehg_tasks.profile is "%s"', v_profile), hint = 'Set it to specified or hardened, or not at all.';
  end if;
  for v_policy in
    select p.name, p.command, p.clauses, exists (
      select from pg_catalog.pg_policy e
      where e.polrelid = 'public.agent_task_contracts'::regclass and e.polname = p.name) as is_there
    from (values
      ('Anon can create task contracts', 'insert', 'with check (true)'),
      ('Anon can update task contracts', 'update', 'using (true) with check (true)')
    ) as p (name, command, clauses)
  loop
    v_wanted := case v_profile when 'specified' then true when 'hardened' then false else v_is_new or v_policy.is_there end;
    execute format('drop policy if exists %I on public.agent_task_contracts', v_policy.name);
    if v_wanted then
      execute format('create policy %I on public.agent_task_contracts for %s to anon %s',
                     v_policy.name, v_policy.command, v_policy.clauses);
      execute format('grant %s on table public.agent_task_contracts to anon', v_policy.command);
    elsif v_profile = 'as it is' then
      raise notice 'The policy "%" was dropped here and is not created: agents use the functions.', v_policy.name
        using hint = 'Set ehg_tasks.profile to specified to restore it.';
    end if;
  end loop;
end
$$;

alter table public.agent_task_contracts enable row level security;

drop policy if exists "Authenticated users can read task contracts" on public.agent_task_contracts;
create policy "Authenticated users can read task contracts"
  on public.agent_task_contracts for select to authenticated
  using (true);
grant select on table public.agent_task_contracts to authenticated;

drop policy if exists "Service role full access on task contracts" on public.agent_task_contracts;
create policy "Service role full access on task contracts"
  on public.agent_task_contracts for all to service_role
  using (true) with check (true);
grant select, insert, update, delete on table public.agent_task_contracts to service_role;
