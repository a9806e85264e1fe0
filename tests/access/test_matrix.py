"""Every case of the access matrix, on its paths: in SQL with the role set, and on the Data API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from postgrest import APIError
from psycopg import Connection

from ehg_tasks import migrations
from tests.access import matrix
from tests.access.matrix import ROLES, Outcomes
from tests.access.world import ARGUMENTS, RELATIONS, SEED, changes, perform, request, snapshot, statement
from tests.conftest import Project

HARDEN = next(path for path in migrations.optional() if path.stem == "hardened").read_text()
SPECIFY = next(path for path in migrations.migrations() if "agent_task_contracts" in path.stem).read_text()
GRANT_EVERYTHING = """
    grant usage on schema ehg_tasks to anon, authenticated, service_role;
    grant all on all tables in schema public, ehg_tasks to anon, authenticated, service_role;
"""
Relations = dict[str, dict[str, Outcomes]]


def merged(base: Relations, differing: Relations) -> Relations:
    return {relation: cases | differing.get(relation, {}) for relation, cases in base.items()}


# name -> what is done to the database first, and what is expected then
SHIPPED = {
    "specified": ("", matrix.SPECIFIED),
    "hardened": (HARDEN, merged(matrix.SPECIFIED, matrix.HARDENED)),
}
SQL_LAYERS = SHIPPED | {
    "specified, RLS alone": (GRANT_EVERYTHING, matrix.RLS_ALONE),
    "hardened, RLS alone": (
        HARDEN + GRANT_EVERYTHING,
        merged(matrix.RLS_ALONE, matrix.HARDENED_RLS_ALONE),
    ),
}


@pytest.fixture
def world(database: Connection[Any]) -> Iterator[Connection[Any]]:
    """The world of a case, in a transaction that is rolled back."""
    with database.transaction(force_rollback=True):
        database.execute(SEED)
        yield database


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("relation", matrix.SPECIFIED)
@pytest.mark.parametrize("layer", SQL_LAYERS)
def test_a_relation_in_sql(world: Connection[Any], layer: str, relation: str, role: str) -> None:
    prepare, expected = SQL_LAYERS[layer]
    world.execute(prepare.encode() or b"select")
    found = {}
    for operation in expected[relation]:
        with world.transaction(force_rollback=True):
            found[operation] = perform(world, role, statement(relation, operation), relation)
    assert found == {
        operation: outcomes[ROLES.index(role)] for operation, outcomes in expected[relation].items()
    }


def test_a_single_contract_may_be_changed_by_an_update_without_a_filter(world: Connection[Any]) -> None:
    """What is left of the specified update policy: the guard stops it from two rows on."""
    world.execute("delete from public.agent_task_contracts where target_agent = 'T' and status = 'pending'")
    table = "public.agent_task_contracts"
    assert perform(world, "anon", statement(table, "update all"), table) == "~1"


def sql_call(schema: str, function: str) -> str:
    values = {name: _literal(value) for name, value in ARGUMENTS[function].items()}
    return f"select * from {schema}.{function}({', '.join(f'p_{n} => {v}' for n, v in values.items())})"


def _literal(value: Any) -> str:
    match value:
        case [str(), *_]:
            return f"array{value!r}::uuid[]"
        case [dict(), *_]:
            return f"'{json.dumps(value)}'"
    return repr(value)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("function", matrix.FUNCTIONS)
@pytest.mark.parametrize("profile", SHIPPED)
def test_a_function_in_sql(world: Connection[Any], profile: str, function: str, role: str) -> None:
    world.execute(SHIPPED[profile][0].encode() or b"select")
    assert perform(world, role, sql_call("public", function)) == matrix.FUNCTIONS[function][ROLES.index(role)]


@pytest.mark.parametrize("role", ROLES)
def test_row_level_security_binds_the_one_reader_that_is_no_definer(
    world: Connection[Any], role: str
) -> None:
    world.execute(GRANT_EVERYTHING)
    rows = {"anon": "0 rows", "authenticated": "1 rows", "service_role": "1 rows"}
    assert perform(world, role, sql_call("public", "read_task_contract"), "result") == rows[role]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("function", matrix.ENGINE_FUNCTIONS)
def test_a_function_of_the_engine(world: Connection[Any], function: str, role: str) -> None:
    """Called by itself, with nulls: whoever may call it gets an answer or an error of the lifecycle."""
    [(arguments,)] = world.execute(
        "select array(select 'null::' || format_type(t, null) from unnest(proargtypes) as t)"
        " from pg_proc where pronamespace = 'ehg_tasks'::regnamespace and proname = %s",
        [function],
    ).fetchall()
    outcome = perform(world, role, f"select ehg_tasks.{function}({', '.join(arguments)})")
    expected = matrix.ENGINE_FUNCTIONS[function][ROLES.index(role)]
    assert outcome == expected or (expected == "ok" and outcome.startswith("TC0"))


class TestOverHTTP:
    @pytest.fixture(params=SHIPPED)
    def expected(self, database: Connection[Any], request: pytest.FixtureRequest) -> Iterator[Relations]:
        """The live project in a profile; the migrations bring the specified one back."""
        prepare, expected = SHIPPED[request.param]
        database.execute(prepare.encode() or b"select")
        yield expected
        database.execute(SPECIFY)

    @pytest.fixture
    def keys(self, project: Project, user_token: str) -> dict[str, tuple[str, str | None]]:
        return {
            "anon": (project.publishable_key, None),
            "authenticated": (project.publishable_key, user_token),
            "service_role": (project.secret_key, None),
        }

    @pytest.mark.parametrize("role", ROLES)
    @pytest.mark.parametrize("relation", [name for name in matrix.SPECIFIED if name.startswith("public.")])
    def test_a_relation(
        self,
        project: Project,
        keys: dict[str, tuple[str, str | None]],
        database: Connection[Any],
        expected: Relations,
        relation: str,
        role: str,
    ) -> None:
        api = project.api(*keys[role])
        found, wanted = {}, {}
        for operation, outcomes in expected[relation].items():
            act = request(api, relation, operation)
            if act is None or (role == "service_role" and operation.endswith(" all")):
                continue  # hosted projects refuse the latter, self-hosted ones need not
            database.execute(SEED)
            before = snapshot(database)
            try:
                answer = act()
                rows = len(answer.data) if operation.startswith("select") else None
                found[operation] = (
                    changes(before, snapshot(database), relation) if rows is None else f"{rows} rows"
                )
            except APIError as error:
                found[operation] = str(error.code)
                assert snapshot(database) == before
            wanted[operation] = outcomes[ROLES.index(role)]
        assert found == wanted

    @pytest.mark.parametrize("role", ROLES)
    def test_functions(
        self,
        project: Project,
        keys: dict[str, tuple[str, str | None]],
        database: Connection[Any],
        expected: Relations,
        role: str,
    ) -> None:
        api = project.api(*keys[role])
        found = {}
        for function in matrix.FUNCTIONS:
            database.execute(SEED)
            before = snapshot(database)
            try:
                api.rpc(function, {f"p_{n}": v for n, v in ARGUMENTS[function].items()}).execute()
                found[function] = "ok"
            except APIError as error:
                found[function] = str(error.code)
                assert snapshot(database) == before
        assert found == {name: outcomes[ROLES.index(role)] for name, outcomes in matrix.FUNCTIONS.items()}

    @pytest.mark.parametrize("schema", ["ehg_tasks", "auth", "supabase_migrations"])
    def test_no_other_schema_is_exposed(self, project: Project, schema: str) -> None:
        for key in (project.publishable_key, project.secret_key):
            with pytest.raises(APIError) as raised:
                project.api(key).schema(schema).table("leases").select("*").execute()
            assert raised.value.code == "PGRST106"


def filled(project: Project, user_token: str, name: str | None) -> str | None:
    """A placeholder of the matrix, made real."""
    if name is None or not name.startswith("<"):
        return name
    kind, _, role = name.strip("<>").partition(" ")
    now = int(time.time())
    claims = {"role": role, "aud": "authenticated", "sub": str(uuid4()), "iat": now - 900, "exp": now + 900}
    match kind:
        case "publishable":
            return project.publishable_key
        case "secret":
            return project.secret_key
        case "user":
            return user_token
        case "legacy":
            return project.anon_jwt if role == "anon" else project.service_role_jwt
        case "expired":
            return jwt.encode(claims | {"exp": now - 60}, project.jwt_secret, algorithm="HS256")
        case "forged":
            return jwt.encode(claims, "a secret of somebody else, long enough", algorithm="HS256")
        case "unsigned":
            return jwt.encode(claims, "", algorithm="none")
    assert kind == "signed"
    return jwt.encode(claims, project.jwt_secret, algorithm="HS256")


@pytest.mark.parametrize("name", matrix.NOBODIES)
def test_nobody_gets_in(project: Project, user_token: str, database: Connection[Any], name: str) -> None:
    key, token = (filled(project, user_token, part) for part in matrix.NOBODIES[name])
    headers = {"apikey": key} if key else {}
    if key or token:
        headers["Authorization"] = f"Bearer {token or key}"
    database.execute(SEED)
    before = snapshot(database)
    table = f"{project.url}/rest/v1/agent_task_contracts"
    _, _, new, (column, value) = RELATIONS["public.agent_task_contracts"]
    with httpx.Client(headers=headers) as client:
        answers = [
            client.get(table),
            client.post(table, json=new),
            client.patch(table, json={column: value}),
            client.delete(table),
            *(
                client.post(
                    f"{project.url}/rest/v1/rpc/{function}",
                    json={f"p_{n}": v for n, v in ARGUMENTS[function].items()},
                )
                for function in matrix.FUNCTIONS
            ),
        ]
    assert {answer.status_code for answer in answers} <= {400, 401, 403}
    assert all(isinstance(answer.json(), dict) for answer in answers)
    assert snapshot(database) == before


@pytest.mark.parametrize("name", matrix.MIXED)
def test_the_token_decides_the_role(
    project: Project, user_token: str, database: Connection[Any], name: str
) -> None:
    key, token, role = matrix.MIXED[name]
    api = project.api(str(filled(project, user_token, key)), filled(project, user_token, token))
    relation = "public.agent_task_contracts"
    for operation in ("select", "insert", "insert returning", "update one", "delete one"):
        database.execute(SEED)
        before = snapshot(database)
        act = request(api, relation, operation)
        assert act is not None
        try:
            answer = act()
            rows = f"{len(answer.data)} rows"
            found = rows if operation == "select" else changes(before, snapshot(database), relation)
        except APIError as error:
            found = str(error.code)
            assert snapshot(database) == before
        assert found == matrix.SPECIFIED[relation][operation][ROLES.index(role)], operation
