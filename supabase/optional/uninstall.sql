-- Uninstall: the way back to the plain table.
--
-- This removes the engine with its queue, history, dependencies and registry, the functions, views
-- and types in public, and the triggers that the migrations added to the table. The table stays as
-- it is specified: its rows, columns, constraints, indexes, policies, grants and the trigger that
-- sets updated_at. The referenced tables stay too. What other programs built on the functions or
-- views is not removed: PostgreSQL names it and refuses, and nothing has changed.
--
-- Run it in one transaction (psql -1 -f uninstall.sql) as the owner of the migrations, while no
-- worker runs. Contracts in progress stay in progress. If the Supabase CLI keeps your migration
-- history, mark the migrations of this package as reverted afterwards: supabase migration repair.

set local lock_timeout = '10s';

do $$
declare
  v_functions oid[];
  v_types oid[];
  v_object text;
begin
  if to_regnamespace('cron') is not null then
    perform cron.unschedule(j.jobid) from cron.job j where j.jobname = 'ehg-tasks-cleanup';
  end if;

  -- The API's functions are known by their calls of the engine, and read_task_contract by its name.
  v_functions := array(
    select p.oid
    from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and 'search_path=pg_catalog, pg_temp' = any (p.proconfig)
      and (p.prosrc ~ 'from ehg_tasks\.|select ehg_tasks\.' or p.oid = to_regprocedure('public.read_task_contract(uuid)')));
  -- Row types: what they return, except rows of the table.
  v_types := array(
    select t.oid
    from pg_catalog.pg_type t
    join pg_catalog.pg_class c on c.oid = t.typrelid and c.relkind = 'c'
    where t.oid in (select p.prorettype from pg_catalog.pg_proc p where p.oid = any (v_functions)));

  for v_object in
    select format('trigger %I on public.agent_task_contracts', t.tgname)
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = to_regclass('public.agent_task_contracts')
      and not t.tgisinternal and p.pronamespace = to_regnamespace('ehg_tasks')
    union all
    select format('view %s', c.oid::regclass)
    from pg_catalog.pg_class c
    where c.oid in (to_regclass('public.task_contract_stats'), to_regclass('public.task_agents'))
    union all
    select format('function %s', f.oid::regprocedure) from unnest(v_functions) as f (oid)
  loop
    execute 'drop ' || v_object;
  end loop;

  -- Nothing outside uses it any more.
  drop schema if exists ehg_tasks cascade;

  for v_object in
    select format('type %s', t.oid::regtype) from unnest(v_types) as t (oid)
  loop
    execute 'drop ' || v_object;
  end loop;
end
$$;
