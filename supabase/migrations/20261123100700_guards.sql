-- Guards: what agents may write to the table directly.
--
-- The specified policies let anon insert and update every row. The triggers below hold those writes
-- to the rules of the functions: the same size limits and names, a start at the beginning of the
-- lifecycle, and no update that reaches several contracts.
--
-- They fire only for statements that anon itself runs on the table. Inside the engine's functions
-- the current user is their owner, and the service role is trusted. The trigger functions run with
-- their owner's rights because anon may not call the checks.

set local lock_timeout = '10s';

create or replace function ehg_tasks.guard_anon_sizes()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_json('constraints', new.constraints);
  perform ehg_tasks.check_json('output_schema', new.output_schema);
  perform ehg_tasks.check_contract_sizes(new);
  return new;
end
$$;
comment on function ehg_tasks.guard_anon_sizes() is
  'Trigger function: applies the functions'' size limits to direct writes by agents.';
revoke all on function ehg_tasks.guard_anon_sizes() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_sizes
  before insert or update on public.agent_task_contracts
  for each row when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_sizes();

-- An agent cannot plant a result under an id that it guesses, or a contract that no clean-up reaches.
create or replace function ehg_tasks.guard_anon_start()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.status is distinct from 'pending' or coalesce(new.retry_count, 0) <> 0
    or num_nonnulls(new.started_at, new.completed_at, new.output_artifact_id, new.result_summary,
                    new.execution_tokens, new.error_message, new.completion_idempotency_key,
                    new.completed_by_agent_id) > 0
    or not isfinite(new.created_at) or new.created_at > clock_timestamp()
    or not isfinite(new.updated_at) or new.updated_at > clock_timestamp() then
    raise exception using
      errcode = 'TC005',
      message = 'a contract that an agent inserts must be pending, without a result, and not dated in the future',
      hint = 'Leave out status, retry_count, the result and the times, or call create_task_contract.';
  end if;
  return new;
end
$$;
comment on function ehg_tasks.guard_anon_start() is
  'Trigger function: refuses an insert by an agent that does not start at the beginning of the lifecycle.';
revoke all on function ehg_tasks.guard_anon_start() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_start
  before insert on public.agent_task_contracts
  for each row when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_start();

create or replace function ehg_tasks.guard_anon_names()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if new.parent_agent <> ehg_tasks.agent_name('parent_agent', new.parent_agent)
    or new.target_agent <> ehg_tasks.agent_name('target_agent', new.target_agent) then
    raise exception using
      errcode = 'TC005',
      message = 'the name of an agent must not begin or end with white space, nor hold decomposed characters',
      hint = 'Trim the names, or call create_task_contract, which does.';
  end if;
  return new;
end
$$;
comment on function ehg_tasks.guard_anon_names() is
  'Trigger function: applies the functions'' rules for names to direct writes by agents.';
revoke all on function ehg_tasks.guard_anon_names() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_names
  before insert or update of parent_agent, target_agent on public.agent_task_contracts
  for each row when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_names();

-- An agent cannot create a contract in the name of a registered agent without its token, nor touch one
-- that a registered agent created or works on.
create or replace function ehg_tasks.guard_anon_tokens()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_agent_token(new.parent_agent);
  if tg_op = 'UPDATE' then
    perform ehg_tasks.check_agent_token(ehg_tasks.queue_name(old.parent_agent));
    perform ehg_tasks.check_agent_token(ehg_tasks.queue_name(old.target_agent));
  end if;
  return new;
end
$$;
comment on function ehg_tasks.guard_anon_tokens() is
  'Trigger function: refuses a direct write by an agent to a contract of a registered agent without its token.';
revoke all on function ehg_tasks.guard_anon_tokens() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_tokens
  before insert or update on public.agent_task_contracts
  for each row when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_tokens();

-- Under the specified policy, an update by anon without a filter changes every row, and anon cannot
-- filter. So the statement is refused before it writes the first one.
create or replace function ehg_tasks.guard_anon_rows()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if (select count(*) from (select from public.agent_task_contracts limit 2) as few) > 1 then
    raise exception using
      errcode = '21000',
      message = 'an agent may not update more than one task contract per statement',
      hint = 'Use the task contract functions (claim, complete, fail, release, cancel).';
  end if;
  return null;
end
$$;
comment on function ehg_tasks.guard_anon_rows() is
  'Trigger function: refuses an update by an agent if the table has more than one contract, with the SQLSTATE that hosted projects use for updates without a filter.';
revoke all on function ehg_tasks.guard_anon_rows() from public, anon, authenticated, service_role;

create or replace trigger trg_task_contracts_anon_rows
  before update on public.agent_task_contracts
  for each statement when (current_user = 'anon')
  execute function ehg_tasks.guard_anon_rows();
