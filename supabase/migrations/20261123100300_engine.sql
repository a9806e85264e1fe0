-- Engine: the tables and row types that the lifecycle functions are built on.
--
--   pending -> in_progress -> completed | failed | cancelled
--   in_progress -> pending     a failed attempt with retries left, a release, a lost lease
--   pending -> cancelled
--   final -> pending           a requeue, by the service role
--
-- Completed, failed and cancelled are final. The migrations create, claim and finish hold the
-- functions that change a contract's status. Each is a pair: a SECURITY INVOKER function in public,
-- which is the API, and a SECURITY DEFINER function in ehg_tasks, which holds the rules.
--
-- The queue. A pending contract is in exactly one of two tables: `ready` if it can be claimed now,
-- `held` if it must wait for a time or for other contracts. Triggers on the table of contracts keep
-- both true whoever writes to it (see the queue migration). A claim reads `ready` alone, so
-- contracts that wait cost it nothing.
--
-- Attempts. A claim begins an attempt and returns its secret claim token. An attempt without an end
-- is the lease on a contract in progress; the others are its history. The numbers of a contract's
-- attempts never repeat, so an old token never fits a new attempt.
--
-- Two clocks. The time limit (timeout_minutes, from started_at) is how long an attempt may take.
-- The lease (p_lease_seconds of the claim) is how long silence is believed: a worker that renews it
-- keeps the contract up to the time limit, and the contract of a worker that crashed can be claimed
-- again when its lease ends. Work is therefore done at least once, and its result is recorded
-- exactly once.
--
-- Repeats. A call whose answer was lost can be made again:
--   create                  with the same p_contract_id, creates nothing (created = false)
--   claim                   with the same p_request_key, returns the same claim
--   complete                with the same p_idempotency_key, returns the same answer
--                           (was_duplicate = true). Without a key, the claim token is the key.
--   fail, release, cancel   recognize their own repeat
--
-- Locks. Every function takes them in this order, so that none can deadlock with another:
--   1. the advisory lock on a claim's request key
--   2. the row of a registered agent
--   3. rows of contracts, in the order (created_at, id). A contract exists before the ones that
--      depend on it, so a function may go on from a contract to its dependents. Claims and
--      clean-up skip locked rows instead of waiting.
--   4. rows of the other engine tables, each only under the lock on its contract
-- The advisory locks of the low-water marks (see the queue migration) need no place in it: whoever adds
-- rows shares them, and a claim that wants one for itself does not wait.
-- Lease times come from clock_timestamp(), read after locking: now() does not advance within a
-- transaction.

set local lock_timeout = '10s';

---------------------------------------------------------------------------------------------------
-- Tables
---------------------------------------------------------------------------------------------------

-- Only the engine uses these tables: row level security is on without a policy, and no API role has
-- a grant. They have no foreign keys to the contracts, because triggers maintain them and checking
-- the keys would make each claim slower.

create table if not exists ehg_tasks.ready (
  contract_id uuid primary key,
  target_agent text not null,
  priority integer not null,
  created_at timestamptz not null,
  claimable_since timestamptz not null default clock_timestamp()
);
comment on table ehg_tasks.ready is
  'The pending contracts that can be claimed now. Triggers keep it in step with the contracts.';
comment on column ehg_tasks.ready.target_agent is
  'The name of the queue: target_agent without surrounding white space and invisible characters, in Unicode normal form C.';
comment on column ehg_tasks.ready.claimable_since is
  'When the contract could first be claimed in its present wait. Clean-up counts from here.';

create index if not exists ready_claim_order
  on ehg_tasks.ready (target_agent, priority desc, created_at, contract_id);

create table if not exists ehg_tasks.low_water_marks (
  target_agent text not null,
  priority integer not null,
  created_at timestamptz not null,
  contract_id uuid not null,
  primary key (target_agent, priority, created_at, contract_id)
);
comment on table ehg_tasks.low_water_marks is
  'For each agent and priority in ready, places (created_at, contract_id), before the first of which no row stands. Claims start there.';

create table if not exists ehg_tasks.held (
  contract_id uuid primary key,
  target_agent text not null,
  priority integer not null,
  created_at timestamptz not null,
  not_before timestamptz not null default '-infinity',
  waits_for integer not null default 0
);
comment on table ehg_tasks.held is
  'The pending contracts that must wait. Once due, they move to ready.';
comment on column ehg_tasks.held.not_before is
  'The contract cannot be claimed before this time: a retry''s wait, or p_not_before.';
comment on column ehg_tasks.held.waits_for is
  'Number of contracts that it depends on and that are not final.';

-- Serves the search of each claim for contracts that are due.
create index if not exists held_due on ehg_tasks.held (target_agent, not_before) where waits_for = 0;

