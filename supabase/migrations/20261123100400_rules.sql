-- Rules: what the lifecycle functions share, and what agents may write to the table directly.
--
-- A rule that several functions need has one function here: what is final, how long a lease lasts,
-- whether a retry is left, how large a value may be, and whether a token proves a claim. No API role
-- may call them. The guards at the end hold direct writes of agents to the same rules.

---------------------------------------------------------------------------------------------------
-- Statuses, leases and retries
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
