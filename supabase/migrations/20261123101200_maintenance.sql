-- Maintenance: clean-up, pruning and a description of the database, for backend jobs (service role).
--
-- Clean-up and pruning run while agents work. They take rows in batches and skip locked ones, so
-- they neither wait for a claim or a completion nor delay one. Call them until they report zero,
-- or run them on a schedule (optional/schedule_cleanup.sql does so with pg_cron).
--
-- A claim ends the expired attempts of its own agent. Clean-up is for agents that have stopped
-- claiming, for contracts that another client put in progress without a lease, and for work that
-- was never claimed.

set local lock_timeout = '10s';

-- Earlier definition (see the foundation migration).
drop function if exists public.cleanup_stale_contracts();

create or replace function ehg_tasks.cleanup_stale_contracts(
  p_max_wait_minutes integer, p_limit integer, p_dry_run boolean)
returns setof public.task_contract_cleanup_report
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_ids uuid[];
  v_leased record;
  v_unleased record;
  v_cancelled integer;
begin
  if p_limit is null or p_limit < 1 or p_max_wait_minutes < 1 or p_dry_run is null then
    raise exception using
      errcode = 'TC005',
      message = 'p_limit and p_max_wait_minutes must be at least 1, and p_dry_run true or false',
      hint = 'Pass null for p_max_wait_minutes to cancel nothing.';
  end if;

  -- The error at the end of a dry run ends this block, and so undoes what it did.
  begin
    select * into v_leased from ehg_tasks.expire_leases(null, p_limit);

    -- In progress without a lease: another client set the status. The time limit counts from started_at,
    -- or from the last plausible time if that is infinite or in the future.
    v_ids := array(
      select c.id
      from public.agent_task_contracts c
      where c.status = 'in_progress'
        and coalesce(ehg_tasks.past_time(array[c.started_at, c.updated_at, c.created_at]), '-infinity')
            -- Subtracted from the clock, because adding to a time near the maximum would overflow.
            <= v_now - ehg_tasks.time_limit(c.timeout_minutes)
        and not exists (select from ehg_tasks.attempts a where a.contract_id = c.id and a.outcome is null)
      limit p_limit
      for update of c skip locked);
    v_ids := ehg_tasks.lock_dependents(v_ids);
    select * into v_unleased
    from ehg_tasks.end_attempts(
      v_ids,
      array_fill('no result was recorded within timeout_minutes of started_at'::text, array[cardinality(v_ids)]));

    -- A claim makes its agent's due contracts ready. Here it is done for agents that have stopped claiming.
    perform ehg_tasks.move_to_ready(array(
      select c.id
      from (select d.contract_id from ehg_tasks.held d where d.waits_for = 0 and d.not_before <= v_now offset 0) as h
      cross join lateral (
        select k.id from public.agent_task_contracts k where k.id = h.contract_id for update skip locked
      ) as c
      limit p_limit));

    v_ids := array(
      select c.id
      from (
        select q.contract_id
        from ehg_tasks.ready q
        where q.claimable_since < v_now - make_interval(mins => p_max_wait_minutes)
          -- Nobody could claim the contracts of an agent while it was paused.
          and not exists (
            select from ehg_tasks.agents g
            where g.name = q.target_agent
              and (g.paused_at is not null or g.resumed_at >= v_now - make_interval(mins => p_max_wait_minutes)))
        offset 0
      ) as r
      cross join lateral (
        select k.id
        from public.agent_task_contracts k
        where k.id = r.contract_id
          -- A claim may have taken it a moment ago.
          and k.status is not distinct from 'pending'
          and not exists (select from ehg_tasks.attempts a where a.contract_id = k.id)
        for update skip locked
      ) as c
      limit p_limit);
    v_ids := ehg_tasks.lock_dependents(v_ids);
    perform ehg_tasks.settle_dependents(v_ids, 'cancelled');
    update public.agent_task_contracts c
    set status = 'cancelled', completed_at = v_now,
        error_message = format('not claimed within %s minutes', p_max_wait_minutes)
    where c.id = any (v_ids);
    get diagnostics v_cancelled = row_count;

    if p_dry_run then
      raise exception using errcode = 'TC000', message = 'dry run';
    end if;
  exception when sqlstate 'TC000' then
    null;
  end;

  return next (
    v_leased.failed_count + v_unleased.failed_count,
    v_cancelled,
    v_leased.requeued_count + v_unleased.requeued_count
  )::public.task_contract_cleanup_report;
end
$$;
revoke all on function ehg_tasks.cleanup_stale_contracts(integer, integer, boolean)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.cleanup_stale_contracts(integer, integer, boolean) to service_role;

