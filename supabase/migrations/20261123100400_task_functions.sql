-- Task functions: the lifecycle of a contract.
--
-- The tour.
--
--   pending -> in_progress -> completed | failed | cancelled
--   in_progress -> pending     a failed attempt with retries left, a release, a lease that ran out
--   pending -> cancelled
--
-- Completed, failed and cancelled are final. Each act is a pair: a one-line SECURITY INVOKER
-- function in public, which is the API, and a SECURITY DEFINER function of the same name in
-- ehg_tasks, which holds the rules. Agents (anon) create, claim, renew, complete, fail, release,
-- cancel, and read outcomes of contracts whose ids they know; the service role does all of that
-- and may complete without a claim token.
--
-- Claims are leases. A claim returns a secret claim token and lasts timeout_minutes; whoever
-- presents the current token may renew, complete, fail or release. When a lease has run out, the
-- next claim or the clean-up hands the contract on, and the old token is dead: a late worker can
-- never overwrite the newer holder. Work is therefore done at least once, and its result is
-- recorded exactly once.
--
-- Every call may be repeated when its answer was lost:
--   create     with the same p_contract_id     creates nothing new (created = false)
--   claim      with the same p_request_key     returns the same claim
--   complete   with the same key               returns the same answer (was_duplicate = true);
--                                              without p_idempotency_key the claim token is the key
--   fail, release, cancel                      recognise their own repeat
--
-- Failures are raised, never returned as a row:
--   TC001  no such contract             TC004  idempotency conflict: same key, other request
--   TC002  claim lost, or no token      TC005  bad argument
--   TC003  not allowed from this status TC006  too large
-- The table's own refusals keep their codes (23503 for an unknown sd_id or artifact, and so on).
--
-- Order of locks: the contract's row first, then its lease. Claims and clean-up skip rows that
-- are locked, so nobody waits in a queue and nothing deadlocks. Times of leases come from
-- clock_timestamp(), read after locking, because now() stands still within a transaction.

-- Earlier definitions of the same calls. A result type cannot be replaced in place, and two
-- functions of one name would make every call by name ambiguous.
drop function if exists public.create_task_contract(
  varchar, varchar, text, uuid, varchar, uuid[], text, jsonb, varchar, integer, integer);
drop function if exists public.claim_task_contract(varchar);
drop function if exists public.complete_task_contract(uuid, uuid, text, integer, boolean, text);
drop function if exists public.read_task_contract(uuid);
drop function if exists public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid);

---------------------------------------------------------------------------------------------------
-- Helpers
---------------------------------------------------------------------------------------------------

-- Inside a definer function current_user is the owner. The caller is in the role setting, which
-- `set role` (and so the API) fills in, or else is the user who logged in.
create or replace function ehg_tasks.is_service_role()
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select pg_has_role(
    coalesce(nullif(nullif(current_setting('role', true), 'none'), ''), session_user::text),
    'service_role', 'usage')
$$;
comment on function ehg_tasks.is_service_role() is
  'Whether the caller acts as the service role, or as a role that includes it (the owner of the project).';
