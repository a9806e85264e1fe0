"""The completeness check: what it reads from the catalog, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ehg_tasks.testing import assert_covered, catalog, uncovered
from tests.databases import Databases

Connection = psycopg.Connection[Any]
NOTES = """
    create table public.notes (id int primary key, body text);
    alter table public.notes enable row level security;
    create policy "Everybody reads" on public.notes for select using (true);
    grant select on public.notes to authenticated;
"""
COVERED = [
    "rls public.notes",
    'policy public.notes "Everybody reads"',
    "grant public.notes authenticated SELECT",
]


@pytest.fixture
def notes(databases: Databases) -> Iterator[Connection]:
    """A database with the package's migrations and one of the user's own tables."""
    name = databases.migrated()
    with databases.connect(name) as connection:
        connection.execute(NOTES)
        yield connection
    databases.drop(name)


def test_a_complete_list_has_no_gaps(notes: Connection) -> None:
    assert not uncovered(notes, COVERED)
    assert not uncovered(notes, COVERED, ("public", "ehg_tasks"))
    assert_covered(notes, COVERED)
    assert_covered(notes, dict.fromkeys(COVERED, "test_notes.py"))


@pytest.mark.parametrize("item", COVERED)
def test_a_forgotten_entry_is_missing(notes: Connection, item: str) -> None:
    gaps = uncovered(notes, [entry for entry in COVERED if entry != item])
    assert (gaps.missing, gaps.unknown) == ((item,), ())


# A change of the database, and the items that it adds.
CHANGES = [
    (
        'create policy "Of ""two"" words" on public.notes for insert with check (true)',
        ['policy public.notes "Of "two" words"'],
    ),
    (
        'create policy "Agents read" on public.agent_task_contracts for select to anon using (true)',
        ['policy public.agent_task_contracts "Agents read"'],
    ),
    ("grant insert on public.notes to anon", ["grant public.notes anon INSERT"]),
    ("grant truncate on public.notes to public", ["grant public.notes PUBLIC TRUNCATE"]),
    (
        "grant select on public.agent_task_contracts to anon",
        ["grant public.agent_task_contracts anon SELECT"],
    ),
    ("grant update (body) on public.notes to anon", ["grant public.notes(body) anon UPDATE"]),
    ("create table public.bare ()", ["no rls public.bare"]),
    ('create table public."Two Words" ()', ['no rls public."Two Words"']),
    ("create table public.parts (id int) partition by range (id)", ["no rls public.parts"]),
    (
        "create view public.v as select 1; grant select on public.v to anon",
        ["grant public.v anon SELECT"],
    ),
    (
        "create sequence public.s; grant usage on public.s to authenticated",
        ["grant public.s authenticated USAGE"],
    ),
    (
        "create function public.f(int, text[]) returns int return 1",
        ["execute public.f(integer, text[]) PUBLIC"],
    ),
    (
        "create function public.f() returns int return 1; revoke execute on function public.f from public;"
        "grant execute on function public.f to anon",
        ["execute public.f() anon"],
    ),
    (
        "create type public.mood as enum ('good');"
        "create procedure public.p(public.mood) language sql as 'select 1'",
        ["execute public.p(public.mood) PUBLIC"],
    ),
    (
        "create trigger stamp before update on public.notes"
        " for each row execute function public.update_task_contracts_timestamp()",
        ['trigger public.notes "stamp"'],
    ),
    ("grant create on schema public to anon", ["schema public anon CREATE"]),
    # Not for the API roles, not in this schema, or open to no role.
    ("create function public.f() returns int return 1; revoke execute on function public.f from public", []),
    ("grant insert on public.notes to authenticator", []),
    ("create schema other; create table other.t ()", []),
    ("alter table public.notes add unique (body)", []),
    (
        "create function public.f() returns int return 1; create table public.t ();"
        "alter extension plpgsql add function public.f(); alter extension plpgsql add table public.t",
        [],
    ),
]


@pytest.mark.parametrize(("change", "items"), CHANGES, ids=[change[:60] for change, _ in CHANGES])
def test_an_addition_is_reported(notes: Connection, change: str, items: list[str]) -> None:
    notes.execute(change.encode())
    gaps = uncovered(notes, COVERED)
    assert (gaps.missing, gaps.unknown) == (tuple(items), ())


@pytest.mark.parametrize(
    ("change", "missing", "unknown"),
    [
        (
            "alter table public.notes disable row level security",
            ["no rls public.notes"],
            ["rls public.notes"],
        ),
        (
            "alter table public.notes force row level security",
            ["rls public.notes forced"],
            ["rls public.notes"],
        ),
        ('drop policy "Everybody reads" on public.notes', [], ['policy public.notes "Everybody reads"']),
        ("revoke all on public.notes from authenticated", [], ["grant public.notes authenticated SELECT"]),
        ("drop table public.notes", [], COVERED),
    ],
)
def test_a_removal_is_reported(
    notes: Connection, change: str, missing: list[str], unknown: list[str]
) -> None:
    notes.execute(change.encode())
    gaps = uncovered(notes, COVERED)
    assert (gaps.missing, gaps.unknown) == (tuple(missing), tuple(unknown))


def test_the_same_list_covers_the_hardened_profile(notes: Connection) -> None:
    from ehg_tasks import migrations

    [hardened] = [file for file in migrations.optional() if file.name == "hardened.sql"]
    notes.execute(hardened.read_text().encode())
    assert_covered(notes, COVERED)


def test_another_schema_is_checked(notes: Connection) -> None:
    notes.execute("create schema desk; grant usage on schema desk to anon; create table desk.t ()")
    assert uncovered(notes, [], ("desk",)).missing == ("no rls desk.t", "schema desk anon USAGE")


def test_an_unknown_schema_is_refused(notes: Connection) -> None:
    with pytest.raises(ValueError, match="no such schema: dusk"):
        uncovered(notes, COVERED, ("public", "dusk"))


def test_the_packaged_items_are_reported_on_request(notes: Connection) -> None:
    gaps = uncovered(notes, COVERED, ("public", "ehg_tasks"), known=())
    assert set(gaps.missing) == catalog.packaged()


def test_the_message_has_the_lines_to_write(notes: Connection) -> None:
    listed = [
        COVERED[0],
        'policy public.notes "Everybody red"',
        "grant public.gone anon SELECT",
        COVERED[2],
    ]
    with pytest.raises(AssertionError) as raised:
        assert_covered(notes, listed)
    assert str(raised.value).splitlines() == [
        "The list does not cover these. Test each of them, then add its line:",
        """    'policy public.notes "Everybody reads"',""",
        "These entries match nothing in the database. Correct or remove them:",
        """    'policy public.notes "Everybody red"',  # perhaps 'policy public.notes "Everybody reads"'?""",
        "    'grant public.gone anon SELECT',",
    ]


def test_the_connection_is_left_unchanged(notes: Connection) -> None:
    before = notes.execute("show search_path").fetchone()
    uncovered(notes, COVERED)
    assert notes.execute("show search_path").fetchone() == before
    notes.autocommit = False
    notes.row_factory = dict_row
    notes.execute("create table public.uncommitted ()")
    assert uncovered(notes, COVERED).missing == ("no rls public.uncommitted",)
    assert notes.execute("select to_regclass('public.uncommitted') is null as gone").fetchone() == {
        "gone": False
    }
    notes.rollback()
