-- Engine: what the lifecycle functions are built on.
--
--   pending -> in_progress -> completed | failed | cancelled
--   in_progress -> pending     a failed attempt with retries left, a release, an expired lease
--   pending -> cancelled
--
-- Completed, failed and cancelled are final. The migrations create, claim and finish hold the
-- functions that change a contract's status. Each is a pair: a SECURITY INVOKER function in public,
-- which is the API, and a SECURITY DEFINER function in ehg_tasks, which holds the rules.
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
-- This file adds the engine's tables, the row types of the answers, and one index.

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
