"""Mutants that no test of behavior can notice, by name, each with the reason."""

from __future__ import annotations

SHORTCUT = "a shortcut for the usual case; the function that it spares decides the same"
UNREACHABLE = "the triggers keep what this condition looks at, so that it never differs"

_REASONS: dict[str, dict[str, list[str]]] = {
    SHORTCUT: {
        "ehg_tasks.all_plainly_valid": [
            "`coalesce(length(i.value ->> 'expected_output_type'), 0) <= 50` with <",
            "'[]' dropped from `in ('[]', 'null')`",
        ],
        "ehg_tasks.complete_task_contract": [
            "`a.contract_id = p_contract_id` negated (<>)",
            "`v_contract.status = 'in_progress'` negated (<>)",
            "`greatest(octet_length(p_result_summary), octet_length(p_error_message)) > 65536` with >=",
            "order by `a.attempt desc` reversed",
            "`select c.* into v_contract from public.agent_task_contracts c where c.id = p_contract_id …` dropped",
            "`if not found` always",
            "`select a.* into v_attempt from ehg_tasks.attempts a where a.contract_id = p_contract_id o…` dropped",
            "`if (v_contract.status = 'in_progress' and v_attempt.outcome is null and v_attempt.claim_t…` always",
            "`if greatest(octet_length(p_result_summary), octet_length(p_error_message)) > 65536` always",
        ],
        "ehg_tasks.complete_together": [
            "`or r.output_artifact_id is null` dropped",
            "0 → 1 in `0) >= 0 and coalesce`",
            "`k.id = r.contract_id` negated (<>)",
        ],
        "ehg_tasks.create_task_contract": [
            "`coalesce(length(p_sd_id), 0) <= 50` with <",
            "0 → 1 in `p_constraints), 0) <=`",
            "`if p_parent_agent ~ '^[!-~]([ -~]{0,48}[!-~])?$' and p_target_agent ~ '^[!-~]([ -~]{0,48}…` never",
            "`coalesce(pg_column_size(p_constraints), 0)` without `0`",
        ],
    },
    UNREACHABLE: {
        "ehg_tasks.complete_task_contract": [
            "`v_contract.status in ('completed', 'failed') and` dropped",
            "`v_contract.status = 'in_progress' and` dropped",
        ],
    },
    "the callers have locked the contracts and chosen those in progress": {
        "ehg_tasks.end_attempts": ["`where p.status = 'in_progress'` dropped"],
    },
    "only the new contracts are updated": {
        "ehg_tasks.let_wait": ["`where k.contract_id = i.id` dropped"],
    },
    "the order in which rows are locked, which matters only if two calls cross within a moment": {
        "ehg_tasks.move_to_ready": ["order by `m.contract_id` reversed"],
    },
    "the contracts of one call differ in their time of creation": {
        "ehg_tasks.insert_contracts": ["`d.id = i.new_id and` dropped"],
    },
    "without contracts that wait or are due, there is nothing to do": {
        "ehg_tasks.insert_contracts": ["`if v_waiting` always"],
        "ehg_tasks.claim_task_contract": ["`if v_has_due` always"],
    },
    "a size in memory, far above that of the text, which is checked next": {
        "ehg_tasks.check_output": ["1048576 → 1048577 in `, 8 * 1048576);`"],
    },
    "it only saves time: what lies before the mark has been claimed": {
        "ehg_tasks.claim_task_contract": [
            "`and (q.created_at, q.contract_id) >= (w.created_at, w.contract_id)` dropped",
            "512 → 513 in `() * 512 < p_limit`",
        ],
        "ehg_tasks.raise_low_water_marks": [
            "`current_setting('transaction_isolation') <> 'read committed'` negated (=)",
            "`with firsts as materialized ( select m.priority, f.created_at, f.contract_id from ( selec…` dropped",
        ],
    },
}
EQUIVALENT = {
    f"{target}: {change}": reason
    for reason, targets in _REASONS.items()
    for target, changes in targets.items()
    for change in changes
}
