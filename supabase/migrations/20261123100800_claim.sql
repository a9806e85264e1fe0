-- Claim: an agent takes work, and keeps it for as long as its lease lasts.
--
-- claim_task_contract starts an attempt, renew_task_contract extends its lease. Each claim first
-- ends its agent's expired attempts, so that they need not wait for the clean-up.

-- Earlier definition (see the foundation migration).
drop function if exists public.claim_task_contract(varchar);

-- The caller holds the locks on the contracts' rows.
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
      select p.id, ehg_tasks.retries_left(p.retry_count, p.max_retries) as retries_left
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
  'Ends attempts without a result: the contract goes back to pending while it has retries left, otherwise it fails.';
revoke all on function ehg_tasks.end_attempts(uuid[], text) from public, anon, authenticated, service_role;

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

  -- The lease was read before its contract was locked and may have been renewed in between, so it
  -- is read again under the lock.
  with expired as (
    delete from ehg_tasks.leases l
    where l.contract_id = any (v_locked) and l.expires_at <= clock_timestamp()
    returning l.contract_id
  )
  select array_agg(expired.contract_id) into v_expired from expired;

  select e.requeued_count, e.failed_count into requeued_count, failed_count
  from ehg_tasks.end_attempts(v_expired, 'the lease expired before a result was recorded') as e;
end
$$;
comment on function ehg_tasks.expire_leases(text, integer) is
  'Ends up to p_limit attempts whose lease has expired, of one agent or (if null) of all.';
revoke all on function ehg_tasks.expire_leases(text, integer)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.claim_task_contract(
  p_target_agent text, p_limit integer, p_request_key uuid, p_agent_id uuid)
returns setof public.task_contract_claim
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
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
    raise exception using errcode = 'TC006', message = format('p_limit is %s, the limit is 100', p_limit);
  end if;

  if p_request_key is not null then
    -- A repeated call waits for the first one here, then finds its claim.
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
        message = 'p_request_key was already used to claim for another agent',
        hint = 'Use a new p_request_key for each claim.';
    end if;
  end if;

  if v_ids is null then
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

    -- A lease may be left over from a claim that another client ended by writing to the table.
    insert into ehg_tasks.leases (
      contract_id, target_agent, request_key, agent_id, claimed_at, expires_at, attempt)
    select c.id, c.target_agent, p_request_key, p_agent_id, v_now,
           v_now + ehg_tasks.lease_length(c.timeout_minutes),
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
returns setof public.task_contract_claim
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.claim_task_contract(p_target_agent, p_limit, p_request_key, p_agent_id) $$;
comment on function public.claim_task_contract(text, integer, uuid, uuid) is
  'Claims up to p_limit (at most 100) pending contracts of an agent, highest priority first, then oldest. Two callers never get the same contract. A repeat with the same p_request_key returns the same claim.';
revoke all on function public.claim_task_contract(text, integer, uuid, uuid)
  from public, anon, authenticated, service_role;
grant execute on function public.claim_task_contract(text, integer, uuid, uuid) to anon, service_role;

create or replace function ehg_tasks.renew_task_contract(p_contract_id uuid, p_claim_token uuid)
returns setof public.task_contract_lease
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  perform ehg_tasks.check_claim(v_contract, p_claim_token);
  return query
  update ehg_tasks.leases l
  set expires_at = clock_timestamp() + ehg_tasks.lease_length(v_contract.timeout_minutes)
  where l.contract_id = v_contract.id
  returning l.contract_id, l.expires_at, l.attempt;
end
$$;
revoke all on function ehg_tasks.renew_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.renew_task_contract(uuid, uuid) to anon, service_role;

create or replace function public.renew_task_contract(p_contract_id uuid, p_claim_token uuid)
returns setof public.task_contract_lease
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.renew_task_contract(p_contract_id, p_claim_token) $$;
comment on function public.renew_task_contract(uuid, uuid) is
  'Extends the lease of a claim: it ends timeout_minutes from now.';
revoke all on function public.renew_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.renew_task_contract(uuid, uuid) to anon, service_role;
