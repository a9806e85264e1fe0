-- Create: hands work from one agent to another.
--
-- create_task_contracts takes an array of contracts and creates all or none of them.
-- create_task_contract is the same call for one contract, with a parameter for each field. Every
-- contract is checked (check_new_contract), then all are inserted in one statement
-- (insert_contracts).
--
-- Checking takes longer than inserting. So both functions first ask whether there is anything to
-- check: create_task_contracts whether all of its contracts are plainly valid, create_task_contract
-- whether its own is, which it then inserts without a detour through JSON.
--
-- A contract can wait before it is claimed: until a time (not_before), and for other contracts
-- (depends_on). It can depend on contracts that exist and on earlier ones of the same call, so there
-- are no cycles. If one of them fails or is cancelled, on_dependency_failure decides: the contract is
-- cancelled too ('cancel', the default), or runs all the same ('run').

set local lock_timeout = '10s';

-- Earlier definition (see the foundation migration).
drop function if exists public.create_task_contract(
  varchar, varchar, text, uuid, varchar, uuid[], text, jsonb, varchar, integer, integer);

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
comment on function ehg_tasks.default_contract() is
  'A new contract before its fields are filled in: the column defaults of the table.';
revoke all on function ehg_tasks.default_contract() from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Checks
---------------------------------------------------------------------------------------------------