create or replace function public.cleanup_stale_contracts(
  p_max_wait_minutes integer default 1440, p_limit integer default 1000, p_dry_run boolean default false)
returns setof public.task_contract_cleanup_report
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.cleanup_stale_contracts(p_max_wait_minutes, p_limit, p_dry_run) $$;
comment on function public.cleanup_stale_contracts(integer, integer, boolean) is
  'Ends attempts whose lease has expired (the contract is retried or fails) and cancels contracts that were never claimed although they could have been for p_max_wait_minutes. Handles at most p_limit contracts of each kind per call. With p_dry_run, it changes nothing and returns what it would have changed.';
revoke all on function public.cleanup_stale_contracts(integer, integer, boolean)
  from public, anon, authenticated, service_role;
grant execute on function public.cleanup_stale_contracts(integer, integer, boolean) to service_role;

-- Deleting an artifact makes PostgreSQL look for contracts that have it as their output. The specified
-- table has no index for that, so each deletion reads the whole table: delete artifacts in small
-- batches, or add an index on output_artifact_id.
create or replace function ehg_tasks.prune_task_contracts(
  p_older_than_days integer, p_limit integer, p_delete_artifacts boolean)
returns setof public.task_contract_prune_report
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_before timestamptz;
  v_ids text[];
  v_artifacts uuid[];
  v_used uuid[];
  v_deleted integer;
  v_deleted_artifacts integer := 0;
begin
  if p_older_than_days is null or p_older_than_days < 0 or p_limit is null or p_limit < 1
    or p_delete_artifacts is null then
    raise exception using
      errcode = 'TC005',
      message = 'p_older_than_days must be at least 0, p_limit at least 1, and p_delete_artifacts true or false';
  end if;
  v_before := clock_timestamp() - make_interval(days => least(p_older_than_days, 1000000));
  with old as (
    select c.id
    from public.agent_task_contracts c
    where c.status = any (ehg_tasks.final_statuses())
      -- A row with times that are infinite or in the future is old too.
      and coalesce(ehg_tasks.past_time(array[c.completed_at, c.updated_at, c.created_at]), '-infinity') < v_before
    limit p_limit
    for update of c skip locked
  ),
  deleted as (
    delete from public.agent_task_contracts c using old where c.id = old.id
    returning c.id
  )
  select array_agg(d.id::text) into v_ids from deleted d;
  v_deleted := coalesce(cardinality(v_ids), 0);

  if p_delete_artifacts then
    -- Only what complete_task_contract stored for these contracts (also before a requeue), and nothing
    -- that others read. Each table is read once.
    v_artifacts := array(
      select a.id
      from public.agent_artifacts a
      where a.type = 'contract_output' and a.source_tool = 'contract-system'
        and a.metadata ->> 'contract_id' = any (v_ids));
    v_used := array(
      select unnest(c.output_artifact_id || c.input_artifacts)
      from public.agent_task_contracts c
      where c.output_artifact_id = any (v_artifacts) or c.input_artifacts && v_artifacts);
    delete from public.agent_artifacts a
    where a.id = any (v_artifacts) and (a.id = any (v_used)) is not true;
    get diagnostics v_deleted_artifacts = row_count;
  end if;
  return next (v_deleted, v_deleted_artifacts)::public.task_contract_prune_report;
end
$$;
revoke all on function ehg_tasks.prune_task_contracts(integer, integer, boolean)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.prune_task_contracts(integer, integer, boolean) to service_role;

create or replace function public.prune_task_contracts(
  p_older_than_days integer default 30, p_limit integer default 1000, p_delete_artifacts boolean default false)
returns setof public.task_contract_prune_report
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.prune_task_contracts(p_older_than_days, p_limit, p_delete_artifacts) $$;
comment on function public.prune_task_contracts(integer, integer, boolean) is
  'Deletes up to p_limit contracts that became final more than p_older_than_days days ago, with their history. With p_delete_artifacts, also the outputs that complete_task_contract stored for them, unless another contract refers to them.';
revoke all on function public.prune_task_contracts(integer, integer, boolean)
  from public, anon, authenticated, service_role;
grant execute on function public.prune_task_contracts(integer, integer, boolean) to service_role;

