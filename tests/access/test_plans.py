"""The plans of the statements inside the functions, at realistic sizes and with statistics of every kind.

No call reads the backlog: every table is reached through an index that was made for it, and no step of a plan
touches more rows than the call is about. auto_explain shows the plans, with the rows that each step read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from psycopg import Connection
from psycopg.errors import Diagnostic

from tests.databases import Databases

# --- the rows ----------------------------------------------------------------------------------------

READY, HELD, LEASED, FINISHED, OTHERS = 20_000, 20_000, 5_000, 20_000, 2_000
DEPENDENTS = 300  # contracts that wait for the first one in progress

# Autovacuum would change the statistics.
TABLES = (
    "public.agent_task_contracts",
    "public.agent_artifacts",
    *(f"ehg_tasks.{name}" for name in ("ready", "low_water_marks", "held", "dependencies", "attempts")),
    *(f"ehg_tasks.{name}" for name in ("lease_marks", "agents")),
)
NO_AUTOVACUUM = "; ".join(f"alter table {table} set (autovacuum_enabled = false)" for table in TABLES)

# Each contract has its kind and number in its id, and a lease has the id of its contract as its token.
FILL = f"""
    create function public.id(kind text, number integer) returns uuid language sql immutable as
      $$ select (rpad(kind, 8, '0') || '-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid $$;
    set session_replication_role = replica;
    insert into public.agent_task_contracts
      (id, parent_agent, target_agent, objective, priority, status, created_at, started_at, completed_at)
    select public.id(k.kind, n), 'P', k.agent, 'o', 50 + n % 3, k.status,
           now() - interval '1 day' + n * interval '1 second',
           case when k.status = 'in_progress' then now() end, case when k.status = 'completed' then now() end
    from (values ('aa', 'T', 'pending', {READY}), ('bb', 'T', 'pending', {HELD}),
                 ('cc', 'T', 'in_progress', {LEASED}), ('dd', 'T', 'completed', {FINISHED}),
                 ('ee', 'R', 'pending', {OTHERS}), ('ff', 'T', 'pending', {DEPENDENTS}),
                 ('99', 'Q', 'pending', 10)) as k (kind, agent, status, count),
         generate_series(1, k.count) as n;
    insert into ehg_tasks.dependencies (contract_id, depends_on, on_failure)
    select public.id('ff', n), public.id('cc', 1), 'cancel' from generate_series(1, {DEPENDENTS}) as n;
    insert into ehg_tasks.held (contract_id, target_agent, priority, created_at, not_before, waits_for)
    select c.id, c.target_agent, c.priority, c.created_at,
           case when c.id < public.id('ff', 0) then now() + interval '1 hour' else '-infinity' end,
           case when c.id < public.id('ff', 0) then 0 else 1 end
    from public.agent_task_contracts c where c.id::text like 'bb000000%' or c.id::text like 'ff000000%';
    insert into ehg_tasks.attempts
      (contract_id, attempt, target_agent, claim_token, claimed_at, lease_seconds, expires_at, ended_at,
       outcome)
    select c.id, 1, c.target_agent, c.id, now(), 60, now() + interval '10 minutes', c.completed_at,
           case when c.status = 'completed' then 'completed' end
    from public.agent_task_contracts c where c.id::text like 'cc000000%' or c.id::text like 'dd000000%';
    insert into ehg_tasks.agents (name, max_running) values ('R', 1000);
    select ehg_tasks.rebuild_queue();
    reset session_replication_role;
"""


def contract_id(kind: str, number: int = 1) -> str:
    """The id of a contract: aa ready, bb held, cc leased, dd finished, ff dependent, ee ready (agent R)."""
    return f"{kind:0<8}-0000-4000-8000-{number:012}"


def items(count: int, **fields: Any) -> str:
    """A JSON array of results or renewals for the first leased contracts."""
    tokens = [contract_id("cc", number) for number in range(2, count + 2)]
    return json.dumps([{"contract_id": token, "claim_token": token, **fields} for token in tokens])


# --- the calls ---------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call, what it needs first, and what it may touch."""

    sql: str
    uses: str = ""
    """Indexes that it must use."""
    about: int = 1
    """Number of contracts that it is about."""
    first: str = ""
    """SQL that prepares it."""


NINTH = contract_id("cc", 9)
CLAIM = (
    "ready_claim_order low_water_marks_pkey attempts_expiry held_due agent_task_contracts_pkey attempts_pkey"
)
LEASE = "agent_task_contracts_pkey attempts_pkey"
CREATE = "public.create_task_contract('P', 'T', 'o'"
PAST = "clock_timestamp() - interval '1 second'"

CALLS: dict[str, Call] = {
    "claim one": Call("public.claim_task_contract('T')", CLAIM),
    "claim fifty": Call("public.claim_task_contract('T', 50)", CLAIM, 50),
    "claim a hundred": Call("public.claim_task_contract('T', 100, p_lease_seconds => 60)", CLAIM, 100),
    "claim a certain one": Call(
        f"public.claim_task_contract('T', p_contract_id => '{contract_id('aa', 15_000)}')",
        "ready_pkey agent_task_contracts_pkey attempts_pkey",
    ),
    "claim for a registered agent": Call("public.claim_task_contract('R')", f"{CLAIM} agents_pkey"),
    "claim with a key": Call(
        f"public.claim_task_contract('T', p_request_key => '{contract_id('88')}')",
        f"{CLAIM} attempts_request_key",
    ),
    "repeat a claim": Call(
        f"public.claim_task_contract('T', p_request_key => '{contract_id('88')}')",
        "attempts_request_key agent_task_contracts_pkey",
        first=f"select public.claim_task_contract('T', p_request_key => '{contract_id('88')}')",
    ),
    "claim where nothing waits": Call("public.claim_task_contract('NOBODY')", "low_water_marks_pkey"),
    "claim when leases have expired": Call(
        "public.claim_task_contract('T')",
        CLAIM,
        50,
        f"update ehg_tasks.attempts set expires_at = {PAST}"
        f" where contract_id between '{contract_id('cc', 2)}' and '{contract_id('cc', 51)}'",
    ),
    "claim when retries are due": Call(
        "public.claim_task_contract('T')",
        CLAIM,
        50,
        f"update ehg_tasks.held set not_before = {PAST} where contract_id <= '{contract_id('bb', 50)}'",
    ),
    "renew one": Call(
        f"public.renew_task_contract('{contract_id('cc')}', '{contract_id('cc')}', '{{}}')", LEASE
    ),
    "renew a hundred": Call(f"public.renew_task_contracts('{items(100)}')", LEASE, 100),
    "complete one": Call(
        f"public.complete_task_contract('{NINTH}', p_claim_token => '{NINTH}', p_output => '1')",
        f"{LEASE} dependencies_depends_on",
    ),
    "complete a hundred": Call(
        f"public.complete_task_contracts('{items(100)}')", f"{LEASE} dependencies_depends_on", 100
    ),
    "complete a hundred, of which each is refused": Call(
        f"public.complete_task_contracts('{items(100, execution_tokens=-1)}')",
        "agent_task_contracts_pkey",
        100,
    ),
    "complete what others wait for": Call(
        f"public.complete_task_contract('{contract_id('cc')}', p_claim_token => '{contract_id('cc')}')",
        f"{LEASE} dependencies_depends_on held_pkey",
        DEPENDENTS,
    ),
    "cancel what others wait for": Call(
        f"public.cancel_task_contract('{contract_id('cc')}')",
        "agent_task_contracts_pkey dependencies_depends_on held_pkey",
        DEPENDENTS,
    ),
    "fail, to be retried": Call(f"public.fail_task_contract('{NINTH}', '{NINTH}', 'e')", LEASE),
    "fail for good": Call(
        f"public.fail_task_contract('{NINTH}', '{NINTH}', 'e', false)",
        f"{LEASE} dependencies_depends_on",
    ),
    "release": Call(f"public.release_task_contract('{NINTH}', '{NINTH}')", LEASE),
    "cancel a ready one": Call(
        f"public.cancel_task_contract('{contract_id('aa', 9)}')", "agent_task_contracts_pkey ready_pkey"
    ),
    "cancel a held one": Call(
        f"public.cancel_task_contract('{contract_id('bb', 9)}')", "agent_task_contracts_pkey held_pkey"
    ),
    "requeue": Call(
        f"public.requeue_task_contract('{contract_id('dd', 9)}')",
        "agent_task_contracts_pkey dependencies_pkey",
    ),
    "create one": Call(f"{CREATE})", "low_water_marks_pkey"),
    "create one again": Call(
        f"{CREATE}, p_contract_id => '{contract_id('88')}')",
        "agent_task_contracts_pkey",
        first=f"select {CREATE}, p_contract_id => '{contract_id('88')}')",
    ),
    "create one that waits": Call(
        f"{CREATE}, p_depends_on => array['{contract_id('aa', 9)}', '{NINTH}']::uuid[])",
        "agent_task_contracts_pkey dependencies_pkey ready_pkey",
    ),
    "create a hundred": Call(
        "public.create_task_contracts((select jsonb_agg("
        """'{"parent_agent": "P", "target_agent": "T", "objective": "o"}'::jsonb)"""
        " from generate_series(1, 100)))",
        "low_water_marks_pkey",
        100,
    ),
    "create a hundred that wait": Call(
        "public.create_task_contracts((select jsonb_agg("
        """'{"parent_agent": "P", "target_agent": "T", "objective": "o"}'::jsonb"""
        f" || jsonb_build_object('depends_on', array['{NINTH}'])) from generate_series(1, 100)))",
        "agent_task_contracts_pkey dependencies_pkey ready_pkey",
        100,
    ),
    "outcomes of a hundred": Call(
        "public.task_contract_outcomes(array(select public.id('cc', n) from generate_series(1, 100) as n))",
        LEASE,
        100,
    ),
    "history": Call(f"public.task_contract_history('{contract_id('dd', 9)}')", LEASE),
    "inputs": Call(f"public.task_contract_inputs('{NINTH}', '{NINTH}')", LEASE),
    "raise the marks": Call(
        "ehg_tasks.raise_low_water_marks('T')", "ready_claim_order low_water_marks_pkey attempts_expiry", 3
    ),
}

# Each table of the engine's backlog, and the indexes through which it may be read.
INDEXES: dict[str, set[str | None]] = {
    "agent_task_contracts": {"agent_task_contracts_pkey", "idx_task_contracts_idempotency"},  # both by id
    "ready": {"ready_pkey", "ready_claim_order"},
    "held": {"held_pkey", "held_due"},
    "dependencies": {"dependencies_pkey", "dependencies_depends_on"},
    "attempts": {"attempts_pkey", "attempts_expiry", "attempts_request_key"},
    "low_water_marks": {"low_water_marks_pkey"},
    "lease_marks": {"lease_marks_pkey"},
    "agents": {"agents_pkey", None},  # the registry is small
    "agent_artifacts": {"agent_artifacts_pkey"},
}

# --- the plans ---------------------------------------------------------------------------------------

EXPLAIN = """
    load 'auto_explain';
    set auto_explain.log_min_duration = 0;
    set auto_explain.log_nested_statements = on;
    set auto_explain.log_analyze = on;
    set auto_explain.log_timing = off;
    set auto_explain.log_buffers = on;
    set auto_explain.log_format = json;
    set auto_explain.log_level = notice;
    set client_min_messages = notice;
"""


class Scan(NamedTuple):
    """A step of a plan that reads a table."""

    relation: str
    path: str | None
    """Index through which it reads."""
    rows: int
    """Rows that it read, also those that a filter removed."""
    text: str


class Plans:
    """A connection that shows the plans of every statement that a call runs."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection
        self.texts: list[str] = []
        connection.add_notice_handler(self._keep)
        connection.execute(EXPLAIN)

    def _keep(self, notice: Diagnostic) -> None:
        message = notice.message_primary or ""
        if "plan:" in message:
            self.texts.append(message.partition("plan:")[2])

    def of(self, call: Call) -> list[dict[str, Any]]:
        """The plans of the call and of every statement in it, the call's own last; nothing is kept."""
        with self.connection.transaction(force_rollback=True):
            if call.first:
                self.connection.execute(call.first.encode())
            self.texts.clear()
            self.connection.execute(f"select * from {call.sql}".encode())
            return [json.loads(text) for text in self.texts]

    def buffers(self, sql: str) -> int:
        """Number of blocks that a call looks at in the buffer cache, nested statements included."""
        call = self.of(Call(sql))[-1]["Plan"]
        return int(call["Shared Hit Blocks"] + call["Shared Read Blocks"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def scans(plans: list[dict[str, Any]]) -> Iterator[Scan]:
    """Every step that reads a table or sorts."""
    for plan in plans:
        for node in nodes(plan["Plan"]):
            kind = node["Node Type"]
            read = sum(node.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter"))
            rows = round(read * max(node["Actual Loops"], 1))
            text = f"{kind} in: {' '.join(plan['Query Text'].split())[:200]}"
            if kind in {"Sort", "Incremental Sort"}:
                yield Scan("", None, rows, text)
            elif kind == "Bitmap Heap Scan":
                # Subplans of its expressions read other tables.
                below = [part for part in node["Plans"] if part["Parent Relationship"] == "Outer"]
                for part in (part for plan in below for part in nodes(plan)):
                    if part["Node Type"] == "Bitmap Index Scan":
                        yield Scan(node["Relation Name"], part["Index Name"], rows, text)
            elif kind.endswith("Scan") and "Relation Name" in node:
                yield Scan(node["Relation Name"], node.get("Index Name"), rows, text)


# With statistics, without any, and with plans that the session made when the tables were small.
STATES = ("analyzed", "never analyzed", "planned when empty", "planned when small")
SMALL = """
    select public.create_task_contract('P', agent, 'o')
    from unnest(array['S', 'S', 'S', 'T', 'T', 'Q']) as agent;
    select public.claim_task_contract('S', 2);
    select public.fail_task_contract(contract_id, claim_token, 'e') from public.claim_task_contract('S');
    analyze;
"""


@pytest.fixture(scope="module")
def migrated(databases: Databases) -> Iterator[str]:
    name = databases.migrated()
    with databases.connect(name) as connection:
        connection.execute(NO_AUTOVACUUM)
    yield name
    databases.drop(name)


@pytest.fixture(scope="module", params=STATES)
def plans(databases: Databases, migrated: str, request: pytest.FixtureRequest) -> Iterator[Plans]:
    name = databases.create(migrated)
    with databases.connect(name) as connection, databases.connect(name) as other:
        if request.param.startswith("planned"):
            other.execute("analyze" if request.param == "planned when empty" else SMALL)
            connection.execute(WORK)
        other.execute(FILL.encode())
        if request.param == "analyzed":
            other.execute("analyze")
        yield Plans(connection)
    databases.drop(name)


# Every function, one contract at a time and often enough for the session to keep its plans.
WORK = """
do $$
declare
  v_id uuid;
  v_claim public.task_contract_claim;
begin
  for n in 1..12 loop
    select contract_id into v_id from public.create_task_contract('P', 'W', 'o');
    perform public.create_task_contract('P', 'W', 'o', p_contract_id => v_id);
    perform public.create_task_contract('P', 'V', 'o', p_depends_on => array[v_id]);
    perform public.create_task_contracts(
      '[{"parent_agent": "P", "target_agent": "V", "objective": "o"},'
      ' {"parent_agent": "P", "target_agent": "V", "objective": "o"}]');
    select * into v_claim from public.claim_task_contract('W', p_request_key => v_id);
    perform public.claim_task_contract('W', p_request_key => v_id);
    perform public.renew_task_contract(v_id, v_claim.claim_token, '{}');
    perform public.release_task_contract(v_id, v_claim.claim_token);
    select * into v_claim from public.claim_task_contract('W', p_contract_id => v_id);
    perform public.fail_task_contract(v_id, v_claim.claim_token, 'e');
    update ehg_tasks.held set not_before = '-infinity' where contract_id = v_id;
    select * into v_claim from public.claim_task_contract('W', 50);
    update ehg_tasks.attempts set expires_at = clock_timestamp()
    where contract_id = v_id and ended_at is null;
    select * into v_claim from public.claim_task_contract('W', 100);
    perform public.renew_task_contracts(jsonb_build_array(jsonb_build_object(
      'contract_id', v_id, 'claim_token', v_claim.claim_token)));
    perform public.complete_task_contracts(jsonb_build_array(jsonb_build_object(
      'contract_id', v_id, 'claim_token', v_claim.claim_token)));
    perform public.requeue_task_contract(v_id);
    select * into v_claim from public.claim_task_contract('W');
    perform public.task_contract_inputs(v_id, v_claim.claim_token);
    perform public.complete_task_contract(v_id, p_claim_token => v_claim.claim_token, p_output => '1');
    select contract_id into v_id from public.create_task_contract('P', 'W', 'o');
    perform public.create_task_contract('P', 'V', 'o', p_depends_on => array[v_id]);
    select * into v_claim from public.claim_task_contract('W');
    perform public.fail_task_contract(v_id, v_claim.claim_token, 'e', false);
    perform public.task_contract_outcomes(array[v_id]);
    perform public.task_contract_history(v_id);
    select contract_id into v_id from public.create_task_contract('P', 'W', 'o');
    perform public.cancel_task_contract(v_id);
    perform ehg_tasks.raise_low_water_marks('W');
    delete from public.agent_task_contracts where target_agent in ('W', 'V');
  end loop;
end
$$
"""


@pytest.mark.parametrize("name", CALLS)
def test_a_call_reads_no_more_than_it_is_about(plans: Plans, name: str) -> None:
    call = CALLS[name]
    statements = plans.of(call)
    assert not [plan["Query Text"] for plan in statements if "JIT" in plan]
    found = list(scans(statements))
    for scan in found:
        if scan.relation in INDEXES:
            assert scan.path in INDEXES[scan.relation], scan
        assert scan.rows <= 4 * call.about + 20, scan
    assert set(call.uses.split()) <= {scan.path for scan in found}


def test_what_waits_and_what_runs_costs_a_claim_nothing(plans: Plans) -> None:
    """Agent T has a backlog, 20,000 held contracts and 5,000 leases; agent Q has ten ready contracts."""
    for call in ("public.claim_task_contract('{}')", "public.claim_task_contract('{}', 10)"):
        few, many = (min(plans.buffers(call.format(agent)) for _ in range(4)) for agent in "QT")
        assert many <= 2 * few + 10, call  # reading what waits would be thousands
