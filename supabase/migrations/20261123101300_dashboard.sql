-- Dashboard: figures for people, and live updates.
--
-- The views run with their reader's rights (security_invoker), so row level security on the table
-- decides which contracts are counted. What the engine's own tables know (held and running
-- contracts, the registry) comes from two functions, which show numbers and no contents. Projects
-- with Supabase Realtime also publish changes to the table. Durations subtract epochs instead of
-- timestamps: a row written directly to the table may hold times whose difference does not fit into
-- an interval.

set local lock_timeout = '10s';

-- Hosted and self-hosted projects have this publication. Other databases have no Realtime server. Only
-- the first time: a table that has been taken out stays out.
do $$
declare
  v_owner name;
begin
  select pg_get_userbyid(p.pubowner) into v_owner
  from pg_catalog.pg_publication p
  where p.pubname = 'supabase_realtime' and not p.puballtables;
  if not found or to_regclass('public.task_contract_stats') is not null or exists (
    select from pg_catalog.pg_publication_tables t
    where t.pubname = 'supabase_realtime' and t.schemaname = 'public' and t.tablename = 'agent_task_contracts'
  ) then
    return;
  end if;
  if pg_has_role(v_owner, 'usage') then
    alter publication supabase_realtime add table public.agent_task_contracts;
  else
    raise notice 'Realtime does not publish the contracts: the publication supabase_realtime belongs to %.', v_owner
      using hint = 'As that role: alter publication supabase_realtime add table public.agent_task_contracts;';
  end if;
end
$$;

create or replace function ehg_tasks.queue_figures()
returns table (target_agent text, held integer, running integer)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select q.target_agent, sum(q.held)::integer, sum(q.running)::integer
  from (
    select h.target_agent, 1 as held, 0 as running from ehg_tasks.held h
    union all
    select a.target_agent, 0, 1 from ehg_tasks.attempts a where a.ended_at is null
  ) as q
  group by q.target_agent
$$;
comment on function ehg_tasks.queue_figures() is
  'For each agent, how many of its contracts are held, and how many are in progress under a lease.';
revoke all on function ehg_tasks.queue_figures() from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.queue_figures() to authenticated, service_role;

create or replace view public.task_contract_stats
with (security_invoker = true)
as
select
  c.target_agent::text as target_agent,
  c.status::text as status,
  count(*)::integer as contracts,
  min(c.created_at) as oldest_created_at,
  case when c.status = 'pending'
    then (extract(epoch from clock_timestamp()) - extract(epoch from min(c.created_at)))::double precision
  end as oldest_wait_seconds,
  -- Times written directly to the table may lie in the future.
  count(*) filter (where c.completed_at between now() - interval '1 hour' and now())::integer as finished_last_hour,
  percentile_cont(0.5) within group (order by case when isfinite(c.completed_at) and isfinite(c.started_at)
      then (extract(epoch from c.completed_at) - extract(epoch from c.started_at))::double precision end)
    as median_duration_seconds,
  percentile_cont(0.95) within group (order by case when isfinite(c.completed_at) and isfinite(c.started_at)
      then (extract(epoch from c.completed_at) - extract(epoch from c.started_at))::double precision end)
    as p95_duration_seconds,
  sum(c.execution_tokens)::bigint as execution_tokens,
  sum(c.max_tokens) filter (where c.execution_tokens is not null)::bigint as max_tokens,
  count(*) filter (where c.execution_tokens > c.max_tokens)::integer as over_budget,
  case when c.status = 'pending' then coalesce(max(q.held), 0) end as held,
  case when c.status = 'in_progress' then coalesce(max(q.running), 0) end as running
from public.agent_task_contracts c
left join ehg_tasks.queue_figures() q on q.target_agent = c.target_agent
group by c.target_agent, c.status;

comment on view public.task_contract_stats is
  'Figures of contracts, one row per target agent and status.';
comment on column public.task_contract_stats.target_agent is
  'The agent that does the work.';
comment on column public.task_contract_stats.status is
  'pending, in_progress, completed, failed or cancelled.';
comment on column public.task_contract_stats.contracts is
  'Number of contracts.';
comment on column public.task_contract_stats.oldest_created_at is
  'When the oldest of them was created.';
comment on column public.task_contract_stats.oldest_wait_seconds is
  'How long the oldest has waited, in seconds. Pending contracts only.';
comment on column public.task_contract_stats.finished_last_hour is
  'How many of them became final in the last hour.';
comment on column public.task_contract_stats.median_duration_seconds is
  'Median time from started_at to completed_at, in seconds.';
comment on column public.task_contract_stats.p95_duration_seconds is
  '95th percentile of the time from started_at to completed_at, in seconds.';
comment on column public.task_contract_stats.execution_tokens is
  'Tokens that they used.';
comment on column public.task_contract_stats.max_tokens is
  'Token budget of those that reported the tokens they used.';
comment on column public.task_contract_stats.over_budget is
  'How many of them used more tokens than their budget.';
comment on column public.task_contract_stats.held is
  'How many of the pending contracts must wait. Pending contracts only. Not counted under a name with white space around it, which a direct write may hold.';
comment on column public.task_contract_stats.running is
  'How many of the contracts in progress are under a lease. Contracts in progress only. Not counted under a name with white space around it, which a direct write may hold.';
revoke all on table public.task_contract_stats from public, anon, authenticated, service_role;
grant select on table public.task_contract_stats to authenticated, service_role;

create or replace function ehg_tasks.registered_agents()
returns table (
  name text, description text, has_token boolean, max_running integer, paused_at timestamptz,
  created_at timestamptz, running integer, ready integer, held integer)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select a.name, a.description, a.token_hash is not null, a.max_running, a.paused_at, a.created_at,
         coalesce(q.running, 0),
         (select count(*) from ehg_tasks.ready r where r.target_agent = a.name)::integer,
         coalesce(q.held, 0)
  from ehg_tasks.agents a
  left join ehg_tasks.queue_figures() q on q.target_agent = a.name
$$;
comment on function ehg_tasks.registered_agents() is
  'The registry without the hashes of tokens, with what runs and waits.';
revoke all on function ehg_tasks.registered_agents() from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.registered_agents() to authenticated, service_role;

create or replace view public.task_agents
with (security_invoker = true)
as
select r.name, r.description, r.has_token, r.max_running, r.paused_at, r.created_at, r.running, r.ready, r.held
from ehg_tasks.registered_agents() r;

comment on view public.task_agents is
  'The registered agents, without the hashes of their tokens, and how much work each has.';
comment on column public.task_agents.description is
  'What the agent does, as its registration says.';
comment on column public.task_agents.has_token is
  'Whether claims of its work and contracts in its name need a token.';
comment on column public.task_agents.max_running is
  'How many of its contracts may be in progress at once. Null: any number.';
comment on column public.task_agents.paused_at is
  'Since when its contracts are not handed out. Null: they are.';
comment on column public.task_agents.created_at is
  'When it was registered.';
comment on column public.task_agents.running is
  'How many of its contracts are in progress under a lease.';
comment on column public.task_agents.ready is
  'How many of its contracts can be claimed, unless it is paused.';
comment on column public.task_agents.held is
  'How many of its pending contracts must wait.';
revoke all on table public.task_agents from public, anon, authenticated, service_role;
grant select on table public.task_agents to authenticated, service_role;
