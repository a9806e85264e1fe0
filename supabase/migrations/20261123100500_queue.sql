-- Queue: the triggers that keep the engine's tables in step with the contracts.
--
-- Whoever writes to the table of contracts (an engine function, the service role, an agent's insert,
-- SQL by hand), these triggers see to it that
--
--   ready + held    are the pending contracts, each in one of the two
--   attempts        without an end belong to contracts in progress
--   dependencies    of a contract that has become final are settled
--
-- Only the triggers, and move_to_ready for contracts that are due, insert into ready. A function that
-- lets a contract wait writes it to held.
--
-- Low-water marks. PostgreSQL keeps deleted rows while any transaction could still see them, and a
-- claim has to step over those at the head of the queue. One long transaction, such as a report, can
-- make that a hundred thousand rows. So claims start at a mark for each agent and priority, before
-- which no row of ready stands:
--   * whoever adds a row to ready holds an advisory lock, shared, until it commits, and adds a mark
--     if the new row stands before the others. It moves none, because two transactions could then
--     wait for each other.
--   * now and then a claim takes that lock for itself, without waiting for it, and replaces the marks
--     of its agent. No row can be on its way then, so the first row it sees is the new mark.
--
-- A claim also looks for expired leases, and for the same reason starts at a mark, before which no
-- lease of the agent has expired. A lease that is granted or renewed ends in the future, so this mark never
-- has to be lowered. It overlooks a lease only if the transaction that granted it stayed open for
-- longer than the lease. Clean-up uses no marks and finds that one too.

set local lock_timeout = '10s';

---------------------------------------------------------------------------------------------------
-- Low-water marks
---------------------------------------------------------------------------------------------------

-- Agents share 128 locks, so that a bulk insert for many agents does not fill the lock table.

create or replace function ehg_tasks.lower_low_water_mark(
  p_target_agent text, p_priority integer, p_created_at timestamptz, p_contract_id uuid)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  perform pg_advisory_xact_lock_shared(
    hashtext('ehg_tasks.low_water_marks'), hashtext(p_target_agent) & 127);
  -- Under a stricter isolation level, the query may see a mark that has been raised since the transaction
  -- began.
  if current_setting('transaction_isolation') = 'read committed' and exists (
    select from ehg_tasks.low_water_marks m
    where m.target_agent = p_target_agent and m.priority = p_priority
      and (m.created_at, m.contract_id) <= (p_created_at, p_contract_id)
  ) then
    return;
  end if;
  insert into ehg_tasks.low_water_marks (target_agent, priority, created_at, contract_id)
  values (p_target_agent, p_priority, p_created_at, p_contract_id)
  on conflict do nothing;
end
$$;
comment on function ehg_tasks.lower_low_water_mark(text, integer, timestamptz, uuid) is
  'For a row that is being added to ready: makes sure that its agent has a mark for the priority that does not stand after it.';
