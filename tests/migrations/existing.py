"""An existing database in the states in which the migrations may find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg import Connection

from tests.access import specification as spec

_EXISTING = (Path(__file__).parent / "existing.sql").read_text()
_TABLE_MARK = "-- {table}: created here, from the specification.\n"


def _table() -> str:
    """Return the SQL for the specified table with its indexes, policies and trigger."""
    columns = []
    for name, kind, size, nullable, default in spec.COLUMNS:
        kind = "uuid[]" if kind == "ARRAY" else kind
        kind += f"({size})" if kind == spec.VARCHAR else ""
        columns.append(
            f"{name} {kind}" + ("" if nullable else " not null") + (f" default {default}" if default else "")
        )
    # Not as the catalog prints it: PostgreSQL prints a check that it parsed from its own output differently.
    status = "check (status in ('pending', 'in_progress', 'completed', 'failed', 'cancelled'))"
    texts = spec.CONSTRAINTS | {"agent_task_contracts_status_check": status}
    constraints = [f"constraint {name} {text}" for name, text in texts.items()]
    statements = [f"create table public.agent_task_contracts ({', '.join(columns + constraints)})"]
    statements += [text for name, text in spec.INDEXES.items() if not name.endswith("_pkey")]
    statements += ["alter table public.agent_task_contracts enable row level security"]
    for name, command, roles, using, check in sorted(spec.POLICIES):
        statements.append(
            f'create policy "{name}" on public.agent_task_contracts for {command} to {", ".join(roles)}'
            + (f" using ({using})" if using else "")
            + (f" with check ({check})" if check else "")
        )
    statements += spec.TRIGGERS.values()
    # Such databases granted everything to every API role.
    statements += ["grant all on public.agent_task_contracts to anon, authenticated, service_role"]
    return ";\n".join(statements) + ";\n"


def existing() -> str:
    """Return the SQL for the table, what it refers to and the earlier functions, with rows of every kind."""
    return _EXISTING.replace(_TABLE_MARK, _table())


def rows(connection: Connection[Any], table: str = "public.agent_task_contracts") -> list[str]:
    """Every row of a table as text, because psycopg cannot read infinite times."""
    texts = connection.execute(f"select t::text from {table} t order by 1".encode()).fetchall()
    return [text for (text,) in texts]


# To 6,308 rows with the others. Nearly every contract waits: programs do the work themselves and complete
# contracts that were never claimed.
IN_USE = """
insert into public.agent_task_contracts
  (parent_agent, target_agent, objective, status, started_at, completed_at, created_at, updated_at)
select 'P', 'A' || n % 5, 'o' || n, s.status,
       case when s.status <> 'pending' then now() - n * interval '10 minutes' end,
       case when s.status not in ('pending', 'in_progress') then now() - n * interval '9 minutes' end,
       now() - n * interval '11 minutes', now() - n * interval '9 minutes'
from generate_series(1, 6297) n
cross join lateral (
  select case when n % 20 > 3 then 'pending'
         else (array['in_progress', 'completed', 'failed', 'cancelled'])[n % 20 + 1] end as status
) as s;
"""
# Its owners have dropped anon's policies and pinned the functions' search_path.
CLOSED = """
drop policy "Anon can create task contracts" on public.agent_task_contracts;
drop policy "Anon can update task contracts" on public.agent_task_contracts;
alter function public.claim_task_contract set search_path = public, extensions;
alter function public.read_task_contract set search_path = public, extensions;
"""
# As supabase_admin.
INVOKER_VIEWS = """
create function public.invoker_views() returns event_trigger language plpgsql as $$
declare
  v_view record;
begin
  for v_view in select * from pg_event_trigger_ddl_commands() where object_type = 'view' loop
    execute format('alter view %s set (security_invoker = on)', v_view.object_identity);
  end loop;
end $$;
create event trigger invoker_views on ddl_command_end when tag in ('CREATE VIEW')
  execute function public.invoker_views();
"""