revoke all on function ehg_tasks.is_service_role() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.is_blank(p_text text)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select p_text is null or p_text !~ '\S' $$;
revoke all on function ehg_tasks.is_blank(text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.retry_wait(p_retry_count integer)
returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select least(interval '5 seconds' * power(2, least(greatest(p_retry_count, 1), 20) - 1), interval '5 minutes')
$$;
comment on function ehg_tasks.retry_wait(integer) is
  'How long a failed attempt waits before the next: 5 s, doubling, at most 5 minutes. Replace it in a migration of your own to change the schedule.';
revoke all on function ehg_tasks.retry_wait(integer) from public, anon, authenticated, service_role;

-- A contract as the functions create it where nothing else is said: the table's own defaults.
create or replace function ehg_tasks.default_contract()
returns public.agent_task_contracts
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract public.agent_task_contracts;
begin
  v_contract.constraints := '{}';
  v_contract.input_artifacts := '{}';
  v_contract.expected_output_type := 'artifact';
  v_contract.priority := 50;
  v_contract.max_tokens := 4000;
  v_contract.timeout_minutes := 30;
  v_contract.max_retries := 2;
  v_contract.created_by := 'system';
  return v_contract;
end
$$;
revoke all on function ehg_tasks.default_contract() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.lock_contract(p_contract_id uuid)
returns public.agent_task_contracts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract public.agent_task_contracts;
begin
  if p_contract_id is null then
    raise exception using errcode = 'TC005', message = 'p_contract_id is missing';
  end if;
  -- By primary key alone: with a condition on the status the planner may take the status index
  -- and wade through its dead entries.
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
comment on function ehg_tasks.lock_contract(uuid) is 'Locks a contract and returns it; raises TC001.';
revoke all on function ehg_tasks.lock_contract(uuid) from public, anon, authenticated, service_role;

-- Called with the contract's row locked.
create or replace function ehg_tasks.check_claim(p_contract public.agent_task_contracts, p_claim_token uuid)
returns ehg_tasks.leases
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lease ehg_tasks.leases;
begin
  if p_contract.status in ('completed', 'failed', 'cancelled') then
    raise exception using
      errcode = 'TC003',
      message = format('task contract %s is already %s', p_contract.id, p_contract.status);
  end if;
  if p_claim_token is null then
    raise exception using
      errcode = 'TC002',
      message = format('no claim token was presented for task contract %s', p_contract.id),
      hint = 'Pass the claim_token that claim_task_contract returned.';
  end if;
  select l.* into v_lease from ehg_tasks.leases l where l.contract_id = p_contract.id;
  if p_contract.status <> 'in_progress' or v_lease.claim_token is distinct from p_claim_token then
    raise exception using
      errcode = 'TC002',
      message = format('the claim on task contract %s is lost', p_contract.id),
      hint = 'It ran out, was handed back or went to another agent. Drop the work and claim again.';
  end if;
  return v_lease;
end
$$;
comment on function ehg_tasks.check_claim(public.agent_task_contracts, uuid) is
  'The lease that the token proves; raises TC002 or TC003. A lease past its end counts until somebody took the contract over.';
revoke all on function ehg_tasks.check_claim(public.agent_task_contracts, uuid)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.expire_leases(
  p_target_agent text, p_limit integer, out requeued_count integer, out failed_count integer)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_locked uuid[];
  v_expired uuid[];
begin
  select array_agg(stale.id) into v_locked
  from (
    select c.id
    from ehg_tasks.leases l
    join public.agent_task_contracts c on c.id = l.contract_id
    where l.expires_at <= clock_timestamp()
      and (p_target_agent is null or l.target_agent = p_target_agent)
    order by l.expires_at
    limit p_limit
    for update of c skip locked
  ) as stale;

  -- The lease was read before its contract was locked, and may have been renewed in between:
  -- only now is the reading final.
  with gone as (
    delete from ehg_tasks.leases l
    where l.contract_id = any (v_locked) and l.expires_at <= clock_timestamp()
    returning l.contract_id
  )
  select array_agg(gone.contract_id) into v_expired from gone;

  select e.requeued_count, e.failed_count into requeued_count, failed_count
  from ehg_tasks.end_attempts(v_expired, 'the claim ran out before a result came') as e;
end
$$;
comment on function ehg_tasks.expire_leases(text, integer) is
  'Ends attempts whose lease ran out, of one agent or (null) of all, p_limit at most.';
revoke all on function ehg_tasks.expire_leases(text, integer)
  from public, anon, authenticated, service_role;

-- Called with the contracts' rows locked.
create or replace function ehg_tasks.end_attempts(
  p_contract_ids uuid[], p_error_message text, out requeued_count integer, out failed_count integer)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  with ended as (
    update public.agent_task_contracts c
    set status = case when r.retries_left then 'pending' else 'failed' end,
        retry_count = coalesce(c.retry_count, 0) + case when r.retries_left then 1 else 0 end,
        started_at = case when r.retries_left then null else c.started_at end,
        completed_at = case when r.retries_left then null else clock_timestamp() end,
        error_message = p_error_message
    from (
      select p.id, coalesce(p.retry_count, 0) < coalesce(p.max_retries, 2) as retries_left
      from public.agent_task_contracts p
      where p.id = any (p_contract_ids) and p.status = 'in_progress'
    ) as r
    where c.id = r.id
    returning c.status
  )
  select (count(*) filter (where ended.status = 'pending'))::integer,
         (count(*) filter (where ended.status = 'failed'))::integer
  into requeued_count, failed_count
  from ended;
end
$$;
comment on function ehg_tasks.end_attempts(uuid[], text) is
  'Attempts that ended without a result: back to pending while retries are left, else failed. A null max_retries counts as 2, the column''s default.';
revoke all on function ehg_tasks.end_attempts(uuid[], text) from public, anon, authenticated, service_role;

-- Called with the contract's row locked.
create or replace function ehg_tasks.hand_back(p_lease ehg_tasks.leases, p_outcome text, p_not_before timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  delete from ehg_tasks.leases l where l.contract_id = p_lease.contract_id;
  insert into ehg_tasks.handbacks (contract_id, claim_token, outcome, not_before)
  values (p_lease.contract_id, p_lease.claim_token, p_outcome, p_not_before)
  on conflict (contract_id) do update
  set claim_token = excluded.claim_token, outcome = excluded.outcome, not_before = excluded.not_before;
$$;
revoke all on function ehg_tasks.hand_back(ehg_tasks.leases, text, timestamptz)
  from public, anon, authenticated, service_role;

-- Text that was meant to be JSON, and is passed on as a string where it is not.
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
revoke all on function ehg_tasks.as_json(text) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Create
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.create_task_contracts(p_contracts jsonb)
returns table (contract_id uuid, contract_summary text, created boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_start constant timestamptz := clock_timestamp();
  v_default constant public.agent_task_contracts := ehg_tasks.default_contract();
  v_count constant integer := case when jsonb_typeof(p_contracts) = 'array' then jsonb_array_length(p_contracts) end;
  v_n integer := 0;
  v_item jsonb;
  v_contract public.agent_task_contracts;
  v_known public.agent_task_contracts;
  v_fault text;
  v_message text;
  v_detail text;
  v_hint text;
begin
  if coalesce(v_count, 0) = 0 then
    raise exception using
      errcode = 'TC005', message = 'p_contracts must be an array of one or more contracts';
  end if;
  if v_count > 1000 then
    raise exception using
      errcode = 'TC006',
      message = format('p_contracts has %s contracts, the limit is 1000 a call', v_count);
  end if;

  for v_item in select i.value from jsonb_array_elements(p_contracts) as i loop
    v_n := v_n + 1;
    if jsonb_typeof(v_item) <> 'object' then
      raise exception using errcode = 'TC005', message = 'a contract must be a JSON object';
    end if;
    perform ehg_tasks.check_json('a contract', v_item);
    select string_agg(k.key, ', ' order by k.key) into v_fault
    from jsonb_object_keys(v_item) as k (key)
    where k.key not in (
      'contract_id', 'session_id', 'sd_id', 'parent_agent', 'target_agent', 'objective', 'constraints',
      'input_artifacts', 'input_summary', 'expected_output_type', 'output_schema', 'priority',
      'max_tokens', 'timeout_minutes', 'max_retries', 'created_by');
    if v_fault is not null then
      raise exception using errcode = 'TC005', message = format('unknown field: %s', v_fault);
    end if;

    select string_agg(format('%s is longer than %s characters', l.field, l.most), '; ') into v_fault
    from (values ('parent_agent', 50), ('target_agent', 50), ('sd_id', 50), ('expected_output_type', 50),
                 ('created_by', 100)) as l (field, most)
    where length(v_item ->> l.field) > l.most;
    if v_fault is not null then
      raise exception using errcode = 'TC005', message = v_fault;
    end if;

    v_contract := jsonb_populate_record(v_default, v_item);
    v_contract.id := coalesce((v_item ->> 'contract_id')::uuid, gen_random_uuid());
    -- One microsecond apart, so that contracts of one call are claimed in the order they stand in.
    v_contract.created_at := v_start + (v_n - 1) * interval '1 microsecond';

    if ehg_tasks.is_blank(v_contract.parent_agent) or ehg_tasks.is_blank(v_contract.target_agent)
      or ehg_tasks.is_blank(v_contract.objective) then
      raise exception using
        errcode = 'TC005', message = 'parent_agent, target_agent and objective must not be empty';
    end if;
    if v_contract.timeout_minutes < 1 or v_contract.max_tokens < 1 or v_contract.max_retries < 0 then
      raise exception using
        errcode = 'TC005',
        message = 'timeout_minutes and max_tokens must be at least 1, max_retries at least 0';
    end if;
    perform ehg_tasks.check_contract_sizes(v_contract);

    insert into public.agent_task_contracts (
      id, session_id, sd_id, parent_agent, target_agent, objective, constraints, input_artifacts,
      input_summary, expected_output_type, output_schema, priority, max_tokens, timeout_minutes,
      max_retries, created_by, created_at)
    values (
      v_contract.id, v_contract.session_id, v_contract.sd_id, v_contract.parent_agent,
      v_contract.target_agent, v_contract.objective, v_contract.constraints, v_contract.input_artifacts,
      v_contract.input_summary, v_contract.expected_output_type, v_contract.output_schema,
      v_contract.priority, v_contract.max_tokens, v_contract.timeout_minutes,
      v_contract.max_retries, v_contract.created_by, v_contract.created_at)
    on conflict (id) do nothing;
    created := found;

    if not created then
      select c.* into v_known from public.agent_task_contracts c where c.id = v_contract.id;
      if (v_known.parent_agent, v_known.target_agent, v_known.objective)
        is distinct from (v_contract.parent_agent, v_contract.target_agent, v_contract.objective) then
        raise exception using
          errcode = 'TC004',
          message = format('task contract %s exists already, with another content', v_contract.id),
          hint = 'Use a new p_contract_id for a new contract.';
      end if;
    end if;
    contract_id := v_contract.id;
    contract_summary := format('%s -> %s: %s', v_contract.parent_agent, v_contract.target_agent,
                               left(v_contract.objective, 100));
    return next;
  end loop;
exception when others then
  -- Nothing of the call stays; say which of many contracts it was.
  if v_n = 0 or v_count = 1 then
    raise;
  end if;
  get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
  raise exception using
    errcode = sqlstate,
    message = format('contract %s of %s: %s', v_n, v_count, v_message),
    detail = v_detail,
    hint = v_hint;
end
$$;
revoke all on function ehg_tasks.create_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.create_task_contracts(jsonb) to anon, service_role;

create or replace function public.create_task_contracts(p_contracts jsonb)
returns table (contract_id uuid, contract_summary text, created boolean)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.create_task_contracts(p_contracts) $$;
comment on function public.create_task_contracts(jsonb) is
  'Creates up to 1000 contracts, all or none. Each is an object with the parameters of create_task_contract without their p_.';
revoke all on function public.create_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.create_task_contracts(jsonb) to anon, service_role;

create or replace function public.create_task_contract(
  p_parent_agent text,
  p_target_agent text,
  p_objective text,
  p_session_id uuid default null,
  p_sd_id text default null,
  p_input_artifacts uuid[] default '{}',
  p_input_summary text default null,
  p_constraints jsonb default '{}',
  p_expected_output_type text default 'artifact',
  p_priority integer default 50,
  p_max_tokens integer default 4000,
  p_contract_id uuid default null,
  p_output_schema jsonb default null,
  p_timeout_minutes integer default 30,
  p_max_retries integer default 2,
  p_created_by text default 'system')
returns table (contract_id uuid, contract_summary text, created boolean)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$
  select * from ehg_tasks.create_task_contracts(jsonb_build_array(jsonb_build_object(
    'contract_id', p_contract_id, 'parent_agent', p_parent_agent, 'target_agent', p_target_agent,
    'objective', p_objective, 'session_id', p_session_id, 'sd_id', p_sd_id,
    'input_artifacts', p_input_artifacts, 'input_summary', p_input_summary,
    'constraints', p_constraints, 'expected_output_type', p_expected_output_type,
    'priority', p_priority, 'max_tokens', p_max_tokens, 'output_schema', p_output_schema,
    'timeout_minutes', p_timeout_minutes, 'max_retries', p_max_retries, 'created_by', p_created_by)))
$$;
comment on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text) is
  'Hands work from one agent to another. A repeat with the same p_contract_id creates nothing new (created = false).';
revoke all on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text)
  from public, anon, authenticated, service_role;
grant execute on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text)
  to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Claim and renew
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.claim_task_contract(
  p_target_agent text, p_limit integer, p_request_key uuid, p_agent_id uuid)
