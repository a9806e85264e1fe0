"""PGMQ: the SQL of its extension, as its Python package carries it."""

from __future__ import annotations

from importlib.resources import files

from bench.contestants import BATCH, Contestant, Work
from bench.server import Connection


def _install(connection: Connection) -> None:
    connection.execute((files("pgmq") / "sql" / "pgmq.sql").read_bytes())
    connection.execute("select pgmq.create('bench')")


def _batch(size: int) -> Work:
    return Work(
        f"select array_agg(msg_id) as ids from pgmq.read('bench', 30, {size})",
        "select count(*) from pgmq.archive('bench', :ids::bigint[])",
        size,
    )


CONTESTANT = Contestant(
    name="pgmq",
    distribution="pgmq",
    pair=(
        "`pgmq.read` hides the message for 30 seconds; `pgmq.archive` moves it to the archive table. There"
        " is no priority, no token and no result, and a queue is a table of its own."
    ),
    install=_install,
    fill=(
        "select count(*) from pgmq.send_batch('bench', array("
        "select jsonb_build_object('objective', 'Draw the start page')"
        " from generate_series(%(first)s::integer, %(last)s::integer)))"
    ),
    create="""select * from pgmq.send('bench', '{"objective": "Draw the start page"}'::jsonb)""",
    payload=(
        "select array_agg(jsonb_build_object('objective', 'Draw the start page')) as bench_work"
        " from generate_series(1, :bench_rows)"
    ),
    create_many="select count(*) from pgmq.send_batch('bench', :bench_work::jsonb[])",
    single=Work("select * from pgmq.read('bench', 30, 1)", "select pgmq.archive('bench', :msg_id::bigint)"),
    most=_batch(1000),
    finished="select count(*) from pgmq.a_bench",
    batch=_batch(BATCH),
)
