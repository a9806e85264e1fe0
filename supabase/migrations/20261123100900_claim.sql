-- Claim: an agent takes work, and keeps it while it renews its lease, up to the time limit.
--
-- claim_task_contract begins attempts; renew_task_contract and renew_task_contracts extend their
-- leases. Each claim first ends its agent's attempts whose lease has expired and makes contracts
-- ready that are due, so that neither has to wait for the clean-up.

set local lock_timeout = '10s';

-- Earlier definition (see the foundation migration).
drop function if exists public.claim_task_contract(varchar);

create or replace function ehg_tasks.lease_end(
  p_now timestamptz, p_claimed_at timestamptz, p_lease_seconds integer, p_timeout_minutes integer)
returns timestamptz
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return least(
    p_now + make_interval(secs => p_lease_seconds),  -- null: the time limit alone
    p_claimed_at + ehg_tasks.time_limit(p_timeout_minutes));
end
$$;
comment on function ehg_tasks.lease_end(timestamptz, timestamptz, integer, integer) is
  'When a lease that is granted or renewed now ends: after p_lease_seconds, and never after the time limit of the attempt.';
revoke all on function ehg_tasks.lease_end(timestamptz, timestamptz, integer, integer)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Attempts that end without a result
---------------------------------------------------------------------------------------------------

-- Contracts whose attempts end are locked in any order, so to wait for what depends on them could be a
-- deadlock. Where it is locked by another transaction, the contract is left for the next time.
create or replace function ehg_tasks.lock_dependents(p_contract_ids uuid[])
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_family uuid[];
  v_locked uuid[];
  v_missed uuid[];
begin
  if not exists (
    select from ehg_tasks.dependencies d where d.depends_on = any (p_contract_ids) and not d.settled) then
    return p_contract_ids;
  end if;
  v_family := ehg_tasks.with_dependents(p_contract_ids);
  v_locked := array(
    select c.id from public.agent_task_contracts c where c.id = any (v_family) for update skip locked);
  v_missed := array(select unnest(v_family) except select unnest(v_locked));
  return array(
    with recursive waited_for (id) as (
      select unnest(v_missed)
      union
      select d.depends_on
      from waited_for w, lateral (
        select e.depends_on from ehg_tasks.dependencies e where e.contract_id = w.id and not e.settled offset 0
      ) as d
    )
    select unnest(p_contract_ids) except select w.id from waited_for w);
end
$$;
comment on function ehg_tasks.lock_dependents(uuid[]) is
  'Locks what waits for contracts, directly or through others, as far as that is possible without waiting. Returns the contracts whose dependents are all locked.';
revoke all on function ehg_tasks.lock_dependents(uuid[]) from public, anon, authenticated, service_role;

-- The caller holds the locks on the contracts' rows, and on those of their dependents.
create or replace function ehg_tasks.end_attempts(
  p_contract_ids uuid[], p_error_messages text[], out requeued_count integer, out failed_count integer)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  perform ehg_tasks.settle_dependents(array(
    select c.id
    from public.agent_task_contracts c
    where c.id = any (p_contract_ids) and c.status is not distinct from 'in_progress'
      and not ehg_tasks.retries_left(c.retry_count, c.max_retries)), 'failed');
  with ended as (
    update public.agent_task_contracts c
    set status = case when r.retries_left then 'pending' else 'failed' end,
        retry_count = coalesce(c.retry_count, 0) + case when r.retries_left then 1 else 0 end,
        started_at = case when r.retries_left then null else c.started_at end,
        completed_at = case when r.retries_left then null else clock_timestamp() end,
        error_message = r.error_message
    from (
      select p.id, e.error_message, ehg_tasks.retries_left(p.retry_count, p.max_retries) as retries_left
      from unnest(p_contract_ids, p_error_messages) as e (id, error_message)
      cross join lateral (select k.* from public.agent_task_contracts k where k.id = e.id offset 0) as p
      where p.status = 'in_progress'
    ) as r
    where c.id = r.id and c.id = any (p_contract_ids)
    returning c.status
  )
  select (count(*) filter (where ended.status = 'pending'))::integer,
         (count(*) filter (where ended.status = 'failed'))::integer
  into requeued_count, failed_count
  from ended;
