"""This package: its functions in public, called as the role anon."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import ehg_tasks.local
from bench.contestants import BATCH, FINISH_MANY, Contestant, Work
from bench.server import SUPERUSER, Connection
from ehg_tasks.migrations import migrations

HAS_COMPLETE_MANY = "to_regprocedure('public.complete_task_contracts(jsonb)') is not null"
HAS_LEASE_SECONDS = (
    "exists (select from pg_proc where pronamespace = 'public'::regnamespace"
    " and proname = 'claim_task_contract' and 'p_lease_seconds' = any (proargnames))"
)
CREATE_BULK = 1000  # contracts in one call, the most there may be


def _install(connection: Connection) -> None:
    schemas = Path(ehg_tasks.local.__file__).parent / "schemas.sql"
    connection.execute(f"set session authorization {SUPERUSER}".encode())
    connection.execute(schemas.read_bytes())
    connection.execute("set session authorization postgres")
    for file in migrations():
        connection.execute(file.read_bytes())


def _with_short_leases(work: Work) -> Work:
    fetch = re.sub(
        r"claim_task_contract\((.*)\)", r"claim_task_contract(\1, p_lease_seconds => 5)", work.fetch
    )
    return replace(work, fetch=fetch, needs=HAS_LEASE_SECONDS)


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
    finished="select count(*) from public.agent_task_contracts where status = 'completed'",
    batch=Work(
        "select jsonb_agg(jsonb_build_object('contract_id', contract_id, 'claim_token', claim_token))"
        f" as results from public.claim_task_contract('T', {BATCH})",
        "select count(*) from public.complete_task_contracts(:results::jsonb)",
        BATCH,
        HAS_COMPLETE_MANY,
    ),
    finish_many=(
        f"select count(*) from public.claim_task_contract('T', {FINISH_MANY}) as c cross join lateral"
        " public.complete_task_contract(p_contract_id => c.contract_id, p_claim_token => c.claim_token)",
    ),
    user="authenticator",
    options="-c role=anon -c statement_timeout=0",
)

# Its claims end after 5 seconds, instead of after the whole time limit.
SHORT_LEASES = replace(
    CONTESTANT,
    name="ours, leases of 5 s",
    single=_with_short_leases(CONTESTANT.single),
    batch=CONTESTANT.batch and _with_short_leases(CONTESTANT.batch),
)


def hold(connection: Connection, count: int) -> None:
    """Create contracts that wait until tomorrow, before any other contract."""
    found = connection.execute("select to_regclass('ehg_tasks.handbacks')").fetchone()
    if found and found[0]:
        connection.execute(CONTESTANT.fill.encode(), {"first": 1, "last": count})
        connection.execute(
            "insert into ehg_tasks.handbacks (contract_id, claim_token, outcome, not_before)"
            " select id, gen_random_uuid(), 'failed', now() + interval '1 day'"
            " from public.agent_task_contracts"
        )
        return
    for first in range(0, count, CREATE_BULK):
        connection.execute(
            "select count(*) from public.create_task_contracts((select jsonb_agg(jsonb_build_object("
            "'parent_agent', 'P', 'target_agent', 'T', 'objective', 'Draw the start page',"
            " 'not_before', now() + interval '1 day')) from generate_series(1, %s)))",
            [min(CREATE_BULK, count - first)],
        )


def lease(connection: Connection, count: int) -> None:
    """Claim waiting contracts, 100 a call, and keep them."""
    for _ in range(0, count, 100):
        connection.execute("select count(*) from public.claim_task_contract('T', 100)")
