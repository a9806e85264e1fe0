-- Preflight: what the migrations need, checked before any of them creates something.
--
-- In an empty project there is nothing to check. In a database that already holds the table, its
-- neighbors or earlier functions, this migration refuses what the others could not work with, names
-- the object, and says what to do. It changes nothing.
--
-- Each migration waits at most ten seconds for a lock (lock_timeout), so that a long report makes it
-- fail instead of holding up everyone who comes after it. Apply it again then.

set local lock_timeout = '10s';

do $$
declare
  v_missing text;
begin
  if current_setting('server_version_num')::integer < 150000 then
    raise exception using
      message = format('these migrations need PostgreSQL 15 or newer, and this is %s', current_setting('server_version'));
  end if;
  select string_agg(r.name, ', ') into v_missing
  from unnest(array['anon', 'authenticated', 'service_role']) as r (name)
  where to_regrole(r.name) is null;
  if v_missing is not null then
    raise exception using
      message = format('this database has no role %s', v_missing),
      hint = 'Apply the migrations to a Supabase project, or create its API roles first.';
  end if;
end
$$;

-- Who owns what. Migrations that alter an object, and functions that use it with their owner's rights,
-- need the rights of its owner.
do $$
declare
  v_object record;
begin
  for v_object in
    select format('schema %I', n.nspname) as name, n.nspowner as owner
    from pg_catalog.pg_namespace n
    where n.nspname = 'ehg_tasks'
    union all
    select format('%s %s', case when c.relkind = 'v' then 'view' else 'table' end, c.oid::regclass), c.relowner
    from pg_catalog.pg_class c
    where c.relkind in ('r', 'p', 'v') and (
      c.oid = to_regclass('public.agent_task_contracts')
      or c.relnamespace = to_regnamespace('ehg_tasks')
      or c.oid in (to_regclass('public.task_contract_stats'), to_regclass('public.task_agents')))
    union all
    select format('function %s', p.oid::regprocedure), p.proowner
    from pg_catalog.pg_proc p
    where p.pronamespace = to_regnamespace('ehg_tasks')
      or p.pronamespace = 'public'::regnamespace and p.proname in (
        'create_task_contract', 'claim_task_contract', 'complete_task_contract', 'read_task_contract',
        'fn_complete_task_contract_idempotent', 'cleanup_stale_contracts', 'update_task_contracts_timestamp')
  loop
    if not pg_has_role(v_object.owner, 'usage') then
      raise exception using
        errcode = '42501',
        message = format('%s belongs to the role %I, and these migrations run as %I',
                         v_object.name, v_object.owner::regrole, current_user),
        hint = format('Apply the migrations as %I, or change its owner: alter %s owner to %I;',
                      v_object.owner::regrole, v_object.name, current_user);
    end if;
  end loop;
end
$$;

-- The table. An earlier version had no columns for the idempotent completion; the migration of the
-- table adds them.
do $$
declare
  v_problem text;
begin
  if to_regclass('public.agent_task_contracts') is null then
    return;
  end if;
  if (select c.relkind from pg_catalog.pg_class c where c.oid = to_regclass('public.agent_task_contracts')) <> 'r' then
    raise exception using
      message = 'public.agent_task_contracts is not an ordinary table',
      hint = 'Rename it. These migrations create a table of this name.';
  end if;

  select string_agg(
           case when a.attname is null then format('%s is missing (%s)', s.name, s.type)
           else format('%s is %s instead of %s', s.name, format_type(a.atttypid, a.atttypmod), s.type) end, ', ')
  into v_problem
  from (values
    ('id', 'uuid'), ('session_id', 'uuid'), ('sd_id', 'character varying(50)'),
    ('parent_agent', 'character varying(50)'), ('target_agent', 'character varying(50)'), ('objective', 'text'),
    ('constraints', 'jsonb'), ('input_artifacts', 'uuid[]'), ('input_summary', 'text'),
    ('expected_output_type', 'character varying(50)'), ('output_schema', 'jsonb'), ('priority', 'integer'),
    ('max_tokens', 'integer'), ('timeout_minutes', 'integer'), ('status', 'character varying(20)'),
    ('started_at', 'timestamp with time zone'), ('completed_at', 'timestamp with time zone'),
    ('output_artifact_id', 'uuid'), ('result_summary', 'text'), ('execution_tokens', 'integer'),
    ('error_message', 'text'), ('retry_count', 'integer'), ('max_retries', 'integer'),
    ('created_by', 'character varying(100)'), ('created_at', 'timestamp with time zone'),
    ('updated_at', 'timestamp with time zone'), ('completion_idempotency_key', 'uuid'), ('completed_by_agent_id', 'uuid')
  ) as s (name, type)
  left join pg_catalog.pg_attribute a
    on a.attrelid = to_regclass('public.agent_task_contracts') and a.attname = s.name and not a.attisdropped
  where format_type(a.atttypid, a.atttypmod) is distinct from s.type
    and not (a.attname is null and s.name in ('completion_idempotency_key', 'completed_by_agent_id'));
  if v_problem is not null then
    raise exception using
      message = format('columns of public.agent_task_contracts are not as specified: %s', v_problem),
      hint = 'Alter the table, then apply the migrations again.';
  end if;

  if not exists (
    select from pg_catalog.pg_constraint k
    join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and k.conkey = array[a.attnum]
    where k.conrelid = to_regclass('public.agent_task_contracts') and k.contype = 'p' and a.attname = 'id'
  ) then
    raise exception using
      message = 'the primary key of public.agent_task_contracts is not (id)',
      hint = 'Make id the primary key, then apply the migrations again.';
  end if;

  select string_agg(i.oid::regclass::text, ', ') into v_problem
  from pg_catalog.pg_class i
  left join pg_catalog.pg_index x on x.indexrelid = i.oid
  where i.relnamespace = 'public'::regnamespace
    and i.relname in ('idx_task_contracts_idempotency', 'idx_task_contracts_pending', 'idx_task_contracts_sd',
                      'idx_task_contracts_session', 'idx_task_contracts_status', 'idx_task_contracts_target')
    and x.indrelid is distinct from to_regclass('public.agent_task_contracts');
  if v_problem is not null then
    raise exception using
      message = format('the table needs an index with a name that something else has: %s', v_problem),
      hint = 'Rename that, then apply the migrations again.';
  end if;
