-- Engine: what the lifecycle functions are built on.
--
--   pending -> in_progress -> completed | failed | cancelled
--   in_progress -> pending     a failed attempt with retries left, a release, an expired lease
--   pending -> cancelled
--
-- Completed, failed and cancelled are final. The next three migrations (create, claim and finish)
-- hold the functions that change a contract's status. Each is a pair: a SECURITY INVOKER function
-- in public, which is the API, and a SECURITY DEFINER function in ehg_tasks, which holds the rules.
--
-- Leases. A claim returns a secret claim token and lasts timeout_minutes. The caller that presents
-- the current token may renew, complete, fail or release the contract. Once a lease has expired,
-- the next claim or clean-up ends the attempt and the old token stops working, so a late worker
-- never overwrites the result of its successor. Work is therefore done at least once, and its
-- result is recorded exactly once.
--
-- Repeats. A call whose answer was lost can be made again:
--   create                  with the same p_contract_id, creates nothing (created = false)
--   claim                   with the same p_request_key, returns the same claim
--   complete                with the same p_idempotency_key, returns the same answer
--                           (was_duplicate = true). Without a key, the claim token is the key.
--   fail, release, cancel   recognize their own repeat
--
-- Locks. A function locks the contract's row first, then its lease. Claims and clean-up skip locked
-- rows, so they never wait for a row and nothing deadlocks. Lease times come from
-- clock_timestamp(), read after locking: now() does not advance within a transaction.
--
-- This file adds tables, row types, helpers, one index and two guards on direct writes.

---------------------------------------------------------------------------------------------------
-- Tables
---------------------------------------------------------------------------------------------------

-- The specified table has no column for the current holder of a contract or for its last attempt.
-- Only the engine uses these two tables: row level security is on without a policy, and no API
-- role has a grant. A function locks the contract's row before it writes to either one, so a
-- function that holds that lock reads a consistent state.

create table if not exists ehg_tasks.leases (
  contract_id uuid primary key references public.agent_task_contracts (id) on delete cascade,
  target_agent text not null,
  claim_token uuid not null default gen_random_uuid(),
  request_key uuid,
  agent_id uuid,
  claimed_at timestamptz not null,
  expires_at timestamptz not null,
  attempt integer not null
);
comment on table ehg_tasks.leases is
  'One row per contract in progress: who holds it, by which token, and until when. A claim inserts the row; the end of the attempt deletes it.';
comment on column ehg_tasks.leases.claim_token is
  'Secret of the current claim, returned only to the caller that made it.';
comment on column ehg_tasks.leases.request_key is
  'The p_request_key of the claim, by which a repeated call finds its claim.';
comment on column ehg_tasks.leases.attempt is
  'Number of the attempt, from 1: the contract''s retry_count at the claim, plus one.';

-- For each claim's search for expired leases of its agent, and for repeated claims.
create index if not exists leases_expiry on ehg_tasks.leases (target_agent, expires_at);
create index if not exists leases_request_key on ehg_tasks.leases (request_key)
  where request_key is not null;

create table if not exists ehg_tasks.handbacks (
  contract_id uuid primary key references public.agent_task_contracts (id) on delete cascade,
  claim_token uuid not null,
  outcome text not null check (outcome in ('failed', 'released')),
  not_before timestamptz not null
);
comment on table ehg_tasks.handbacks is
  'The last attempt of each contract that went back to pending by a failure or a release.';
comment on column ehg_tasks.handbacks.claim_token is
  'Token of that attempt, by which a repeated call is recognized.';
comment on column ehg_tasks.handbacks.not_before is
  'The contract cannot be claimed before this time.';

alter table ehg_tasks.leases enable row level security;
alter table ehg_tasks.handbacks enable row level security;
revoke all on table ehg_tasks.leases, ehg_tasks.handbacks
  from public, anon, authenticated, service_role;

-- Claims take the highest priority first and the oldest contract within it. The specified index on
-- pending contracts covers only the agent and the priority, so every claim would sort its agent's
-- whole backlog. This index is in claim order, which makes the cost of a claim independent of the
-- backlog.
create index if not exists idx_task_contracts_claim_order
  on public.agent_task_contracts (target_agent, priority desc, created_at, id)
  where status = 'pending';

---------------------------------------------------------------------------------------------------
-- Row types
---------------------------------------------------------------------------------------------------