end
$$;
comment on function ehg_tasks.end_attempts(uuid[], text[]) is
  'Ends attempts without a result: the contract goes back to pending while it has retries left, otherwise it fails.';
revoke all on function ehg_tasks.end_attempts(uuid[], text[]) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.expire_leases(
  p_target_agent text, p_limit integer, out requeued_count integer, out failed_count integer)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  -- A variable, because an index cannot serve a comparison with the volatile clock_timestamp().
  v_now timestamptz := clock_timestamp();
  v_ids uuid[];
  v_messages text[];
begin
  if p_target_agent is null then
    v_ids := array(
      select c.id
      from (
        select a.contract_id
        from ehg_tasks.attempts a
        where a.ended_at is null and a.expires_at <= v_now
        order by a.expires_at
        offset 0
      ) as a
      cross join lateral (
        select k.id from public.agent_task_contracts k where k.id = a.contract_id for update skip locked
      ) as c
      limit p_limit);
  else
    v_ids := array(
      select c.id
      from (
        select a.contract_id
        from ehg_tasks.attempts a
        where a.target_agent = p_target_agent and a.ended_at is null and a.expires_at <= v_now
        order by a.expires_at
        offset 0
      ) as a
      cross join lateral (
        select k.id from public.agent_task_contracts k where k.id = a.contract_id for update skip locked
      ) as c
      limit p_limit);
  end if;

  v_ids := ehg_tasks.lock_dependents(v_ids);
  -- The lease was read before its contract was locked and may have been renewed in between, so it
  -- is read again under the lock.
  v_now := clock_timestamp();
  with ended as (
    update ehg_tasks.attempts a
    set ended_at = v_now,
        outcome = case when l.is_over then 'timed_out' else 'expired' end,
        error_message = case when l.is_over
          then format('the attempt reached its time limit of %s min', l.minutes)
          else 'the lease expired before a result was recorded' end
    from (
      select c.id, extract(epoch from ehg_tasks.time_limit(c.timeout_minutes))::bigint / 60 as minutes,
             b.attempt, b.claimed_at + ehg_tasks.time_limit(c.timeout_minutes) <= v_now as is_over
      from public.agent_task_contracts c
      cross join lateral (
        select k.* from ehg_tasks.attempts k where k.contract_id = c.id order by k.attempt desc limit 1
      ) as b
      where c.id = any (v_ids) and b.outcome is null and b.expires_at <= v_now
    ) as l
    where a.contract_id = l.id and a.attempt = l.attempt and a.contract_id = any (v_ids)
    returning a.contract_id, a.error_message
  )
  select array_agg(e.contract_id), array_agg(e.error_message) into v_ids, v_messages from ended e;

  select e.requeued_count, e.failed_count into requeued_count, failed_count
  from ehg_tasks.end_attempts(v_ids, v_messages) as e;
end
$$;
comment on function ehg_tasks.expire_leases(text, integer) is
  'Ends up to p_limit attempts whose lease has expired, of one agent or (if null) of all.';
