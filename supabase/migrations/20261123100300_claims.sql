-- Claims: what the engine keeps beside the table, and what it adds to it.
--
-- The tour. The table has no column for who holds a contract right now, so that lives here:
--
--   leases      one row per contract in progress: the claim token that proves the claim, and when
--               it runs out. The row appears with the claim and goes with the result.
--   handbacks   the last attempt that was handed back (failed or released): when the next attempt
--               may start, and which claim token said so, so that a repeated call is recognised.
--
-- Both belong to the engine alone: row level security is on without a policy, and no API role has
-- a grant. Whoever changes a row of either locks the contract's row first, so a function that
-- holds that lock can trust what it reads here.
--
-- Added to the table itself: one index in claim order, and two guards. The guards fire only for
-- statements that the anon role runs on the table directly (inside the engine's functions the
-- current user is their owner, and the service role is trusted).

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
  'One row per contract in progress: who holds it, by which token, until when.';
comment on column ehg_tasks.leases.claim_token is
  'Secret of the current claim. Only the call that claimed has seen it.';
comment on column ehg_tasks.leases.request_key is
  'The claim call''s own key: a repeat of the call finds its claim again.';
comment on column ehg_tasks.leases.attempt is
  'Counts from 1; one more than the contract''s retry_count at the claim.';

-- Expired leases of one agent, found at each claim; a repeated claim call.
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
  'The last attempt handed back to pending, per contract: not claimable again before not_before.';

alter table ehg_tasks.leases enable row level security;
alter table ehg_tasks.handbacks enable row level security;
revoke all on table ehg_tasks.leases, ehg_tasks.handbacks
  from public, anon, authenticated, service_role;

-- Claims take the highest priority first and the oldest among equals. The specified index on
-- pending contracts ends at the priority, so each claim would sort its agent's whole backlog;
-- this one is in claim order and makes the cost of a claim independent of the backlog.
create index if not exists idx_task_contracts_claim_order
  on public.agent_task_contracts (target_agent, priority desc, created_at, id)
  where status = 'pending';

-- Size limits (TC006). One place for the functions and for direct writes.
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
      hint = 'Store large content as an artifact and refer to it.';
  end if;
end
$$;
revoke all on function ehg_tasks.check_size(text, integer, integer)
  from public, anon, authenticated, service_role;

-- JSON that costs far more than its size: nested so deeply, or with numbers so long (1e131071 is
-- 131,072 digits as text), that the readers of it would break. Checked before it is turned into text.
create or replace function ehg_tasks.check_json(p_what text, p_json jsonb)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_path_exists(p_json, 'strict $.**{65 to last}') then
    raise exception using errcode = 'TC006', message = format('%s is nested more than 64 levels deep', p_what);
  end if;
  if exists (
    select from jsonb_path_query(p_json, 'strict $.** ? (@.type() == "number")') as n (value)
    where length(n.value::text) > 400
  ) then
    raise exception using
      errcode = 'TC006', message = format('%s holds a number of more than 400 digits', p_what);
  end if;
end
$$;
comment on function ehg_tasks.check_json(text, jsonb) is
  'Raises TC006 where JSON is nested more than 64 levels deep or holds a number of more than 400 digits.';
revoke all on function ehg_tasks.check_json(text, jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_contract_sizes(p_contract public.agent_task_contracts)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_size('objective', octet_length(p_contract.objective));
  perform ehg_tasks.check_size('input_summary', octet_length(p_contract.input_summary));
  perform ehg_tasks.check_size('result_summary', octet_length(p_contract.result_summary));
  perform ehg_tasks.check_size('error_message', octet_length(p_contract.error_message));
  perform ehg_tasks.check_json('constraints', p_contract.constraints);
  perform ehg_tasks.check_json('output_schema', p_contract.output_schema);
  perform ehg_tasks.check_size('constraints', octet_length(p_contract.constraints::text));
  perform ehg_tasks.check_size('output_schema', octet_length(p_contract.output_schema::text));
  if cardinality(p_contract.input_artifacts) > 1000 then
    raise exception using
      errcode = 'TC006',
      message = format('input_artifacts has %s entries, the limit is 1000',
                       cardinality(p_contract.input_artifacts));
  end if;
end
$$;
comment on function ehg_tasks.check_contract_sizes(public.agent_task_contracts) is
  'Raises TC006 where a contract is over a limit: 64 KiB a text or JSON field, 1000 input artifacts.';
revoke all on function ehg_tasks.check_contract_sizes(public.agent_task_contracts)
  from public, anon, authenticated, service_role;

-- Guard 1: a direct anon write keeps to the same size limits as the functions.
-- The trigger functions are definers because anon may not call the checks by itself.
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
revoke all on function ehg_tasks.guard_anon_sizes() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_sizes
  before insert or update on public.agent_task_contracts
  for each row when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_sizes();

-- Guard 2: the specified update policy lets anon update without a filter, which reaches every
-- row. A statement that would change more than one contract is refused, with the SQLSTATE that
-- hosted projects use for the same refusal.
create or replace function ehg_tasks.guard_anon_rows()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if (select count(*) from (select from changed limit 2) as few) > 1 then
    raise exception using
      errcode = '21000',
      message = 'an agent may not change more than one task contract in a statement',
      hint = 'Use the task contract functions (claim, complete, fail, release, cancel).';
  end if;
  return null;
end
$$;
revoke all on function ehg_tasks.guard_anon_rows() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_rows
  after update on public.agent_task_contracts
  referencing new table as changed
  for each statement when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_rows();
