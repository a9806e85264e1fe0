"""The installed package has all its files, and works without its extras."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ehg_tasks import migrations

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(pip, check=True)
    [file] = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the package and its required dependencies."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    constraint = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *constraint, str(wheel)], check=True)
    return python


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Outside of the checkout, so that Python imports the installed package.
    return subprocess.run([str(python), *arguments], cwd=python.parent, capture_output=True, text=True)


def test_the_wheel_has_the_files_that_are_not_python(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sql = {f"ehg_tasks/sql/migrations/{path.name}" for path in migrations.migrations()}
    sql |= {f"ehg_tasks/sql/optional/{path.name}" for path in migrations.optional()}
    local = {"server.mjs", "package.json", "package-lock.json", "roles.sql", "schemas.sql"}
    assert names >= sql | {f"ehg_tasks/local/{name}" for name in local}
    assert names >= {"ehg_tasks/py.typed", "ehg_tasks/expected.json", "ehg_tasks/demo/samples/README.md"}
    assert not [name for name in names if name.startswith(("tests/", "supabase/"))]


def test_the_clients_work_without_extras(python: Path) -> None:
    code = """
from ehg_tasks import AgentTasks, AsyncBackendTasks, NewContract, SettingsError, migrations
AgentTasks(url="http://127.0.0.1:9", key="sb_publishable_x").close()
NewContract(parent_agent="P", target_agent="T", objective="o")
print(len(migrations.migrations()), len(migrations.optional()))
"""
    answer = run(python, "-c", code)
    expected = f"{len(migrations.migrations())} {len(migrations.optional())}\n"
    assert (answer.stderr, answer.stdout) == ("", expected)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["-m", "ehg_tasks", "--help"], "ehg-tasks[cli]"),
        (["-c", "from ehg_tasks.local import LocalStack; LocalStack('stack').start()"], "ehg-tasks[local]"),
        (
            [
                "-c",
                "from ehg_tasks import AgentTasks, Worker\n"
                "Worker(AgentTasks(url='http://127.0.0.1:9', key='sb_publishable_x'), 'A', print)",
            ],
            "ehg-tasks[worker]",
        ),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    python: Path, arguments: list[str], extra: str
) -> None:
    answer = run(python, *arguments)
    assert answer.returncode != 0
    assert f"pip install '{extra}'" in answer.stderr.splitlines()[-1]
