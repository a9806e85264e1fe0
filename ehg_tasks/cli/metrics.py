"""`ehg-tasks metrics`: the figures of the statistics and the registry in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehg_tasks.cli import clients
from ehg_tasks.cli.output import print_notice
from ehg_tasks.cli.repeat import until_stopped
from ehg_tasks.errors import BadArgument, TaskContractError, TemporaryError
from ehg_tasks.text import escaped

if TYPE_CHECKING:
    from ehg_tasks import BackendTasks, DashboardTasks

HOST = "127.0.0.1"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Metric:
    """A gauge: its name and help, and how its value is read from a row; None leaves the row out."""

    name: str
    help: str
    value: Callable[[Any], float | None]
    labels: tuple[str, ...] = ("agent",)


_AGENT_AND_STATUS = ("agent", "status")
STATS = (
    Metric("ehg_tasks_contracts", "Contracts.", lambda row: row.contracts, _AGENT_AND_STATUS),
    Metric("ehg_tasks_contracts_held", "Pending contracts that must wait.", lambda row: row.held),
    Metric("ehg_tasks_contracts_leased", "Contracts in progress under a lease.", lambda row: row.running),
    Metric(
        "ehg_tasks_oldest_wait_seconds",
        "Time since the oldest pending contract was created.",
        lambda row: row.oldest_wait_seconds,
    ),
    Metric(
        "ehg_tasks_contracts_ended_last_hour",
        "Contracts that ended within the last hour.",
        lambda row: row.finished_last_hour,
        _AGENT_AND_STATUS,
    ),
    Metric(
        "ehg_tasks_duration_median_seconds",
        "Median time from the claim to the end.",
        lambda row: row.median_duration_seconds,
        _AGENT_AND_STATUS,
    ),
    Metric(
        "ehg_tasks_duration_p95_seconds",
        "95th percentile of the time from the claim to the end.",
        lambda row: row.p95_duration_seconds,
        _AGENT_AND_STATUS,
    ),
    Metric(
        "ehg_tasks_execution_tokens",
        "Tokens used, as reported.",
        lambda row: row.execution_tokens,
        _AGENT_AND_STATUS,
    ),
    Metric(
        "ehg_tasks_contracts_over_budget",
        "Contracts that used more tokens than their budget.",
        lambda row: row.over_budget,
        _AGENT_AND_STATUS,
    ),
)
REGISTRY = (
    Metric(
        "ehg_tasks_agent_paused",
        "1 if the registered agent is paused.",
        lambda row: row.paused_at is not None,
    ),
    Metric(
        "ehg_tasks_agent_max_running",
        "How many contracts of the registered agent may be in progress.",
        lambda row: row.max_running,
    ),
)


def metrics(
    serve: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="Serve them at http://127.0.0.1:PORT/metrics until Ctrl-C or SIGTERM; 0 picks a free port.",
        ),
    ] = None,
) -> None:
    """Print metrics in Prometheus's text format: the statistics, and which agents are paused."""
    with clients.reader() as client:
        if serve is None:
            typer.echo(exposition(client), nl=False)
        else:
            _serve(client, serve)


def exposition(client: BackendTasks | DashboardTasks) -> str:
    """Read the figures and return them in Prometheus's text format."""
    stats = [((row.target_agent, row.status.value), row) for row in client.stats()]
    agents = [((agent.name,), agent) for agent in client.agents()]
    lines = [line for metric in STATS for line in _lines(metric, stats)]
    lines += [line for metric in REGISTRY for line in _lines(metric, agents)]
    return "".join(f"{line}\n" for line in lines)


def _lines(metric: Metric, rows: Iterable[tuple[tuple[str, ...], Any]]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} gauge"
    for names, row in rows:
        value = metric.value(row)
        if value is not None:
            labels = zip(metric.labels, names, strict=False)  # a figure of one status has no such label
            text = ",".join(f'{label}="{_label_value(name)}"' for label, name in labels)
            yield f"{metric.name}{{{text}}} {float(value):.12g}"


def _label_value(text: str) -> str:
    return escaped(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


# --- over HTTP ---------------------------------------------------------------------------------


def _serve(client: BackendTasks | DashboardTasks, port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds that a silent client keeps the others waiting

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self._answer(404, "Not found: see /metrics.\n")
                return
            try:
                self._answer(200, exposition(client))
            except TaskContractError as error:
                print_notice(f"ehg-tasks: {error}")
                self._answer(503, f"{error}\n")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write no line for each request."""

    try:
        exposition(client)  # a wrong key ends the command now
    except TemporaryError as error:
        print_notice(f"ehg-tasks: {error}")
    try:
        server = HTTPServer((HOST, port), Handler)
    except OSError as error:
        raise BadArgument(f"--serve: cannot listen on {HOST}:{port}: {error.strerror}") from None
    with until_stopped(), server:
        print_notice(f"Serving metrics at http://{HOST}:{server.server_port}/metrics.")
        server.serve_forever()