-- One type for each result, so that its columns are written once, not in both functions of a pair.
-- The types are in public because `supabase gen types` turns a type of an unexposed schema into
-- `unknown`. They hold no rows. Calling a function needs no privilege on its result type, so none
-- is granted.
--
-- CREATE TYPE has no IF NOT EXISTS, so each one is skipped if the type exists.
do $$ begin
  create type public.created_task_contract as (
    contract_id uuid,
    contract_summary text,
    created boolean
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_claim as (
    contract_id uuid,
    objective text,
    input_summary text,
    input_artifacts uuid[],
    constraints jsonb,
    max_tokens integer,
    timeout_minutes integer,
    claim_token uuid,
    attempt integer,
    lease_expires_at timestamptz,
    parent_agent text,
    target_agent text,
    session_id uuid,
    sd_id text,
    expected_output_type text,
    output_schema jsonb,
    priority integer,
    max_retries integer,
    created_at timestamptz
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_lease as (
    contract_id uuid,
    lease_expires_at timestamptz,
    attempt integer
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_completion as (
    success boolean,
    message text,
    contract_id uuid,
    status text,
    was_duplicate boolean,
    output_artifact_id uuid
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_failed_attempt as (
    contract_id uuid,
    status text,
    message text,
    retry_count integer,
    next_attempt_at timestamptz,
    was_duplicate boolean
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_status_change as (
    contract_id uuid,
    status text,
    message text,
    was_duplicate boolean
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_outcome as (
    contract_id uuid,
    status text,
    result_summary text,
    error_message text,
    output_artifact_id uuid,
    output jsonb,
    execution_tokens integer,
    retry_count integer,
    started_at timestamptz,
    completed_at timestamptz
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_input_artifact as (
    artifact_id uuid,
    type text,
    summary text,
    content_text text,
    token_count integer,
    created_at timestamptz
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_cleanup_report as (
    failed_count integer,
    cancelled_count integer,
    requeued_count integer
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_prune_report as (
    deleted_count integer
  );
exception when duplicate_object then null; end $$;

comment on type public.created_task_contract is
  'Result of create_task_contract and create_task_contracts.';
comment on type public.task_contract_claim is
  'Result of claim_task_contract: the work, and the lease on it.';
comment on type public.task_contract_lease is
  'Result of renew_task_contract.';
comment on type public.task_contract_completion is
  'Result of complete_task_contract.';
comment on type public.task_contract_failed_attempt is
  'Result of fail_task_contract. next_attempt_at is null if the failure is final.';
comment on type public.task_contract_status_change is
  'Result of release_task_contract and cancel_task_contract.';
comment on type public.task_contract_outcome is
  'Result of task_contract_outcomes: status and result of a contract.';
comment on type public.task_contract_input_artifact is
  'Result of task_contract_inputs: an input artifact in full.';
comment on type public.task_contract_cleanup_report is
  'Result of cleanup_stale_contracts: numbers of failed, cancelled and requeued contracts.';
comment on type public.task_contract_prune_report is
  'Result of prune_task_contracts.';
revoke all on type
  public.created_task_contract, public.task_contract_claim, public.task_contract_lease,
  public.task_contract_completion, public.task_contract_failed_attempt,
  public.task_contract_status_change, public.task_contract_outcome,
  public.task_contract_input_artifact, public.task_contract_cleanup_report,
  public.task_contract_prune_report
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Rules that several functions share
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.final_statuses()
returns text[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select array['completed', 'failed', 'cancelled'] $$;
comment on function ehg_tasks.final_statuses() is
  'The final statuses. Immutable, so `status = any (…)` becomes a constant at plan time and can use an index.';
revoke all on function ehg_tasks.final_statuses() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.lease_length(p_timeout_minutes integer)
returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select make_interval(mins => greatest(coalesce(p_timeout_minutes, 30), 1)) $$;
comment on function ehg_tasks.lease_length(integer) is
  'How long a claim or a renewal lasts: timeout_minutes, at least 1. Null counts as 30, the column''s default.';
revoke all on function ehg_tasks.lease_length(integer) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.retries_left(p_retry_count integer, p_max_retries integer)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select coalesce(p_retry_count, 0) < coalesce(p_max_retries, 2) $$;
comment on function ehg_tasks.retries_left(integer, integer) is
  'Whether a failed attempt is retried. A null max_retries counts as 2, the column''s default.';
revoke all on function ehg_tasks.retries_left(integer, integer)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.is_blank(p_text text)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select p_text is null or p_text !~ '\S' $$;
comment on function ehg_tasks.is_blank(text) is 'Whether text is null, empty or only white space.';
revoke all on function ehg_tasks.is_blank(text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.as_json(p_text text)
returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return p_text::jsonb;
exception when data_exception then
  return to_jsonb(p_text);
end
$$;
comment on function ehg_tasks.as_json(text) is
  'The content of an artifact as JSON. Text that is not valid JSON becomes a JSON string.';
revoke all on function ehg_tasks.as_json(text) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Size limits (TC006), for the functions and for direct writes
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.check_size(p_what text, p_bytes integer, p_limit integer default 65536)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_bytes > p_limit then
    raise exception using
      errcode = 'TC006',
      message = format('%s is too large: %s bytes, the limit is %s', p_what, p_bytes, p_limit),
      hint = 'Store large content as an artifact and pass its id.';
  end if;
end
$$;
comment on function ehg_tasks.check_size(text, integer, integer) is
  'Raises TC006 if a text or JSON field is larger than the limit, 64 KiB by default.';
revoke all on function ehg_tasks.check_size(text, integer, integer)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_count(p_what text, p_count integer)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_count > 1000 then
    raise exception using
      errcode = 'TC006',
      message = format('%s has %s entries, the limit is 1000', p_what, p_count);
  end if;
end
$$;
comment on function ehg_tasks.check_count(text, integer) is
  'Raises TC006 if a list has more than 1000 entries.';
revoke all on function ehg_tasks.check_count(text, integer) from public, anon, authenticated, service_role;

-- Small JSON can still be costly: nested so deeply that it breaks its readers, or with numbers like
-- 1e131071, which is 131,072 digits as text. These checks come before anything turns it into text.
create or replace function ehg_tasks.check_json(p_what text, p_json jsonb)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_path_exists(p_json, 'strict $.**{65 to last}') then
    raise exception using
      errcode = 'TC006', message = format('%s is nested more than 64 levels deep', p_what);
  end if;
  -- As one array: a set of matches takes quadratic time.
  if exists (
    select
    from jsonb_array_elements(jsonb_path_query_array(p_json, 'strict $.** ? (@.type() == "number")')) as n (value)
    where length(n.value::text) > 400
  ) then
    raise exception using
      errcode = 'TC006', message = format('%s holds a number of more than 400 digits', p_what);
  end if;
end
$$;
comment on function ehg_tasks.check_json(text, jsonb) is
  'Raises TC006 if JSON is nested more than 64 levels deep or holds a number of more than 400 digits.';
revoke all on function ehg_tasks.check_json(text, jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_contract_sizes(p_contract public.agent_task_contracts)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_size('objective', octet_length(p_contract.objective));
  perform ehg_tasks.check_size('input_summary', octet_length(p_contract.input_summary));
  perform ehg_tasks.check_size('result_summary', octet_length(p_contract.result_summary));
  perform ehg_tasks.check_size('error_message', octet_length(p_contract.error_message));
  perform ehg_tasks.check_json('constraints', p_contract.constraints);
  perform ehg_tasks.check_size('constraints', octet_length(p_contract.constraints::text));
  perform ehg_tasks.check_json('output_schema', p_contract.output_schema);
  perform ehg_tasks.check_size('output_schema', octet_length(p_contract.output_schema::text));
  perform ehg_tasks.check_count('input_artifacts', cardinality(p_contract.input_artifacts));
end
$$;
comment on function ehg_tasks.check_contract_sizes(public.agent_task_contracts) is
  'Raises TC006 if a contract exceeds a limit: 64 KiB per text or JSON field, 1000 input artifacts.';
revoke all on function ehg_tasks.check_contract_sizes(public.agent_task_contracts)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- The contract, and the claim on it
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.lock_contract(p_contract_id uuid)
returns public.agent_task_contracts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract public.agent_task_contracts;
begin
  if p_contract_id is null then
    raise exception using errcode = 'TC005', message = 'p_contract_id must not be null';
  end if;
  -- By primary key alone: with a condition on the status, the planner may choose the status index
  -- and read through its dead entries.
  select c.* into v_contract
  from public.agent_task_contracts c
  where c.id = p_contract_id
  for update;
  if not found then
    raise exception using
      errcode = 'TC001', message = format('there is no task contract %s', p_contract_id);
  end if;
  return v_contract;
end
$$;
comment on function ehg_tasks.lock_contract(uuid) is
  'Locks a contract and returns it. Raises TC001 if it does not exist.';
revoke all on function ehg_tasks.lock_contract(uuid) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_not_final(p_contract public.agent_task_contracts)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_contract.status = any (ehg_tasks.final_statuses()) then
    raise exception using
      errcode = 'TC003',
      message = format('task contract %s is already %s', p_contract.id, p_contract.status);
  end if;
end
$$;
comment on function ehg_tasks.check_not_final(public.agent_task_contracts) is
  'Raises TC003 if the contract is completed, failed or cancelled.';
revoke all on function ehg_tasks.check_not_final(public.agent_task_contracts)
  from public, anon, authenticated, service_role;

-- The caller holds the lock on the contract's row.
create or replace function ehg_tasks.check_claim(p_contract public.agent_task_contracts, p_claim_token uuid)
returns ehg_tasks.leases
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lease ehg_tasks.leases;
begin
  perform ehg_tasks.check_not_final(p_contract);
  if p_claim_token is null then
    raise exception using
      errcode = 'TC002',
      message = format('no claim token was given for task contract %s', p_contract.id),
      hint = 'Pass the claim_token that claim_task_contract returned.';
  end if;
  select l.* into v_lease from ehg_tasks.leases l where l.contract_id = p_contract.id;
  if p_contract.status <> 'in_progress' or v_lease.claim_token is distinct from p_claim_token then
    raise exception using
      errcode = 'TC002',
      message = format('the claim on task contract %s is lost', p_contract.id),
      hint = 'It expired, was given back, or another worker has claimed the contract. Stop working on it and claim again.';
  end if;
  return v_lease;
end
$$;
comment on function ehg_tasks.check_claim(public.agent_task_contracts, uuid) is
  'Returns the lease that the token belongs to; raises TC002 or TC003. An expired lease is still valid until a claim or a clean-up ends the attempt.';
revoke all on function ehg_tasks.check_claim(public.agent_task_contracts, uuid)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Guards: limits on what anon writes directly to the table
---------------------------------------------------------------------------------------------------

-- The triggers fire only for statements that anon itself runs on the table. Inside the engine's
-- functions the current user is their owner, and the service role is trusted. The trigger
-- functions run with their owner's rights because anon may not call the checks.

create or replace function ehg_tasks.guard_anon_sizes()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_contract_sizes(new);
  return new;
end
$$;
comment on function ehg_tasks.guard_anon_sizes() is
  'Trigger function: applies the functions'' size limits to direct writes by agents.';
revoke all on function ehg_tasks.guard_anon_sizes() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_sizes
  before insert or update on public.agent_task_contracts
  for each row when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_sizes();

-- An agent cannot plant a result under an id that it guesses, or a contract that no clean-up reaches.
create or replace function ehg_tasks.guard_anon_start()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.status is distinct from 'pending' or coalesce(new.retry_count, 0) <> 0
    or num_nonnulls(new.started_at, new.completed_at, new.output_artifact_id, new.result_summary,
                    new.execution_tokens, new.error_message, new.completion_idempotency_key,
                    new.completed_by_agent_id) > 0
    or not isfinite(new.created_at) or new.created_at > clock_timestamp()
    or not isfinite(new.updated_at) or new.updated_at > clock_timestamp() then
    raise exception using
      errcode = 'TC005',
      message = 'a contract that an agent inserts must be pending, without a result, and not dated in the future',
      hint = 'Leave out status, retry_count, the result and the times, or call create_task_contract.';
  end if;
  return new;
end
$$;
comment on function ehg_tasks.guard_anon_start() is
  'Trigger function: refuses an insert by an agent that does not start at the beginning of the lifecycle.';
revoke all on function ehg_tasks.guard_anon_start() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_start
  before insert on public.agent_task_contracts
  for each row when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_start();

-- Under the specified policy, an update by anon without a filter changes every row, and anon cannot
-- filter. So the statement is refused before it writes the first one.
create or replace function ehg_tasks.guard_anon_rows()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if (select count(*) from (select from public.agent_task_contracts limit 2) as few) > 1 then
    raise exception using
      errcode = '21000',
      message = 'an agent may not update more than one task contract per statement',
      hint = 'Use the task contract functions (claim, complete, fail, release, cancel).';
  end if;
  return null;
end
$$;
comment on function ehg_tasks.guard_anon_rows() is
  'Trigger function: refuses an update by an agent if the table has more than one contract, with the SQLSTATE that hosted projects use for updates without a filter.';
revoke all on function ehg_tasks.guard_anon_rows() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_rows
  before update on public.agent_task_contracts
  for each statement when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_rows();
