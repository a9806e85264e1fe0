"""What must hold for the engine's tables after every call, whoever made it."""

from __future__ import annotations

from tests.lifecycle.helpers import Database

# Each query returns what breaks the rule.
RULES = {
    "ready and held are the pending contracts, with their agent, priority and creation time": """
        select coalesce(c.id, q.contract_id)::text
        from (
          select c.id, ehg_tasks.queue_name(c.target_agent) as target_agent, c.priority, c.created_at
          from public.agent_task_contracts c where c.status = 'pending'
        ) as c
        full join (
          select contract_id, target_agent, priority, created_at from ehg_tasks.ready
          union all
          select contract_id, target_agent, priority, created_at from ehg_tasks.held
        ) as q on q.contract_id = c.id
        where (c.target_agent, c.priority, c.created_at)
              is distinct from (q.target_agent, q.priority, q.created_at)""",
    "no contract is both ready and held": """
        select contract_id::text from ehg_tasks.ready join ehg_tasks.held using (contract_id)""",
    "a ready contract does not wait for another": """
        select r.contract_id::text from ehg_tasks.ready r
        join ehg_tasks.dependencies d on d.contract_id = r.contract_id and not d.settled""",
    "held.waits_for is the number of unsettled dependencies": """
        select h.contract_id::text from ehg_tasks.held h
        where h.waits_for <> (
          select count(*) from ehg_tasks.dependencies d
          where d.contract_id = h.contract_id and not d.settled)""",
    "no dependency on a final contract is unsettled": """
        select d.contract_id::text from ehg_tasks.dependencies d
        join public.agent_task_contracts c on c.id = d.depends_on
        where not d.settled and c.status in ('completed', 'failed', 'cancelled')""",
    "the contracts of dependencies and attempts exist": """
        select i.id::text
        from (
          select contract_id as id from ehg_tasks.dependencies
          union select depends_on from ehg_tasks.dependencies
          union select contract_id from ehg_tasks.attempts
        ) as i
        where not exists (select from public.agent_task_contracts c where c.id = i.id)""",
    "an attempt without an end is the last of a contract in progress": """
        select a.contract_id::text
        from ehg_tasks.attempts a
        left join public.agent_task_contracts c on c.id = a.contract_id and c.status = 'in_progress'
        where a.ended_at is null and (
          c.id is null
          or exists (
            select from ehg_tasks.attempts b
            where b.contract_id = a.contract_id and b.attempt > a.attempt))""",
    "no row of ready stands before its mark": """
        select r.contract_id::text from ehg_tasks.ready r
        where not exists (
          select from ehg_tasks.low_water_marks m
          where m.target_agent = r.target_agent and m.priority = r.priority
            and (m.created_at, m.contract_id) <= (r.created_at, r.contract_id))""",
    "no lease ends before the mark of its agent": """
        select a.contract_id::text from ehg_tasks.attempts a
        join ehg_tasks.lease_marks m on m.target_agent = a.target_agent
        where a.ended_at is null and a.expires_at < m.expires_at""",
}
QUERY = "\nunion all\n".join(
    f"select '{rule}' as rule, broken.id from ({query}) as broken (id)" for rule, query in RULES.items()
)


def check_invariants(database: Database) -> None:
    """Fail if a rule is broken, and say which contracts break it."""
    assert database.execute(QUERY.encode()).fetchall() == []
