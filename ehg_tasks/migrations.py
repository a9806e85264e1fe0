"""The SQL files of this package."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the folder that holds `migrations/` and `optional/`.

    An installed package contains a copy; a checkout uses its `supabase/` folder.
    """
    packaged = Path(__file__).parent / "sql"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "supabase"


def migrations() -> list[Path]:
    """Return the migration files in the order in which they are applied."""
    return sorted((folder() / "migrations").glob("*.sql"))


def optional() -> list[Path]:
    """Return the optional SQL files: `hardened.sql`, `schedule_cleanup.sql` and `uninstall.sql`."""
    return sorted((folder() / "optional").glob("*.sql"))
