"""`ehg-tasks` and `python -m ehg_tasks`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what to install if its libraries are missing."""
    try:
        from ehg_tasks.cli import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        sys.exit("ehg-tasks: the command line needs more packages: pip install 'ehg-tasks[cli]'")
    run()


if __name__ == "__main__":
    main()
