"""Mutants of function bodies: each check, order and clock removed or reversed."""

from __future__ import annotations

from collections.abc import Iterator

from tests.mutants.mutants import Mutant

CREATE = "lifecycle/test_create.py"
CLAIM = "lifecycle/test_claim.py"
COMPLETE = "lifecycle/test_complete.py"
FINISH = "lifecycle/test_fail_release_cancel.py"
READ = "lifecycle/test_read.py"
MAINTENANCE = "lifecycle/test_maintenance.py"
TOKEN = "lifecycle/test_claim_token.py"
SIZES = "access/test_guards.py"
POISON = "reliability/test_poison.py"

# function -> (name of the mutant, text to replace, replacement, test that fails)
REPLACEMENTS: dict[str, list[tuple[str, str, str, str]]] = {
    "check_not_final": [
        ("final statuses allowed", "p_contract.status = any (ehg_tasks.final_statuses())", "false", TOKEN),
    ],
    "check_claim": [
        ("final statuses not checked", "perform ehg_tasks.check_not_final(p_contract);", "", TOKEN),
        ("missing token allowed", "if p_claim_token is null", "if false", TOKEN),
        ("token not compared", "v_lease.claim_token is distinct from p_claim_token", "false", TOKEN),
        ("status not checked", "p_contract.status <> 'in_progress' or ", "", TOKEN),
    ],
    "final_statuses": [
        ("completed is not final", "'completed', ", "", TOKEN),
        ("failed is not final", "'failed', ", "", TOKEN),
        ("cancelled is not final", ", 'cancelled'", "", TOKEN),
        ("pending is final", "'cancelled'", "'cancelled', 'pending'", TOKEN),
    ],
    "lease_length": [
        ("timeout_minutes ignored", "coalesce(p_timeout_minutes, 30)", "30", CLAIM),
        ("no default", "coalesce(p_timeout_minutes, 30)", "p_timeout_minutes", CLAIM),
        ("no minimum", "greatest(coalesce(p_timeout_minutes, 30), 1)", "coalesce(p_timeout_minutes, 30)", CLAIM),
    ],
    "retries_left": [
        ("always", "coalesce(p_retry_count, 0) < coalesce(p_max_retries, 2)", "true", FINISH),
        ("never", "coalesce(p_retry_count, 0) < coalesce(p_max_retries, 2)", "false", FINISH),
        ("one too many", " < ", " <= ", FINISH),
        ("no default of max_retries", "coalesce(p_max_retries, 2)", "p_max_retries", FINISH),
        ("no default of retry_count", "coalesce(p_retry_count, 0)", "p_retry_count", FINISH),
    ],
    "check_count": [
        ("a thousand and one allowed", "p_count > 1000", "p_count > 1001", f"{CREATE} {READ} {SIZES}"),
        ("a thousand refused", "p_count > 1000", "p_count >= 1000", f"{CREATE} {READ}"),
    ],
    "lock_contract": [
        ("the row is not locked", "for update", "", f"{CLAIM}::TestConcurrency"),
        ("an unknown contract is not an error", "if not found", "if false", TOKEN),
        ("a missing id is not an error", "if p_contract_id is null", "if false", TOKEN),
    ],
    "create_task_contracts": [
        ("any depth allowed", "perform ehg_tasks.check_json('a contract', v_item);", "", POISON),
        ("any number allowed", "perform ehg_tasks.check_count('p_contracts', v_count);", "", CREATE),
        ("an empty list allowed", "coalesce(v_count, 0) = 0", "false", CREATE),
        ("unknown fields allowed", "if v_problem is not null then\n      raise exception using errcode = 'TC005', message = format('unknown", "if false then\n      raise exception using errcode = 'TC005', message = format('unknown", CREATE),
        ("long names reach the table", "where length(v_item ->> l.field) > l.most", "where false", CREATE),
        ("blank names allowed", "ehg_tasks.is_blank(v_contract.parent_agent) or ", "", CREATE),
        ("a timeout of zero allowed", "v_contract.timeout_minutes < 1 or ", "", CREATE),
        ("negative retries allowed", " or v_contract.max_retries < 0", "", CREATE),
        ("sizes not checked", "perform ehg_tasks.check_contract_sizes(v_contract);", "", CREATE),
        ("a repeat is an error", "on conflict (id) do nothing", "", CREATE),
        ("a repeat may differ", "if jsonb_populate_record(v_existing, v_item - 'contract_id') is distinct from v_existing then", "if false then", CREATE),
        ("artifacts of a repeat checked", "if v_created then", "if true then", CREATE),
        ("unknown artifacts allowed", "and not exists (select from public.agent_artifacts a where a.id = i.id)", "and false", CREATE),
        ("contracts of one call have the same age", "+ (v_number - 1) * interval '1 microsecond'", "", CREATE),
    ],
    "claim_task_contract": [
        ("SKIP LOCKED removed", "for update of c skip locked", "for update of c", f"{CLAIM}::TestConcurrency"),
        ("rows not locked", "for update of c skip locked", "", f"{CLAIM}::TestConcurrency"),
        ("priority ignored", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.created_at, c.id\n      limit", CLAIM),
        ("lowest priority first", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.priority, c.created_at, c.id\n      limit", CLAIM),
        ("newest first", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.priority desc, c.created_at desc, c.id\n      limit", CLAIM),
        ("contracts of the same age in any order", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.priority desc, c.created_at, c.id desc\n      limit", CLAIM),
        ("contracts of any agent", "c.target_agent = p_target_agent\n        and ", "", CLAIM),
        ("any status", "and c.status = 'pending'", "and c.status in ('pending', 'completed')", CLAIM),
        ("the wait after a failure ignored", "h.not_before > v_now", "false", CLAIM),
        ("more than a hundred allowed", "p_limit > 100", "false", CLAIM),
        ("less than one allowed", "p_limit is null or p_limit < 1", "false", CLAIM),
        ("no agent allowed", "if ehg_tasks.is_blank(p_target_agent)", "if false", CLAIM),
        ("repeats do not wait for each other", "perform pg_advisory_xact_lock(hashtextextended('ehg_tasks.claim ' || p_request_key, 0));", "", f"{CLAIM}::TestConcurrency"),
        ("a repeat is a new claim", "where l.request_key = p_request_key and", "where false and", f"{CLAIM}::TestRequestKey"),
        ("a repeat returns expired claims", "and l.expires_at > clock_timestamp() and", "and", f"{CLAIM}::TestRequestKey"),
        ("a key of a claim for another agent allowed", "l.target_agent <> p_target_agent", "false", f"{CLAIM}::TestRequestKey"),
        ("expired leases wait for the clean-up", "perform ehg_tasks.expire_leases(p_target_agent, p_limit);", "", f"{CLAIM}::TestExpiredLease"),
        ("expired leases of other agents taken over", "perform ehg_tasks.expire_leases(p_target_agent, p_limit);", "perform ehg_tasks.expire_leases(null, p_limit);", f"{CLAIM}::TestExpiredLease"),
        ("clock_timestamp() turned into now()", "clock_timestamp()", "now()", CLAIM),
        ("a lease of no length", "v_now + ehg_tasks.lease_length(c.timeout_minutes)", "v_now", CLAIM),
        ("attempts not counted", "least(coalesce(c.retry_count, 0), 2147483646) + 1", "1", CLAIM),
        ("attempts overflow", "least(coalesce(c.retry_count, 0), 2147483646) + 1", "coalesce(c.retry_count, 0) + 1", POISON),
        ("an old token stays valid", "claim_token = gen_random_uuid(),", "", CLAIM),
        ("the agent's id not stored", "select c.id, c.target_agent, p_request_key, p_agent_id", "select c.id, c.target_agent, p_request_key, null::uuid", CLAIM),
    ],
    "expire_leases": [
        ("current leases expire", "l.expires_at <= clock_timestamp()", "true", f"{CLAIM}::TestExpiredLease"),
        ("SKIP LOCKED removed", "for update of c skip locked", "for update of c", MAINTENANCE),
    ],
    "end_attempts": [
        ("retry limit removed", "ehg_tasks.retries_left(p.retry_count, p.max_retries)", "true", MAINTENANCE),
        ("never a retry", "ehg_tasks.retries_left(p.retry_count, p.max_retries)", "false", MAINTENANCE),
        ("retries not counted", "+ case when r.retries_left then 1 else 0 end", "", MAINTENANCE),
        ("started_at kept", "case when r.retries_left then null else c.started_at end", "c.started_at", MAINTENANCE),
        ("completed_at not set", "case when r.retries_left then null else clock_timestamp() end", "null", MAINTENANCE),
    ],
    "renew_task_contract": [
        ("token not checked", "perform ehg_tasks.check_claim(v_contract, p_claim_token);", "", TOKEN),
        ("clock_timestamp() turned into now()", "clock_timestamp()", "now()", f"{CLAIM}"),
        ("the lease is not extended", "clock_timestamp() + ehg_tasks.lease_length(v_contract.timeout_minutes)", "l.expires_at", f"{CLAIM}::TestRenew"),
    ],
    "complete_task_contract": [
        ("agents need no token", "p_claim_token is not null or not ehg_tasks.is_service_role()", "p_claim_token is not null", TOKEN),
        ("the service role needs a token", "p_claim_token is not null or not ehg_tasks.is_service_role()", "true", f"{COMPLETE}::TestServiceRole"),
        ("the service role completes anything", "elsif v_contract.status <> 'in_progress'", "elsif false", f"{COMPLETE}::TestServiceRole"),
        ("another key overwrites", "v_contract.completion_idempotency_key <> v_key", "false", f"{COMPLETE}::TestRepeat"),
        ("another result with the same key allowed", "is distinct from (v_status, p_result_summary", "is null and (v_status, p_result_summary", f"{COMPLETE}::TestRepeat"),
        ("another output with the same key allowed", "ehg_tasks.as_json(a.content_text) = p_output", "true", f"{COMPLETE}::TestRepeat"),
        ("another artifact with the same key allowed", "or (p_output is null and p_output_artifact_id is distinct from v_contract.output_artifact_id)", "", f"{COMPLETE}::TestRepeat"),
        ("another agent with the same key allowed", "or (p_agent_id is not null and p_agent_id is distinct from v_contract.completed_by_agent_id)", "", f"{COMPLETE}::TestRepeat"),
        ("a repeat is refused", "if v_contract.status in ('completed', 'failed')\n", "if false\n", f"{COMPLETE}::TestRepeat"),
        ("the token is not used as key", "coalesce(p_idempotency_key, p_claim_token)", "p_idempotency_key", COMPLETE),
        ("any depth of output allowed", "perform ehg_tasks.check_json('p_output', p_output);", "", POISON),
        ("far too large outputs searched", "perform ehg_tasks.check_size('p_output, as jsonb,', pg_column_size(p_output), 8 * 1048576);", "", COMPLETE),
        ("large outputs allowed", "perform ehg_tasks.check_size('p_output', octet_length(p_output::text), 1048576);", "", COMPLETE),
        ("outputs of 1 MiB refused", "1048576", "1048575", COMPLETE),
        ("large summaries allowed", "perform ehg_tasks.check_size('p_result_summary', octet_length(p_result_summary));", "", COMPLETE),
        ("large errors allowed", "perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));", "", COMPLETE),
        ("negative tokens allowed", " or p_execution_tokens < 0", "", COMPLETE),
        ("two outputs allowed", "if p_output is not null and p_output_artifact_id is not null", "if false", COMPLETE),
        ("the lease stays", "delete from ehg_tasks.leases l where l.contract_id = v_contract.id;", "", COMPLETE),
        ("completed_at not set", "completed_at = clock_timestamp(),", "", COMPLETE),
        ("the agent of the claim not recorded", "coalesce(p_agent_id, v_lease.agent_id)", "p_agent_id", COMPLETE),
        ("a recorded failure is reported as not recorded", "return next (true, format", "return next (p_success, format", COMPLETE),
        ("a failure is recorded as a success", "case when p_success then 'completed' else 'failed' end", "'completed'", COMPLETE),
    ],
    "fail_task_contract": [
        ("retry limit removed", "p_retry and ehg_tasks.retries_left(v_contract.retry_count, v_contract.max_retries)", "p_retry", f"{FINISH}::TestFail"),
        ("final failures retried", "if p_retry and ", "if ", f"{FINISH}::TestFail"),
        ("retries not counted", "retry_count = v_retries + 1, started_at", "started_at", f"{FINISH}::TestFail"),
        ("no wait before the next attempt", "clock_timestamp() + ehg_tasks.retry_wait(v_retries + 1)", "clock_timestamp()", CLAIM),
        ("token not checked", "v_lease := ehg_tasks.check_claim(v_contract, p_claim_token);", "select l.* into v_lease from ehg_tasks.leases l where l.contract_id = v_contract.id;", TOKEN),
        ("large errors allowed", "perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));", "", f"{FINISH}::TestFail"),
        ("a repeat is refused", "if found and v_contract.status <> all (ehg_tasks.final_statuses())", "if false", f"{FINISH}::TestFail"),
        ("a repeat of a final failure is refused", "if v_contract.status = 'failed' and v_contract.completion_idempotency_key = p_claim_token", "if false", f"{FINISH}::TestFail"),
        ("the message not stored", "started_at = null, error_message = p_error_message", "started_at = null", f"{FINISH}::TestFail"),
    ],
    "release_task_contract": [
        ("a release uses up a retry", "started_at = null where", "started_at = null, retry_count = c.retry_count + 1 where", f"{FINISH}::TestRelease"),
        ("a repeat is refused", "if v_contract.status <> all (ehg_tasks.final_statuses()) and exists", "if false and exists", f"{FINISH}::TestRelease"),
        ("a release waits", "'released', clock_timestamp()", "'released', clock_timestamp() + interval '1 minute'", f"{FINISH}::TestRelease"),
    ],
    "hand_back": [
        ("the lease stays", "delete from ehg_tasks.leases l where l.contract_id = p_lease.contract_id;", "", FINISH),
        ("the token of the last hand-back not stored", "set claim_token = excluded.claim_token, ", "set ", f"{FINISH}::TestFail"),
    ],
    "cancel_task_contract": [
        ("final contracts cancelled", "perform ehg_tasks.check_not_final(v_contract);", "", TOKEN),
        ("the lease stays", "delete from ehg_tasks.leases l where l.contract_id = v_contract.id;", "", f"{FINISH}::TestCancel"),
        ("large reasons allowed", "perform ehg_tasks.check_size('p_reason', octet_length(p_reason));", "", f"{FINISH}::TestCancel"),
        ("a repeat changes the reason", "if v_contract.status = 'cancelled'", "if false", f"{FINISH}::TestCancel"),
    ],
    "task_contract_outcomes": [
        ("any number allowed", "perform ehg_tasks.check_count('p_contract_ids', cardinality(p_contract_ids));", "", f"{READ}::TestOutcomes"),
        ("null allowed", "p_contract_ids is null", "false", f"{READ}::TestOutcomes"),
        ("not in the order of the ids", "order by i.place", "order by i.place desc", f"{READ}::TestOutcomes"),
        ("every contract", "join public.agent_task_contracts c on c.id = i.id", "join public.agent_task_contracts c on true", f"{READ}::TestOutcomes"),
    ],
    "task_contract_inputs": [
        ("token not checked", "perform ehg_tasks.check_claim(v_contract, p_claim_token);", "", TOKEN),
        ("every artifact", "on a.id = i.id", "on true", f"{READ}::TestInputs"),
        ("in any order", "order by i.place", "order by i.place desc", f"{READ}::TestInputs"),
        ("repeated as often as named", "group by u.id", "group by u.id, u.place", POISON),
    ],
    "cleanup_stale_contracts": [
        ("expired leases left", "select * into v_leased from ehg_tasks.expire_leases(null, p_limit);", "select 0 as requeued_count, 0 as failed_count into v_leased;", MAINTENANCE),
        ("contracts without a lease end early", "<= clock_timestamp() - ehg_tasks.lease_length(c.timeout_minutes)", "is not null", MAINTENANCE),
        ("contracts without a lease left", "where c.status = 'in_progress'\n", "where false\n", MAINTENANCE),
        ("new contracts cancelled", "make_interval(mins => p_max_wait_minutes)", "make_interval()", MAINTENANCE),
        ("failed attempts cancelled as unclaimed", "and coalesce(c.retry_count, 0) = 0", "", MAINTENANCE),
        ("released contracts cancelled as unclaimed", "and not exists (select from ehg_tasks.handbacks h where h.contract_id = c.id)", "", MAINTENANCE),
        ("any status cancelled for its age", "where c.status = 'pending'\n", "where c.status <> 'cancelled'\n", MAINTENANCE),
        ("leases of ended contracts left", "delete from ehg_tasks.leases l where l.contract_id = any (v_ids);", "", MAINTENANCE),
        ("SKIP LOCKED removed", "for update of c skip locked", "for update of c", MAINTENANCE),
        ("no batches", "limit p_limit", "", MAINTENANCE),
        ("invalid arguments allowed", "p_limit is null or p_limit < 1 or p_max_wait_minutes < 1", "false", MAINTENANCE),
    ],
    "prune_task_contracts": [
        ("open contracts deleted", "c.status = any (ehg_tasks.final_statuses())", "true", MAINTENANCE),
        ("new contracts deleted", "make_interval(days => least(p_older_than_days, 1000000))", "make_interval()", MAINTENANCE),
        ("no batches", "limit p_limit", "", MAINTENANCE),
        ("invalid arguments allowed", "p_older_than_days is null or p_older_than_days < 0 or p_limit is null or p_limit < 1", "false", MAINTENANCE),
    ],
    "check_size": [
        ("size checks removed", "p_bytes > p_limit", "false", SIZES),
        ("the largest allowed size refused", "p_bytes > p_limit", "p_bytes >= p_limit", COMPLETE),
    ],
    "check_json": [
        ("any depth allowed", "jsonb_path_exists(p_json, 'strict $.**{65 to last}')", "false", POISON),
        ("any number allowed", "length(n.value::text) > 400", "false", POISON),
    ],
    "check_contract_sizes": [
        ("depth of constraints unchecked", "perform ehg_tasks.check_json('constraints', p_contract.constraints);", "", POISON),
        ("depth of output_schema unchecked", "perform ehg_tasks.check_json('output_schema', p_contract.output_schema);", "", POISON),
        ("objective unchecked", "perform ehg_tasks.check_size('objective', octet_length(p_contract.objective));", "", SIZES),
        ("input_summary unchecked", "perform ehg_tasks.check_size('input_summary', octet_length(p_contract.input_summary));", "", SIZES),
        ("result_summary unchecked", "perform ehg_tasks.check_size('result_summary', octet_length(p_contract.result_summary));", "", SIZES),
        ("error_message unchecked", "perform ehg_tasks.check_size('error_message', octet_length(p_contract.error_message));", "", SIZES),
        ("constraints unchecked", "perform ehg_tasks.check_size('constraints', octet_length(p_contract.constraints::text));", "", SIZES),
        ("output_schema unchecked", "perform ehg_tasks.check_size('output_schema', octet_length(p_contract.output_schema::text));", "", SIZES),
        ("characters counted in place of bytes", "octet_length(p_contract.error_message)", "length(p_contract.error_message)", SIZES),
        ("input_artifacts unchecked", "perform ehg_tasks.check_count('input_artifacts', cardinality(p_contract.input_artifacts));", "", SIZES),
    ],
    "guard_anon_start": [
        ("another status allowed", "new.status is distinct from 'pending' or ", "", SIZES),
        ("retries allowed", "or coalesce(new.retry_count, 0) <> 0", "", SIZES),
        ("a start allowed", "new.started_at, ", "", SIZES),
        ("an end allowed", "new.completed_at, ", "", SIZES),
        ("a summary allowed", "new.result_summary,", "", SIZES),
        ("tokens allowed", "new.execution_tokens, ", "", SIZES),
        ("an error allowed", "new.error_message, ", "", SIZES),
        ("a key allowed", "new.completion_idempotency_key,", "", SIZES),
        ("an agent id allowed", ",\n                    new.completed_by_agent_id", "", SIZES),
        ("infinite creation allowed", "not isfinite(new.created_at) or ", "", SIZES),
        ("future creation allowed", "new.created_at > clock_timestamp()", "false", SIZES),
        ("infinite update allowed", "not isfinite(new.updated_at) or ", "", SIZES),
        ("future update allowed", "new.updated_at > clock_timestamp()", "false", SIZES),
    ],
    "guard_anon_rows": [
        ("two rows allowed", "> 1 then", "> 2 then", SIZES),
        ("one row refused", "> 1 then", "> 0 then", SIZES),
    ],
    "is_service_role": [
        ("every caller is the service role", "select pg_has_role(", "select true or pg_has_role(", TOKEN),
        ("no caller is the service role", "select pg_has_role(", "select false and pg_has_role(", f"{COMPLETE}::TestServiceRole"),
    ],
    "retry_wait": [
        ("no ceiling", "least(interval '5 seconds' * power", "greatest(interval '5 seconds' * power", f"{FINISH}::TestFail"),
        ("no growth", "power(2, ", "power(1, ", f"{FINISH}::TestFail"),
    ],
    "default_contract": [
        ("another default", "v_contract.priority := 50", "v_contract.priority := 51", "access/test_specification.py"),
    ],
    "update_task_contracts_timestamp": [
        ("updated_at not set", "new.updated_at = now();", "", "lifecycle/test_trigger.py"),
        ("created_at set too", "new.updated_at = now();", "new.updated_at = now(); new.created_at = now();", "lifecycle/test_trigger.py"),
    ],
}  # fmt: skip

# No mutant for one rule: expire_leases reads each lease again after locking its contract, in case a renewal
# committed in between. That window is within one statement, so no test can hold it open.


def function_bodies() -> Iterator[Mutant]:
    """Yield each replacement as a mutant."""
    for function, changes in REPLACEMENTS.items():
        schema = "public" if function == "update_task_contracts_timestamp" else "ehg_tasks"
        for name, old, new, test in changes:
            yield Mutant(f"{function}: {name}", test, replace=(f"{schema}.{function}", old, new))
