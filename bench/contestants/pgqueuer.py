"""PgQueuer: the SQL that it installs, and the queries that its queue manager sends."""

from __future__ import annotations

import importlib
import re
from datetime import timedelta
from typing import Any

from bench.contestants import BATCH, Contestant, Work
from bench.server import BenchError, Connection

# By name, so that type checks do not depend on whether the package is installed.
_qb: Any = importlib.import_module("pgqueuer.adapters.persistence.qb")

# A manager for each client, as each worker has its own.
MANAGER = "('00000000-0000-0000-0000-' || lpad(:client_id::text, 12, '0'))::uuid"
PAYLOAD = """convert_to('{"objective": "Draw the start page"}', 'UTF8')"""
ROWS = "select * from claimed order by priority desc, id"
IDS = "select array_agg(id) as ids from claimed"


def _install(connection: Connection) -> None:
    connection.execute(str(_qb.QueryBuilderEnvironment().build_install_query()).encode())


def _bind(query: object, *arguments: str) -> str:
    """Return a query with each $1, $2 … replaced."""
    text = re.sub(r"\$(\d+)", lambda match: arguments[int(match[1]) - 1], str(query))
    return text.strip().rstrip(";")


def _dequeue(size: int, result: str) -> str:
    composed = _qb.QueryQueueBuilder().build_dequeue_query(
        batch_size=size, entrypoints=["bench"], concurrency_limits=[0], queue_manager_id=None,
        global_concurrency_limit=None, heartbeat_timeout=timedelta(seconds=30),
    )  # fmt: skip
    query, marker, _ = str(composed.sql).rpartition("SELECT * FROM claimed")
    if not marker:
        raise BenchError("the dequeue query of this version of pgqueuer is not understood")
    return f"{_bind(query, str(size), ':bench_entrypoints', MANAGER, ':bench_timeout')}\n{result}"


def _log(size: int, ids: str) -> str:
    statuses = f"array_fill('successful'::text, array[{size}])"
    tracebacks = f"array_fill(null::jsonb, array[{size}])"
    return _bind(_qb.QueryQueueBuilder().build_log_job_query(), ids, statuses, tracebacks)


def _batch(size: int) -> Work:
    return Work(_dequeue(size, IDS), _log(size, ":ids"), size)


def _enqueue(*arguments: str) -> str:
    return _bind(_qb.QueryQueueBuilder().build_enqueue_query(), *arguments)


CONTESTANT = Contestant(
    name="pgqueuer",
    distribution="pgqueuer",
    pair=(
        "The dequeue query marks the job as picked by a manager; the log query deletes it and logs that it"
        " was successful. Each step adds a row to the log. There is no token and no result."
    ),
    install=_install,
    fill=_enqueue(
        "array(select 0 from generate_series(%(first)s::integer, %(last)s::integer))",
        "array(select 'bench' from generate_series(%(first)s::integer, %(last)s::integer))",
        f"array(select {PAYLOAD} from generate_series(%(first)s::integer, %(last)s::integer))",
        "array(select interval '0' from generate_series(%(first)s::integer, %(last)s::integer))",
        "array(select null from generate_series(%(first)s::integer, %(last)s::integer))",
        "array(select '{}'::jsonb from generate_series(%(first)s::integer, %(last)s::integer))",
    ),
    create=_enqueue(
        "array[0]", "array['bench']", f"array[{PAYLOAD}]", "array['0']", "array[null]", "array['{}']"
    ),
    payload=(
        "select array_agg(0) as bench_priorities, array_agg('bench'::text) as bench_names,"
        f" array_agg({PAYLOAD}) as bench_payloads, array_agg(interval '0') as bench_waits,"
        " array_agg(null::text) as bench_keys, array_agg('{}'::jsonb) as bench_headers"
        " from generate_series(1, :bench_rows)"
    ),
    create_many=_enqueue(
        *(f":bench_{name}" for name in ("priorities", "names", "payloads", "waits", "keys", "headers"))
    ),
    single=Work(_dequeue(1, ROWS), _log(1, "array[:id]")),
    most=_batch(1000),
    finished="select count(*) from pgqueuer_log where status = 'successful'",
    batch=_batch(BATCH),
    variables={"bench_entrypoints": "{bench}", "bench_timeout": "30 seconds"},
)