create table if not exists ehg_tasks.dependencies (
  contract_id uuid not null,
  depends_on uuid not null,
  on_failure text not null check (on_failure in ('cancel', 'run')),
  settled boolean not null default false,
  primary key (contract_id, depends_on)
);
comment on table ehg_tasks.dependencies is
  'Which contracts wait for which. A contract can depend only on contracts that exist when it is created, so there are no cycles.';
comment on column ehg_tasks.dependencies.on_failure is
  'What happens to the dependent contract if the other one fails or is cancelled: it is cancelled too, or it runs.';
comment on column ehg_tasks.dependencies.settled is
  'Whether the contract that was waited for has become final.';

create index if not exists dependencies_depends_on on ehg_tasks.dependencies (depends_on);

create table if not exists ehg_tasks.attempts (
  contract_id uuid not null,
  attempt integer not null,
  target_agent text not null,
  claim_token uuid not null,
  request_key uuid,
  agent_id uuid,
  claimed_at timestamptz not null,
  lease_seconds integer,
  expires_at timestamptz not null,
  progress jsonb,
  ended_at timestamptz,
  outcome text,
  error_message text,
  execution_tokens integer,
  retry_at timestamptz,
  primary key (contract_id, attempt)
);
comment on table ehg_tasks.attempts is
  'One row per attempt. Without an end, it is the lease on a contract in progress; with one, it is history.';
comment on column ehg_tasks.attempts.claim_token is
  'Secret of the claim, returned only to the caller that made it.';
comment on column ehg_tasks.attempts.request_key is
  'The p_request_key of the claim, by which a repeated call finds it.';
comment on column ehg_tasks.attempts.lease_seconds is
  'Length of the lease in seconds. Null: as long as the time limit.';
comment on column ehg_tasks.attempts.progress is
  'What the worker last reported: a small JSON object, such as message, percent and tokens.';
comment on column ehg_tasks.attempts.outcome is
  'How the attempt ended: completed, failed, released, expired, timed_out, cancelled or interrupted (another client changed the contract''s status directly). Null until then, like ended_at.';
comment on column ehg_tasks.attempts.retry_at is
  'When the contract can be claimed again after this failed attempt. Null if the failure was final.';

-- Serve the search of each claim for expired leases of its agent, and for repeats. A search for the
-- attempt of one contract asks whether its outcome is null, which is the same: if it asked for
-- ended_at, the planner could choose one of these indexes, which are full of dead entries, over the
-- primary key.
create index if not exists attempts_expiry on ehg_tasks.attempts (target_agent, expires_at)
  where ended_at is null;
create index if not exists attempts_request_key on ehg_tasks.attempts (request_key)
  where ended_at is null and request_key is not null;

create table if not exists ehg_tasks.lease_marks (
  target_agent text primary key,
  expires_at timestamptz not null
);
comment on table ehg_tasks.lease_marks is
  'For each agent, a time before which none of its leases ends. Claims look for expired leases after it.';

create table if not exists ehg_tasks.agents (
  name text primary key,
  description text,
  token_hash bytea,
  previous_token_hash bytea,
  previous_token_expires_at timestamptz,
  max_running integer check (max_running >= 0),
  paused_at timestamptz,
  resumed_at timestamptz,
  created_at timestamptz not null default clock_timestamp()
);
comment on table ehg_tasks.agents is
  'Registered agents (optional). An agent that is not registered has no token, no limit, and is not paused.';
comment on column ehg_tasks.agents.resumed_at is
  'When the last pause ended. Clean-up counts the time that contracts wait from here at the earliest.';
comment on column ehg_tasks.agents.token_hash is
  'SHA-256 of the agent''s token. Null: the agent needs no token.';