returns table (
  contract_id uuid, objective text, input_summary text, input_artifacts uuid[], constraints jsonb,
  max_tokens integer, timeout_minutes integer, claim_token uuid, attempt integer,
  lease_expires_at timestamptz, parent_agent text, target_agent text, session_id uuid, sd_id text,
  expected_output_type text, output_schema jsonb, priority integer, max_retries integer,
  created_at timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_ids uuid[];
  v_now timestamptz;
begin
  if ehg_tasks.is_blank(p_target_agent) then
    raise exception using errcode = 'TC005', message = 'p_target_agent must not be empty';
  end if;
  if p_limit is null or p_limit < 1 then
    raise exception using errcode = 'TC005', message = 'p_limit must be at least 1';
  end if;
  if p_limit > 100 then
    raise exception using
      errcode = 'TC006', message = format('p_limit is %s, the limit is 100 a call', p_limit);
  end if;

  if p_request_key is not null then
    -- Repeats of one call stand in line here, so that the second finds what the first claimed.
    perform pg_advisory_xact_lock(hashtextextended('ehg_tasks.claim ' || p_request_key, 0));
    select array_agg(l.contract_id) into v_ids
    from ehg_tasks.leases l
    join public.agent_task_contracts c on c.id = l.contract_id
    where l.request_key = p_request_key and l.expires_at > clock_timestamp() and c.status = 'in_progress';
    if exists (
      select from ehg_tasks.leases l
      where l.contract_id = any (v_ids) and l.target_agent <> p_target_agent
    ) then
      raise exception using
        errcode = 'TC004',
        message = 'this p_request_key belongs to a claim for another agent',
        hint = 'Use a new p_request_key for each claim.';
    end if;
  end if;

  if v_ids is null then
    -- What an agent left behind is claimable at once; nothing waits for the clean-up to run.
    perform ehg_tasks.expire_leases(p_target_agent, p_limit);

    v_now := clock_timestamp();
    select array_agg(ready.id) into v_ids
    from (
      select c.id
      from public.agent_task_contracts c
      where c.target_agent = p_target_agent
        and c.status = 'pending'
        and not exists (
          select from ehg_tasks.handbacks h where h.contract_id = c.id and h.not_before > v_now)
      order by c.priority desc, c.created_at, c.id
      limit p_limit
      for update of c skip locked
    ) as ready;
    if v_ids is null then
      return;
    end if;

    v_now := clock_timestamp();
    update public.agent_task_contracts c
    set status = 'in_progress', started_at = v_now, completed_at = null
    where c.id = any (v_ids);

    -- A row may be left of a claim that another client ended by writing to the table.
    insert into ehg_tasks.leases (
      contract_id, target_agent, request_key, agent_id, claimed_at, expires_at, attempt)
    select c.id, c.target_agent, p_request_key, p_agent_id, v_now,
           v_now + make_interval(mins => greatest(coalesce(c.timeout_minutes, 30), 1)),
           least(coalesce(c.retry_count, 0), 2147483646) + 1
    from public.agent_task_contracts c
    where c.id = any (v_ids)
    on conflict (contract_id) do update
    set target_agent = excluded.target_agent, claim_token = gen_random_uuid(),
        request_key = excluded.request_key, agent_id = excluded.agent_id,
        claimed_at = excluded.claimed_at, expires_at = excluded.expires_at, attempt = excluded.attempt;
  end if;

  return query
  select c.id, c.objective, c.input_summary, c.input_artifacts, c.constraints, c.max_tokens,
         c.timeout_minutes, l.claim_token, l.attempt, l.expires_at, c.parent_agent::text,
         c.target_agent::text, c.session_id, c.sd_id::text, c.expected_output_type::text,
         c.output_schema, c.priority, c.max_retries, c.created_at
  from public.agent_task_contracts c
  join ehg_tasks.leases l on l.contract_id = c.id
  where c.id = any (v_ids)
  order by c.priority desc, c.created_at, c.id;
end
$$;
revoke all on function ehg_tasks.claim_task_contract(text, integer, uuid, uuid)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.claim_task_contract(text, integer, uuid, uuid) to anon, service_role;

create or replace function public.claim_task_contract(
  p_target_agent text,
  p_limit integer default 1,
  p_request_key uuid default null,
  p_agent_id uuid default null)
returns table (
  contract_id uuid, objective text, input_summary text, input_artifacts uuid[], constraints jsonb,
  max_tokens integer, timeout_minutes integer, claim_token uuid, attempt integer,
  lease_expires_at timestamptz, parent_agent text, target_agent text, session_id uuid, sd_id text,
  expected_output_type text, output_schema jsonb, priority integer, max_retries integer,
  created_at timestamptz)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.claim_task_contract(p_target_agent, p_limit, p_request_key, p_agent_id) $$;
comment on function public.claim_task_contract(text, integer, uuid, uuid) is
  'Claims up to p_limit (at most 100) pending contracts for an agent: highest priority first, then oldest; never one to two callers. A repeat with the same p_request_key returns the same claim.';
revoke all on function public.claim_task_contract(text, integer, uuid, uuid)
  from public, anon, authenticated, service_role;
grant execute on function public.claim_task_contract(text, integer, uuid, uuid) to anon, service_role;

create or replace function ehg_tasks.renew_task_contract(p_contract_id uuid, p_claim_token uuid)
returns table (contract_id uuid, lease_expires_at timestamptz, attempt integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  perform ehg_tasks.check_claim(v_contract, p_claim_token);
  return query
  update ehg_tasks.leases l
  set expires_at =
    clock_timestamp() + make_interval(mins => greatest(coalesce(v_contract.timeout_minutes, 30), 1))
  where l.contract_id = v_contract.id
  returning l.contract_id, l.expires_at, l.attempt;
end
$$;
revoke all on function ehg_tasks.renew_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.renew_task_contract(uuid, uuid) to anon, service_role;

create or replace function public.renew_task_contract(p_contract_id uuid, p_claim_token uuid)
returns table (contract_id uuid, lease_expires_at timestamptz, attempt integer)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.renew_task_contract(p_contract_id, p_claim_token) $$;
comment on function public.renew_task_contract(uuid, uuid) is
  'The holder of a claim gets timeout_minutes from now.';
revoke all on function public.renew_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.renew_task_contract(uuid, uuid) to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Complete
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.complete_task_contract(
  p_contract_id uuid, p_output_artifact_id uuid, p_result_summary text, p_execution_tokens integer,
  p_success boolean, p_error_message text, p_claim_token uuid, p_idempotency_key uuid, p_agent_id uuid,
  p_output jsonb)
returns table (
  success boolean, message text, contract_id uuid, status text, was_duplicate boolean,
  output_artifact_id uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
  v_key constant uuid := coalesce(p_idempotency_key, p_claim_token);
  v_status constant text := case when p_success then 'completed' else 'failed' end;
  v_lease ehg_tasks.leases;
  v_artifact uuid := p_output_artifact_id;
begin
  if p_success is null or p_execution_tokens < 0 then
    raise exception using
      errcode = 'TC005',
      message = 'p_success must be true or false, and p_execution_tokens at least 0';
  end if;
  if p_output is not null and p_output_artifact_id is not null then
    raise exception using
      errcode = 'TC005',
      message = 'p_output and p_output_artifact_id exclude each other',
      hint = 'Pass the output itself, or the id of an artifact that holds it.';
  end if;
  perform ehg_tasks.check_size('p_result_summary', octet_length(p_result_summary));
  perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));
  perform ehg_tasks.check_json('p_output', p_output);
  perform ehg_tasks.check_size('p_output', octet_length(p_output::text), 1048576);

  -- The same key again: the same answer, if it asks for the same.
  if v_contract.status in ('completed', 'failed')
    and v_key is not null and v_contract.completion_idempotency_key is not null then
    if v_contract.completion_idempotency_key <> v_key then
      raise exception using
        errcode = 'TC004',
        message = format('task contract %s was finished under another key', v_contract.id);
    end if;
    if (v_contract.status, v_contract.result_summary, v_contract.execution_tokens, v_contract.error_message)
        is distinct from (v_status, p_result_summary, p_execution_tokens, p_error_message)
      or (p_agent_id is not null and p_agent_id is distinct from v_contract.completed_by_agent_id)
      or (p_output is null and p_output_artifact_id is distinct from v_contract.output_artifact_id)
      or (p_output is not null and not exists (
            select from public.agent_artifacts a
            where a.id = v_contract.output_artifact_id and ehg_tasks.as_json(a.content_text) = p_output))
    then
      raise exception using
        errcode = 'TC004',
        message = format('task contract %s was finished under this key with another result', v_contract.id);
    end if;
    return query select p_success, 'already recorded'::text, v_contract.id, v_status, true,
                        v_contract.output_artifact_id;
    return;
  end if;

  if p_claim_token is not null or not ehg_tasks.is_service_role() then
    v_lease := ehg_tasks.check_claim(v_contract, p_claim_token);
  elsif v_contract.status <> 'in_progress' then
    raise exception using
      errcode = 'TC003',
      message = format('task contract %s is %s, not in progress', v_contract.id, v_contract.status);
  end if;

  if p_output is not null then
    insert into public.agent_artifacts (
      session_id, sd_id, type, summary, content_text, token_count, metadata, created_by, source_tool)
    values (
      v_contract.session_id, v_contract.sd_id, 'contract_output',
      left(case when ehg_tasks.is_blank(p_result_summary) then format('Output of task contract %s', v_contract.id)
           else p_result_summary end, 1000),
      p_output::text, p_execution_tokens, jsonb_build_object('contract_id', v_contract.id),
      v_contract.target_agent, 'contract-system')
    returning id into v_artifact;
  end if;

  delete from ehg_tasks.leases l where l.contract_id = v_contract.id;
  update public.agent_task_contracts c
  set status = v_status,
      completed_at = clock_timestamp(),
      output_artifact_id = v_artifact,
      result_summary = p_result_summary,
      execution_tokens = p_execution_tokens,
      error_message = p_error_message,
      completion_idempotency_key = v_key,
      completed_by_agent_id = coalesce(p_agent_id, v_lease.agent_id)
  where c.id = v_contract.id;

  return query select p_success, format('task contract %s', v_status), v_contract.id, v_status, false, v_artifact;
end
$$;
revoke all on function ehg_tasks.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb) to anon, service_role;

