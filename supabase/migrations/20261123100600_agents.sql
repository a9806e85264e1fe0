-- Agents: a registry for those that need an identity, a pause or a limit.
--
-- Registering an agent is optional. A name that is not registered behaves as if there were no
-- registry: whoever holds the publishable key may claim its work and create contracts in its name.
--
-- A registered agent may have a token. The caller sends it in the header x-agent-token, which
-- PostgREST passes on in the setting request.headers. Claims of the agent's work, and contracts
-- created in its name, are then refused without it (42501). The table keeps a hash only.
--
--   register_task_agent    adds or changes an agent; returns its token, once
--   rotate_task_agent      a new token; the previous one stays valid for a grace period
--   pause_task_agent       none of its contracts are handed out until resume_task_agent
--   remove_task_agent      the name is no longer registered
--
-- These functions are for backend jobs (service role), which need no token themselves.

set local lock_timeout = '10s';

create or replace function ehg_tasks.check_agent_token(p_name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_agent ehg_tasks.agents;
  v_hash bytea;
begin
  select a.* into v_agent from ehg_tasks.agents a where a.name = p_name and a.token_hash is not null;
  if not found or ehg_tasks.is_service_role() then
    return;
  end if;
  v_hash := sha256(convert_to(
    nullif(current_setting('request.headers', true), '')::jsonb ->> 'x-agent-token', 'UTF8'));
  if v_hash = v_agent.token_hash
    or (v_hash = v_agent.previous_token_hash and clock_timestamp() < v_agent.previous_token_expires_at) then
    return;
  end if;
  raise exception using
    errcode = '42501',
    message = format('agent "%s" is registered: its token is missing or wrong', p_name),
    hint = 'Send the agent''s token in the header x-agent-token.';
end
$$;
comment on function ehg_tasks.check_agent_token(text) is
  'Raises 42501 if an agent is registered with a token and the caller does not send it. The service role needs none.';
revoke all on function ehg_tasks.check_agent_token(text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.new_agent_token()
returns text
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select 'agent_' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '') $$;
comment on function ehg_tasks.new_agent_token() is 'A secret token of 244 random bits.';
revoke all on function ehg_tasks.new_agent_token() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_registered(p_found boolean, p_name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not p_found then
    raise exception using
      errcode = 'TC001',
      message = format('there is no registered agent "%s"', p_name),
      hint = 'Check the name, or register the agent first.';
  end if;
end
$$;
comment on function ehg_tasks.check_registered(boolean, text) is
  'Raises TC001 if the agent was not found in the registry.';
revoke all on function ehg_tasks.check_registered(boolean, text)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Register and rotate
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.register_task_agent(
  p_name text, p_description text, p_max_running integer, p_with_token boolean)
returns setof public.task_agent_token
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := ehg_tasks.agent_name('p_name', p_name);
  v_token constant text := ehg_tasks.new_agent_token();
  v_hash bytea;
  v_created boolean;
begin
  if p_with_token is null or p_max_running < 0 then
    raise exception using
      errcode = 'TC005',
      message = 'p_with_token must be true or false, and p_max_running at least 0',
      hint = 'Pass null for p_max_running to set no limit.';
  end if;
  perform ehg_tasks.check_size('p_description', octet_length(p_description), 4096);
  if p_with_token then
    v_hash := sha256(convert_to(v_token, 'UTF8'));
  end if;

  insert into ehg_tasks.agents as a (name, description, token_hash, max_running)
  values (v_name, p_description, v_hash, p_max_running)
  on conflict (name) do nothing;
  v_created := found;
  if not v_created then
    -- The token is issued to an agent that has none.
    update ehg_tasks.agents a
    set description = p_description, max_running = p_max_running, token_hash = coalesce(a.token_hash, v_hash)
    where a.name = v_name
    returning a.token_hash into v_hash;
  end if;
  return next (
    v_name, case when v_hash = sha256(convert_to(v_token, 'UTF8')) then v_token end, v_created, null
  )::public.task_agent_token;
end
$$;
revoke all on function ehg_tasks.register_task_agent(text, text, integer, boolean)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.register_task_agent(text, text, integer, boolean) to service_role;

create or replace function public.register_task_agent(
  p_name text, p_description text default null, p_max_running integer default null,
  p_with_token boolean default true)
returns setof public.task_agent_token
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.register_task_agent(p_name, p_description, p_max_running, p_with_token) $$;
comment on function public.register_task_agent(text, text, integer, boolean) is
  'Registers an agent, or sets the description and limit of a registered one. With p_with_token, an agent that has no token is issued one, which is returned this once: from then on, claims of its work and contracts in its name need it. p_max_running is how many of its contracts may be in progress at once; null sets no limit.';
revoke all on function public.register_task_agent(text, text, integer, boolean)
  from public, anon, authenticated, service_role;
grant execute on function public.register_task_agent(text, text, integer, boolean) to service_role;

create or replace function ehg_tasks.rotate_task_agent(p_name text, p_grace_minutes integer)
returns setof public.task_agent_token
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := ehg_tasks.agent_name('p_name', p_name);
  v_token constant text := ehg_tasks.new_agent_token();
  v_until timestamptz;
begin
  if p_grace_minutes is null or p_grace_minutes not between 0 and 10080 then
    raise exception using
      errcode = 'TC005', message = 'p_grace_minutes must be between 0 and 10080 (one week)';
  end if;
  update ehg_tasks.agents a
  set previous_token_hash = a.token_hash,
      previous_token_expires_at =
        case when a.token_hash is not null then clock_timestamp() + make_interval(mins => p_grace_minutes) end,
      token_hash = sha256(convert_to(v_token, 'UTF8'))
  where a.name = v_name
  returning a.previous_token_expires_at into v_until;
  perform ehg_tasks.check_registered(found, v_name);
  return next (v_name, v_token, false, v_until)::public.task_agent_token;
end
$$;
revoke all on function ehg_tasks.rotate_task_agent(text, integer)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.rotate_task_agent(text, integer) to service_role;

create or replace function public.rotate_task_agent(p_name text, p_grace_minutes integer default 60)
returns setof public.task_agent_token
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.rotate_task_agent(p_name, p_grace_minutes) $$;
comment on function public.rotate_task_agent(text, integer) is
  'Issues a new token for a registered agent. The previous one stays valid for p_grace_minutes (at most a week); tokens before it do not.';
revoke all on function public.rotate_task_agent(text, integer) from public, anon, authenticated, service_role;
grant execute on function public.rotate_task_agent(text, integer) to service_role;

---------------------------------------------------------------------------------------------------
-- Pause, resume, remove
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.pause_task_agent(p_name text)
returns setof public.task_agent_change
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := ehg_tasks.agent_name('p_name', p_name);
  v_now constant timestamptz := clock_timestamp();
  v_registered boolean;
begin
  insert into ehg_tasks.agents as a (name, created_at, paused_at)
  values (v_name, v_now, v_now)
  on conflict (name) do update set paused_at = excluded.paused_at where a.paused_at is null
  returning a.created_at = v_now into v_registered;
  return next (
    v_name,
    case
      when not found then 'already paused'
      when not v_registered then 'agent paused'
      when exists (select from public.agent_task_contracts c where c.target_agent = v_name)
        then 'agent registered and paused'
      -- A new name may be a misspelt one.
      else 'agent registered and paused; it has no contracts: check its name'
    end,
    not found)::public.task_agent_change;
end
$$;
revoke all on function ehg_tasks.pause_task_agent(text) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.pause_task_agent(text) to service_role;

create or replace function public.pause_task_agent(p_name text)
returns setof public.task_agent_change
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.pause_task_agent(p_name) $$;
comment on function public.pause_task_agent(text) is
  'Stops handing out the contracts of an agent. Attempts in progress go on. A name that is not registered is registered, without a token.';
revoke all on function public.pause_task_agent(text) from public, anon, authenticated, service_role;
grant execute on function public.pause_task_agent(text) to service_role;

create or replace function ehg_tasks.resume_task_agent(p_name text)
returns setof public.task_agent_change
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := ehg_tasks.agent_name('p_name', p_name);
  v_paused_at timestamptz;
begin
  select a.paused_at into v_paused_at from ehg_tasks.agents a where a.name = v_name for update;
  perform ehg_tasks.check_registered(found, v_name);
  update ehg_tasks.agents a
  set paused_at = null, resumed_at = clock_timestamp()
  where a.name = v_name and a.paused_at is not null;
  return next (
    v_name, case when v_paused_at is null then 'not paused' else 'agent resumed' end, v_paused_at is null
  )::public.task_agent_change;
end
$$;
revoke all on function ehg_tasks.resume_task_agent(text) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.resume_task_agent(text) to service_role;

create or replace function public.resume_task_agent(p_name text)
returns setof public.task_agent_change
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.resume_task_agent(p_name) $$;
comment on function public.resume_task_agent(text) is 'Hands out the contracts of a paused agent again.';
revoke all on function public.resume_task_agent(text) from public, anon, authenticated, service_role;
grant execute on function public.resume_task_agent(text) to service_role;

create or replace function ehg_tasks.remove_task_agent(p_name text)
returns setof public.task_agent_change
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name constant text := ehg_tasks.agent_name('p_name', p_name);
  v_resumed_at timestamptz;
begin
  delete from ehg_tasks.agents a
  where a.name = v_name
  returning case when a.paused_at is null then a.resumed_at else clock_timestamp() end into v_resumed_at;
  perform ehg_tasks.check_registered(found, v_name);
  -- Clean-up no longer knows of the pause. What is locked is being claimed or ended.
  update ehg_tasks.ready r
  set claimable_since = v_resumed_at
  from (
    select q.contract_id
    from ehg_tasks.ready q
    where q.target_agent = v_name and q.claimable_since < v_resumed_at
    for update skip locked
  ) as q
  where r.contract_id = q.contract_id;
  return next (v_name, 'agent removed', false)::public.task_agent_change;
end
$$;
revoke all on function ehg_tasks.remove_task_agent(text) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.remove_task_agent(text) to service_role;

create or replace function public.remove_task_agent(p_name text)
returns setof public.task_agent_change
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.remove_task_agent(p_name) $$;
comment on function public.remove_task_agent(text) is
  'Removes an agent from the registry, with its token, pause and limit. Its contracts stay.';
revoke all on function public.remove_task_agent(text) from public, anon, authenticated, service_role;
grant execute on function public.remove_task_agent(text) to service_role;
