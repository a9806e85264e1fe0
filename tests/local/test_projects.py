"""A project of one's own on the embedded Supabase: its migrations, numbers, settings and changes."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from ehg_tasks import AgentTasks, BackendTasks, migrations
from ehg_tasks.errors import LocalStackError
from ehg_tasks.local import LocalStack

MEMBERS = """
-- Members of a club: a row for each user, made when they sign up, which they alone may read and change.
create extension if not exists moddatetime schema extensions;

create table public.members (
  user_id uuid primary key references auth.users on delete cascade,
  nickname text check (length(nickname) >= 2),
  joined_with jsonb,
  changed_at timestamptz not null default now()
);
alter table public.members enable row level security;
grant select, update on public.members to authenticated;
create policy "Members read their own row" on public.members
  for select to authenticated using ((select auth.uid()) = user_id);
create policy "Members change their own row" on public.members
  for update to authenticated using ((select auth.uid()) = user_id);
create trigger note_change before update on public.members
  for each row execute function extensions.moddatetime(changed_at);

create function public.add_member() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  insert into public.members (user_id, nickname, joined_with)
  values (new.id, new.raw_user_meta_data ->> 'nickname', new.raw_user_meta_data);
  return new;
end $$;
create trigger on_sign_up after insert on auth.users for each row execute function public.add_member();
"""
NOTES = """
create table public.notes (
  id bigint generated always as identity primary key,
  owner uuid not null default auth.uid() references auth.users,
  claims jsonb default auth.jwt(),
  body text not null
);
alter table public.notes enable row level security;
grant select, insert on public.notes to authenticated;
create policy "Owners read" on public.notes for select to authenticated using (owner = auth.uid());
create policy "Owners write" on public.notes for insert to authenticated
  with check (owner = auth.uid() and auth.jwt() ->> 'role' = 'authenticated');
"""
NUMBERS = """
create table public.numbers (
  id bigint primary key, amount numeric, ratio double precision, ids bigint[], data jsonb, name text,
  since date, span interval
);
create function public.echo(p_id bigint, p_amount numeric, p_data jsonb) returns jsonb language sql as
  $$ select jsonb_build_object('id', p_id, 'amount', p_amount, 'data', p_data) $$;
grant all on public.numbers to service_role;
grant execute on function public.echo to service_role;
"""
SETTINGS = """
alter database postgres set datestyle = 'German';
alter database postgres set intervalstyle = 'iso_8601';
alter database postgres set extra_float_digits = 0;
alter database postgres set bytea_output = 'escape';
alter database postgres set timezone = 'Asia/Tokyo';
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    """A stack with the migrations above."""
    with TemporaryDirectory(prefix="ehg-tasks-") as folder, TemporaryDirectory() as own:
        for number, text in enumerate([MEMBERS, NOTES, NUMBERS, SETTINGS]):
            (Path(own) / f"2027010100000{number}_part_{number}.sql").write_text(text)
        with LocalStack(folder, project_migrations=Path(own)) as stack:
            yield stack


