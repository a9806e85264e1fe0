-- Dashboard: figures for people, and live updates.
--
-- The view runs with its reader's rights (security_invoker), so row level security on the table
-- decides which contracts are counted. Projects with Supabase Realtime also publish changes to the
-- table. Durations subtract epochs instead of timestamps: a row written directly to the table may
-- hold times whose difference does not fit into an interval.

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
  count(*) filter (where c.completed_at > now() - interval '1 hour')::integer as finished_last_hour,
  percentile_cont(0.5) within group (order by case when isfinite(c.completed_at) and isfinite(c.started_at)
      then (extract(epoch from c.completed_at) - extract(epoch from c.started_at))::double precision end)
    as median_duration_seconds,
  percentile_cont(0.95) within group (order by case when isfinite(c.completed_at) and isfinite(c.started_at)
      then (extract(epoch from c.completed_at) - extract(epoch from c.started_at))::double precision end)
    as p95_duration_seconds,
  sum(c.execution_tokens)::bigint as execution_tokens,
  sum(c.max_tokens) filter (where c.execution_tokens is not null)::bigint as max_tokens
from public.agent_task_contracts c
group by c.target_agent, c.status;

comment on view public.task_contract_stats is
  'One row per target agent and status: number of contracts, longest wait (pending only), number finished in the last hour, durations of attempts in seconds, and tokens used against the budget of the same contracts.';
revoke all on table public.task_contract_stats from public, anon, authenticated, service_role;
grant select on table public.task_contract_stats to authenticated, service_role;

-- Hosted and self-hosted projects have this publication. Other databases have no Realtime server.
do $$
begin
  if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime' and not puballtables)
    and not exists (
      select from pg_catalog.pg_publication_tables
      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'agent_task_contracts')
  then
    alter publication supabase_realtime add table public.agent_task_contracts;
  end if;
end
$$;
