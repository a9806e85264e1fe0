"""Procrastinate: its schema, and the queries that its worker sends."""

from __future__ import annotations

import importlib
from importlib.resources import files

from bench.contestants import MAX_CLIENTS, Contestant, Work
from bench.server import Connection


def _install(connection: Connection) -> None:
    connection.execute((files("procrastinate") / "sql" / "schema.sql").read_bytes())
    # A worker for each client: updates would otherwise compete for the lock on one worker's row.
    for _ in range(MAX_CLIENTS):
        connection.execute("insert into procrastinate_workers default values")


def _query(name: str, **arguments: str) -> str:
    """Return one of its queries with each placeholder replaced."""
    # By name, so that type checks do not depend on whether the package is installed.
    query = str(importlib.import_module("procrastinate.sql").queries[name]).strip().rstrip(";")
    for argument, value in arguments.items():
        query = query.replace(f"%({argument})s", value)
    return query


ARGS = """{"objective": "Draw the start page"}"""
JOB = f"row('bench', 'draw', 0, null, null, '{ARGS}'::jsonb, null)::procrastinate_job_to_defer_v1"

CONTESTANT = Contestant(
    name="procrastinate",
    distribution="procrastinate",
    pair=(
        "`procrastinate_fetch_job_v2` marks the job as running by a worker; `procrastinate_finish_job_v1`"
        " marks it as succeeded. Triggers add a row to the table of events each time. The job stays in the"
        " table (the default). There is no token and no result."
    ),
    install=_install,
    fill=(
        f"select cardinality(procrastinate_defer_jobs_v1(array(select {JOB}"
        " from generate_series(%(first)s::integer, %(last)s::integer))))"
    ),
    create=_query("defer_jobs", jobs=f"array[{JOB}]"),
    payload=f"select array_agg({JOB}) as bench_work from generate_series(1, :bench_rows)",
    create_many=f"select count(*) from ({_query('defer_jobs', jobs=':bench_work')}) as deferred",
    single=Work(
        _query("fetch_job", queues="'{bench}'", worker_id="(:client_id + 1)"),
        _query("finish_job", job_id=":id", status="'succeeded'", delete_job="false"),
    ),
    # It has no batches, and one by one takes long under an old snapshot. The same updates, with triggers:
    most=Work(
        "with started as (update procrastinate_jobs set status = 'doing', worker_id = 1 where id in ("
        "select id from procrastinate_jobs where status = 'todo' order by priority desc, id limit 1000)"
        " returning id) select array_agg(id) as ids from started",
        "update procrastinate_jobs set status = 'succeeded', attempts = attempts + 1 where id = any (:ids)",
        1000,
    ),
    finished="select count(*) from procrastinate_jobs where status = 'succeeded'",
)
