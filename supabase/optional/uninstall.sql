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
  v_object text;
begin
  if to_regnamespace('cron') is not null then
    perform cron.unschedule(j.jobid) from cron.job j where j.jobname = 'ehg-tasks-cleanup';
  end if;

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
    -- The API's functions are known by their calls of the engine, and read_task_contract by its name.
    select format('function %s', p.oid::regprocedure)
    from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and 'search_path=pg_catalog, pg_temp' = any (p.proconfig)
      and (p.prosrc ~ 'from ehg_tasks\.|select ehg_tasks\.' or p.oid = to_regprocedure('public.read_task_contract(uuid)'))
  loop
    execute 'drop ' || v_object;
  end loop;
end
$$;

-- Nothing outside uses it any more.
drop schema if exists ehg_tasks cascade;

do $$
declare
  v_type regclass;
begin
  for v_type in
    select c.oid from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'c'
      and c.relname ~ '^(created_)?task_(contract|agent)'
  loop
    execute format('drop type %s', v_type);
  end loop;
end
$$;