end
$$;

-- Functions of earlier versions. Some have another result type, so they are dropped and created anew,
-- which PostgreSQL refuses while another object uses them.
do $$
declare
  v_use record;
begin
  -- A view depends through its rule.
  select f.name, case when w.oid is null then pg_describe_object(d.classid, d.objid, 0)
                 else pg_describe_object('pg_catalog.pg_class'::regclass, w.ev_class, 0) end as object
  into v_use
  from unnest(array[
    'create_task_contract(varchar,varchar,text,uuid,varchar,uuid[],text,jsonb,varchar,integer,integer)',
    'claim_task_contract(varchar)',
    'complete_task_contract(uuid,uuid,text,integer,boolean,text)',
    'fn_complete_task_contract_idempotent(uuid,uuid,uuid,text,integer,uuid)',
    'read_task_contract(uuid)',
    'cleanup_stale_contracts()']) as f (name)
  join pg_catalog.pg_proc p
    on p.oid = to_regprocedure('public.' || f.name)
    -- Not the function of these migrations, which have been applied before.
    and ('search_path=pg_catalog, pg_temp' = any (p.proconfig)) is not true
  join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_proc'::regclass and d.refobjid = p.oid
  left join pg_catalog.pg_rewrite w on d.classid = 'pg_catalog.pg_rewrite'::regclass and w.oid = d.objid
  where d.deptype = 'n'
  limit 1;
  if found then
    raise exception using
      errcode = '2BP01',
      message = format('%s uses the function public.%s, which these migrations replace', v_use.object, v_use.name),
      hint = 'Drop it, apply the migrations, and create it again.';
  end if;
end
$$;

-- The referenced tables. An output is stored as an artifact, so a trial shows whether the table takes
-- one. Its error ends the block and so undoes the insert.
do $$
begin
  if to_regclass('public.strategic_directives_v2') is not null and not exists (
    select
    from pg_catalog.pg_index i
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = to_regclass('public.strategic_directives_v2')
      and i.indisunique and i.indnkeyatts = 1 and i.indpred is null and a.attname = 'id'
      and a.atttypid in ('varchar'::regtype, 'text'::regtype)
  ) then
    raise exception using
      message = 'public.strategic_directives_v2 has no primary key id of type varchar(50)',
      hint = 'Contracts refer to it with their column sd_id. Add the key, or rename the table if it is another one.';
  end if;
  if to_regclass('public.agent_artifacts') is null then
    return;
  end if;
  insert into public.agent_artifacts (
    id, session_id, sd_id, type, summary, content_text, token_count, metadata, created_by, source_tool)
  values (
    gen_random_uuid(), null, null, 'contract_output', 'trial', '{}', 1, '{}', 'trial', 'contract-system');
  raise exception using errcode = 'TC000', message = 'the trial succeeded';
exception
  when sqlstate 'TC000' then
    null;
  when syntax_error_or_access_rule_violation or data_exception or integrity_constraint_violation then
    raise exception using
      errcode = sqlstate,
      message = 'the database cannot store outputs in public.agent_artifacts: ' || sqlerrm,
      hint = 'An output is a row with id, session_id, sd_id, type (contract_output), summary, content_text, token_count, metadata (jsonb), created_by and source_tool (contract-system). Let the table accept it, then apply the migrations again.';
end
$$;