@pytest.fixture
def rest(stack: LocalStack) -> Iterator[httpx.Client]:
    """The REST API with the secret key."""
    headers = {"apikey": stack.keys.secret_key, "Prefer": "return=representation"}
    with httpx.Client(base_url=f"{stack.url}/rest/v1", headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def sign_up(stack: LocalStack) -> Iterator[Callable[[str], Client]]:
    """Registers a user and returns their client."""
    with httpx.Client(trust_env=False) as http:

        def client(nickname: str) -> Client:
            options = ClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
            api = create_client(stack.url, stack.keys.publishable_key, options=options)
            api.auth.sign_up(
                {
                    "email": f"{secrets.token_hex(6)}@example.com",
                    "password": secrets.token_urlsafe(12),
                    "options": {"data": {"nickname": nickname}},
                }
            )
            return api

        yield client


def only(query: Any) -> dict[str, Any]:
    """The only row that a query of supabase-py returns."""
    [row] = query.execute().data
    return dict(row)


LAST = migrations.migrations()[-1].stem.partition("_")[2]  # of ours


class TestMigrations:
    def test_a_project_s_migrations_apply_after_ours_and_are_recorded(self, stack: LocalStack) -> None:
        with psycopg.connect(stack.db_url) as connection:
            rows = connection.execute(
                "select name from supabase_migrations.schema_migrations order by version desc limit 5"
            ).fetchall()
        assert [name for (name,) in rows] == ["part_3", "part_2", "part_1", "part_0", LAST]
        with AgentTasks(stack.settings()) as agent:
            assert agent.claim("NOBODY") == []

    def test_a_sign_up_adds_a_row_that_only_its_user_reads(self, sign_up: Callable[[str], Client]) -> None:
        ana, ben = sign_up("ana"), sign_up("ben")
        row = only(ana.table("members").select("*"))
        assert row["nickname"] == "ana"
        assert row["joined_with"]["nickname"] == "ana"
        changed = only(ana.table("members").update({"nickname": "anna"}).neq("nickname", ""))
        assert changed["nickname"] == "anna"
        assert changed["changed_at"] > row["changed_at"]
        other = only(ben.table("members").select("nickname"))
        assert other == {"nickname": "ben"}

    def test_a_sign_up_that_the_trigger_refuses_leaves_no_user(
        self, stack: LocalStack, sign_up: Callable[[str], Client]
    ) -> None:
        with psycopg.connect(stack.superuser_url) as connection:
            count = "select count(*) from auth.users"
            before = connection.execute(count).fetchone()
            with pytest.raises(AuthApiError):
                sign_up("x")
            connection.rollback()
            assert connection.execute(count).fetchone() == before

    def test_defaults_and_policies_know_the_user(self, sign_up: Callable[[str], Client]) -> None:
        ana, ben = sign_up("ana"), sign_up("ben")
        note = only(ana.table("notes").insert({"body": "mine"}))
        user = ana.auth.get_user()
        assert user is not None
        assert note["owner"] == note["claims"]["sub"] == user.user.id
        assert ben.table("notes").select("*").execute().data == []
        with pytest.raises(Exception, match="row-level security"):
            ben.table("notes").insert({"body": "hers", "owner": note["owner"]}).execute()

    def test_a_folder_without_migrations_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LocalStackError, match=r"there are no migrations \(\*\.sql\) in .*supabase/mig"):
            LocalStack(tmp_path / "stack", project_migrations=tmp_path).start()


EXTENSIONS = ["citext", "hstore", "moddatetime", "pg_trgm", "unaccent", "vector"]


def test_extensions_are_created_by_the_owner_of_the_project(stack: LocalStack) -> None:
    with psycopg.connect(stack.db_url) as connection:
        for name in EXTENSIONS:
            connection.execute(f"create extension if not exists {name} with schema extensions")
        row = connection.execute(
            "select '[1,2]'::extensions.vector OPERATOR(extensions.<->) '[1,4]'"
        ).fetchone()
        assert row == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create extension file_fdw")


# --- numbers and settings -------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
BIG, DECIMAL = 2**63 - 1, "123456789.123456789012345678"
DATA = f'{{"big": {BIG}, "deep": [{{"n": [-{BIG}, 1.0, 1e400]}}], "text": "{BIG} 1.50", "tenth": 0.1}}'


def exact(text: str) -> Any:
    """Parse JSON without rounding."""
    return json.loads(text, parse_float=Decimal)


def test_numbers_survive_in_both_directions(rest: httpx.Client) -> None:
    row = (
        f'{{"id": {BIG}, "amount": {DECIMAL}, "ratio": 0.30000000000000004, "ids": [{BIG}], "data": {DATA}}}'
    )
    sent = rest.post("/numbers", content=row, headers=JSON)
    assert sent.status_code == 201, sent.text
    assert exact(sent.text)[0] == {"name": None, "since": None, "span": None} | exact(row)
    changed = rest.patch(f"/numbers?id=eq.{BIG}", content=f'{{"amount": -{DECIMAL}}}', headers=JSON)
    assert exact(changed.text)[0]["amount"] == -Decimal(DECIMAL)
    assert rest.delete(f"/numbers?id=eq.{BIG}").json()


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        (f"id=eq.{BIG}", True),
        (f"id=lt.{BIG}", False),
        (f"id=in.(5,{BIG})", True),
        (f"id=not.in.(5,{BIG - 1})", True),
        (f"amount=eq.{DECIMAL}", True),
        (f"amount=gt.{DECIMAL[:-1]}", True),
        (f"or=(id.eq.5,amount.eq.{DECIMAL})", True),
        (f"name=eq.{BIG}", True),
        (f"name=neq.{BIG}", False),
        (f"name=like.{BIG}", True),
        ("ratio=lte.1.50", True),
    ],
)
def test_a_filter_compares_exact_numbers(filter_: str, found: bool, rest: httpx.Client) -> None:
    row = f'{{"id": {BIG}, "amount": {DECIMAL}, "ratio": 1.5, "name": "{BIG}"}}'
    rest.post("/numbers", content=row, headers=JSON | {"Prefer": "resolution=merge-duplicates"})
    answer = rest.get(f"/numbers?{filter_}")
    assert answer.status_code == 200, answer.text
    assert bool(answer.json()) is found


