"""Mutants that no test of behavior can notice, by name, each with the reason."""

from __future__ import annotations

_REASONS: dict[str, dict[str, list[str]]] = {
    "a shortcut for the usual case; the function that it spares decides the same": {
        "ehg_tasks.all_plainly_valid": [
            "`coalesce(length(i.value ->> 'expected_output_type'), 0) <= 50` with <",
            "'[]' dropped from `in ('[]', 'null')`",
            "`and coalesce(length(i.value ->> 'created_by'), 0) <= 100` dropped",
            "`coalesce(length(i.value ->> 'sd_id'), 0) <= 50` negated (>)",
            "`coalesce(length(i.value ->> 'created_by'), 0) <= 100` with <",
            "0 → 1 in `'created_by'), 0) <=`",
            "`coalesce(length(i.value ->> 'sd_id'), 0)` without `0`",
            "`coalesce(i.value -> 'input_artifacts', 'null')` without `i.value -> 'input_artifacts'`",
        ],
        "ehg_tasks.claim_task_contract": [
            "`if v_limit > 27` always",
            "`where a.name = v_name` dropped",
            "`a.target_agent = v_name and` dropped",
            "`and h.waits_for = 0` dropped",
            "`v_limit > 27` with >=",
            "`if v_is_registered` always",
            "`if v_is_registered` always (2)",
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
            "`r.output is null or` dropped",
            "`or r.output_artifact_id is null` dropped",
            "0 → 1 in `0) >= 0 and coalesce`",
            "`k.id = r.contract_id` negated (<>)",
            "`and (select count(*) from stored) >= 0` dropped",
            "`where k.id = i.contract_id` dropped",
            "`coalesce(octet_length(r.result_summary), 0) <= 65536` with <",
            "0 → 1 in `.execution_tokens, 0) >=`",
            "0 → 1 in `settled) >= 0 returning c`",
        ],
        "ehg_tasks.create_task_contract": [
            "`coalesce(length(p_sd_id), 0)` without `0`",
            "1 → 2 in `1) >= 1 and coalesce`",
            "`coalesce(length(p_sd_id), 0) <= 50` with <",
            "0 → 1 in `p_constraints), 0) <=`",
            "`if p_parent_agent ~ '^[!-~]([ -~]{0,48}[!-~])?$' and p_target_agent ~ '^[!-~]([ -~]{0,48}…` never",
            "`coalesce(pg_column_size(p_constraints), 0)` without `0`",
            "`and coalesce(pg_column_size(p_constraints), 0) <= 500` dropped",
            "`coalesce(octet_length(p_input_summary), 0) <= 65536` with <",
            "`coalesce(octet_length(p_constraints::text), 0) <= 128` with <",
            "0 → 1 in `text), 0) <=`",
            "1 → 2 in `1) between 1 and 10080`",
            "`coalesce(octet_length(p_input_summary), 0)` without `0`",
            "`coalesce(pg_column_size(p_constraints), 0)` without `pg_column_size(p_constraints)`",
            "`coalesce(p_max_tokens, 1)` without `1`",
            "'cancel' dropped from `in ('cancel', 'run')`",
        ],
        "ehg_tasks.create_task_contracts": [
            "`v_count = 1 or` dropped",
            "`v_count = 1` negated (<>)",
        ],
        "ehg_tasks.follow_status": [
            "`d.depends_on = new.id and` dropped",
        ],
        "ehg_tasks.insert_contracts": [
            "`where a.token_hash is not null` dropped",
            "`if v_waiting` always (2)",
        ],
        "ehg_tasks.settle_dependents": [
            "`if v_dependents = '{}'` never",
        ],
    },
    "the triggers keep what this condition looks at, so that it never differs": {
        "ehg_tasks.complete_task_contract": [
            "`v_contract.status in ('completed', 'failed') and` dropped",
            "`v_contract.status = 'in_progress' and` dropped",
        ],
    },
    "the callers have locked the contracts and chosen those in progress": {
        "ehg_tasks.end_attempts": [
            "`where p.status = 'in_progress'` dropped",
        ],
    },
    "only the new contracts are updated": {
        "ehg_tasks.let_wait": [
            "`where k.contract_id = i.id` dropped",
        ],
    },
    "the order in which rows are locked, which matters only if two calls cross within a moment": {
        "ehg_tasks.move_to_ready": [
            "order by `m.contract_id` reversed",
        ],
    },
    "the contracts of one call differ in their time of creation": {
        "ehg_tasks.insert_contracts": [
            "`d.id = i.new_id and` dropped",
        ],
    },
    "without contracts that wait or are due, there is nothing to do": {
        "ehg_tasks.claim_task_contract": [
            "`if v_has_due` always",
        ],
        "ehg_tasks.insert_contracts": [
            "`if v_waiting` always",
        ],
    },
    "it only saves time: what lies before the mark has been claimed": {
        "ehg_tasks.claim_task_contract": [
            "`and (q.created_at, q.contract_id) >= (w.created_at, w.contract_id)` dropped",
            "512 → 513 in `() * 512 < p_limit`",
        ],
        "ehg_tasks.follow_insert": [
            "`where a.status = 'pending'` dropped (2)",
        ],
        "ehg_tasks.raise_low_water_marks": [
            "`current_setting('transaction_isolation') <> 'read committed'` negated (=)",
            "`with firsts as materialized ( select m.priority, f.created_at, f.contract_id from ( selec…` dropped",
            "`current_setting('transaction_isolation') <> 'read committed' or` dropped",
            "`and a.expires_at >= coalesce( (select l.expires_at from ehg_tasks.lease_marks l where l.t…` dropped",
        ],
    },
    "the exact size does not matter: it is far above that of the text, which is checked next, or where an answer stops growing": {
        "ehg_tasks.check_output": [
            "1048576 → 1048577 in `, 8 * 1048576);`",
            "8 → 9 in `p_output), 8 * 1048576`",
        ],
    },
    "what this guards against cannot occur: earlier checks and the triggers keep it out": {
        "ehg_tasks.check_new_contract": [
            "'parent_agent' dropped from `array['parent_agent', 'target_agent']`",
        ],
        "ehg_tasks.check_repeat": [
            "`coalesce(nullif(p_item -> 'depends_on', 'null'), '[]')` without `'[]'`",
        ],
        "ehg_tasks.create_task_contracts": [
            "`raise` dropped",
        ],
        "ehg_tasks.follow_status": [
            "`on conflict (contract_id) do update set waits_for = excluded.waits_for` dropped",
        ],
        "ehg_tasks.is_service_role": [
            "true → false in `('role', true),`",
        ],
        "ehg_tasks.missing_references": [
            "`coalesce(nullif(i.item -> 'input_artifacts', 'null'), '[]')` without `'[]'`",
        ],
        "ehg_tasks.renew_task_contracts": [
            "`a.contract_id = i.contract_id and` dropped",
        ],
    },
    "it matters only to another call at the same moment": {
        "ehg_tasks.follow_insert": ["order by `a.priority` reversed"],
        "ehg_tasks.insert_contracts": ["order by `c.id` reversed"],
        "ehg_tasks.claim_task_contract": [
            "`and k.status is not distinct from 'pending'` dropped (2)",
        ],
        "ehg_tasks.cleanup_stale_contracts": [
            "`skip locked` dropped (2)",
            "`v_ids := ehg_tasks.lock_dependents(v_ids)` dropped (2)",
        ],
        "ehg_tasks.lock_agent": [
            "0 → 1 in `.max_running := 0; end`",
            "`v_agent.max_running := 0` dropped",
        ],
        "ehg_tasks.lock_contracts": [
            "order by `c.created_at` reversed",
        ],
        "ehg_tasks.lock_dependents": [
            "`skip locked` dropped",
            "`e.contract_id = w.id and` dropped",
            "`and not e.settled` dropped",
            "`e.contract_id = w.id` negated (<>)",
        ],
        "ehg_tasks.move_to_ready": [
            "order by `m.priority` reversed",
        ],
        "ehg_tasks.renew_task_contracts": [
            "`perform ehg_tasks.lock_contracts(v_ids)` dropped",
        ],
        "ehg_tasks.requeue_task_contract": [
            "`where d.contract_id = p_contract_id` dropped",
        ],
        "ehg_tasks.with_dependents": [
            "`and not e.settled` dropped",
        ],
    },
    "the same condition is checked again, under the lock or by the function that is called": {
        "ehg_tasks.cleanup_stale_contracts": [
            "`d.waits_for = 0 and` dropped",
            "`and d.not_before <= v_now` dropped",
            "`where k.id = h.contract_id` dropped",
        ],
        "ehg_tasks.expire_leases": [
            "`and a.ended_at is null` dropped",
        ],
        "ehg_tasks.insert_contracts": [
            "`if not true = all (v_created)` always",
            "`where not v_created[i.n]` dropped",
        ],
        "ehg_tasks.move_to_ready": [
            "`and h.waits_for = 0` dropped",
        ],
        "ehg_tasks.release_due": [
            "`and h.waits_for = 0` dropped",
            "`and h.not_before <= v_now` dropped",
        ],
    },
    "it bounds the work or the size of one call, not exactly; what is left is done by the next": {
        "ehg_tasks.expire_leases": [
            "`limit p_limit` dropped (2)",
        ],
        "ehg_tasks.fitting_claims": [
            "0 → 1 in `text), 0) +`",
            "0 → 1 in `input_artifacts), 0))`",
        ],
    },
    "a second condition of the same meaning, which lets an index serve it": {
        "ehg_tasks.let_wait": ["`and c.id = any (v_ids)` dropped"],
        "ehg_tasks.end_attempts": ["`and c.id = any (p_contract_ids)` dropped"],
    },
}
EQUIVALENT = {
    f"{target}: {change}": reason
    for reason, targets in _REASONS.items()
    for target, changes in targets.items()
    for change in changes
}