create or replace function public.complete_task_contract(
  p_contract_id uuid,
  p_output_artifact_id uuid default null,
  p_result_summary text default null,
  p_execution_tokens integer default null,
  p_success boolean default true,
  p_error_message text default null,
  p_claim_token uuid default null,
  p_idempotency_key uuid default null,
  p_agent_id uuid default null,
  p_output jsonb default null)
returns table (
  success boolean, message text, contract_id uuid, status text, was_duplicate boolean,
  output_artifact_id uuid)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$
  select * from ehg_tasks.complete_task_contract(
    p_contract_id, p_output_artifact_id, p_result_summary, p_execution_tokens, p_success,
    p_error_message, p_claim_token, p_idempotency_key, p_agent_id, p_output)
$$;
comment on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb) is
  'Records a result, once. Agents present the claim token. p_output (1 MiB at most) is stored as an artifact in the same transaction. p_success = false ends the contract as failed, without a retry.';
revoke all on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb) to anon, service_role;

-- The name and the result columns that earlier clients know. New clients call
-- complete_task_contract, which has all of it.
create or replace function public.fn_complete_task_contract_idempotent(
  p_contract_id uuid,
  p_idempotency_key uuid,
  p_output_artifact_id uuid default null,
  p_result_summary text default null,
  p_tokens_used integer default 0,
  p_agent_id uuid default null,
  p_claim_token uuid default null)