alter table ehg_tasks.ready enable row level security;
alter table ehg_tasks.low_water_marks enable row level security;
alter table ehg_tasks.held enable row level security;
alter table ehg_tasks.dependencies enable row level security;
alter table ehg_tasks.attempts enable row level security;
alter table ehg_tasks.lease_marks enable row level security;
alter table ehg_tasks.agents enable row level security;
revoke all on table
  ehg_tasks.ready, ehg_tasks.low_water_marks, ehg_tasks.held, ehg_tasks.dependencies,
  ehg_tasks.attempts, ehg_tasks.lease_marks, ehg_tasks.agents
  from public, anon, authenticated, service_role;

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
  create type public.task_contract_renewal as (
    contract_id uuid,
    state text,
    lease_expires_at timestamptz,
    attempt integer,
    message text
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
  create type public.task_contract_bulk_completion as (
    contract_id uuid,
    success boolean,
    status text,
    was_duplicate boolean,
    output_artifact_id uuid,
    code text,
    message text
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
    completed_at timestamptz,
    attempt integer,
    progress jsonb,
    waiting text,
    next_attempt_at timestamptz,
    waits_for integer,
    omitted boolean
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_attempt as (
    contract_id uuid,
    attempt integer,
    agent_id uuid,
    claimed_at timestamptz,
    lease_expires_at timestamptz,
    ended_at timestamptz,
    outcome text,
    error_message text,
    execution_tokens integer,
    next_attempt_at timestamptz,
    progress jsonb
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_contract_input_artifact as (
    artifact_id uuid,
    type text,
    summary text,
    content_text text,
    token_count integer,
    created_at timestamptz,
    omitted boolean
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_agent_token as (
    name text,
    token text,
    created boolean,
    previous_token_expires_at timestamptz
  );
exception when duplicate_object then null; end $$;

do $$ begin
  create type public.task_agent_change as (
    name text,
    message text,
    was_duplicate boolean
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
    deleted_count integer,
    deleted_artifact_count integer
  );
exception when duplicate_object then null; end $$;

-- Columns that mean the same as the column of the contract with that name have no comment of their own.
comment on type public.created_task_contract is
  'Result of create_task_contract and create_task_contracts.';
comment on column public.created_task_contract.contract_summary is
  'parent -> target: the first 100 characters of the objective.';
comment on column public.created_task_contract.created is
  'False if the contract existed before: the call was a repeat.';

comment on type public.task_contract_claim is
  'Result of claim_task_contract: the work, and the lease on it.';
comment on column public.task_contract_claim.claim_token is
  'Secret of the claim. Whoever has it can finish the attempt.';
comment on column public.task_contract_claim.attempt is
  'Number of the attempt, from 1. The numbers of a contract never repeat.';
comment on column public.task_contract_claim.lease_expires_at is
  'When the lease ends. The contract can then be claimed again, unless the lease is renewed.';

comment on type public.task_contract_lease is
  'Result of renew_task_contract.';
comment on column public.task_contract_lease.lease_expires_at is
  'When the lease ends. The contract can then be claimed again, unless the lease is renewed.';
comment on column public.task_contract_lease.attempt is
  'Number of the attempt, from 1. The numbers of a contract never repeat.';

comment on type public.task_contract_renewal is
  'Result of renew_task_contracts, one row per claim.';
comment on column public.task_contract_renewal.state is
  'renewed, lost, timed_out (the attempt has reached its time limit), unknown (there is no such contract), or the final status of the contract.';
comment on column public.task_contract_renewal.lease_expires_at is
  'When the renewed lease ends. Null if it is not renewed.';
comment on column public.task_contract_renewal.attempt is
  'Number of the renewed attempt. Null if it is not renewed.';
comment on column public.task_contract_renewal.message is
  'Why the progress of a renewed attempt is not stored. Null if it is, or if there is none.';

comment on type public.task_contract_completion is
  'Result of complete_task_contract.';
comment on column public.task_contract_completion.success is
  'True: the result is recorded. The status says which.';
comment on column public.task_contract_completion.message is
  'What the call did.';
comment on column public.task_contract_completion.status is
  'completed, or failed after p_success = false.';
comment on column public.task_contract_completion.was_duplicate is
  'True if the same was recorded before: the call was a repeat.';

comment on type public.task_contract_bulk_completion is
  'Result of complete_task_contracts, one row per item.';
comment on column public.task_contract_bulk_completion.success is
  'Whether the result is recorded.';
comment on column public.task_contract_bulk_completion.status is
  'completed or failed. Null if the result is refused.';
comment on column public.task_contract_bulk_completion.was_duplicate is
  'True if the same was recorded before: the call was a repeat.';
comment on column public.task_contract_bulk_completion.code is
  'Null if the result is recorded, otherwise the SQLSTATE that complete_task_contract raises.';
comment on column public.task_contract_bulk_completion.message is
  'What the call did, or why the result is refused.';

comment on type public.task_contract_failed_attempt is
  'Result of fail_task_contract.';
comment on column public.task_contract_failed_attempt.status is
  'pending if the contract is retried, otherwise failed.';
comment on column public.task_contract_failed_attempt.message is
  'What the call did.';
comment on column public.task_contract_failed_attempt.next_attempt_at is
  'When the contract can be claimed again. Null if the failure is final.';
comment on column public.task_contract_failed_attempt.was_duplicate is
  'True if the same was recorded before: the call was a repeat.';

comment on type public.task_contract_status_change is
  'Result of release_task_contract, cancel_task_contract and requeue_task_contract.';
comment on column public.task_contract_status_change.status is
  'The status after the call.';
comment on column public.task_contract_status_change.message is
  'What the call did.';
comment on column public.task_contract_status_change.was_duplicate is
  'True if the call changed nothing: it was a repeat.';

comment on type public.task_contract_outcome is
  'Result of task_contract_outcomes.';
comment on column public.task_contract_outcome.output is
  'Content of the output artifact. Text that is not valid JSON, is nested more than 64 levels deep or holds a number of more than 400 digits becomes a JSON string.';
comment on column public.task_contract_outcome.attempt is
  'Number of the last attempt. Null before the first.';
comment on column public.task_contract_outcome.progress is
  'What the last attempt reported when it was renewed.';
comment on column public.task_contract_outcome.waiting is
  'What a pending contract waits for: ready (a claim), paused (its agent is paused), retry or delayed (next_attempt_at), or dependencies. Null otherwise.';
comment on column public.task_contract_outcome.next_attempt_at is
  'When a contract that waits for a time can be claimed.';
comment on column public.task_contract_outcome.waits_for is
  'Number of contracts that it depends on and that are not final. Null unless it must wait.';
comment on column public.task_contract_outcome.omitted is
  'Whether the texts, the progress and the output are left out, because the answer would exceed 8 MiB. Ask for this contract again.';

comment on type public.task_contract_attempt is
  'Result of task_contract_history: one attempt, without its token.';
comment on column public.task_contract_attempt.attempt is
  'Number of the attempt, from 1. The numbers of a contract never repeat.';
comment on column public.task_contract_attempt.agent_id is
  'The p_agent_id of the claim.';
comment on column public.task_contract_attempt.claimed_at is
  'When the attempt began.';
comment on column public.task_contract_attempt.lease_expires_at is
  'When its lease ends or would have ended.';
comment on column public.task_contract_attempt.ended_at is
  'When it ended. Null while it runs.';
comment on column public.task_contract_attempt.outcome is
  'How it ended: completed, failed, released, expired, timed_out, cancelled or interrupted (another client changed the status directly).';
comment on column public.task_contract_attempt.error_message is
  'Why it did not succeed.';
comment on column public.task_contract_attempt.execution_tokens is
  'How many tokens it used.';
comment on column public.task_contract_attempt.next_attempt_at is
  'When the contract could be claimed again after this failed attempt. Null if the failure was final.';
comment on column public.task_contract_attempt.progress is
  'What it last reported when it was renewed.';

comment on type public.task_contract_input_artifact is
  'Result of task_contract_inputs: one input artifact.';
comment on column public.task_contract_input_artifact.created_at is
  'When the artifact was created.';
comment on column public.task_contract_input_artifact.omitted is
  'Whether the content is left out, because the answer would exceed 8 MiB. Ask for this artifact again.';

comment on type public.task_agent_token is
  'Result of register_task_agent and rotate_task_agent.';
comment on column public.task_agent_token.token is
  'The secret token, shown this once. Null if none was issued.';
comment on column public.task_agent_token.created is
  'False if the agent was registered before.';
comment on column public.task_agent_token.previous_token_expires_at is
  'How long the previous token stays valid. Null if there is none.';

comment on type public.task_agent_change is
  'Result of pause_task_agent, resume_task_agent and remove_task_agent.';
comment on column public.task_agent_change.message is
  'What the call did.';
comment on column public.task_agent_change.was_duplicate is
  'True if the call changed nothing: it was a repeat.';

comment on type public.task_contract_cleanup_report is
  'Result of cleanup_stale_contracts: how many contracts it changed.';
comment on column public.task_contract_cleanup_report.failed_count is
  'Contracts whose attempt was ended with no retry left.';
comment on column public.task_contract_cleanup_report.cancelled_count is
  'Contracts that were not claimed in time.';
comment on column public.task_contract_cleanup_report.requeued_count is
  'Contracts whose attempt was ended and that are pending again.';

comment on type public.task_contract_prune_report is
  'Result of prune_task_contracts: how many rows it deleted.';
comment on column public.task_contract_prune_report.deleted_count is
  'Contracts.';
comment on column public.task_contract_prune_report.deleted_artifact_count is
  'Artifacts that held their outputs.';

revoke all on type
  public.created_task_contract, public.task_contract_claim, public.task_contract_lease,
  public.task_contract_renewal, public.task_contract_completion, public.task_contract_bulk_completion,
  public.task_contract_failed_attempt, public.task_contract_status_change, public.task_contract_outcome,
  public.task_contract_attempt, public.task_contract_input_artifact, public.task_agent_token,
  public.task_agent_change, public.task_contract_cleanup_report, public.task_contract_prune_report
  from public, anon, authenticated, service_role;