revoke all on function ehg_tasks.lower_low_water_mark(text, integer, timestamptz, uuid)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.raise_low_water_marks(p_target_agent text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  -- An older snapshot could overlook rows that were committed after it.
  if current_setting('transaction_isolation') <> 'read committed'
    or not pg_try_advisory_xact_lock(hashtext('ehg_tasks.low_water_marks'), hashtext(p_target_agent) & 127)
  then
    return;
  end if;

  -- Not the first of all leases: those that ended before their time would have to be stepped over.
  insert into ehg_tasks.lease_marks as m (target_agent, expires_at)
  values (p_target_agent, coalesce((
    select a.expires_at
    from ehg_tasks.attempts a
    where a.target_agent = p_target_agent and a.ended_at is null and a.expires_at <= v_now
      and a.expires_at >= coalesce(
        (select l.expires_at from ehg_tasks.lease_marks l where l.target_agent = p_target_agent), '-infinity')
    order by a.expires_at
    limit 1), v_now))
  on conflict (target_agent) do update set expires_at = excluded.expires_at;

  with firsts as materialized (
    select m.priority, f.created_at, f.contract_id
    from (
      select distinct on (l.priority) l.*
      from ehg_tasks.low_water_marks l
      where l.target_agent = p_target_agent
      order by l.priority, l.created_at, l.contract_id
    ) as m
    left join lateral (
      select r.created_at, r.contract_id
      from ehg_tasks.ready r
      where r.target_agent = p_target_agent and r.priority = m.priority
        and (r.created_at, r.contract_id) >= (m.created_at, m.contract_id)
      order by r.created_at, r.contract_id
      limit 1
    ) f on true
  ),
  replaced as (
    delete from ehg_tasks.low_water_marks m
    using firsts f
    where m.target_agent = p_target_agent and m.priority = f.priority
      and (m.created_at, m.contract_id) is distinct from (f.created_at, f.contract_id)
  )
  insert into ehg_tasks.low_water_marks (target_agent, priority, created_at, contract_id)
  select p_target_agent, f.priority, f.created_at, f.contract_id
  from firsts f
  where f.contract_id is not null
  on conflict do nothing;
end
$$;
comment on function ehg_tasks.raise_low_water_marks(text) is
  'Moves an agent''s marks to the first row of ready and to its first expired lease, and deletes those of priorities that have no row. Does nothing while another transaction adds rows.';
revoke all on function ehg_tasks.raise_low_water_marks(text)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Locks on several contracts
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.lock_contracts(p_contract_ids uuid[])
returns void
language sql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
  select from public.agent_task_contracts c
  where c.id = any (p_contract_ids)
  order by c.created_at, c.id
  for update
$$;
comment on function ehg_tasks.lock_contracts(uuid[]) is
  'Locks contracts in the order that all functions follow, so that two calls cannot deadlock.';
revoke all on function ehg_tasks.lock_contracts(uuid[]) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.with_dependents(p_contract_ids uuid[])
returns uuid[]
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  with recursive family (id) as (
    select unnest(p_contract_ids)
    union
    -- offset 0 makes this a look-up for each member, and not a search of all dependencies at each step.
    select d.contract_id
    from family f, lateral (
      select e.contract_id from ehg_tasks.dependencies e where e.depends_on = f.id and not e.settled offset 0
    ) as d
  )
  select array_agg(f.id) from family f
$$;
comment on function ehg_tasks.with_dependents(uuid[]) is
  'Contracts, and all that wait for them directly or through others.';
revoke all on function ehg_tasks.with_dependents(uuid[]) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- From held to ready
---------------------------------------------------------------------------------------------------

-- The caller holds the locks on the contracts' rows.
create or replace function ehg_tasks.move_to_ready(p_contract_ids uuid[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_first record;
begin
  for v_first in
    with due as (
      delete from ehg_tasks.held h
      where h.contract_id = any (p_contract_ids) and h.waits_for = 0 and h.not_before <= v_now
      returning h.contract_id, h.target_agent, h.priority, h.created_at
    ),
    moved as (
      insert into ehg_tasks.ready (contract_id, target_agent, priority, created_at)
      select d.contract_id, d.target_agent, d.priority, d.created_at from due d
      returning *
    )
    select distinct on (m.target_agent, m.priority) m.*
    from moved m
    order by m.target_agent, m.priority, m.created_at, m.contract_id
  loop
    perform ehg_tasks.lower_low_water_mark(
      v_first.target_agent, v_first.priority, v_first.created_at, v_first.contract_id);
  end loop;
end
$$;
comment on function ehg_tasks.move_to_ready(uuid[]) is
  'Moves those of the contracts that no longer have to wait from held to ready.';
revoke all on function ehg_tasks.move_to_ready(uuid[]) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Dependents
---------------------------------------------------------------------------------------------------

-- The caller holds the locks on the contracts' rows, or has deleted the rows. The dependents are locked
-- even if they are not pending: one that is being requeued counts what it still waits for.
--
-- A function that ends many contracts calls this before it sets their status, so that what waits for
-- several of them is counted once. The triggers of each then find nothing to settle.
create or replace function ehg_tasks.settle_dependents(p_contract_ids uuid[], p_status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  v_dependents constant uuid[] := array(
    select distinct d.contract_id
    from ehg_tasks.dependencies d
    where d.depends_on = any (p_contract_ids) and not d.settled);
  v_fallen uuid[];
  v_messages jsonb;
  v_waiting uuid[];
  v_freed uuid[];
begin
  if v_dependents = '{}' then
    return;
  end if;
  if p_status = 'completed' then
    perform ehg_tasks.lock_contracts(v_dependents);
  else
    perform ehg_tasks.lock_contracts(ehg_tasks.with_dependents(v_dependents));
    with recursive fallen (id) as (
      select unnest(p_contract_ids)
      union
      select d.contract_id
      from fallen f
      cross join lateral (
        select k.* from ehg_tasks.dependencies k where k.depends_on = f.id and not k.settled offset 0
      ) as d
      cross join lateral (
        select k.status from public.agent_task_contracts k where k.id = d.contract_id offset 0
      ) as c
      where d.on_failure = 'cancel' and c.status = 'pending'
    )
    select array_agg(r.id),
           jsonb_object_agg(r.id, format(
             'task contract %s, which this one depends on, %s', r.because_of,
             case when r.because_of <> all (p_contract_ids) or p_status = 'cancelled' then 'was cancelled'
                  when p_status = 'deleted' then 'was deleted'
                  else 'failed' end))
    into v_fallen, v_messages
    from (
      select distinct on (d.contract_id) d.contract_id as id, f.id as because_of
      from fallen f
      cross join lateral (
        select k.* from ehg_tasks.dependencies k where k.depends_on = f.id and not k.settled offset 0
      ) as d
      cross join lateral (
        select k.status from public.agent_task_contracts k where k.id = d.contract_id offset 0
      ) as c
      where d.on_failure = 'cancel' and c.status = 'pending'
      order by d.contract_id, f.id
    ) as r;
  end if;

  with settled as (
    update ehg_tasks.dependencies d
    set settled = true
    where d.depends_on = any (p_contract_ids || v_fallen) and not d.settled
    returning d.contract_id
  )
  select array_agg(distinct s.contract_id) into v_waiting from settled s;
  with freed as (
    update ehg_tasks.held h
    set waits_for = (
      select count(*) from ehg_tasks.dependencies d where d.contract_id = h.contract_id and not d.settled)
    where h.contract_id = any (v_waiting)
    returning h.contract_id, h.waits_for
  )
  select array_agg(f.contract_id) filter (where f.waits_for = 0) into v_freed from freed f;

  -- All in one statement, after their own dependents are settled. One after the other would take
  -- quadratic time, and exceed the limit on nested triggers.
  update public.agent_task_contracts c
  set status = 'cancelled', completed_at = clock_timestamp(), error_message = v_messages ->> c.id::text
  where c.id = any (v_fallen);
  perform ehg_tasks.move_to_ready(v_freed);
end
$$;
comment on function ehg_tasks.settle_dependents(uuid[], text) is
  'For contracts that become final or are deleted: frees the contracts that wait for them, or cancels those that depend on their success if they did not complete.';
revoke all on function ehg_tasks.settle_dependents(uuid[], text)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Triggers
---------------------------------------------------------------------------------------------------

-- A transaction with an older snapshot does not see contracts that have begun to wait since then, so they
-- would wait forever.
create or replace function ehg_tasks.check_isolation()
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using
      errcode = 'TC003',
      message = 'finishing or deleting a task contract needs the isolation level READ COMMITTED';
  end if;
end
$$;
comment on function ehg_tasks.check_isolation() is
  'Raises TC003 in a transaction that may not see every contract that waits for another.';
revoke all on function ehg_tasks.check_isolation() from public, anon, authenticated, service_role;

-- The trigger functions run with their owner's rights, because the writer has none on the engine's
-- tables.

create or replace function ehg_tasks.follow_insert()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into ehg_tasks.ready (contract_id, target_agent, priority, created_at)
  select a.id, ehg_tasks.queue_name(a.target_agent), a.priority, a.created_at
  from added a
  where a.status = 'pending';

  perform ehg_tasks.lower_low_water_mark(
    ehg_tasks.queue_name(f.target_agent), f.priority, f.created_at, f.id)
  from (
    select distinct on (a.target_agent, a.priority) a.target_agent, a.priority, a.created_at, a.id
    from added a
    where a.status = 'pending'
    order by a.target_agent, a.priority, a.created_at, a.id
  ) as f;
  return null;
end
$$;
comment on function ehg_tasks.follow_insert() is 'Trigger function: adds new pending contracts to ready.';
revoke all on function ehg_tasks.follow_insert() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_follow_insert
  after insert on public.agent_task_contracts
  referencing new table as added
  for each statement execute function ehg_tasks.follow_insert();

create or replace function ehg_tasks.follow_status()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_waits_for integer;
begin
  if old.status is not distinct from new.status then
    return null;
  end if;
  if old.status = 'pending' then
    delete from ehg_tasks.ready r where r.contract_id = new.id;
    if not found then
      delete from ehg_tasks.held h where h.contract_id = new.id;
    end if;
  elsif old.status = 'in_progress' then
    -- A function that gives a contract back has ended the attempt itself.
    update ehg_tasks.attempts a
    set ended_at = clock_timestamp(),
        outcome = case when new.status = 'pending' then 'interrupted' else new.status end,
        error_message = case when new.status <> 'pending' then new.error_message end,
        execution_tokens = new.execution_tokens
    where a.contract_id = new.id
      and a.attempt = (select max(b.attempt) from ehg_tasks.attempts b where b.contract_id = new.id)
      and a.outcome is null;
  end if;

  if new.status = 'pending' then
    select count(*)::integer into v_waits_for
    from ehg_tasks.dependencies d
    where d.contract_id = new.id and not d.settled;
    if v_waits_for > 0 then
      insert into ehg_tasks.held (contract_id, target_agent, priority, created_at, waits_for)
      values (new.id, ehg_tasks.queue_name(new.target_agent), new.priority, new.created_at, v_waits_for)
      on conflict (contract_id) do update set waits_for = excluded.waits_for;
    elsif not exists (select from ehg_tasks.held h where h.contract_id = new.id) then
      insert into ehg_tasks.ready (contract_id, target_agent, priority, created_at)
      values (new.id, ehg_tasks.queue_name(new.target_agent), new.priority, new.created_at);
      perform ehg_tasks.lower_low_water_mark(
        ehg_tasks.queue_name(new.target_agent), new.priority, new.created_at, new.id);
    end if;
  elsif new.status = any (ehg_tasks.final_statuses()) and old.status <> all (ehg_tasks.final_statuses()) then
    perform ehg_tasks.check_isolation();
    if exists (select from ehg_tasks.dependencies d where d.depends_on = new.id and not d.settled) then
      perform ehg_tasks.settle_dependents(array[new.id], new.status);
    end if;
  end if;
  return null;
end
$$;
comment on function ehg_tasks.follow_status() is
  'Trigger function: follows a change of status in ready, held, attempts and dependencies.';
revoke all on function ehg_tasks.follow_status() from public, anon, authenticated, service_role;

-- Without a condition, which PostgreSQL would parse anew for each statement. Nearly every statement
-- that sets the status changes it.
create or replace trigger trg_task_contracts_follow_status
  after update of status on public.agent_task_contracts
  for each row execute function ehg_tasks.follow_status();

create or replace function ehg_tasks.follow_order()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_agent constant text := ehg_tasks.queue_name(new.target_agent);
begin
  update ehg_tasks.ready r
  set target_agent = v_agent, priority = new.priority, created_at = new.created_at
  where r.contract_id = new.id;
  if found then
    perform ehg_tasks.lower_low_water_mark(v_agent, new.priority, new.created_at, new.id);
  else
    update ehg_tasks.held h
    set target_agent = v_agent, priority = new.priority, created_at = new.created_at
    where h.contract_id = new.id;
  end if;
  return null;
end
$$;
comment on function ehg_tasks.follow_order() is
  'Trigger function: follows a change of a pending contract''s agent, priority or creation time.';
revoke all on function ehg_tasks.follow_order() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_follow_order
  after update of target_agent, priority, created_at on public.agent_task_contracts
  for each row when (
    old.status = 'pending' and new.status = 'pending'
    and (old.target_agent, old.priority, old.created_at)
        is distinct from (new.target_agent, new.priority, new.created_at))
  execute function ehg_tasks.follow_order();

create or replace function ehg_tasks.follow_id()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  update ehg_tasks.ready r set contract_id = new.id where r.contract_id = old.id;
  update ehg_tasks.held h set contract_id = new.id where h.contract_id = old.id;
  update ehg_tasks.attempts a set contract_id = new.id where a.contract_id = old.id;
  update ehg_tasks.dependencies d set contract_id = new.id where d.contract_id = old.id;
  update ehg_tasks.dependencies d set depends_on = new.id where d.depends_on = old.id;
  perform ehg_tasks.lower_low_water_mark(r.target_agent, r.priority, r.created_at, r.contract_id)
  from ehg_tasks.ready r
  where r.contract_id = new.id;
  return null;
end
$$;
comment on function ehg_tasks.follow_id() is 'Trigger function: follows a change of a contract''s id.';
revoke all on function ehg_tasks.follow_id() from public, anon, authenticated, service_role;

-- Triggers of one event fire in the order of their names: this one comes before follow_order and
-- follow_status, which look for the new id.
create or replace trigger trg_task_contracts_follow_id
  after update of id on public.agent_task_contracts
  for each row when (old.id is distinct from new.id)
  execute function ehg_tasks.follow_id();

create or replace function ehg_tasks.follow_delete()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_ids constant uuid[] := array(select r.id from removed r);
begin
  if v_ids <> '{}' then
    perform ehg_tasks.check_isolation();
  end if;
  delete from ehg_tasks.ready r where r.contract_id = any (v_ids);
  delete from ehg_tasks.held h where h.contract_id = any (v_ids);
  delete from ehg_tasks.attempts a where a.contract_id = any (v_ids);
  delete from ehg_tasks.dependencies d where d.contract_id = any (v_ids);
  if exists (select from ehg_tasks.dependencies d where d.depends_on = any (v_ids)) then
    perform ehg_tasks.lock_contracts(ehg_tasks.with_dependents(v_ids));
    perform ehg_tasks.settle_dependents(v_ids, 'deleted');
    delete from ehg_tasks.dependencies d where d.depends_on = any (v_ids);
  end if;
  return null;
end
$$;
comment on function ehg_tasks.follow_delete() is
  'Trigger function: deletes the rows of deleted contracts and settles what waited for them.';
revoke all on function ehg_tasks.follow_delete() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_follow_delete
  after delete on public.agent_task_contracts
  referencing old table as removed
  for each statement execute function ehg_tasks.follow_delete();

create or replace function ehg_tasks.follow_truncate()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  truncate ehg_tasks.ready, ehg_tasks.low_water_marks, ehg_tasks.held, ehg_tasks.attempts,
    ehg_tasks.lease_marks, ehg_tasks.dependencies;
  return null;
end
$$;
comment on function ehg_tasks.follow_truncate() is
  'Trigger function: empties the engine''s tables with the table of contracts.';
revoke all on function ehg_tasks.follow_truncate() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_follow_truncate
  after truncate on public.agent_task_contracts
  for each statement execute function ehg_tasks.follow_truncate();

---------------------------------------------------------------------------------------------------
-- Contracts that were written without the triggers
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.past_time(p_times timestamptz[])
returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select t.time
  from unnest(p_times) with ordinality as t (time, place)
  where isfinite(t.time) and t.time <= clock_timestamp()
  order by t.place
  limit 1
$$;
comment on function ehg_tasks.past_time(timestamptz[]) is
  'The first of the times that is neither null, infinite nor in the future; null if there is none.';
revoke all on function ehg_tasks.past_time(timestamptz[]) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.rebuild_queue()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  lock table public.agent_task_contracts in share row exclusive mode;
  delete from ehg_tasks.ready r
  where not exists (
    select from public.agent_task_contracts c where c.id = r.contract_id and c.status = 'pending');
  delete from ehg_tasks.held h
  where not exists (
    select from public.agent_task_contracts c where c.id = h.contract_id and c.status = 'pending');
  delete from ehg_tasks.attempts a
  where not exists (select from public.agent_task_contracts c where c.id = a.contract_id);
  update ehg_tasks.attempts a
  set ended_at = clock_timestamp(), outcome = 'interrupted'
  where a.ended_at is null and not exists (
    select from public.agent_task_contracts c where c.id = a.contract_id and c.status = 'in_progress');

  update ehg_tasks.ready r
  set target_agent = ehg_tasks.queue_name(c.target_agent), priority = c.priority, created_at = c.created_at
  from public.agent_task_contracts c
  where c.id = r.contract_id
    and (r.target_agent, r.priority, r.created_at)
        is distinct from (ehg_tasks.queue_name(c.target_agent), c.priority, c.created_at);
  update ehg_tasks.held h
  set target_agent = ehg_tasks.queue_name(c.target_agent), priority = c.priority, created_at = c.created_at
  from public.agent_task_contracts c
  where c.id = h.contract_id
    and (h.target_agent, h.priority, h.created_at)
        is distinct from (ehg_tasks.queue_name(c.target_agent), c.priority, c.created_at);

  delete from ehg_tasks.dependencies d
  where not exists (select from public.agent_task_contracts c where c.id = d.contract_id);
  insert into ehg_tasks.held (contract_id, target_agent, priority, created_at, waits_for)
  select c.id, ehg_tasks.queue_name(c.target_agent), c.priority, c.created_at, count(*)
  from public.agent_task_contracts c
  join ehg_tasks.dependencies d on d.contract_id = c.id and not d.settled
  where c.status = 'pending'
    and not exists (select from ehg_tasks.ready r where r.contract_id = c.id)
    and not exists (select from ehg_tasks.held h where h.contract_id = c.id)
  group by c.id;
  insert into ehg_tasks.ready (contract_id, target_agent, priority, created_at, claimable_since)
  select c.id, ehg_tasks.queue_name(c.target_agent), c.priority, c.created_at,
         coalesce(ehg_tasks.past_time(array[c.created_at, c.updated_at]), clock_timestamp())
  from public.agent_task_contracts c
  where c.status = 'pending'
    and not exists (select from ehg_tasks.ready r where r.contract_id = c.id)
    and not exists (select from ehg_tasks.held h where h.contract_id = c.id);

  perform ehg_tasks.settle_dependents(array_agg(f.id), f.status)
  from (
    select distinct d.depends_on as id, coalesce(c.status, 'deleted') as status
    from ehg_tasks.dependencies d
    left join public.agent_task_contracts c on c.id = d.depends_on
    where not d.settled and (c.id is null or c.status = any (ehg_tasks.final_statuses()))
  ) as f
  group by f.status;
  -- As the trigger does for one that is deleted.
  delete from ehg_tasks.dependencies d
  where not exists (select from public.agent_task_contracts c where c.id = d.depends_on);

  delete from ehg_tasks.lease_marks;
  delete from ehg_tasks.low_water_marks;
  insert into ehg_tasks.low_water_marks (target_agent, priority, created_at, contract_id)
  select distinct on (r.target_agent, r.priority) r.target_agent, r.priority, r.created_at, r.contract_id
  from ehg_tasks.ready r
  order by r.target_agent, r.priority, r.created_at, r.contract_id;
end
$$;
comment on function ehg_tasks.rebuild_queue() is
  'Brings the engine''s tables in step with contracts that were written while the triggers were not there or switched off, as in a restore of the data alone.';
revoke all on function ehg_tasks.rebuild_queue() from public, anon, authenticated, service_role;

-- For a database that held contracts before this migration.
do $$
begin
  if exists (
    select from public.agent_task_contracts c
    where c.status = 'pending'
      and not exists (select from ehg_tasks.ready r where r.contract_id = c.id)
      and not exists (select from ehg_tasks.held h where h.contract_id = c.id)
  ) then
    perform ehg_tasks.rebuild_queue();
  end if;
end
$$;
