"""The public names: all there, all typed, and none of them paid for before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ehg_tasks
from ehg_tasks import errors, models


@pytest.mark.parametrize("name", ehg_tasks.__all__)
def test_every_name_is_there(name: str) -> None:
    found = getattr(ehg_tasks, name)
    assert name == "__version__" or found.__name__ == name
    assert name in dir(ehg_tasks)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(ehg_tasks.__file__).read_text())
    [guarded] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted([*seen, "__version__"]) == ehg_tasks.__all__
    for name, module in seen.items():
        assert getattr(ehg_tasks, name).__module__ == module


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
    with pytest.raises(ImportError):
        exec("from ehg_tasks import Nothing")


@pytest.mark.parametrize(
    ("statement", "libraries"),
    [
        ("import ehg_tasks", "supabase postgrest httpx pydantic dotenv"),
        ("from ehg_tasks import TaskContractError", "supabase postgrest httpx pydantic dotenv"),
        ("from ehg_tasks import NewContract, Settings", "supabase postgrest httpx dotenv"),
        ("import ehg_tasks.calls", "supabase postgrest httpx dotenv"),
    ],
)
def test_libraries_wait_until_they_are_needed(statement: str, libraries: str) -> None:
    program = f"{statement}; import sys; print([name for name in {libraries.split()} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