def test_numbers_survive_a_function(rest: httpx.Client) -> None:
    arguments = f'{{"p_id": -{BIG}, "p_amount": {DECIMAL}, "p_data": {DATA}}}'
    answer = rest.post("/rpc/echo", content=arguments, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert exact(answer.text) == {"id": -BIG, "amount": Decimal(DECIMAL), "data": exact(DATA)}


def test_numbers_survive_a_contract(stack: LocalStack) -> None:
    values = {"big": BIG, "over": 2**53 + 1, "one": 1.0, "tiny": 5e-324, "sum": 0.1 + 0.2, "list": [2**60]}
    with AgentTasks(stack.settings()) as agent:
        work = agent.create(parent_agent="P", target_agent="NUMBERS", objective="o", constraints=values)
        [claim] = agent.claim("NUMBERS")
        agent.complete(claim, output=values)
        assert claim.constraints == agent.outcome(work.contract_id).output == values


def test_settings_of_the_database_do_not_change_how_values_are_written(
    stack: LocalStack, rest: httpx.Client
) -> None:
    with psycopg.connect(stack.db_url) as connection:
        assert connection.execute("select date '2026-02-01'::text").fetchone() == ("01.02.2026",)
    row = {"id": 7, "ratio": 0.1 + 0.2, "since": "2026-02-01", "span": "1 day 02:00:00"}
    answer = rest.post("/numbers", json=row)
    assert answer.status_code == 201, answer.text
    assert {name: answer.json()[0][name] for name in row} == row
    with AgentTasks(stack.settings()) as agent, BackendTasks(stack.settings()) as backend:
        agent.create(parent_agent="P", target_agent="STYLE", objective="o")
        [claim] = agent.claim("STYLE")
        [listed] = backend.list(target_agent="STYLE")
        assert listed.created_at == claim.created_at
        assert abs(listed.created_at.timestamp() - time.time()) < 60


# --- changes while it runs ------------------------------------------------------------------------


def wait_for(call: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """Repeat a call until its answer has this status."""
    deadline = time.monotonic() + 20
    while (answer := call()).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return answer


def test_new_objects_are_served_without_a_restart(stack: LocalStack, rest: httpx.Client) -> None:
    assert rest.get("/drafts").status_code == 404
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        connection.execute("create table public.drafts (id int primary key)")
        connection.execute("grant all on public.drafts to service_role")
        wait_for(lambda: rest.get("/drafts"), 200)
        connection.execute("alter table public.drafts add column more jsonb")
        created = wait_for(lambda: rest.post("/drafts", json={"id": 1, "more": {"a": 1}}), 201)
        assert created.json() == [{"id": 1, "more": {"a": 1}}]
        connection.execute(
            "create function public.hello(p_name text) returns text language sql return 'hello ' || p_name"
        )
        connection.execute("grant execute on function public.hello to service_role")
        assert wait_for(lambda: rest.post("/rpc/hello", json={"p_name": "ana"}), 200).json() == "hello ana"
        connection.execute("drop table public.drafts")
        wait_for(lambda: rest.get("/drafts"), 404)


def test_notify_reloads_the_schema(stack: LocalStack, rest: httpx.Client) -> None:
    create = "create table public.{0} (); grant all on public.{0} to service_role"
    with psycopg.connect(stack.superuser_url, autocommit=True) as connection:
        connection.execute(create.format("seen"))
        wait_for(lambda: rest.get("/seen"), 200)
        connection.execute("alter event trigger pgrst_ddl_watch disable")
        try:
            connection.execute(create.format("unseen"))
            assert rest.get("/unseen").status_code == 404
            connection.execute("notify pgrst, 'reload schema'")
            wait_for(lambda: rest.get("/unseen"), 200)
        finally:
            connection.execute("alter event trigger pgrst_ddl_watch enable")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(stack: LocalStack) -> None:
    head = (
        "POST /rest/v1/rpc/claim_task_contract HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"apikey: {stack.keys.publishable_key}\r\nContent-Length: {2**30}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.keys.api_port), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 128 MiB" in answer
