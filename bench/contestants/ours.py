"""This package: its functions in public, called as the role anon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ehg_tasks.local
from bench.contestants import BATCH, Contestant, Work
from bench.server import SUPERUSER, Connection
from ehg_tasks.migrations import migrations

CREATE_BULK = 1000  # contracts in a call, the most there may be
CLAIM_BULK = 100  # the same for claims


def _install(connection: Connection) -> None:
    schemas = Path(ehg_tasks.local.__file__).parent / "schemas.sql"
    connection.execute(f"set session authorization {SUPERUSER}".encode())
    connection.execute(schemas.read_bytes())
    connection.execute("set session authorization postgres")
    for file in migrations():
        connection.execute(file.read_bytes())


def _batch(size: int, arguments: str = "") -> Work:
    return Work(
        "select jsonb_agg(jsonb_build_object('contract_id', contract_id, 'claim_token', claim_token))"
        f" as results from public.claim_task_contract('T', {size}{arguments})",
        "select count(*) from public.complete_task_contracts(:results::jsonb)",
        size,
    )


CONTESTANT = Contestant(
    name="ours",
    distribution="ehg-tasks",
    pair=(
        "As anon: `claim_task_contract` marks the contract in progress and records the attempt with its"
        " secret token and lease; `complete_task_contract` checks the token and records the result and its"
        " key. The contract stays in the table."
    ),
    install=_install,
    # Each has a time of its own: contracts of one moment would be claimed in the random order of their ids.
    fill=(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, created_at)"
        " select 'P', 'T', 'Draw the start page', now() + n * interval '1 microsecond'"
        " from generate_series(%(first)s::integer, %(last)s::integer) as n"
    ),
    create=(
        "select * from public.create_task_contract("
        "p_parent_agent => 'P', p_target_agent => 'T', p_objective => 'Draw the start page')"
    ),
    payload=(
        "select jsonb_agg(jsonb_build_object("
        "'parent_agent', 'P', 'target_agent', 'T', 'objective', 'Draw the start page')) as bench_work"
        " from generate_series(1, :bench_rows)"
    ),
    create_many="select count(*) from public.create_task_contracts(:bench_work::jsonb)",
    single=Work(
        "select * from public.claim_task_contract('T')",
        "select * from public.complete_task_contract("
        "p_contract_id => :contract_id::uuid, p_claim_token => :claim_token::uuid)",
    ),
    most=_batch(CLAIM_BULK),
    finished="select count(*) from public.agent_task_contracts where status = 'completed'",
    batch=_batch(BATCH),
    user="authenticator",
    options="-c role=anon -c statement_timeout=0",
)

# Its claims end after 5 seconds, instead of after the whole time limit.
SHORT_LEASES = replace(
    CONTESTANT,
    name="ours, leases of 5 s",
    single=replace(
        CONTESTANT.single, fetch="select * from public.claim_task_contract('T', p_lease_seconds => 5)"
    ),
    most=_batch(CLAIM_BULK, ", p_lease_seconds => 5"),
)


def hold(connection: Connection, count: int) -> None:
    """Create contracts that wait until tomorrow, before any other contract."""
    for first in range(0, count, CREATE_BULK):
        connection.execute(
            "select count(*) from public.create_task_contracts((select jsonb_agg(jsonb_build_object("
            "'parent_agent', 'P', 'target_agent', 'T', 'objective', 'Draw the start page',"
            " 'not_before', now() + interval '1 day')) from generate_series(1, %s)))",
            [min(CREATE_BULK, count - first)],
        )


def lease(connection: Connection, count: int) -> None:
    """Claim waiting contracts and keep them."""
    for _ in range(0, count, CLAIM_BULK):
        connection.execute("select count(*) from public.claim_task_contract('T', %s)", [CLAIM_BULK])