returns table (success boolean, was_duplicate boolean, message text, contract_id uuid)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$
  select c.success, c.was_duplicate, c.message, c.contract_id
  from ehg_tasks.complete_task_contract(
    p_contract_id, p_output_artifact_id, p_result_summary, p_tokens_used, true,
    null, p_claim_token, p_idempotency_key, p_agent_id, null) as c
$$;
comment on function public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid, uuid) is
  'complete_task_contract under its earlier name.';
revoke all on function public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid, uuid)
  from public, anon, authenticated, service_role;
grant execute on function public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid, uuid)
  to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Fail, release, cancel
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.fail_task_contract(
  p_contract_id uuid, p_claim_token uuid, p_error_message text, p_retry boolean)
returns table (
  contract_id uuid, status text, message text, retry_count integer, next_attempt_at timestamptz,
  was_duplicate boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
  v_retries constant integer := coalesce(v_contract.retry_count, 0);
  v_lease ehg_tasks.leases;
  v_next timestamptz;
begin
  if p_retry is null then
    raise exception using errcode = 'TC005', message = 'p_retry must be true or false';
  end if;
  perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));

  if v_contract.status = 'failed' and v_contract.completion_idempotency_key = p_claim_token then
    return query select v_contract.id, 'failed'::text, 'already recorded'::text, v_retries, v_next, true;
    return;
  end if;
  select h.not_before into v_next
  from ehg_tasks.handbacks h
  where h.contract_id = v_contract.id and h.claim_token = p_claim_token and h.outcome = 'failed';
  if found and v_contract.status in ('pending', 'in_progress') then
    return query select v_contract.id, 'pending'::text, 'already recorded'::text, v_retries, v_next, true;
    return;
  end if;

  v_lease := ehg_tasks.check_claim(v_contract, p_claim_token);
  if p_retry and v_retries < coalesce(v_contract.max_retries, 2) then
    v_next := clock_timestamp() + ehg_tasks.retry_wait(v_retries + 1);
    perform ehg_tasks.hand_back(v_lease, 'failed', v_next);
    update public.agent_task_contracts c
    set status = 'pending', retry_count = v_retries + 1, started_at = null, error_message = p_error_message
    where c.id = v_contract.id;
    return query select v_contract.id, 'pending'::text, 'the attempt failed and will be retried'::text,
                        v_retries + 1, v_next, false;
  else
    delete from ehg_tasks.leases l where l.contract_id = v_contract.id;
    update public.agent_task_contracts c
    set status = 'failed', completed_at = clock_timestamp(), error_message = p_error_message,
        completion_idempotency_key = p_claim_token, completed_by_agent_id = v_lease.agent_id
    where c.id = v_contract.id;
    return query select v_contract.id, 'failed'::text, 'task contract failed'::text, v_retries, v_next, false;
  end if;