-- The fields that are not columns: contract_id is the column id, the others say what to wait for.
create or replace function ehg_tasks.waiting_fields()
returns text[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select array['contract_id', 'not_before', 'depends_on', 'on_dependency_failure'] $$;
comment on function ehg_tasks.waiting_fields() is 'The fields of a new contract that are not columns of the table.';
revoke all on function ehg_tasks.waiting_fields() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.new_contract_fields()
returns text[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select ehg_tasks.waiting_fields() || array[
    'session_id', 'sd_id', 'parent_agent', 'target_agent', 'objective', 'constraints', 'input_artifacts',
    'input_summary', 'expected_output_type', 'output_schema', 'priority', 'max_tokens', 'timeout_minutes',
    'max_retries', 'created_by']
$$;
comment on function ehg_tasks.new_contract_fields() is 'The fields that a new contract may have.';
revoke all on function ehg_tasks.new_contract_fields() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_new_contract(p_item jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_not_before timestamptz;
  v_problem text;
begin
  if jsonb_typeof(p_item) <> 'object' then
    raise exception using errcode = 'TC005', message = 'a contract must be a JSON object';
  end if;
  perform ehg_tasks.check_json('a contract', p_item);
  if p_item - ehg_tasks.new_contract_fields() <> '{}' then
    select string_agg(k.key, ', ' order by k.key) into v_problem
    from jsonb_object_keys(p_item - ehg_tasks.new_contract_fields()) as k (key);
    raise exception using errcode = 'TC005', message = format('unknown field: %s', v_problem);
  end if;

  if coalesce(p_item ->> 'objective', '') !~ '\S' then
    raise exception using errcode = 'TC005', message = 'objective must not be empty';
  end if;
  perform ehg_tasks.agent_name('parent_agent', p_item ->> 'parent_agent');
  perform ehg_tasks.agent_name('target_agent', p_item ->> 'target_agent');
  v_problem := case
    when length(p_item ->> 'sd_id') > 50 then 'sd_id is longer than 50 characters'
    when length(p_item ->> 'expected_output_type') > 50 then 'expected_output_type is longer than 50 characters'
    when length(p_item ->> 'created_by') > 100 then 'created_by is longer than 100 characters'
  end;
  if v_problem is not null then
    raise exception using errcode = 'TC005', message = v_problem;
  end if;

  if jsonb_typeof(p_item -> 'output_schema') not in ('object', 'boolean', 'null') then
    raise exception using
      errcode = 'TC005', message = 'output_schema must be a JSON Schema: an object or a boolean';
  end if;
  -- No field of a small contract is over its limit.
  if octet_length(p_item::text) > 16384 then
    perform ehg_tasks.check_contract_sizes(jsonb_populate_record(
      ehg_tasks.default_contract(), p_item - array['parent_agent', 'target_agent']));
  end if;

  perform (p_item ->> 'contract_id')::uuid;
  v_not_before := (p_item ->> 'not_before')::timestamptz;
  if v_not_before > clock_timestamp() + interval '366 days' or not isfinite(v_not_before) then
    raise exception using errcode = 'TC005', message = 'not_before must be a time within the next year';
  end if;
  if coalesce(jsonb_typeof(p_item -> 'depends_on'), 'null') not in ('array', 'null') then
    raise exception using errcode = 'TC005', message = 'depends_on must be an array of contract ids';
  end if;
  if jsonb_typeof(p_item -> 'depends_on') = 'array' then
    if p_item -> 'depends_on' @> '[null]' then
      raise exception using errcode = 'TC005', message = 'depends_on must not hold null';
    end if;
    perform ehg_tasks.check_count('depends_on', jsonb_array_length(p_item -> 'depends_on'), 100);
    perform d.id::uuid from jsonb_array_elements_text(p_item -> 'depends_on') as d (id);
  end if;
  if coalesce(p_item ->> 'on_dependency_failure', 'cancel') not in ('cancel', 'run') then
    raise exception using errcode = 'TC005', message = 'on_dependency_failure must be ''cancel'' or ''run''';
  end if;
end
$$;
comment on function ehg_tasks.check_new_contract(jsonb) is
  'Raises TC005 or TC006 if a contract may not be created.';
revoke all on function ehg_tasks.check_new_contract(jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.in_array(p_number integer, p_count integer)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select case when p_count > 1 then format('contract %s of %s: ', p_number, p_count) else '' end $$;
comment on function ehg_tasks.in_array(integer, integer) is
  'How an error message begins: with the contract''s place in the array, if there are several.';
revoke all on function ehg_tasks.in_array(integer, integer) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_new_contracts(p_contracts jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_count constant integer := jsonb_array_length(p_contracts);
  v_number integer := 0;
  v_item jsonb;
  v_message text;
  v_detail text;
  v_hint text;
begin
  if v_count = 1 then
    perform ehg_tasks.check_new_contract(p_contracts -> 0);
    return;
  end if;
  for v_item in select i.value from jsonb_array_elements(p_contracts) as i loop
    v_number := v_number + 1;
    perform ehg_tasks.check_new_contract(v_item);
    -- Values of the wrong type. The names may be longer than their columns, with white space.
    perform jsonb_populate_record(
      ehg_tasks.default_contract(), v_item - array['parent_agent', 'target_agent']);
  end loop;
exception when others then
  if v_count = 1 then
    raise;
  end if;
  get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
  raise exception using
    errcode = sqlstate,
    message = ehg_tasks.in_array(v_number, v_count) || v_message,
    detail = v_detail,
    hint = v_hint;
end
$$;
comment on function ehg_tasks.check_new_contracts(jsonb) is
  'check_new_contract for each of several contracts. The error names the one at fault.';
revoke all on function ehg_tasks.check_new_contracts(jsonb) from public, anon, authenticated, service_role;

-- Never true for a contract that check_new_contract refuses, apart from values of the wrong type, on
-- which insert_contracts fails.
create or replace function ehg_tasks.all_plainly_valid(p_contracts jsonb)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fields constant text[] := ehg_tasks.new_contract_fields();
begin
  perform ehg_tasks.check_json('p_contracts', p_contracts);
  return bool_and((
    jsonb_typeof(i.value) = 'object'
    and i.value - v_fields = '{}'
    and i.value ->> 'parent_agent' ~ '^[!-~]([ -~]{0,48}[!-~])?$'
    and i.value ->> 'target_agent' ~ '^[!-~]([ -~]{0,48}[!-~])?$'
    and i.value ->> 'objective' ~ '\S'
    and coalesce(length(i.value ->> 'sd_id'), 0) <= 50
    and coalesce(length(i.value ->> 'expected_output_type'), 0) <= 50
    and coalesce(length(i.value ->> 'created_by'), 0) <= 100
    and coalesce(jsonb_typeof(i.value -> 'output_schema'), 'null') in ('object', 'boolean', 'null')
    -- So small that no field is over its limit, even if each character is escaped.
    and pg_column_size(i.value) <= 8192
    -- Contracts that wait, or read artifacts, are checked one by one.
    and coalesce(i.value -> 'input_artifacts', 'null') in ('[]', 'null')
    and not i.value ?| array['not_before', 'depends_on', 'on_dependency_failure']) is true)
  from jsonb_array_elements(p_contracts) as i;
exception when sqlstate 'TC006' then
  return false;
end
$$;
comment on function ehg_tasks.all_plainly_valid(jsonb) is
  'Whether no contract of an array needs a closer look. A quick test for many contracts at once.';
revoke all on function ehg_tasks.all_plainly_valid(jsonb) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Waiting
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.missing_references(p_contracts jsonb, p_known uuid[], p_created uuid[])
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
  with items as (
    select i.n, i.value as item, cardinality(p_created) as count
    from jsonb_array_elements(p_contracts) with ordinality as i (value, n)
    where p_created[i.n] is not null
  ),
  known (id, n) as (
    select k.id, 0 from unnest(p_known) as k (id)
    union all
    select c.id, c.n from unnest(p_created) with ordinality as c (id, n)
  ),
  missing (n, count, field, ids) as (
    select i.n, i.count, 'input_artifacts', left(string_agg(r.id, ', '), 200)
    from items i,
         jsonb_array_elements_text(coalesce(nullif(i.item -> 'input_artifacts', 'null'), '[]')) as r (id)
    where r.id is not null and not exists (select from public.agent_artifacts a where a.id = r.id::uuid)
    group by i.n, i.count
    union all
    select i.n, i.count, 'depends_on', left(string_agg(r.id, ', '), 200)
    from items i
    cross join jsonb_array_elements_text(coalesce(nullif(i.item -> 'depends_on', 'null'), '[]')) as r (id)
    left join known k on k.id = r.id::uuid and k.n < i.n
    where k.id is null
    group by i.n, i.count
  )
  select ehg_tasks.in_array(m.n::integer, m.count)
         || case m.field when 'depends_on' then format('depends_on: there is no earlier task contract %s', m.ids)
            else format('input_artifacts: there is no artifact %s', m.ids) end
  from missing m
  order by m.n, m.field desc
  limit 1
$$;
comment on function ehg_tasks.missing_references(jsonb, uuid[], uuid[]) is
  'A message that names the missing artifacts or contracts of the first new contract that refers to any. Null: nothing is missing. p_known: existing contracts that they may depend on. p_created: their ids, null for one that existed before.';
revoke all on function ehg_tasks.missing_references(jsonb, uuid[], uuid[])
  from public, anon, authenticated, service_role;

-- The contracts are new: no other transaction sees them yet. What they depend on is locked.
create or replace function ehg_tasks.let_wait(p_created jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_ids constant uuid[] := array(select i.id from jsonb_to_recordset(p_created) as i (id uuid));
begin
  insert into ehg_tasks.dependencies (contract_id, depends_on, on_failure, settled)
  select distinct i.id, d.id::uuid, coalesce(i.item ->> 'on_dependency_failure', 'cancel'),
         c.status = any (ehg_tasks.final_statuses())
  from jsonb_to_recordset(p_created) as i (id uuid, item jsonb),
       jsonb_array_elements_text(coalesce(nullif(i.item -> 'depends_on', 'null'), '[]')) as d (id),
       lateral (select k.status from public.agent_task_contracts k where k.id = d.id::uuid offset 0) as c;

  with waiting as (
    select i.id, coalesce((i.item ->> 'not_before')::timestamptz, '-infinity') as not_before,
           (select count(*) from ehg_tasks.dependencies d where d.contract_id = i.id and not d.settled) as waits_for
    from jsonb_to_recordset(p_created) as i (id uuid, item jsonb)
  ),
  moved as (
    delete from ehg_tasks.ready r
    using waiting w
    where r.contract_id = w.id and r.contract_id = any (v_ids)
      and (w.waits_for > 0 or w.not_before > clock_timestamp())
    returning r.*, w.not_before, w.waits_for
  )
  insert into ehg_tasks.held (contract_id, target_agent, priority, created_at, not_before, waits_for)
  select m.contract_id, m.target_agent, m.priority, m.created_at, m.not_before, m.waits_for
  from moved m;

  -- A dependency may have failed before.
  update public.agent_task_contracts c
  set status = 'cancelled', completed_at = clock_timestamp(),
      error_message = format('task contract %s, which this one depends on, %s', f.depends_on,
                             case f.status when 'failed' then 'failed' else 'was cancelled' end)
  from (
    select distinct on (d.contract_id) d.contract_id, d.depends_on, p.status
    from jsonb_to_recordset(p_created) as i (id uuid)
    cross join lateral (
      select k.* from ehg_tasks.dependencies k where k.contract_id = i.id offset 0
    ) as d
    cross join lateral (
      select k.status from public.agent_task_contracts k where k.id = d.depends_on offset 0
    ) as p
    where d.on_failure = 'cancel' and p.status in ('failed', 'cancelled')
    order by d.contract_id, d.depends_on
  ) as f
  where c.id = f.contract_id and c.id = any (v_ids);
end
$$;
comment on function ehg_tasks.let_wait(jsonb) is
  'Holds new contracts that must wait for a time or for other contracts. The argument is an array of {id, item}.';
revoke all on function ehg_tasks.let_wait(jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_repeat(p_contract_id uuid, p_item jsonb, p_prefix text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_existing public.agent_task_contracts;
  v_depends_on constant uuid[] := array(
    select d.id::uuid
    from jsonb_array_elements_text(coalesce(nullif(p_item -> 'depends_on', 'null'), '[]')) as d (id));
  v_not_before constant timestamptz := coalesce((p_item ->> 'not_before')::timestamptz, '-infinity');
  v_held_until timestamptz;
  v_differs boolean;
begin
  select c.* into v_existing from public.agent_task_contracts c where c.id = p_contract_id;
  if not found then
    raise exception using
      errcode = 'TC005',
      message = p_prefix
        || 'timeout_minutes must be between 1 and 10080, max_tokens at least 1, max_retries between 0 and 100';
  end if;
  -- A repeat asks for nothing new: with its fields, the existing contract is still the same.
  v_differs := jsonb_populate_record(v_existing, p_item - ehg_tasks.waiting_fields()) is distinct from v_existing;
  -- What was deleted cannot be compared.
  if p_item ? 'depends_on' then
    v_differs := v_differs
      or exists (
        select from ehg_tasks.dependencies d
        where d.contract_id = p_contract_id and d.depends_on <> all (v_depends_on))
      or exists (
        select from public.agent_task_contracts c
        where c.id = any (v_depends_on) and not exists (
          select from ehg_tasks.dependencies d where d.contract_id = p_contract_id and d.depends_on = c.id));
  end if;
  if p_item ? 'on_dependency_failure' then
    v_differs := v_differs or exists (
      select from ehg_tasks.dependencies d
      where d.contract_id = p_contract_id
        and d.on_failure <> coalesce(p_item ->> 'on_dependency_failure', 'cancel'));
  end if;
  -- The time is known while the contract waits for it.
  if p_item ? 'not_before' and v_existing.status = 'pending'
    and not exists (select from ehg_tasks.attempts a where a.contract_id = p_contract_id) then
    select h.not_before into v_held_until from ehg_tasks.held h where h.contract_id = p_contract_id;
    v_differs := v_differs
      or greatest(v_held_until, v_not_before) > clock_timestamp() and v_held_until is distinct from v_not_before;
  end if;
  if v_differs then
    raise exception using
      errcode = 'TC004',
      message = p_prefix || format('task contract %s already exists with different content', p_contract_id),
      hint = 'Use a new p_contract_id for a new contract.';
  end if;
end
$$;
comment on function ehg_tasks.check_repeat(uuid, jsonb, text) is
  'For a contract that was not inserted: raises TC004 if the existing one is another, or TC005 if there is none, because a number was out of range.';
revoke all on function ehg_tasks.check_repeat(uuid, jsonb, text) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Create
---------------------------------------------------------------------------------------------------

-- The contracts have been checked, and the names of their agents are queue names.
create or replace function ehg_tasks.insert_contracts(p_contracts jsonb)
returns setof public.created_task_contract
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  v_start timestamptz;
  v_default constant public.agent_task_contracts := ehg_tasks.default_contract();
  v_count constant integer := jsonb_array_length(p_contracts);
  v_waiting constant boolean := jsonb_path_exists(
    p_contracts, '$[*] ? (exists(@.depends_on[*]) || exists(@.not_before ? (@ != null)))');
  v_known uuid[];
  v_ids uuid[];
  v_created boolean[];
  v_problem text;
begin
  if exists (select from ehg_tasks.agents a where a.token_hash is not null) then
    perform ehg_tasks.check_agent_token(p.name)
    from (select distinct i.value ->> 'parent_agent' as name from jsonb_array_elements(p_contracts) as i) as p;
  end if;
  if v_waiting then
    -- What they depend on is locked, so that it cannot become final unnoticed. A contract that another
    -- transaction creates meanwhile is not, and counts as unknown.
    v_known := array(
      select c.id
      from public.agent_task_contracts c
      where c.id = any (array(
        select d.id::uuid
        from jsonb_array_elements(p_contracts) as i,
             jsonb_array_elements_text(coalesce(nullif(i.value -> 'depends_on', 'null'), '[]')) as d (id)))
      order by c.created_at, c.id
      for share);
  end if;

  v_start := clock_timestamp();

  with items as materialized (
    select i.n, i.value as item, coalesce((i.value ->> 'contract_id')::uuid, gen_random_uuid()) as new_id,
           -- One microsecond apart, so that contracts of one call are claimed in the order given.
           v_start + (i.n - 1) * interval '1 microsecond' as new_time
    from jsonb_array_elements(p_contracts) with ordinality as i (value, n)
  ),
  inserted as (
    insert into public.agent_task_contracts (
      id, session_id, sd_id, parent_agent, target_agent, objective, constraints, input_artifacts,
      input_summary, expected_output_type, output_schema, priority, max_tokens, timeout_minutes,
      max_retries, created_by, created_at)
    select i.new_id, r.session_id, r.sd_id, r.parent_agent, r.target_agent, r.objective, r.constraints,
           r.input_artifacts, r.input_summary, r.expected_output_type, r.output_schema, r.priority,
           r.max_tokens, r.timeout_minutes, r.max_retries, r.created_by, i.new_time
    from items i, jsonb_populate_record(v_default, i.item) as r
    where (r.timeout_minutes between 1 and 10080 and r.max_tokens >= 1 and r.max_retries between 0 and 100)
          is not false
    -- In the order of their ids, so that two calls that repeat each other cannot deadlock.
    order by i.new_id, i.n
    on conflict (id) do nothing
    returning id, created_at
  )
  select array_agg(i.new_id order by i.n), array_agg(d.id is not null order by i.n) into v_ids, v_created
  from items i
  left join inserted d on d.id = i.new_id and d.created_at = i.new_time;

  if v_waiting then
    perform ehg_tasks.let_wait((
      select jsonb_agg(jsonb_build_object('id', v_ids[i.n], 'item', i.value))
      from jsonb_array_elements(p_contracts) with ordinality as i (value, n)
      where v_created[i.n]));
  end if;
  if v_waiting or jsonb_path_exists(p_contracts, '$[*].input_artifacts[*]') then
    v_problem := ehg_tasks.missing_references(p_contracts, v_known, array(
      select case when v_created[i.n] then i.id end from unnest(v_ids) with ordinality as i (id, n) order by i.n));
    if v_problem is not null then
      raise exception using errcode = 'TC005', message = v_problem;
    end if;
  end if;
  if not true = all (v_created) then
    perform ehg_tasks.check_repeat(v_ids[i.n], i.value, ehg_tasks.in_array(i.n::integer, v_count))
    from jsonb_array_elements(p_contracts) with ordinality as i (value, n)
    where not v_created[i.n];
  end if;

  return query
  select v_ids[i.n],
         format('%s -> %s: %s', i.value ->> 'parent_agent', i.value ->> 'target_agent', left(i.value ->> 'objective', 100)),
         v_created[i.n]
  from jsonb_array_elements(p_contracts) with ordinality as i (value, n);
end
$$;
comment on function ehg_tasks.insert_contracts(jsonb) is
  'Inserts contracts, all or none. Those whose id exists are compared with the existing ones.';
revoke all on function ehg_tasks.insert_contracts(jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.create_task_contracts(p_contracts jsonb)
returns setof public.created_task_contract
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_count constant integer := case when jsonb_typeof(p_contracts) = 'array' then jsonb_array_length(p_contracts) end;
  v_contracts jsonb := p_contracts;
  v_rows public.created_task_contract[];
begin
  if coalesce(v_count, 0) = 0 then
    raise exception using
      errcode = 'TC005', message = 'p_contracts must be an array of one or more contracts';
  end if;
  perform ehg_tasks.check_count('p_contracts', v_count);

  if v_count = 1 or not ehg_tasks.all_plainly_valid(p_contracts) then
    perform ehg_tasks.check_new_contracts(p_contracts);
    select jsonb_agg(i.value || jsonb_build_object(
             'parent_agent', ehg_tasks.queue_name(i.value ->> 'parent_agent'),
             'target_agent', ehg_tasks.queue_name(i.value ->> 'target_agent')) order by i.n)
    into v_contracts
    from jsonb_array_elements(p_contracts) with ordinality as i (value, n);
    return query select * from ehg_tasks.insert_contracts(v_contracts);
    return;
  end if;

  begin
    v_rows := array(select c from ehg_tasks.insert_contracts(p_contracts) as c);
  exception when data_exception then
    perform ehg_tasks.check_new_contracts(p_contracts);  -- names the contract at fault
    raise;
  end;
  return query select * from unnest(v_rows);
end
$$;
revoke all on function ehg_tasks.create_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.create_task_contracts(jsonb) to anon, service_role;

create or replace function public.create_task_contracts(p_contracts jsonb)
returns setof public.created_task_contract
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.create_task_contracts(p_contracts) $$;
comment on function public.create_task_contracts(jsonb) is
  'Creates up to 1000 contracts, all or none. Those of equal priority are claimed in the order given. Each is an object with the parameters of create_task_contract, without the prefix "p_", and may depend on earlier ones. An error names the contract at fault.';
revoke all on function public.create_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.create_task_contracts(jsonb) to anon, service_role;

create or replace function ehg_tasks.create_task_contract(
  p_parent_agent text, p_target_agent text, p_objective text, p_session_id uuid, p_sd_id text,
  p_input_artifacts uuid[], p_input_summary text, p_constraints jsonb, p_expected_output_type text,
  p_priority integer, p_max_tokens integer, p_contract_id uuid, p_output_schema jsonb,
  p_timeout_minutes integer, p_max_retries integer, p_created_by text, p_not_before timestamptz,
  p_depends_on uuid[], p_on_dependency_failure text)
returns setof public.created_task_contract
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_id constant uuid := coalesce(p_contract_id, gen_random_uuid());
begin
  if p_parent_agent ~ '^[!-~]([ -~]{0,48}[!-~])?$' and p_target_agent ~ '^[!-~]([ -~]{0,48}[!-~])?$'
    and p_objective ~ '\S' and octet_length(p_objective) <= 65536
    and coalesce(octet_length(p_input_summary), 0) <= 65536
    and coalesce(length(p_sd_id), 0) <= 50 and length(p_expected_output_type) <= 50
    and coalesce(length(p_created_by), 0) <= 100
    -- So short that it is neither deeply nested nor holds a long number.
    and coalesce(pg_column_size(p_constraints), 0) <= 500 and coalesce(octet_length(p_constraints::text), 0) <= 128
    and p_output_schema is null and p_priority is not null
    and coalesce(p_max_tokens, 1) >= 1 and coalesce(p_timeout_minutes, 1) between 1 and 10080
    and coalesce(p_max_retries, 0) between 0 and 100
    and p_input_artifacts = '{}' and p_depends_on = '{}' and p_not_before is null
    and p_on_dependency_failure in ('cancel', 'run')
    and not exists (select from ehg_tasks.agents a where a.name = p_parent_agent and a.token_hash is not null)
  then
    insert into public.agent_task_contracts (
      id, session_id, sd_id, parent_agent, target_agent, objective, constraints, input_artifacts,
      input_summary, expected_output_type, output_schema, priority, max_tokens, timeout_minutes,
      max_retries, created_by, created_at)
    values (
      v_id, p_session_id, p_sd_id, p_parent_agent, p_target_agent, p_objective, p_constraints, p_input_artifacts,
      p_input_summary, p_expected_output_type, p_output_schema, p_priority, p_max_tokens, p_timeout_minutes,
      p_max_retries, p_created_by, clock_timestamp())
    on conflict (id) do nothing;
    if found then
      return next (v_id, format('%s -> %s: %s', p_parent_agent, p_target_agent, left(p_objective, 100)), true
        )::public.created_task_contract;
      return;
    end if;
  end if;
  return query select * from ehg_tasks.create_task_contracts(jsonb_build_array(jsonb_build_object(
    'contract_id', p_contract_id, 'parent_agent', p_parent_agent, 'target_agent', p_target_agent,
    'objective', p_objective, 'session_id', p_session_id, 'sd_id', p_sd_id,
    'input_artifacts', p_input_artifacts, 'input_summary', p_input_summary,
    'constraints', p_constraints, 'expected_output_type', p_expected_output_type,
    'priority', p_priority, 'max_tokens', p_max_tokens, 'output_schema', p_output_schema,
    'timeout_minutes', p_timeout_minutes, 'max_retries', p_max_retries, 'created_by', p_created_by,
    'not_before', p_not_before, 'depends_on', p_depends_on,
    'on_dependency_failure', p_on_dependency_failure)));
end
$$;
revoke all on function ehg_tasks.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text,
  timestamptz, uuid[], text)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text,
  timestamptz, uuid[], text)
  to anon, service_role;

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
  p_created_by text default 'system',
  p_not_before timestamptz default null,
  p_depends_on uuid[] default '{}',
  p_on_dependency_failure text default 'cancel')
returns setof public.created_task_contract
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$
  select * from ehg_tasks.create_task_contract(
    p_parent_agent, p_target_agent, p_objective, p_session_id, p_sd_id, p_input_artifacts, p_input_summary,
    p_constraints, p_expected_output_type, p_priority, p_max_tokens, p_contract_id, p_output_schema,
    p_timeout_minutes, p_max_retries, p_created_by, p_not_before, p_depends_on, p_on_dependency_failure)
$$;
comment on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text,
  timestamptz, uuid[], text) is
  'Hands work from one agent to another. If the caller chooses the p_contract_id, it can repeat the call: the repeat creates nothing (created = false), and is refused if a field differs. The contract cannot be claimed before p_not_before, a time within the next year, nor before all of p_depends_on are final. If one of those fails or is cancelled, this contract is cancelled too (p_on_dependency_failure = ''cancel''), or runs all the same (''run''). If the parent agent is registered with a token, the request must carry it in the header x-agent-token.';
revoke all on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text,
  timestamptz, uuid[], text)
  from public, anon, authenticated, service_role;
grant execute on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text,
  timestamptz, uuid[], text)
  to anon, service_role;
