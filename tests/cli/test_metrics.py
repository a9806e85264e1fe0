"""`ehg-tasks metrics`, printed and served, and the metrics that the alerts in docs/metrics.md name."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from ehg_tasks import AgentTasks, BackendTasks
from ehg_tasks.cli.metrics import REGISTRY, STATS
from tests.cli.conftest import CreateContract, Program

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
NAMES = {metric.name for metric in (*STATS, *REGISTRY)}


def test_the_figures_are_printed_as_gauges(
    as_backend: Program, as_user: Program, agent: AgentTasks, backend: BackendTasks, create: CreateContract
) -> None:
    backend.register_agent("DESIGN", max_running=2, with_token=False)
    contract, _ = create(max_tokens=10), create()
    [claim] = agent.claim("DESIGN", contract_id=contract)
    agent.complete(claim, execution_tokens=40)
    backend.pause_agent("QA")
    result = as_backend("metrics")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    for line in (
        'ehg_tasks_contracts{agent="DESIGN",status="completed"} 1',
        'ehg_tasks_contracts{agent="DESIGN",status="pending"} 1',
        'ehg_tasks_contracts_held{agent="DESIGN"} 0',
        'ehg_tasks_contracts_ended_last_hour{agent="DESIGN",status="completed"} 1',
        'ehg_tasks_execution_tokens{agent="DESIGN",status="completed"} 40',
        'ehg_tasks_contracts_over_budget{agent="DESIGN",status="completed"} 1',
        'ehg_tasks_agent_paused{agent="DESIGN"} 0',
        'ehg_tasks_agent_paused{agent="QA"} 1',
        'ehg_tasks_agent_max_running{agent="DESIGN"} 2',
    ):
        assert lines.count(line) == 1, line
    samples = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z0-9_]+\{[^ ]+"\} [0-9.e+-]+', line) for line in samples)
    assert not any(re.search("held|wait", line) and "completed" in line for line in samples)  # no value
    assert {line.split()[2] for line in lines if line.startswith("# TYPE ")} == NAMES
    assert as_user("metrics").out.count("\n") == result.out.count("\n")


def test_a_name_cannot_break_out_of_its_label(
    as_backend: Program, create: CreateContract, database: psycopg.Connection[Any]
) -> None:
    create()
    # Only a direct write can leave such a name.
    database.execute("update public.agent_task_contracts set target_agent = e'a\"} 1\\n\\\\\\x1b'")
    assert r'ehg_tasks_contracts{agent="a\"} 1\n\\\\x1b",status="pending"} 1' in as_backend("metrics").out


@contextmanager
def serving(program: Program) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve metrics on a free port; yields the URL."""
    with subprocess.Popen(
        program.command("metrics", "--serve", "0"),
        stderr=subprocess.PIPE,
        text=True,
        cwd=program.folder,
        env=program.env,
    ) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            line = next(line for line in lines if line.startswith("Serving metrics at "))
            yield line.removeprefix("Serving metrics at ").strip().rstrip("."), process
        finally:
            process.kill()


def test_they_are_served_on_loopback_until_a_signal(as_backend: Program, create: CreateContract) -> None:
    create()
    with serving(as_backend) as (url, process):
        assert url.startswith("http://127.0.0.1:")
        answer = httpx.get(url)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert 'ehg_tasks_contracts{agent="DESIGN",status="pending"} 1\n' in answer.text
        create()
        assert 'ehg_tasks_contracts{agent="DESIGN",status="pending"} 2\n' in httpx.get(url).text
        assert httpx.get(url.replace("/metrics", "/")).status_code == 404
        port = url.split(":")[2].split("/")[0]
        error = as_backend.refuses(7, "metrics", "--serve", port)
        assert f"--serve: cannot listen on 127.0.0.1:{port}: Address already in use" in error
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_scrape_fails_while_the_project_cannot_be_read(as_backend: Program) -> None:
    with serving(as_backend.with_env(SUPABASE_URL="http://127.0.0.1:9")) as (url, _):
        answer = httpx.get(url, timeout=60)
        assert answer.status_code == 503
        assert answer.text.startswith("cannot reach http://127.0.0.1:9")


def test_a_wrong_key_is_refused_before_anything_is_served(program: Program) -> None:
    unknown = program.with_env(SUPABASE_SECRET_KEY="sb_secret_" + "x" * 22 + "_12345678")
    unknown.refuses(4, "metrics", "--serve", "0")


def test_the_page_describes_every_metric_and_its_alerts_use_no_other() -> None:
    table = set(re.findall(r"`(ehg_tasks_\w+)`", PAGE))
    alerts = set(re.findall(r"\b(ehg_tasks_\w+)", PAGE.split("## Alerts")[1]))
    assert table == NAMES
    assert alerts
    assert alerts <= NAMES
