"""The public names of the package, and the libraries that importing them loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import ehg_tasks
from ehg_tasks import errors, models


@pytest.mark.parametrize("name", ehg_tasks.__all__)
def test_every_public_name_exists(name: str) -> None:
    value = getattr(ehg_tasks, name)
    assert name == "__version__" or value.__name__ == name
    assert name in dir(ehg_tasks)


def test_type_checkers_see_the_public_names() -> None:
    tree = ast.parse(Path(ehg_tasks.__file__).read_text())
    [guarded] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert sorted(["__version__", *(alias.name for node in imports for alias in node.names)]) == (
        ehg_tasks.__all__
    )
    for node in imports:
        for alias in node.names:
            assert getattr(import_module(str(node.module)), alias.name) is getattr(ehg_tasks, alias.name)


def test_every_error_and_model_is_public() -> None:
    for module in (errors, models):
        own = {
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
        }
        assert own <= set(ehg_tasks.__all__)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="'ehg_tasks' has no attribute 'Nothing'"):
        ehg_tasks.Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "libraries"),
    [
        ("import ehg_tasks", "supabase postgrest httpx pydantic dotenv"),
        ("from ehg_tasks import TaskContractError", "supabase postgrest httpx pydantic dotenv"),
        ("from ehg_tasks import NewContract, Settings", "supabase postgrest httpx dotenv"),
        ("import ehg_tasks.pages", "supabase postgrest httpx dotenv"),
    ],
)
def test_a_library_is_loaded_only_when_it_is_needed(statement: str, libraries: str) -> None:
    program = f"{statement}; import sys; print([name for name in {libraries.split()} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
