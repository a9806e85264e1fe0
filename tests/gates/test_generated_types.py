"""The Python types that the Supabase CLI makes from the database, against this package's models."""

from __future__ import annotations

import importlib.util
import sys
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from types import ModuleType
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, JsonValue

from ehg_tasks import NewContract, models
from tests.databases import Databases
from tests.supabase_cli import SupabaseCLI

# A view's columns can all be null for all that Postgres knows. These cannot: groups have rows, and the
# columns that they are made of are not null.
NEVER_NULL = {"target_agent", "status", "contracts", "oldest_created_at", "finished_last_hour"}

RESULTS: dict[str, type[BaseModel]] = {
    "create_task_contract": models.CreatedContract,
    "create_task_contracts": models.CreatedContract,
    "claim_task_contract": models.Claim,
    "renew_task_contract": models.Lease,
    "complete_task_contract": models.Completion,
    "fail_task_contract": models.FailedAttempt,
    "release_task_contract": models.StatusChange,
    "cancel_task_contract": models.StatusChange,
    "task_contract_outcomes": models.Outcome,
    "task_contract_inputs": models.InputArtifact,
    "read_task_contract": models.ContractView,
    "cleanup_stale_contracts": models.CleanupReport,
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
    """The type that the database knows, and whether it may be null (as JSON may always be)."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, NotRequired):
        return plain(arguments[0])
    if origin in (Union, types.UnionType):
        [inner] = [argument for argument in arguments if argument is not type(None)]
        return plain(inner)[0], True
    if annotation is JsonValue:
        return JsonValue, True
    if arguments == (UUID,):  # the one kind of array; the generator writes it as typing.List
        return list[UUID], False
    if origin in (list, dict):  # of previews, of constraints: JSON
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
    # Without a word on TLS the CLI tries it first, and remarks in the answer that there is none.
    url = databases.url(database_name, owner=True) + "?sslmode=disable"
    text = supabase_cli.run("gen", "types", "--lang=python", f"--remote={url}", "--schema=public").stdout
    file = tmp_path_factory.mktemp("generated") / "generated_types.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # where pydantic looks for what annotations name
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
    """Its fields are columns of these types, and it requires what the table requires."""
    hints = typing.get_type_hints(generated.PublicAgentTaskContractsInsert, include_extras=True)
    required = {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
    ours = fields(NewContract)
    ours["id"] = ours.pop("contract_id")
    assert {name: kind for name, (kind, _) in ours.items()} == {name: plain(hints[name])[0] for name in ours}
    assert {name for name, field in NewContract.model_fields.items() if field.is_required()} == required


# The result columns of each function in public, by its row type or by `returns table`.
RESULT_COLUMNS = """
    select p.proname, a.attname as name, format_type(a.atttypid, null) as type
    from pg_proc p
    join pg_type t on t.oid = p.prorettype
    join pg_attribute a on a.attrelid = t.typrelid
    where p.pronamespace = 'public'::regnamespace
    union all
    select p.proname, a.name, format_type(a.type, null)
    from pg_proc p, unnest(p.proargnames, p.proallargtypes, p.proargmodes) as a (name, type, mode)
    where p.pronamespace = 'public'::regnamespace and a.mode = 't'
"""


@pytest.mark.parametrize(("function", "model"), RESULTS.items(), ids=RESULTS)
def test_a_model_has_the_columns_of_its_function(
    databases: Databases, database_name: str, function: str, model: type[BaseModel]
) -> None:
    """The generator has no functions for Python, so the catalog is asked. It knows nothing of nulls."""
    with databases.connect(database_name) as connection:
        columns = connection.execute(
            f"select name, type from ({RESULT_COLUMNS}) as c where proname = %s".encode(), [function]
        ).fetchall()
    assert {name: kind for name, (kind, _) in fields(model).items()} == {
        name: PYTHON[kind] for name, kind in columns
    }


def test_every_function_with_a_result_is_compared(databases: Databases, database_name: str) -> None:
    """But for the earlier name of complete_task_contract, and the one whose result is a bare number."""
    with databases.connect(database_name) as connection:
        found = connection.execute(f"select proname from ({RESULT_COLUMNS}) as c".encode()).fetchall()
    others = {"fn_complete_task_contract_idempotent", "prune_task_contracts"}
    assert {name for (name,) in found} == RESULTS.keys() | others
