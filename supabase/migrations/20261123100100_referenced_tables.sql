-- Referenced tables: the two tables that a contract's foreign keys point to.
--
-- A contract may name the strategic directive it serves (sd_id) and the artifact that holds its
-- output (output_artifact_id). If your database already has these tables, they do not change. If
-- one is missing, its block below creates the smallest table that works, with policies and grants
-- for the same roles.

set local lock_timeout = '10s';

do $$
begin
  if to_regclass('public.strategic_directives_v2') is not null then
    return;
  end if;

  create table public.strategic_directives_v2 (
    id varchar(50) primary key
  );
  comment on table public.strategic_directives_v2 is
    'Strategic directives that task contracts serve. Holds only the key that contracts reference.';

  alter table public.strategic_directives_v2 enable row level security;
  create policy "Authenticated users can read strategic directives"
    on public.strategic_directives_v2 for select to authenticated using (true);
  create policy "Service role full access on strategic directives"
    on public.strategic_directives_v2 for all to service_role using (true) with check (true);

  revoke all on table public.strategic_directives_v2 from public, anon, authenticated, service_role;
  grant select on table public.strategic_directives_v2 to authenticated;
  grant select, insert, update, delete on table public.strategic_directives_v2 to service_role;
end
$$;

do $$
begin
  if to_regclass('public.agent_artifacts') is not null then
    return;
  end if;

  create table public.agent_artifacts (
    id uuid primary key default gen_random_uuid(),
    session_id uuid,
    sd_id text,
    type text not null,
    summary text not null,
    confidence text default 'HIGH',
    content_text text,
    token_count integer,
    metadata jsonb default '{}'::jsonb,
    created_at timestamptz default now(),
    created_by text,
    source_tool varchar(50),
    constraint agent_artifacts_confidence_check check (confidence in ('HIGH', 'MEDIUM', 'LOW'))
  );
  comment on table public.agent_artifacts is
    'What agents produce and read. The output of a task contract has the type contract_output.';

  alter table public.agent_artifacts enable row level security;
  create policy "Authenticated users can read agent artifacts"
    on public.agent_artifacts for select to authenticated using (true);
  create policy "Service role full access on agent artifacts"
    on public.agent_artifacts for all to service_role using (true) with check (true);

  revoke all on table public.agent_artifacts from public, anon, authenticated, service_role;
  grant select on table public.agent_artifacts to authenticated;
  grant select, insert, update, delete on table public.agent_artifacts to service_role;
end
$$;
