"""The rows that every access test starts from, and the values that it writes."""

from __future__ import annotations

from typing import Any, NamedTuple

PENDING = "00000000-0000-4000-8000-000000000001"
IN_PROGRESS = "00000000-0000-4000-8000-000000000002"
WAITING = "00000000-0000-4000-8000-000000000003"
NEW = "00000000-0000-4000-8000-000000000009"
ARTIFACT = "00000000-0000-4000-8000-0000000000a1"
NEW_ARTIFACT = "00000000-0000-4000-8000-0000000000a9"
TOKEN = "00000000-0000-4000-8000-00000000c1a1"
AGENT = "REGISTERED"

# Three contracts, a directive, an artifact, a registered agent, and at least one row in each of the engine's
# tables: the third contract waits for the first.
SEED = f"""
delete from public.agent_task_contracts;
delete from public.agent_artifacts;
delete from public.strategic_directives_v2;
delete from ehg_tasks.agents;
delete from ehg_tasks.lease_marks;
insert into public.strategic_directives_v2 (id) values ('SD-1');
insert into public.agent_artifacts (id, type, summary) values ('{ARTIFACT}', 'context', 's');
insert into public.agent_task_contracts (id, parent_agent, target_agent, objective, sd_id, status, started_at)
values ('{PENDING}', 'P', 'T', 'o', 'SD-1', 'pending', null),
       ('{IN_PROGRESS}', 'P', 'T', 'o', null, 'in_progress', now());
insert into ehg_tasks.lease_marks (target_agent, expires_at) values ('T', now());
insert into ehg_tasks.attempts (contract_id, attempt, target_agent, claim_token, claimed_at, expires_at)
values ('{IN_PROGRESS}', 1, 'T', '{TOKEN}', now(), now() + interval '30 minutes');
insert into ehg_tasks.agents (name, token_hash) values ('{AGENT}', sha256('secret'));
select public.create_task_contract(
  'P', 'T', 'o',
  p_contract_id => '{WAITING}', p_depends_on => '{{{PENDING}}}', p_on_dependency_failure => 'run');
"""


class Sample(NamedTuple):
    """What the operations on a relation use."""

    key: str
    """Name of the key column."""
    existing: str
    """Key of a row of the seed."""
    new: dict[str, str]
    """A row that can be added."""
    change: tuple[str, Any]
    """Column and value of an update."""


SAMPLES = {
    "public.agent_task_contracts": Sample(
        "id",
        PENDING,
        {"id": NEW, "parent_agent": "P", "target_agent": "T", "objective": "new"},
        ("priority", 7),
    ),
    "public.task_contract_stats": Sample("target_agent", "T", {"target_agent": "T"}, ("contracts", 1)),
    "public.task_agents": Sample("name", AGENT, {"name": "NEW"}, ("max_running", 1)),
    "public.agent_artifacts": Sample(
        "id",
        ARTIFACT,
        {"id": NEW_ARTIFACT, "type": "context", "summary": "new"},
        ("summary", "changed"),
    ),
    "public.strategic_directives_v2": Sample("id", "SD-1", {"id": "SD-9"}, ("id", "SD-1")),
}
VIEWS = ("public.task_contract_stats", "public.task_agents")