-- This package's objects: everything in schema ehg_tasks and, in public, every relation and function
-- named after task contracts or agents and every other function that calls the engine
-- (cleanup_stale_contracts). A new object therefore needs no entry here. If one of your own objects
-- matches, it is described too, and `ehg-tasks verify` reports it as extra.
create or replace function ehg_tasks.package_objects()
returns table (catalog regclass, oid oid)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select 'pg_catalog.pg_class'::regclass, r.oid
  from pg_catalog.pg_class r
  where r.relkind in ('r', 'p', 'v', 'm', 'f', 'c') and (
    r.relnamespace = 'ehg_tasks'::regnamespace
    or r.relnamespace = 'public'::regnamespace and r.relname ~ 'task_(contract|agent)')
  union all
  select 'pg_catalog.pg_proc'::regclass, p.oid
  from pg_catalog.pg_proc p
  where p.pronamespace = 'ehg_tasks'::regnamespace
    or p.pronamespace = 'public'::regnamespace and (
      p.proname ~ 'task_(contract|agent)'
      -- A body is in prosrc, or parsed if it is written as `begin atomic`.
      or concat(p.prosrc, pg_catalog.pg_get_function_sqlbody(p.oid)) ~ '\mehg_tasks"?\.')
$$;
comment on function ehg_tasks.package_objects() is
  'The relations, row types and functions of this package, each with the catalog that its oid is in.';
revoke all on function ehg_tasks.package_objects() from public, anon, authenticated, service_role;

