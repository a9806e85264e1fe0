"""Mutants of a database, and the example in docs/mutation-testing.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from ehg_tasks.testing.mutant_rules import edits
from ehg_tasks.testing.mutants import Mutant, mutants
from tests.testing.conftest import UserProject

PAGE = (Path(__file__).parents[2] / "docs" / "mutation-testing.md").read_text("utf-8")
BLOCK = re.compile(
    r"^```(?P<language>\w+)\n(?:(?:--|#) (?P<name>[\w./]+\.\w+)\n)?(?P<text>.*?)^```$", re.M | re.S
)
OBJECTS = """
create schema mutated;
create table mutated.notes (id integer primary key, body text not null default 'x' check (body <> ''));
alter table mutated.notes enable row level security;
create policy "Readers" on mutated.notes for select to authenticated using (id > 1 and body <> 'hidden');
create function mutated.add(p_id integer, p_body text) returns integer language plpgsql
set search_path = '' as $$
begin
  if p_id is null or p_id < 0 then
    raise exception using errcode = 'P0001', message = 'no';
  end if;
  insert into mutated.notes (id, body) values (p_id, coalesce(p_body, 'none'))
  on conflict (id) do update set body = excluded.body;
  return p_id;
end
$$;
"""


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("a and b or c", ["b or c", "a or c", "a and b"]),
        (
            "a between 1 and 2 and b",
            ["b", "a between 1 and 2", "a between 2 and 2 and b", "a between 1 and 3 and b"],
        ),
        ("where a", ["where true"]),
        ("x <= 3", ["x > 3", "x < 3", "x <= 4"]),
        ("expires_at <= v_now", ["expires_at > v_now"]),
        ("a = any (b)", ["a <> all (b)"]),
        ("a is distinct from b", ["a <> b", "a is not distinct from b"]),
        ("select (a = b) is not true", ["select (a <> b) is not true", "select not (a = b)"]),
        (
            "update t set a = 1, b = c",
            ["update t set b = c", "update t set a = 1", "update t set a = 2, b = c"],
        ),
        ("update t set a = c", ["update t set a = a"]),
        (
            "insert into t (a, b) values (c, d)",
            ["insert into t (b) values (d)", "insert into t (a) values (c)"],
        ),
        ("select a from t order by b desc limit 1", ["select a from t order by b asc limit 1"]),
        ("select a from t for update skip locked", ["select a from t", "select a from t for update"]),
        ("coalesce(a, b)", ["coalesce(b)", "coalesce(a)"]),
        ("a in ('x', 'y')", ["a not in ('x', 'y')", "a in ('y')", "a in ('x')"]),
        ("select a offset 0", []),
    ],
)
def test_an_edit_changes_one_thing(text: str, changed: list[str]) -> None:
    assert [" ".join(edit.apply(text).split()) for edit in edits(text)] == changed


@pytest.fixture
def mutated(superuser: Connection[Any]) -> list[Mutant]:
    with superuser.transaction(force_rollback=True):
        superuser.execute(OBJECTS)
        found = mutants(superuser, ["mutated"])
        assert mutants(superuser, ["mutated"]) == found
        before = definitions(superuser)
        for mutant in found:
            superuser.execute(mutant.sql.encode())
            superuser.execute(mutant.undo.encode())
        assert definitions(superuser) == before
    return found


def definitions(connection: Connection[Any]) -> list[Any]:
    return connection.execute(
        "select pg_get_functiondef('mutated.add'::regproc), "
        " (select to_jsonb(p) from pg_policies p where schemaname = 'mutated'),"
        " array(select pg_get_constraintdef(oid) from pg_constraint"
        "       where conrelid = 'mutated.notes'::regclass order by 1),"
        " (select relrowsecurity from pg_class where oid = 'mutated.notes'::regclass)"
    ).fetchall()


def test_every_object_has_mutants_and_each_can_be_undone(mutated: list[Mutant]) -> None:
    names = [mutant.name for mutant in mutated]
    assert len(set(names)) == len(names)
    assert {
        "mutated.add: `if p_id is null or p_id < 0` never",
        "mutated.add: inserted `body` dropped",
        "mutated.add(integer,text) turned definer",
        "search_path of mutated.add(integer,text) unset",
        'policy "Readers" on mutated.notes using (true)',
        'policy "Readers" on mutated.notes widened to anon',
        "row level security disabled on mutated.notes",
        "select on mutated.notes given to anon",
        "default of mutated.notes.body dropped",
        "constraint notes_body_check on mutated.notes dropped",
        "anon is a member of service_role",
    } <= set(names)


def test_a_mutant_tells_its_line_as_postgres_counts_them(mutated: list[Mutant]) -> None:
    [mutant] = [m for m in mutated if m.name == "mutated.add: `p_id is null or` dropped"]
    assert (mutant.line, mutant.title) == (3, "mutated.add line 3: `p_id is null or` dropped")


def test_an_unknown_schema_is_refused(superuser: Connection[Any]) -> None:
    with pytest.raises(ValueError, match="no such schema: nowhere"):
        mutants(superuser, ["public", "nowhere"])


class TestOption:
    def test_the_example_finds_what_is_not_tested(self, user_project: UserProject) -> None:
        blocks = list(BLOCK.finditer(PAGE))
        files = {block["name"]: block["text"] for block in blocks if block["name"]}
        assert list(files) == [
            "supabase/migrations/20261201090000_notes.sql",
            "tests/test_notes.py",
            "tests/test_others.py",
        ]
        added = files.pop("tests/test_others.py")
        for name, text in files.items():
            user_project.write(name, text)
        kept = ("tests", "--ehg-tasks-stack=kept")
        run = user_project.pytest(*kept, "--ehg-tasks-mutants", "on public.notes using")
        [printed] = [block["text"] for block in blocks if block["language"] == "text"]
        assert (run.code, run.text.splitlines()[-4:]) == (1, printed.splitlines())

        user_project.write("tests/test_others.py", added)
        run = user_project.pytest(*kept, "--ehg-tasks-mutants=on public.notes using (true)")
        assert (run.code, run.text.splitlines()[-1]) == (0, "1 of 1 mutants noticed")

    def test_a_project_of_the_environment_is_refused(self, user_project: UserProject) -> None:
        run = user_project.pytest("--ehg-tasks-mutants", "x", EHG_TASKS_TEST_PROJECT="1")
        assert run.code == 4
        assert run.text.strip() == (
            "ERROR: mutants break the rules of a database: unset EHG_TASKS_TEST_PROJECT"
        )
