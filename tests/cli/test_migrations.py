"""`ehg-tasks migrations`."""

from __future__ import annotations

from pathlib import Path

from ehg_tasks import migrations
from tests.cli.conftest import Program

NAMES = [f"migrations/{file.name}" for file in migrations.migrations()]
NAMES += [f"optional/{file.name}" for file in migrations.optional()]


def test_list_prints_the_files_in_order_and_writes_nothing(program: Program, tmp_path: Path) -> None:
    assert program("migrations", "list", "--json").json == NAMES
    assert program("migrations", "list").out.splitlines() == NAMES
    assert list(tmp_path.iterdir()) == []


def test_export_copies_every_file_once(program: Program) -> None:
    result = program("migrations", "export", "project/supabase")
    assert result.code == 0
    assert "Next: supabase db push." in result.err
    folder = program.folder / "project/supabase"
    exported = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.sql")}
    assert exported == {name: (migrations.folder() / name).read_bytes() for name in NAMES}
    assert program("migrations", "export", "project/supabase", "--json").json == []


def test_export_copies_nothing_if_an_existing_file_differs(program: Program) -> None:
    changed = program.folder / "supabase/optional/hardened.sql"
    changed.parent.mkdir(parents=True)
    changed.write_text("-- ours\n")
    error = program.refuses(7, "migrations", "export", "supabase")
    assert "supabase holds other versions of optional/hardened.sql. Nothing was copied" in error
    assert changed.read_text() == "-- ours\n"
    assert not (program.folder / "supabase/migrations").exists()


def test_export_to_a_file_is_refused(program: Program) -> None:
    (program.folder / "file").write_text("")
    assert "cannot write to file" in program.refuses(1, "migrations", "export", "file")