-- What gives access beyond the policies and grants on this package's own objects. A project that has just
-- been migrated has none of it.
create or replace function ehg_tasks.access_findings()
returns table (object text, finding text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with
  relations as (
    select r.oid, r.relowner, r.relnamespace
    from ehg_tasks.package_objects() o
    join pg_catalog.pg_class r on o.catalog = 'pg_catalog.pg_class'::regclass and r.oid = o.oid
  ),
  functions as (
    select p.oid, p.proowner
    from ehg_tasks.package_objects() o
    join pg_catalog.pg_proc p on o.catalog = 'pg_catalog.pg_proc'::regclass and p.oid = o.oid
  ),
  referenced (oid) as (
    values ('public.agent_artifacts'::regclass), ('public.strategic_directives_v2'::regclass)
  ),
  owned (object, owner) as (
    select 'schema ehg_tasks', n.nspowner from pg_catalog.pg_namespace n where n.nspname = 'ehg_tasks'
    union all
    select 'relation ' || r.oid::regclass, r.relowner from relations r
    union all
    select 'function ' || f.oid::regprocedure, f.proowner from functions f
  )
  select o.object, 'belongs to ' || o.owner::regrole
  from owned o
  -- Whoever owns the function that is running now applied the migrations.
  where o.owner <> (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user)
  union all
  select 'role ' || r.rolname,
         case when r.rolsuper then 'is a superuser' else 'bypasses row level security' end
  from pg_catalog.pg_roles r
  where r.rolname in ('anon', 'authenticated') and (r.rolsuper or r.rolbypassrls)
    or r.rolname = 'service_role' and r.rolsuper
  union all
  select 'role ' || m.member::regrole, 'is a member of ' || m.roleid::regrole
  from pg_catalog.pg_auth_members m
  join pg_catalog.pg_roles r on r.oid = m.member
  where m.member in (to_regrole('anon'), to_regrole('authenticated'), to_regrole('service_role'))
    or m.roleid = to_regrole('service_role') and not r.rolsuper
       and r.rolname !~ '^(authenticator|postgres|dashboard_user|cli_login_.*|supabase_.*)$'
  union all
  select 'schema ' || n.nspname,
         format('lets %s create objects', case when a.grantee = 0 then 'PUBLIC' else a.grantee::regrole::text end)
  from pg_catalog.pg_namespace n
  cross join lateral aclexplode(n.nspacl) as a
  where n.nspname in ('public', 'ehg_tasks') and a.privilege_type = 'CREATE'
    and a.grantee in (0, to_regrole('anon'), to_regrole('authenticated'), to_regrole('service_role'))
  union all
  select 'schema ehg_tasks',
         format('grants %s on new objects to %s by default', a.privilege_type,
                case when a.grantee = 0 then 'PUBLIC' else a.grantee::regrole::text end)
  from pg_catalog.pg_default_acl d
  cross join lateral aclexplode(d.defaclacl) as a
  where d.defaclnamespace = 'ehg_tasks'::regnamespace and a.grantee <> d.defaclrole
  union all
  select format('trigger %s on %s', t.tgname, t.tgrelid::regclass), 'is not of this package'
  from pg_catalog.pg_trigger t
  join relations r on r.oid = t.tgrelid
  where not t.tgisinternal and r.relnamespace = 'ehg_tasks'::regnamespace
  union all
  select format('rule %s on %s', w.rulename, w.ev_class::regclass), 'is not of this package'
  from pg_catalog.pg_rewrite w
  join relations r on r.oid = w.ev_class
  where w.rulename <> '_RETURN'
  union all
  select distinct 'view ' || v.oid::regclass, format('reads %s with the rights of its owner', d.refobjid::regclass)
  from pg_catalog.pg_rewrite w
  join pg_catalog.pg_class v on v.oid = w.ev_class
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
  where d.refclassid = 'pg_catalog.pg_class'::regclass
    and (d.refobjid in (select r.oid from relations r) or d.refobjid in (select f.oid from referenced f))
    and v.oid <> d.refobjid
    and (v.relkind = 'm' or v.relkind = 'v'
         and (array_to_string(v.reloptions, ',') ~ 'security_invoker=(true|on|1|yes)') is not true)
    and (has_table_privilege('anon', v.oid, 'select') or has_table_privilege('authenticated', v.oid, 'select'))
  union all
  select 'function ' || p.oid::regprocedure, 'runs with the rights of its owner and refers to task contracts'
  from pg_catalog.pg_proc p
  where p.prosecdef and p.oid not in (select f.oid from functions f)
    and concat(p.prosrc, pg_get_function_sqlbody(p.oid)) ~ 'agent_task_contracts|ehg_tasks'
    and (has_function_privilege('anon', p.oid, 'execute')
         or has_function_privilege('authenticated', p.oid, 'execute'))
  union all
  select 'table ' || c.oid::regclass, 'has no row level security'
  from pg_catalog.pg_class c
  where c.oid in (select f.oid from referenced f) and not c.relrowsecurity
  union all
  select format('policy "%s" on %s', p.polname, p.polrelid::regclass), 'lets anon in'
  from pg_catalog.pg_policy p
  where p.polrelid in (select f.oid from referenced f) and p.polpermissive
    and p.polroles && array[0::oid, to_regrole('anon')::oid]
$$;
comment on function ehg_tasks.access_findings() is
  'What gives access beyond the policies and grants on this package''s own objects: other owners, role attributes and memberships, rules, triggers, views and functions with their owner''s rights, and referenced tables that are open to anon.';
revoke all on function ehg_tasks.access_findings() from public, anon, authenticated, service_role;

-- The live objects, read from the catalog. `ehg-tasks verify` compares them with what this version expects.
create or replace function ehg_tasks.describe_task_contracts()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  with
  contracts as (
    select 'public.agent_task_contracts'::regclass as oid
  ),
  relations as (
    select r.oid, r.relname, r.relkind, r.relacl, r.relowner, r.relrowsecurity, r.relforcerowsecurity,
           r.reloptions, n.nspname
    from ehg_tasks.package_objects() o
    join pg_catalog.pg_class r on o.catalog = 'pg_catalog.pg_class'::regclass and r.oid = o.oid
    join pg_catalog.pg_namespace n on n.oid = r.relnamespace
  ),
  functions as (
    select p.oid, p.prosecdef, p.provolatile, p.proconfig, p.proacl, p.proowner, p.prosrc
    from ehg_tasks.package_objects() o
    join pg_catalog.pg_proc p on o.catalog = 'pg_catalog.pg_proc'::regclass and p.oid = o.oid
  ),
  objects (name, owner, acl) as (
    select r.nspname || '.' || r.relname, r.relowner, r.relacl from relations r
    union all
    select r.nspname || '.' || r.relname || '.' || a.attname, r.relowner, a.attacl
    from relations r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid
    union all
    select f.oid::regprocedure::text, f.proowner, coalesce(f.proacl, pg_catalog.acldefault('f', f.proowner))
    from functions f
    union all
    select 'schema ' || n.nspname, n.nspowner, coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
    from pg_catalog.pg_namespace n
    where n.nspname = 'ehg_tasks'
  ),
  grants (object, role, privilege) as (
    select o.name, case when a.grantee = 0 then 'PUBLIC' else a.grantee::regrole::text end, a.privilege_type
    from objects o, pg_catalog.aclexplode(o.acl) a
    where a.grantee <> o.owner
  )
  select jsonb_build_object(
    'table', 'agent_task_contracts',
    'row_count', (select count(*) from public.agent_task_contracts),
    'columns', (
      select jsonb_agg(jsonb_build_object(
               'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
               'nullable', not a.attnotnull,
               'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
               'description', pg_catalog.col_description(a.attrelid, a.attnum)) order by a.attnum)
      from contracts c
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    ),
    'constraints', (
      select jsonb_agg(jsonb_build_object(
               'name', k.conname, 'type', k.contype,
               'definition', pg_catalog.pg_get_constraintdef(k.oid)) order by k.conname)
      from contracts c
      join pg_catalog.pg_constraint k on k.conrelid = c.oid and k.contype in ('p', 'f', 'c', 'u', 'x')
    ),
    'indexes', (
      select jsonb_agg(jsonb_build_object(
               'name', r.relname, 'definition', pg_catalog.pg_get_indexdef(i.indexrelid),
               'valid', i.indisvalid) order by r.relname)
      from contracts c
      join pg_catalog.pg_index i on i.indrelid = c.oid
      join pg_catalog.pg_class r on r.oid = i.indexrelid
    ),
    'row_level_security', (
      select jsonb_object_agg(r.nspname || '.' || r.relname, case
               when r.relrowsecurity and r.relforcerowsecurity then 'forced' when r.relrowsecurity then 'on' else 'off' end)
      from relations r where r.relkind in ('r', 'p')
    ),
    'policies', (
      select jsonb_agg(jsonb_build_object(
               'table', p.schemaname || '.' || p.tablename, 'name', p.policyname, 'command', p.cmd,
               'permissive', p.permissive = 'PERMISSIVE', 'roles', to_jsonb(p.roles), 'using', p.qual,
               'with_check', p.with_check) order by p.schemaname desc, p.tablename, p.policyname)
      from pg_catalog.pg_policies p
      join relations r on r.nspname = p.schemaname and r.relname = p.tablename
    ),
    'triggers', (
      select jsonb_agg(jsonb_build_object(
               'name', t.tgname, 'definition', pg_catalog.pg_get_triggerdef(t.oid),
               'enabled', t.tgenabled <> 'D') order by t.tgname)
      from contracts c
      join pg_catalog.pg_trigger t on t.tgrelid = c.oid and not t.tgisinternal
    ),
    'functions', (
      select jsonb_agg(jsonb_build_object(
               'name', f.oid::regprocedure::text,
               'arguments', pg_catalog.pg_get_function_arguments(f.oid),
               'returns', pg_catalog.pg_get_function_result(f.oid),
               'security', case when f.prosecdef then 'definer' else 'invoker' end,
               'volatility', case f.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
               'settings', coalesce(to_jsonb(f.proconfig), '[]'),
               -- Line endings do not matter.
               'body_md5', md5(replace(f.prosrc, chr(13), ''))) order by f.oid::regprocedure::text)
      from functions f
    ),
    'views', (
      select jsonb_agg(jsonb_build_object(
               'name', r.nspname || '.' || r.relname, 'options', coalesce(to_jsonb(r.reloptions), '[]'),
               'definition', pg_catalog.pg_get_viewdef(r.oid)) order by r.relname)
      from relations r where r.relkind = 'v'
    ),
    -- Columns, constraints and indexes of the other relations, and columns of row types.
    'parts', (
      select jsonb_agg(jsonb_build_object('object', p.object, 'definition', p.definition) order by p.object)
      from (
        select format('column %s.%s.%s', r.nspname, r.relname, a.attname),
               pg_catalog.format_type(a.atttypid, a.atttypmod)
               || case when a.attnotnull then ' not null' else '' end
               || coalesce(' default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
        from relations r
        join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
        left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where r.oid not in (select c.oid from contracts c)
        union all
        select format('constraint %s on %s.%s', k.conname, r.nspname, r.relname),
               pg_catalog.pg_get_constraintdef(k.oid)
        from relations r
        join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype in ('p', 'f', 'c', 'u', 'x')
        where r.oid not in (select c.oid from contracts c)
        union all
        select format('index %s.%s', r.nspname, n.relname), pg_catalog.pg_get_indexdef(i.indexrelid)
        from relations r
        join pg_catalog.pg_index i on i.indrelid = r.oid
        join pg_catalog.pg_class n on n.oid = i.indexrelid
        where r.oid not in (select c.oid from contracts c)
      ) as p (object, definition)
    ),
    'grants', (
      select jsonb_agg(to_jsonb(g) order by g.object, g.role, g.privilege) from grants g
    ),
    'findings', (
      select coalesce(jsonb_agg(to_jsonb(f) order by f.object, f.finding), '[]') from ehg_tasks.access_findings() f
    )
  )
$$;
revoke all on function ehg_tasks.describe_task_contracts() from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.describe_task_contracts() to service_role;

create or replace function public.describe_task_contracts()
returns jsonb
language sql stable security invoker
set search_path = pg_catalog, pg_temp
as $$ select ehg_tasks.describe_task_contracts() $$;
comment on function public.describe_task_contracts() is
  'The live objects as JSON: columns, constraints, indexes, policies, triggers, functions, views, row types, grants, what gives access beyond them, and the number of contracts.';
revoke all on function public.describe_task_contracts() from public, anon, authenticated, service_role;
grant execute on function public.describe_task_contracts() to service_role;
