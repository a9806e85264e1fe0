"""`ehg_tasks.verify` reports each kind of change in one line."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ehg_tasks import UnexpectedAnswer, migrations
from ehg_tasks.verify import Verdict, compare

TABLE = "public.agent_task_contracts"


def described(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    row = connection.execute("select public.describe_task_contracts()").fetchone()
    assert row is not None
    description: dict[str, Any] = row[0]
    return description


def after(connection: psycopg.Connection[Any], change: str) -> Verdict:
    """Verify a project with this change, and roll the change back."""
    with connection.transaction(force_rollback=True):
        connection.execute(change.encode())
        return compare(described(connection))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (f"alter table {TABLE} drop column sd_id", "missing column: sd_id"),
        (f"alter table {TABLE} add column note text", "extra column: note"),
        (
            f"alter table {TABLE} alter column priority set default 40",
            "changed column: priority has default 40 instead of 50",
        ),
        (
            f"alter table {TABLE} alter column objective drop not null",
            "changed column: objective has nullable true instead of false",
        ),
        (
            f"alter table {TABLE} drop constraint agent_task_contracts_status_check",
            "missing constraint: agent_task_contracts_status_check",
        ),
        ("drop index public.idx_task_contracts_pending", "missing index: idx_task_contracts_pending"),
        (
            f"alter table {TABLE} disable row level security",
            f"changed row level security: {TABLE} has state off instead of on",
        ),
        (
            f'drop policy "Authenticated users can read task contracts" on {TABLE}',
            f'missing policy: "Authenticated users can read task contracts" on {TABLE}',
        ),
        (
            f'drop policy "Anon can create task contracts" on {TABLE}',
            f'missing policy: "Anon can create task contracts" on {TABLE}',
        ),
        (
            f'create policy "Anon reads" on {TABLE} for select to anon using (true)',
            f'extra policy: "Anon reads" on {TABLE}',
        ),
        (
            f'alter policy "Authenticated users can read task contracts" on {TABLE} using (false)',
            f'changed policy: "Authenticated users can read task contracts" on {TABLE}'
            " has using false instead of true",
        ),
        (
            f"alter table {TABLE} disable trigger trg_task_contracts_anon_rows",
            "changed trigger: trg_task_contracts_anon_rows has enabled false instead of true",
        ),
        (
            "drop function public.cancel_task_contract(uuid, text)",
            "missing function: public.cancel_task_contract(uuid,text)",
        ),
        (
            "create or replace function ehg_tasks.is_blank(p_text text) returns boolean"
            " language sql immutable set search_path = '' as $$ select false $$",
            "changed function: ehg_tasks.is_blank(text) has a different body",
        ),
        (
            "alter function ehg_tasks.prune_task_contracts(integer, integer, boolean) security invoker",
            "changed function: ehg_tasks.prune_task_contracts(integer,integer,boolean)"
            " has security invoker instead of definer",
        ),
        (
            "alter function public.read_task_contract(uuid) volatile",
            "changed function: public.read_task_contract(uuid) has volatility volatile instead of stable",
        ),
        (
            "create function public.claim_task_contract(varchar) returns integer language sql as 'select 1';"
            " revoke all on function public.claim_task_contract(varchar) from public",
            "extra function: public.claim_task_contract(character varying)",
        ),
        (
            "create function public.queue_length() returns integer language sql as"
            " 'select count(*)::integer from ehg_tasks.attempts'",
            "extra function: public.queue_length()",
        ),
        (
            "create function public.parsed() returns bigint"
            " begin atomic select count(*) from ehg_tasks.attempts; end",
            "extra function: public.parsed()",
        ),
        (
            "create function public.quoted() returns integer language sql as"
            """ 'select count(*)::integer from "ehg_tasks".attempts'""",
            "extra function: public.quoted()",
        ),
        (
            f"create materialized view public.copied_task_contracts as select * from {TABLE};"
            " grant select on public.copied_task_contracts to anon",
            "extra grant: SELECT on public.copied_task_contracts to anon",
        ),
        (
            'create function public."task_contract\nThe project matches"() returns integer return 1',
            'extra function: public."task_contract The project matches"()',
        ),
        (
            "alter view public.task_contract_stats reset (security_invoker)",
            'changed view: public.task_contract_stats has options [] instead of ["security_invoker=true"]',
        ),
        (
            "alter table ehg_tasks.attempts drop column request_key",
            "missing part: column ehg_tasks.attempts.request_key",
        ),
        (f"grant truncate on {TABLE} to anon", f"extra grant: TRUNCATE on {TABLE} to anon"),
        (f"grant select (id) on {TABLE} to public", f"extra grant: SELECT on {TABLE}.id to PUBLIC"),
        (f"revoke delete on {TABLE} from service_role", f"missing grant: DELETE on {TABLE} to service_role"),
        (
            "revoke execute on function public.cancel_task_contract(uuid, text) from anon",
            "missing grant: EXECUTE on public.cancel_task_contract(uuid,text) to anon",
        ),
        ("grant usage on schema ehg_tasks to public", "extra grant: USAGE on schema ehg_tasks to PUBLIC"),
    ],
)
def test_a_change_is_reported(connection: psycopg.Connection[Any], change: str, difference: str) -> None:
    verdict = after(connection, change)
    assert (verdict.matches, verdict.profile) == (False, "specified")
    assert difference in verdict.differences
    assert all("\n" not in line for line in verdict.differences)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (f"alter table {TABLE} owner to supabase_admin",
         "relation public.agent_task_contracts belongs to supabase_admin"),
        ("alter function ehg_tasks.is_service_role() owner to supabase_admin",
         "function ehg_tasks.is_service_role() belongs to supabase_admin"),
        ("create role visitor; grant select on ehg_tasks.attempts to visitor",
         "extra grant: SELECT on ehg_tasks.attempts to visitor"),
        ("alter role authenticated bypassrls", "role authenticated bypasses row level security"),
        ("alter role anon superuser", "role anon is a superuser"),
        ("grant service_role to authenticated", "role authenticated is a member of service_role"),
        ("create role visitor; grant service_role to visitor", "role visitor is a member of service_role"),
        (f"alter table {TABLE} force row level security",
         f"changed row level security: {TABLE} has state forced instead of on"),
        ("create function public.spy() returns trigger language plpgsql as 'begin return new; end';"
         " create trigger spy after insert on ehg_tasks.attempts for each row execute function public.spy()",
         "trigger spy on ehg_tasks.attempts is not of this package"),
        (f"create rule spy as on insert to {TABLE} do also notify spy",
         "rule spy on public.agent_task_contracts is not of this package"),
        (f"create view public.spy as select * from {TABLE}; grant select on public.spy to anon",
         "view public.spy reads public.agent_task_contracts with the rights of its owner"),
        ("create view public.spy as select * from public.agent_artifacts; grant select on public.spy to anon",
         "view public.spy reads public.agent_artifacts with the rights of its owner"),
        (f"create function public.spy() returns bigint security definer"
         f" return (select count(*) from {TABLE})",
         "function public.spy() runs with the rights of its owner and refers to task contracts"),
        ("alter default privileges in schema ehg_tasks grant select on tables to anon",
         "schema ehg_tasks grants SELECT on new objects to anon by default"),
        ("grant create on schema public to anon", "schema public lets anon create objects"),
        ("grant create on schema public to public", "schema public lets PUBLIC create objects"),
        ("alter table public.agent_artifacts disable row level security",
         "table public.agent_artifacts has no row level security"),
        ("create policy open on public.agent_artifacts for select using (true)",
         'policy "open" on public.agent_artifacts lets anon in'),
        ("create policy open on public.strategic_directives_v2 for all to anon using (true)",
         'policy "open" on public.strategic_directives_v2 lets anon in'),
    ],
)  # fmt: skip
def test_access_beyond_the_grants_is_reported(
    connection: psycopg.Connection[Any], change: str, difference: str
) -> None:
    verdict = after(connection, change)
    assert not verdict.matches
    assert difference in verdict.differences


def test_what_a_project_may_have_of_its_own_is_no_difference(
    connection: psycopg.Connection[Any],
) -> None:
    assert after(
        connection,
        f"comment on column {TABLE}.priority is 'ours';"
        f"insert into {TABLE} (parent_agent, target_agent, objective) values ('A', 'B', 'x');"
        f"create index spare on {TABLE} (created_at);"
        "alter view public.task_agents set (security_invoker = on);"
        "create or replace function ehg_tasks.retry_wait(p_retry_count integer) returns interval"
        " language sql immutable set search_path = '' as $$ select interval '1 minute' $$",
    ) == Verdict(
        "specified",
        (),
        (
            "extra index: spare",
            "changed function: ehg_tasks.retry_wait(integer), the project's own retry schedule",
        ),
    )


def test_a_dump_and_restore_is_not_a_difference(connection: psycopg.Connection[Any]) -> None:
    """Postgres prints a check differently after it has parsed its own output."""
    name = "agent_task_contracts_status_check"
    [(printed,)] = connection.execute(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [name]
    ).fetchall()
    again = (  # without the rows of other tests
        f"truncate {TABLE}; alter table {TABLE} drop constraint {name};"
        f" alter table {TABLE} add constraint {name} {printed}"
    )
    assert after(connection, again).matches
    fewer = again.replace(", 'cancelled'::character varying", "")
    assert fewer != again
    [difference] = after(connection, fewer).differences
    assert difference.startswith(f"changed constraint: {name} has definition ")


def test_the_hardened_profile_is_recognized(connection: psycopg.Connection[Any]) -> None:
    [hardened] = [file.read_text() for file in migrations.optional() if file.name == "hardened.sql"]
    assert after(connection, hardened) == Verdict("hardened", ())
    widened = after(connection, f"{hardened}; grant select on {TABLE} to anon")
    assert widened == Verdict("hardened", (f"extra grant: SELECT on {TABLE} to anon",))


def test_a_description_by_an_older_function_is_reported(connection: psycopg.Connection[Any]) -> None:
    older = {name: part for name, part in described(connection).items() if name != "parts"}
    assert compare(older).differences == (
        "outdated describe_task_contracts(): it reports no part; apply the migrations",
    )


@pytest.mark.parametrize("answer", [{}, {"columns": 3}, {"columns": [{}]}, {"columns": ["id"]}])
def test_an_answer_that_is_not_a_description_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedAnswer, match="no description"):
        compare(answer)