revoke all on function ehg_tasks.expire_leases(text, integer)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.release_due(p_target_agent text, p_limit integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  perform ehg_tasks.move_to_ready(array(
    select c.id
    from (
      select h.contract_id
      from ehg_tasks.held h
      where h.target_agent = p_target_agent and h.waits_for = 0 and h.not_before <= v_now
      order by h.not_before
      offset 0
    ) as h
    cross join lateral (
      select k.id from public.agent_task_contracts k where k.id = h.contract_id for update skip locked
    ) as c
    limit p_limit));
end
$$;
comment on function ehg_tasks.release_due(text, integer) is
  'Makes ready up to p_limit held contracts of an agent whose time has come.';
revoke all on function ehg_tasks.release_due(text, integer) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Claim
---------------------------------------------------------------------------------------------------

-- The settings fix the plan: claims come in thousands a second, and statistics of a queue are always
-- out of date. They hold for the functions called from here too, which look rows up by their keys.
create or replace function ehg_tasks.claim_task_contract(
  p_target_agent text, p_limit integer, p_request_key uuid, p_agent_id uuid, p_lease_seconds integer,
  p_contract_id uuid)
returns setof public.task_contract_claim
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_name constant text := ehg_tasks.agent_name('p_target_agent', p_target_agent);
  v_limit integer := p_limit;
  v_now timestamptz;
  v_is_registered boolean;
  v_has_expired boolean;
  v_has_due boolean;
  v_agent ehg_tasks.agents;
  v_ids uuid[];
begin
  if p_limit is null or p_limit < 1 then
    raise exception using errcode = 'TC005', message = 'p_limit must be at least 1';
  end if;
  if p_limit > 100 then
    raise exception using errcode = 'TC006', message = format('p_limit is %s, the limit is 100', p_limit);
  end if;
  if p_lease_seconds < 5 then
    raise exception using errcode = 'TC005', message = 'p_lease_seconds must be at least 5';
  end if;

  v_now := clock_timestamp();
  select exists (select from ehg_tasks.agents a where a.name = v_name),
         exists (
           select from ehg_tasks.attempts a
           where a.target_agent = v_name and a.ended_at is null and a.expires_at <= v_now
             and a.expires_at >= coalesce(
               (select l.expires_at from ehg_tasks.lease_marks l where l.target_agent = v_name), '-infinity')),
         exists (
           select from ehg_tasks.held h
           where h.target_agent = v_name and h.waits_for = 0 and h.not_before <= v_now)
  into v_is_registered, v_has_expired, v_has_due;

  if v_is_registered then
    perform ehg_tasks.check_agent_token(v_name);
  end if;
  if p_request_key is not null then
    -- A repeated call waits for the first one here, then finds its claim.
    perform pg_advisory_xact_lock(hashtextextended('ehg_tasks.claim ' || p_request_key, 0));
    return query
    select c.id, c.objective, c.input_summary, c.input_artifacts, c.constraints, c.max_tokens,
           c.timeout_minutes, a.claim_token, a.attempt, a.expires_at, c.parent_agent::text,
           c.target_agent::text, c.session_id, c.sd_id::text, c.expected_output_type::text,
           c.output_schema, c.priority, c.max_retries, c.created_at
    from ehg_tasks.repeated_claim(p_request_key, v_name) a
    join public.agent_task_contracts c on c.id = a.contract_id
    order by c.priority desc, c.created_at, c.id;
    if found then
      return;
    end if;
  end if;

  if v_is_registered then
    v_agent := ehg_tasks.lock_agent(v_name);
  end if;
  if v_has_expired then
    perform ehg_tasks.expire_leases(v_name, 100);
  end if;
  if v_agent.paused_at is not null then
    return;
  end if;
  if v_agent.max_running is not null then
    v_limit := least(v_limit, greatest(v_agent.max_running - (
      select count(*)::integer from ehg_tasks.attempts a where a.target_agent = v_name and a.ended_at is null), 0));
  end if;
  if v_has_due then
    perform ehg_tasks.release_due(v_name, 100);
  end if;

  if p_contract_id is null then
    v_ids := array(
      select r.id
      from (
        select distinct on (m.priority) m.*
        from ehg_tasks.low_water_marks m
        where m.target_agent = v_name
        order by m.priority desc, m.created_at, m.contract_id
        offset 0
      ) as w
      cross join lateral (
        select c.id
        from (
          select q.contract_id
          from ehg_tasks.ready q
          where q.target_agent = v_name and q.priority = w.priority
            and (q.created_at, q.contract_id) >= (w.created_at, w.contract_id)
          order by q.created_at, q.contract_id
          offset 0
        ) as q
        cross join lateral (
          -- Another transaction may have claimed it a moment ago. The status is not compared with an
          -- equality, which could make the planner search by status.
          select k.id
          from public.agent_task_contracts k
          where k.id = q.contract_id and k.status is not distinct from 'pending'
          for update skip locked
        ) as c
        limit v_limit
      ) as r
      limit v_limit);
    -- 27 contracts of the largest size fit into any answer.
    if v_limit > 27 then
      v_ids := ehg_tasks.fitting_claims(v_ids);
    end if;
  else
    v_ids := array(
      select c.id
      from ehg_tasks.ready q
      cross join lateral (
        select k.id
        from public.agent_task_contracts k
        where k.id = q.contract_id and k.status is not distinct from 'pending'
        for update skip locked
      ) as c
      where q.contract_id = p_contract_id and q.target_agent = v_name and v_limit > 0);
  end if;

  return query
  with claimed as (
    update public.agent_task_contracts c
    set status = 'in_progress', started_at = clock_timestamp(), completed_at = null
    where c.id = any (v_ids)
    returning c.*
  ),
  begun as materialized (
    select c.*, gen_random_uuid() as claim_token,
           coalesce((select max(a.attempt) from ehg_tasks.attempts a where a.contract_id = c.id), 0) + 1 as attempt,
           ehg_tasks.lease_end(c.started_at, c.started_at, p_lease_seconds, c.timeout_minutes) as expires_at
    from claimed c
  ),
  recorded as (
    insert into ehg_tasks.attempts (
      contract_id, attempt, target_agent, claim_token, request_key, agent_id, claimed_at, lease_seconds, expires_at)
    select b.id, b.attempt, v_name, b.claim_token, p_request_key, p_agent_id, b.started_at, p_lease_seconds, b.expires_at
    from begun b
  )
  select c.id, c.objective, c.input_summary, c.input_artifacts, c.constraints, c.max_tokens,
         c.timeout_minutes, c.claim_token, c.attempt, c.expires_at, c.parent_agent::text,
         c.target_agent::text, c.session_id, c.sd_id::text, c.expected_output_type::text,
         c.output_schema, c.priority, c.max_retries, c.created_at
  from begun c
  order by c.priority desc, c.created_at, c.id;

  -- About once in 512 contracts. Each time leaves a dead row, which vacuum cannot remove while an old
  -- snapshot is open, and which every claim then reads.
  if random() * 512 < p_limit then
    perform ehg_tasks.raise_low_water_marks(v_name);
  end if;
end
$$;
revoke all on function ehg_tasks.claim_task_contract(text, integer, uuid, uuid, integer, uuid)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.claim_task_contract(text, integer, uuid, uuid, integer, uuid)
  to anon, service_role;

create or replace function ehg_tasks.repeated_claim(p_request_key uuid, p_target_agent text)
returns setof ehg_tasks.attempts
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  if exists (
    select from ehg_tasks.attempts a
    where a.request_key = p_request_key and a.ended_at is null and a.expires_at > v_now
      and a.target_agent <> p_target_agent
  ) then
    raise exception using
      errcode = 'TC004',
      message = 'p_request_key was already used to claim for another agent',
      hint = 'Use a new p_request_key for each claim.';
  end if;
  return query
  select a.* from ehg_tasks.attempts a
  where a.request_key = p_request_key and a.ended_at is null and a.expires_at > v_now;
end
$$;
comment on function ehg_tasks.repeated_claim(uuid, text) is
  'The attempts under a lease that a claim with this request key has begun. Raises TC004 if it was for another agent.';
revoke all on function ehg_tasks.repeated_claim(uuid, text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.lock_agent(p_name text)
returns ehg_tasks.agents
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_agent ehg_tasks.agents;
  v_has_limit boolean;
begin
  select a.max_running is not null into v_has_limit from ehg_tasks.agents a where a.name = p_name;
  if v_has_limit then
    -- Claims count one after the other, and the count must see those that have committed.
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception using
        errcode = 'TC003',
        message = format('claims of agent "%s", which has a limit, need the isolation level READ COMMITTED', p_name);
    end if;
    select a.* into v_agent from ehg_tasks.agents a where a.name = p_name for update;
  else
    select a.* into v_agent from ehg_tasks.agents a where a.name = p_name for share;
    if v_agent.max_running is not null then
      -- The limit was set a moment ago. Without the lock for it, nothing is handed out this time.
      v_agent.max_running := 0;
    end if;
  end if;
  return v_agent;
end
$$;
comment on function ehg_tasks.lock_agent(text) is
  'A registered agent, locked: a pause waits until the claims that have begun are done, and claims of an agent with a limit wait for each other.';
revoke all on function ehg_tasks.lock_agent(text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.fitting_claims(p_contract_ids uuid[])
returns uuid[]
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  select array_agg(s.id)
  from (
    select i.id, i.place,
           sum(octet_length(c.objective) + coalesce(octet_length(c.input_summary), 0)
               + coalesce(octet_length(c.constraints::text), 0)
               + coalesce(octet_length(c.output_schema::text), 0)
               + 40 * coalesce(cardinality(c.input_artifacts), 0)) over (order by i.place) as total
    from unnest(p_contract_ids) with ordinality as i (id, place)
    cross join lateral (select k.* from public.agent_task_contracts k where k.id = i.id offset 0) as c
  ) as s
  where s.total <= 8388608 or s.place = 1
$$;
comment on function ehg_tasks.fitting_claims(uuid[]) is
  'As many of the contracts, from the first, as fit into an answer of 8 MiB.';
revoke all on function ehg_tasks.fitting_claims(uuid[]) from public, anon, authenticated, service_role;

create or replace function public.claim_task_contract(
  p_target_agent text,
  p_limit integer default 1,
  p_request_key uuid default null,
  p_agent_id uuid default null,
  p_lease_seconds integer default null,
  p_contract_id uuid default null)
returns setof public.task_contract_claim
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$
  select * from ehg_tasks.claim_task_contract(
    p_target_agent, p_limit, p_request_key, p_agent_id, p_lease_seconds, p_contract_id)
$$;
comment on function public.claim_task_contract(text, integer, uuid, uuid, integer, uuid) is
  'Claims up to p_limit (at most 100) contracts of an agent, highest priority first, then oldest. Two callers never get the same contract. The lease lasts p_lease_seconds (5 or more) and can be renewed up to the time limit; without it, it lasts as long as the time limit. With p_contract_id, claims that contract or nothing. A repeat with the same p_request_key returns the same claims. p_agent_id says who works; it is kept with the attempt. If the agent is registered with a token, the request must carry it in the header x-agent-token. Fewer contracts than p_limit are returned if the agent is paused or has reached its limit, or if the answer would exceed 8 MiB.';
revoke all on function public.claim_task_contract(text, integer, uuid, uuid, integer, uuid)
  from public, anon, authenticated, service_role;
grant execute on function public.claim_task_contract(text, integer, uuid, uuid, integer, uuid)
  to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Renew
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.check_progress(p_progress jsonb)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_size('p_progress, as jsonb,', pg_column_size(p_progress), 16384);
  perform ehg_tasks.check_json('p_progress', p_progress);
  perform ehg_tasks.check_size('p_progress', octet_length(p_progress::text), 4096);
  if jsonb_typeof(p_progress) <> 'object' then
    raise exception using errcode = 'TC005', message = 'p_progress must be a JSON object';
  end if;
end
$$;
comment on function ehg_tasks.check_progress(jsonb) is
  'Raises TC006 or TC005 if a progress report is larger than 4 KiB or is not an object.';
revoke all on function ehg_tasks.check_progress(jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.progress_problem(p_progress jsonb)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_progress(p_progress);
  return null;
exception when sqlstate 'TC005' or sqlstate 'TC006' then
  return sqlerrm;
end
$$;
comment on function ehg_tasks.progress_problem(jsonb) is
  'Why a progress report is refused; null if it is not.';
revoke all on function ehg_tasks.progress_problem(jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.renew_task_contract(p_contract_id uuid, p_claim_token uuid, p_progress jsonb)
returns setof public.task_contract_lease
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
  v_attempt constant ehg_tasks.attempts := ehg_tasks.check_claim(v_contract, p_claim_token);
  v_now constant timestamptz := clock_timestamp();
begin
  perform ehg_tasks.check_progress(p_progress);
  if v_attempt.claimed_at + ehg_tasks.time_limit(v_contract.timeout_minutes) <= v_now then
    raise exception using
      errcode = 'TC002',
      message = format('the attempt on task contract %s has reached its time limit of %s min',
                       v_contract.id, extract(epoch from ehg_tasks.time_limit(v_contract.timeout_minutes))::bigint / 60),
      hint = 'Stop working on it, or complete it now if the result is there.';
  end if;
  return query
  update ehg_tasks.attempts a
  set expires_at = ehg_tasks.lease_end(v_now, a.claimed_at, a.lease_seconds, v_contract.timeout_minutes),
      progress = coalesce(p_progress, a.progress)
  where a.contract_id = v_attempt.contract_id and a.attempt = v_attempt.attempt
  returning a.contract_id, a.expires_at, a.attempt;
end
$$;
revoke all on function ehg_tasks.renew_task_contract(uuid, uuid, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.renew_task_contract(uuid, uuid, jsonb) to anon, service_role;

create or replace function public.renew_task_contract(
  p_contract_id uuid, p_claim_token uuid, p_progress jsonb default null)
returns setof public.task_contract_lease
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.renew_task_contract(p_contract_id, p_claim_token, p_progress) $$;
comment on function public.renew_task_contract(uuid, uuid, jsonb) is
  'Extends the lease of a claim by its length from now, but not past the time limit of the attempt. p_progress, a JSON object of at most 4 KiB, is kept with the attempt.';
revoke all on function public.renew_task_contract(uuid, uuid, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function public.renew_task_contract(uuid, uuid, jsonb) to anon, service_role;

create or replace function ehg_tasks.renew_task_contracts(p_claims jsonb)
returns setof public.task_contract_renewal
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_ids uuid[];
  v_problems text[];
  v_now timestamptz;
  v_renewed uuid[];
begin
  perform ehg_tasks.check_batch('p_claims', p_claims, array['contract_id', 'claim_token', 'progress']);
  v_ids := array(select (i.value ->> 'contract_id')::uuid from jsonb_array_elements(p_claims) as i);
  v_problems := array(
    select case when jsonb_typeof(i.value -> 'progress') <> 'null' then ehg_tasks.progress_problem(i.value -> 'progress') end
    from jsonb_array_elements(p_claims) with ordinality as i (value, n)
    order by i.n);

  perform ehg_tasks.lock_contracts(v_ids);
  v_now := clock_timestamp();
  with renewed as (
    update ehg_tasks.attempts a
    set expires_at = ehg_tasks.lease_end(v_now, a.claimed_at, a.lease_seconds, c.timeout_minutes),
        progress = case when v_problems[i.n] is null then coalesce(nullif(i.progress, 'null'), a.progress)
                   else a.progress end
    from rows from (jsonb_to_recordset(p_claims) as (contract_id uuid, claim_token uuid, progress jsonb)) with ordinality
         as i (contract_id, claim_token, progress, n)
    cross join lateral (
      select k.timeout_minutes from public.agent_task_contracts k where k.id = i.contract_id offset 0
    ) as c
    where a.contract_id = i.contract_id and a.contract_id = any (v_ids)
      and a.attempt = (select max(b.attempt) from ehg_tasks.attempts b where b.contract_id = i.contract_id)
      and a.claim_token = i.claim_token and a.outcome is null
      and a.claimed_at + ehg_tasks.time_limit(c.timeout_minutes) > v_now
    returning a.contract_id
  )
  select array_agg(r.contract_id) into v_renewed from renewed r;

  return query
  select i.contract_id,
         case
           when c.id is null then 'unknown'
           when c.status = any (ehg_tasks.final_statuses()) then c.status::text
           when o.is_holder and i.contract_id = any (v_renewed) then 'renewed'
           when o.is_holder then 'timed_out'
           else 'lost'
         end,
         case when o.is_holder and i.contract_id = any (v_renewed) then a.expires_at end,
         case when o.is_holder and i.contract_id = any (v_renewed) then a.attempt end,
         case when o.is_holder and i.contract_id = any (v_renewed) then v_problems[i.n] end
  from rows from (jsonb_to_recordset(p_claims) as (contract_id uuid, claim_token uuid)) with ordinality
       as i (contract_id, claim_token, n)
  left join lateral (
    select k.id, k.status from public.agent_task_contracts k where k.id = i.contract_id offset 0
  ) as c on true
  left join lateral (
    select b.* from ehg_tasks.attempts b where b.contract_id = c.id order by b.attempt desc limit 1
  ) as a on true
  cross join lateral (select a.ended_at is null and a.claim_token = i.claim_token as is_holder) as o
  order by i.n;
end
$$;
revoke all on function ehg_tasks.renew_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.renew_task_contracts(jsonb) to anon, service_role;

create or replace function public.renew_task_contracts(p_claims jsonb)
returns setof public.task_contract_renewal
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.renew_task_contracts(p_claims) $$;
comment on function public.renew_task_contracts(jsonb) is
  'renew_task_contract for up to 100 claims, each an object with contract_id, claim_token and optionally progress. Every claim gets a row that says what became of it: renewed, lost, timed_out, unknown, or the final status of its contract. A progress report that is refused does not keep its lease from being renewed; the message says why it is not stored.';
revoke all on function public.renew_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.renew_task_contracts(jsonb) to anon, service_role;
