"""This package's models agree with the Python types that the Supabase CLI generates from the database."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin
from uuid import UUID

import pytest
from psycopg import Connection
from pydantic import AwareDatetime, BaseModel, JsonValue

import ehg_tasks
from ehg_tasks import NewContract, models
from tests.databases import Databases
from tests.supabase_cli import SupabaseCLI

# Postgres reports every column of a view as nullable. These are never null: every group has rows, and the
# columns that they are computed from are not null.
NEVER_NULL = {"target_agent", "status", "contracts", "oldest_created_at", "finished_last_hour", "over_budget"}

# The clients say which model belongs to which function: self._rpc("renew_task_contract", Lease, …)
RESULTS: dict[str, type[BaseModel]] = {
    function: getattr(models, model)
    for file in sorted((Path(ehg_tasks.__file__).parent / "_async").glob("*.py"))
    for function, model in re.findall(r'_rpc\w*\(\s*"(\w+)",\s*(\w+)', file.read_text())
}
PYTHON = {
    "uuid": UUID,
    "text": str,
    "integer": int,
    "boolean": bool,
    "jsonb": JsonValue,
    "uuid[]": list[UUID],
    "timestamp with time zone": datetime,
}


def plain(annotation: Any) -> tuple[Any, bool]:
    """The type in the database, and whether it may be null (JSON always may)."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, NotRequired):
        return plain(arguments[0])
    if origin in (Union, types.UnionType):
        [inner] = [argument for argument in arguments if argument is not type(None)]
        return plain(inner)[0], True
    if annotation is JsonValue:
        return JsonValue, True
    if arguments == (UUID,):  # the only array; the generator writes typing.List
        return list[UUID], False
    if origin in (list, dict):  # JSON
        return JsonValue, True
    if annotation is AwareDatetime:
        return datetime, False
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return str, False  # a text column with a check
    return annotation, False


def fields(model: type[BaseModel]) -> dict[str, tuple[Any, bool]]:
    return {name: plain(field.annotation) for name, field in model.model_fields.items()}


@pytest.fixture(scope="module")
def database_name(databases: Databases) -> Iterator[str]:
    name = databases.migrated()
    yield name
    databases.drop(name)


@pytest.fixture(scope="module")
def generated(
    databases: Databases,
    database_name: str,
    supabase_cli: SupabaseCLI,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ModuleType]:
    # Without sslmode the CLI tries TLS first, and adds a remark to its output if there is none.
    url = databases.url(database_name, owner=True) + "?sslmode=disable"
    text = supabase_cli.run("gen", "types", "--lang=python", f"--remote={url}", "--schema=public").stdout
    file = tmp_path_factory.mktemp("generated") / "generated_types.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # where pydantic looks up annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules[file.stem]


def test_task_contract_is_the_table(generated: ModuleType) -> None:
    assert fields(models.TaskContract) == fields(generated.PublicAgentTaskContracts)


def test_contract_stats_is_the_view(generated: ModuleType) -> None:
    ours, theirs = fields(models.ContractStats), fields(generated.PublicTaskContractStats)
    assert {name: kind for name, (kind, _) in ours.items()} == {
        name: kind for name, (kind, _) in theirs.items()
    }
    assert all(nullable for _, nullable in theirs.values())
    assert {name for name, (_, nullable) in ours.items() if not nullable} == NEVER_NULL


def test_new_contract_fits_an_insert(generated: ModuleType) -> None:
    """Its fields are columns of the same types, and it requires what the table requires."""
    hints = typing.get_type_hints(generated.PublicAgentTaskContractsInsert, include_extras=True)
    required = {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
    ours = fields(NewContract)
    ours["id"] = ours.pop("contract_id")
    for name in (
        "not_before",
        "depends_on",
        "on_dependency_failure",
    ):  # not columns of the table
        del ours[name]
    assert {name: kind for name, (kind, _) in ours.items()} == {name: plain(hints[name])[0] for name in ours}
    assert {name for name, field in NewContract.model_fields.items() if field.is_required()} == required


def test_new_contract_has_the_parameters_of_its_function(databases: Databases, database_name: str) -> None:
    with databases.connect(database_name) as connection:
        [(parameters,)] = connection.execute(
            "select proargnames from pg_proc where oid::regproc = 'public.create_task_contract'::regproc"
        ).fetchall()
    assert set(parameters) == {f"p_{name}" for name in NewContract.model_fields}


def result_columns(connection: Connection[Any], function: str) -> dict[str, str]:
    """Names and types of the columns that a function returns; a view over a call has them."""
    [(arguments,)] = connection.execute(
        "select array(select 'null::' || format_type(t, null) from unnest(proargtypes) as t) from pg_proc"
        " where pronamespace = 'public'::regnamespace and proname = %s",
        [function],
    ).fetchall()
    connection.execute(
        f"create temporary view result as select * from public.{function}({', '.join(arguments)})".encode()
    )
    return dict(
        connection.execute(
            "select attname, format_type(atttypid, null) from pg_attribute"
            " where attrelid = 'pg_temp.result'::regclass and attnum > 0"
        ).fetchall()
    )


@pytest.mark.parametrize(("function", "model"), RESULTS.items(), ids=RESULTS)
def test_a_model_has_the_columns_of_its_function(
    databases: Databases, database_name: str, function: str, model: type[BaseModel]
) -> None:
    """The CLI generates no Python types for functions, so the catalog decides. It has no nullability."""
    with databases.connect(database_name) as connection:
        columns = result_columns(connection, function)
    assert {name: kind for name, (kind, _) in fields(model).items()} == {
        name: PYTHON[kind] for name, kind in columns.items()
    }


def test_every_function_that_returns_rows_has_a_model(databases: Databases, database_name: str) -> None:
    """The exception is the earlier name of complete_task_contract."""
    with databases.connect(database_name) as connection:
        functions = connection.execute(
            "select p.proname from pg_proc p join pg_type t on t.oid = p.prorettype"
            " where p.pronamespace = 'public'::regnamespace"
            " and (t.typtype = 'c' or t.oid = 'record'::regtype)"
        ).fetchall()
    assert {name for (name,) in functions} == RESULTS.keys() | {"fn_complete_task_contract_idempotent"}