end
$$;
revoke all on function ehg_tasks.fail_task_contract(uuid, uuid, text, boolean)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.fail_task_contract(uuid, uuid, text, boolean) to anon, service_role;

create or replace function public.fail_task_contract(
  p_contract_id uuid, p_claim_token uuid, p_error_message text, p_retry boolean default true)
returns table (
  contract_id uuid, status text, message text, retry_count integer, next_attempt_at timestamptz,
  was_duplicate boolean)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.fail_task_contract(p_contract_id, p_claim_token, p_error_message, p_retry) $$;
comment on function public.fail_task_contract(uuid, uuid, text, boolean) is
  'Ends an attempt with an error: back to pending after a growing wait while retries are left, else (or with p_retry = false) failed.';
revoke all on function public.fail_task_contract(uuid, uuid, text, boolean)
  from public, anon, authenticated, service_role;
grant execute on function public.fail_task_contract(uuid, uuid, text, boolean) to anon, service_role;

create or replace function ehg_tasks.release_task_contract(p_contract_id uuid, p_claim_token uuid)
returns table (contract_id uuid, status text, message text, was_duplicate boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  if v_contract.status in ('pending', 'in_progress') and exists (
    select from ehg_tasks.handbacks h
    where h.contract_id = v_contract.id and h.claim_token = p_claim_token and h.outcome = 'released'
  ) then
    return query select v_contract.id, 'pending'::text, 'already recorded'::text, true;
    return;
  end if;
  perform ehg_tasks.hand_back(ehg_tasks.check_claim(v_contract, p_claim_token), 'released', clock_timestamp());
  update public.agent_task_contracts c set status = 'pending', started_at = null where c.id = v_contract.id;
  return query select v_contract.id, 'pending'::text, 'the claim is released'::text, false;
end
$$;
revoke all on function ehg_tasks.release_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.release_task_contract(uuid, uuid) to anon, service_role;

create or replace function public.release_task_contract(p_contract_id uuid, p_claim_token uuid)
returns table (contract_id uuid, status text, message text, was_duplicate boolean)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.release_task_contract(p_contract_id, p_claim_token) $$;
comment on function public.release_task_contract(uuid, uuid) is
  'Gives a claim back unworked: pending again at once, no retry spent.';
revoke all on function public.release_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.release_task_contract(uuid, uuid) to anon, service_role;

create or replace function ehg_tasks.cancel_task_contract(p_contract_id uuid, p_reason text)
returns table (contract_id uuid, status text, message text, was_duplicate boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  perform ehg_tasks.check_size('p_reason', octet_length(p_reason));
  if v_contract.status = 'cancelled' then
    return query select v_contract.id, 'cancelled'::text, 'already cancelled'::text, true;
    return;
  end if;
  if v_contract.status in ('completed', 'failed') then
    raise exception using
      errcode = 'TC003',
      message = format('task contract %s is already %s', v_contract.id, v_contract.status);
  end if;
  delete from ehg_tasks.leases l where l.contract_id = v_contract.id;
  update public.agent_task_contracts c
  set status = 'cancelled', completed_at = clock_timestamp(), error_message = p_reason
  where c.id = v_contract.id;
  return query select v_contract.id, 'cancelled'::text, 'task contract cancelled'::text, false;
end
$$;
revoke all on function ehg_tasks.cancel_task_contract(uuid, text) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.cancel_task_contract(uuid, text) to anon, service_role;

create or replace function public.cancel_task_contract(p_contract_id uuid, p_reason text default null)
returns table (contract_id uuid, status text, message text, was_duplicate boolean)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.cancel_task_contract(p_contract_id, p_reason) $$;
comment on function public.cancel_task_contract(uuid, text) is
  'Whoever knows the id may cancel what is not final. A worker learns of it at its next call.';
revoke all on function public.cancel_task_contract(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.cancel_task_contract(uuid, text) to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Read
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.task_contract_outcomes(p_contract_ids uuid[])
returns table (
  contract_id uuid, status text, result_summary text, error_message text, output_artifact_id uuid,
  output jsonb, execution_tokens integer, retry_count integer, started_at timestamptz,
  completed_at timestamptz)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  if p_contract_ids is null then
    raise exception using errcode = 'TC005', message = 'p_contract_ids is missing';
  end if;
  if cardinality(p_contract_ids) > 1000 then
    raise exception using
      errcode = 'TC006',
      message = format('p_contract_ids has %s entries, the limit is 1000 a call', cardinality(p_contract_ids));
  end if;
  return query
  select c.id, c.status::text, c.result_summary, c.error_message, c.output_artifact_id,
         ehg_tasks.as_json(a.content_text), c.execution_tokens, c.retry_count, c.started_at, c.completed_at
  from (
    select i.id, min(i.place) as place from unnest(p_contract_ids) with ordinality as i (id, place) group by i.id
  ) as asked
  join public.agent_task_contracts c on c.id = asked.id
  left join public.agent_artifacts a on a.id = c.output_artifact_id
  order by asked.place;
end
$$;
revoke all on function ehg_tasks.task_contract_outcomes(uuid[]) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.task_contract_outcomes(uuid[]) to anon, service_role;

create or replace function public.task_contract_outcomes(p_contract_ids uuid[])
returns table (
  contract_id uuid, status text, result_summary text, error_message text, output_artifact_id uuid,
  output jsonb, execution_tokens integer, retry_count integer, started_at timestamptz,
  completed_at timestamptz)
language sql stable security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.task_contract_outcomes(p_contract_ids) $$;
comment on function public.task_contract_outcomes(uuid[]) is
  'Status and result of contracts whose ids the caller knows (1000 at most), in the order asked; unknown ids are left out.';
revoke all on function public.task_contract_outcomes(uuid[]) from public, anon, authenticated, service_role;
grant execute on function public.task_contract_outcomes(uuid[]) to anon, service_role;

create or replace function ehg_tasks.task_contract_inputs(p_contract_id uuid, p_claim_token uuid)
returns table (
  artifact_id uuid, type text, summary text, content_text text, token_count integer, created_at timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
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
returns table (
  artifact_id uuid, type text, summary text, content_text text, token_count integer, created_at timestamptz)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.task_contract_inputs(p_contract_id, p_claim_token) $$;
comment on function public.task_contract_inputs(uuid, uuid) is
  'The input artifacts of a contract, whole, each once and in order, for the holder of the claim.';
revoke all on function public.task_contract_inputs(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.task_contract_inputs(uuid, uuid) to anon, service_role;

-- The one reader without the owner's rights: row level security decides what the caller sees, so
-- an agent is refused here (42501) as it is on the table.
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
  'One contract with previews of its input artifacts, as far as the caller''s row level security lets it see them.';
revoke all on function public.read_task_contract(uuid) from public, anon, authenticated, service_role;
grant execute on function public.read_task_contract(uuid) to anon, authenticated, service_role;
