-- Create: hands work from one agent to another.
--
-- One engine function creates contracts from a JSON array. create_task_contracts passes the array
-- on; create_task_contract is the same call for one contract, with a parameter for each field.

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

create or replace function ehg_tasks.create_task_contracts(p_contracts jsonb)
returns setof public.created_task_contract
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_start constant timestamptz := clock_timestamp();
  v_default constant public.agent_task_contracts := ehg_tasks.default_contract();
  v_count constant integer := case when jsonb_typeof(p_contracts) = 'array' then jsonb_array_length(p_contracts) end;
  v_number integer := 0;
  v_item jsonb;
  v_contract public.agent_task_contracts;
  v_existing public.agent_task_contracts;
  v_created boolean;
  v_problem text;
  v_message text;
  v_detail text;
  v_hint text;
begin
  if coalesce(v_count, 0) = 0 then
    raise exception using
      errcode = 'TC005', message = 'p_contracts must be an array of one or more contracts';
  end if;
  perform ehg_tasks.check_count('p_contracts', v_count);

  for v_item in select i.value from jsonb_array_elements(p_contracts) as i loop
    v_number := v_number + 1;
    if jsonb_typeof(v_item) <> 'object' then
      raise exception using errcode = 'TC005', message = 'a contract must be a JSON object';
    end if;
    perform ehg_tasks.check_json('a contract', v_item);
    select string_agg(k.key, ', ' order by k.key) into v_problem
    from jsonb_object_keys(v_item) as k (key)
    where k.key not in (
      'contract_id', 'session_id', 'sd_id', 'parent_agent', 'target_agent', 'objective', 'constraints',
      'input_artifacts', 'input_summary', 'expected_output_type', 'output_schema', 'priority',
      'max_tokens', 'timeout_minutes', 'max_retries', 'created_by');
    if v_problem is not null then
      raise exception using errcode = 'TC005', message = format('unknown field: %s', v_problem);
    end if;

    select string_agg(format('%s is longer than %s characters', l.field, l.most), '; ') into v_problem
    from (values ('parent_agent', 50), ('target_agent', 50), ('sd_id', 50), ('expected_output_type', 50),
                 ('created_by', 100)) as l (field, most)
    where length(v_item ->> l.field) > l.most;
    if v_problem is not null then
      raise exception using errcode = 'TC005', message = v_problem;
    end if;

    v_contract := jsonb_populate_record(v_default, v_item);
    v_contract.id := coalesce((v_item ->> 'contract_id')::uuid, gen_random_uuid());
    -- One microsecond apart, so that contracts of one call are claimed in the order given.
    v_contract.created_at := v_start + (v_number - 1) * interval '1 microsecond';

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
    v_created := found;

    if v_created then
      -- Not for a repeat: an artifact may have been deleted since.
      select string_agg(i.id::text, ', ') into v_problem
      from unnest(v_contract.input_artifacts) as i (id)
      where i.id is not null and not exists (select from public.agent_artifacts a where a.id = i.id);
      if v_problem is not null then
        raise exception using
          errcode = 'TC005',
          message = format('input_artifacts: there is no artifact %s', left(v_problem, 200));
      end if;
    else
      select c.* into v_existing from public.agent_task_contracts c where c.id = v_contract.id;
      -- A repeat asks for nothing new: with its fields, the existing contract is still the same.
      if jsonb_populate_record(v_existing, v_item - 'contract_id') is distinct from v_existing then
        raise exception using
          errcode = 'TC004',
          message = format('task contract %s already exists with different content', v_contract.id),
          hint = 'Use a new p_contract_id for a new contract.';
      end if;
    end if;
    return next (
      v_contract.id,
      format('%s -> %s: %s', v_contract.parent_agent, v_contract.target_agent, left(v_contract.objective, 100)),
      v_created
    )::public.created_task_contract;
  end loop;
exception when others then
  -- The whole call is rolled back. If it had several contracts, the error names the one at fault.
  if v_number = 0 or v_count = 1 then
    raise;
  end if;
  get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
  raise exception using
    errcode = sqlstate,
    message = format('contract %s of %s: %s', v_number, v_count, v_message),
    detail = v_detail,
    hint = v_hint;
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
  'Creates up to 1000 contracts, all or none. Each is an object with the parameters of create_task_contract, without the prefix p_.';
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
returns setof public.created_task_contract
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
  'Hands work from one agent to another. A repeat with the same p_contract_id creates nothing (created = false).';
revoke all on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text)
  from public, anon, authenticated, service_role;
grant execute on function public.create_task_contract(
  text, text, text, uuid, text, uuid[], text, jsonb, text, integer, integer, uuid, jsonb, integer, integer, text)
  to anon, service_role;
