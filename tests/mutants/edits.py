"""Mutants of the functions' bodies: each check, order and clock, taken out or turned around."""

from __future__ import annotations

from collections.abc import Iterator

from tests.mutants.mutants import Mutant

CREATE = "lifecycle/test_create.py"
CLAIM = "lifecycle/test_claim.py"
COMPLETE = "lifecycle/test_complete.py"
ENDS = "lifecycle/test_fail_release_cancel.py"
READ = "lifecycle/test_read.py"
UPKEEP = "lifecycle/test_maintenance.py"
SIZES = "access/test_guards.py"
POISON = "reliability/test_poison.py"

# function -> (name of the mutant, what stands there, what then stands there, the test that notices)
EDITS: dict[str, list[tuple[str, str, str, str]]] = {
    "check_claim": [
        ("final statuses allowed", "if p_contract.status in ('completed', 'failed', 'cancelled')", "if false", ENDS),
        ("missing token allowed", "if p_claim_token is null", "if false", READ),
        ("token not compared", "v_lease.claim_token is distinct from p_claim_token", "false", COMPLETE),
        ("status not checked", "p_contract.status <> 'in_progress' or ", "", ENDS),
    ],
    "lock_contract": [
        ("the row is not locked", "for update", "", f"{CLAIM}::TestInEachOthersWay"),
        ("an unknown contract is no error", "if not found", "if false", ENDS),
        ("a missing id is no error", "if p_contract_id is null", "if false", ENDS),
    ],
    "create_task_contracts": [
        ("contracts of any depth allowed", "perform ehg_tasks.check_json('a contract', v_item);", "", POISON),
        ("a thousand and one allowed", "v_count > 1000", "false", CREATE),
        ("an empty list allowed", "coalesce(v_count, 0) = 0", "false", CREATE),
        ("unknown fields allowed", "if v_fault is not null then\n      raise exception using errcode = 'TC005', message = format('unknown", "if false then\n      raise exception using errcode = 'TC005', message = format('unknown", CREATE),
        ("long names reach the table", "where length(v_item ->> l.field) > l.most", "where false", CREATE),
        ("blank names allowed", "ehg_tasks.is_blank(v_contract.parent_agent) or ", "", CREATE),
        ("no time at all allowed", "v_contract.timeout_minutes < 1 or ", "", CREATE),
        ("negative retries allowed", " or v_contract.max_retries < 0", "", CREATE),
        ("sizes not checked", "perform ehg_tasks.check_contract_sizes(v_contract);", "", CREATE),
        ("a repeat is an error", "on conflict (id) do nothing", "", CREATE),
        ("a repeat may say something else", "is distinct from (v_contract.parent_agent", "is null and null is not null and (v_contract.parent_agent", CREATE),
        ("contracts of a call share one time", "+ (v_n - 1) * interval '1 microsecond'", "", CREATE),
    ],
    "claim_task_contract": [
        ("SKIP LOCKED removed", "for update of c skip locked", "for update of c", f"{CLAIM}::TestInEachOthersWay"),
        ("rows not locked", "for update of c skip locked", "", f"{CLAIM}::TestInEachOthersWay"),
        ("priority ignored", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.created_at, c.id\n      limit", CLAIM),
        ("lowest priority first", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.priority, c.created_at, c.id\n      limit", CLAIM),
        ("newest first", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.priority desc, c.created_at desc, c.id\n      limit", CLAIM),
        ("equal times in any order", "order by c.priority desc, c.created_at, c.id\n      limit", "order by c.priority desc, c.created_at, c.id desc\n      limit", CLAIM),
        ("any agent's contracts", "c.target_agent = p_target_agent\n        and ", "", CLAIM),
        ("any status", "and c.status = 'pending'", "and c.status in ('pending', 'completed')", CLAIM),
        ("the wait after a failure ignored", "h.not_before > v_now", "false", CLAIM),
        ("more than a hundred allowed", "p_limit > 100", "false", CLAIM),
        ("less than one allowed", "p_limit is null or p_limit < 1", "false", CLAIM),
        ("no agent allowed", "if ehg_tasks.is_blank(p_target_agent)", "if false", CLAIM),
        ("repeats do not wait for each other", "perform pg_advisory_xact_lock(hashtextextended('ehg_tasks.claim ' || p_request_key, 0));", "", f"{CLAIM}::TestInEachOthersWay"),
        ("a repeat is a new claim", "where l.request_key = p_request_key and", "where false and", f"{CLAIM}::TestRequestKey"),
        ("a repeat finds what ran out", "and l.expires_at > clock_timestamp() and", "and", f"{CLAIM}::TestRequestKey"),
        ("a key of another agent's claim allowed", "l.target_agent <> p_target_agent", "false", f"{CLAIM}::TestRequestKey"),
        ("expired claims wait for the clean-up", "perform ehg_tasks.expire_leases(p_target_agent, p_limit);", "", f"{CLAIM}::TestTakeOver"),
        ("expired claims of other agents taken too", "perform ehg_tasks.expire_leases(p_target_agent, p_limit);", "perform ehg_tasks.expire_leases(null, p_limit);", f"{CLAIM}::TestTakeOver"),
        ("clock_timestamp() turned into now()", "clock_timestamp()", "now()", CLAIM),
        ("a lease of no length", "greatest(coalesce(c.timeout_minutes, 30), 1)", "coalesce(c.timeout_minutes, 0)", CLAIM),
        ("attempts not counted", "least(coalesce(c.retry_count, 0), 2147483646) + 1", "1", CLAIM),
        ("attempts counted over the end", "least(coalesce(c.retry_count, 0), 2147483646) + 1", "coalesce(c.retry_count, 0) + 1", POISON),
        ("an old token stays good", "claim_token = gen_random_uuid(),", "", CLAIM),
        ("the agent's id forgotten", "select c.id, c.target_agent, p_request_key, p_agent_id", "select c.id, c.target_agent, p_request_key, null::uuid", CLAIM),
    ],
    "expire_leases": [
        ("running claims expire", "l.expires_at <= clock_timestamp()", "true", f"{CLAIM}::TestTakeOver"),
        ("SKIP LOCKED removed", "for update of c skip locked", "for update of c", UPKEEP),
    ],
    "end_attempts": [
        ("retry limit removed", "coalesce(p.retry_count, 0) < coalesce(p.max_retries, 2)", "true", UPKEEP),
        ("never a retry", "coalesce(p.retry_count, 0) < coalesce(p.max_retries, 2)", "false", UPKEEP),
        ("retries not counted", "+ case when r.retries_left then 1 else 0 end", "", UPKEEP),
        ("started_at kept", "case when r.retries_left then null else c.started_at end", "c.started_at", UPKEEP),
        ("completed_at not set", "case when r.retries_left then null else clock_timestamp() end", "null", UPKEEP),
    ],
    "renew_task_contract": [
        ("token not checked", "perform ehg_tasks.check_claim(v_contract, p_claim_token);", "", f"{CLAIM}::TestRenew"),
        ("clock_timestamp() turned into now()", "clock_timestamp()", "now()", f"{CLAIM}"),
        ("the lease is not moved", "clock_timestamp() + make_interval", "l.expires_at + 0 * make_interval", f"{CLAIM}::TestRenew"),
    ],
    "complete_task_contract": [
        ("agents need no token", "p_claim_token is not null or not ehg_tasks.is_service_role()", "p_claim_token is not null", f"{COMPLETE}::TestClaimToken"),
        ("the service role needs a token", "p_claim_token is not null or not ehg_tasks.is_service_role()", "true", f"{COMPLETE}::TestClaimToken"),
        ("the service role completes anything", "elsif v_contract.status <> 'in_progress'", "elsif false", f"{COMPLETE}::TestClaimToken"),
        ("another key overwrites", "v_contract.completion_idempotency_key <> v_key", "false", f"{COMPLETE}::TestReplay"),
        ("another result under the key allowed", "is distinct from (v_status, p_result_summary", "is null and (v_status, p_result_summary", f"{COMPLETE}::TestReplay"),
        ("another output under the key allowed", "ehg_tasks.as_json(a.content_text) = p_output", "true", f"{COMPLETE}::TestReplay"),
        ("another artifact under the key allowed", "or (p_output is null and p_output_artifact_id is distinct from v_contract.output_artifact_id)", "", f"{COMPLETE}::TestReplay"),
        ("another agent under the key allowed", "or (p_agent_id is not null and p_agent_id is distinct from v_contract.completed_by_agent_id)", "", f"{COMPLETE}::TestReplay"),
        ("a repeat is a refusal", "if v_contract.status in ('completed', 'failed')\n", "if false\n", f"{COMPLETE}::TestReplay"),
        ("the token is no key", "coalesce(p_idempotency_key, p_claim_token)", "p_idempotency_key", COMPLETE),
        ("outputs of any depth allowed", "perform ehg_tasks.check_json('p_output', p_output);", "", POISON),
        ("large outputs allowed", "perform ehg_tasks.check_size('p_output', octet_length(p_output::text), 1048576);", "", COMPLETE),
        ("outputs of a megabyte refused", "1048576", "1048575", COMPLETE),
        ("large summaries allowed", "perform ehg_tasks.check_size('p_result_summary', octet_length(p_result_summary));", "", COMPLETE),
        ("large errors allowed", "perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));", "", COMPLETE),
        ("negative tokens allowed", " or p_execution_tokens < 0", "", COMPLETE),
        ("two outputs allowed", "if p_output is not null and p_output_artifact_id is not null", "if false", COMPLETE),
        ("the lease stays", "delete from ehg_tasks.leases l where l.contract_id = v_contract.id;", "", COMPLETE),
        ("completed_at not set", "completed_at = clock_timestamp(),", "", COMPLETE),
        ("the agent of the claim forgotten", "coalesce(p_agent_id, v_lease.agent_id)", "p_agent_id", COMPLETE),
        ("a failure is a success", "case when p_success then 'completed' else 'failed' end", "'completed'", COMPLETE),
    ],
    "fail_task_contract": [
        ("retry limit removed", "p_retry and v_retries < coalesce(v_contract.max_retries, 2)", "p_retry", f"{ENDS}::TestFail"),
        ("final failures retried", "if p_retry and v_retries", "if v_retries", f"{ENDS}::TestFail"),
        ("retries not counted", "retry_count = v_retries + 1, started_at", "started_at", f"{ENDS}::TestFail"),
        ("no wait before the next attempt", "clock_timestamp() + ehg_tasks.retry_wait(v_retries + 1)", "clock_timestamp()", CLAIM),
        ("token not checked", "v_lease := ehg_tasks.check_claim(v_contract, p_claim_token);", "select l.* into v_lease from ehg_tasks.leases l where l.contract_id = v_contract.id;", ENDS),
        ("large errors allowed", "perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));", "", f"{ENDS}::TestFail"),
        ("a repeat is a refusal", "if found and v_contract.status in ('pending', 'in_progress')", "if false", f"{ENDS}::TestFail"),
        ("a repeat of a final failure is a refusal", "if v_contract.status = 'failed' and v_contract.completion_idempotency_key = p_claim_token", "if false", f"{ENDS}::TestFail"),
        ("the message lost", "started_at = null, error_message = p_error_message", "started_at = null", f"{ENDS}::TestFail"),
    ],
    "release_task_contract": [
        ("a release spends a retry", "started_at = null where", "started_at = null, retry_count = c.retry_count + 1 where", f"{ENDS}::TestRelease"),
        ("a repeat is a refusal", "if v_contract.status in ('pending', 'in_progress') and exists", "if false and exists", f"{ENDS}::TestRelease"),
        ("a release waits", "'released', clock_timestamp()", "'released', clock_timestamp() + interval '1 minute'", f"{ENDS}::TestRelease"),
    ],
    "hand_back": [
        ("the lease stays", "delete from ehg_tasks.leases l where l.contract_id = p_lease.contract_id;", "", ENDS),
        ("the token of the last hand-back forgotten", "set claim_token = excluded.claim_token, ", "set ", f"{ENDS}::TestFail"),
    ],
    "cancel_task_contract": [
        ("final contracts cancelled", "if v_contract.status in ('completed', 'failed')", "if false", ENDS),
        ("the lease stays", "delete from ehg_tasks.leases l where l.contract_id = v_contract.id;", "", f"{ENDS}::TestCancel"),
        ("large reasons allowed", "perform ehg_tasks.check_size('p_reason', octet_length(p_reason));", "", f"{ENDS}::TestCancel"),
        ("a repeat changes the reason", "if v_contract.status = 'cancelled'", "if false", f"{ENDS}::TestCancel"),
    ],
    "task_contract_outcomes": [
        ("more than a thousand allowed", "cardinality(p_contract_ids) > 1000", "false", f"{READ}::TestOutcomes"),
        ("null allowed", "p_contract_ids is null", "false", f"{READ}::TestOutcomes"),
        ("not in the order asked", "order by asked.place", "order by asked.place desc", f"{READ}::TestOutcomes"),
        ("everybody's contracts", "join public.agent_task_contracts c on c.id = asked.id", "join public.agent_task_contracts c on true", f"{READ}::TestOutcomes"),
    ],
    "task_contract_inputs": [
        ("token not checked", "perform ehg_tasks.check_claim(v_contract, p_claim_token);", "", f"{READ}::TestInputs"),
        ("everybody's artifacts", "on a.id = i.id", "on true", f"{READ}::TestInputs"),
        ("in any order", "order by i.place", "order by i.place desc", f"{READ}::TestInputs"),
        ("as often as named", "group by u.id", "group by u.id, u.place", POISON),
    ],
    "cleanup_stale_contracts": [
        ("expired claims left", "select * into v_leased from ehg_tasks.expire_leases(null, p_limit);", "select 0 as requeued_count, 0 as failed_count into v_leased;", UPKEEP),
        ("running ones without a lease end", "<= clock_timestamp() - make_interval(mins => greatest(coalesce(c.timeout_minutes, 30), 1))", "is not null", UPKEEP),
        ("ones without a lease left", "where c.status = 'in_progress'\n", "where false\n", UPKEEP),
        ("young ones cancelled", "make_interval(mins => p_max_wait_minutes)", "make_interval()", UPKEEP),
        ("others than pending cancelled", "where c.status = 'pending'\n", "where c.status <> 'cancelled'\n", UPKEEP),
        ("leases of ended contracts left", "delete from ehg_tasks.leases l where l.contract_id = any (v_ids);", "", UPKEEP),
        ("SKIP LOCKED removed", "for update of c skip locked", "for update of c", UPKEEP),
        ("no batches", "limit p_limit", "", UPKEEP),
        ("bad arguments allowed", "p_limit is null or p_limit < 1 or p_max_wait_minutes < 1", "false", UPKEEP),
    ],
    "prune_task_contracts": [
        ("open contracts deleted", "c.status in ('completed', 'failed', 'cancelled')", "true", UPKEEP),
        ("young ones deleted", "make_interval(days => least(p_older_than_days, 1000000))", "make_interval()", UPKEEP),
        ("no batches", "limit p_limit", "", UPKEEP),
        ("bad arguments allowed", "p_older_than_days is null or p_older_than_days < 0 or p_limit is null or p_limit < 1", "false", UPKEEP),
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
        ("input_artifacts unchecked", "cardinality(p_contract.input_artifacts) > 1000", "false", SIZES),
    ],
    "guard_anon_rows": [
        ("two rows allowed", "> 1 then", "> 2 then", SIZES),
        ("one row refused", "> 1 then", "> 0 then", SIZES),
    ],
    "is_service_role": [
        ("everybody is the service role", "select pg_has_role(", "select true or pg_has_role(", f"{COMPLETE}::TestClaimToken"),
        ("nobody is the service role", "select pg_has_role(", "select false and pg_has_role(", f"{COMPLETE}::TestClaimToken"),
    ],
    "retry_wait": [
        ("no ceiling", "least(interval '5 seconds' * power", "greatest(interval '5 seconds' * power", f"{ENDS}::TestFail"),
        ("no growth", "power(2, ", "power(1, ", f"{ENDS}::TestFail"),
    ],
    "default_contract": [
        ("another default", "v_contract.priority := 50", "v_contract.priority := 51", "access/test_specification.py"),
    ],
    "update_task_contracts_timestamp": [
        ("updated_at not moved", "new.updated_at = now();", "", "lifecycle/test_trigger.py"),
        ("created_at moved too", "new.updated_at = now();", "new.updated_at = now(); new.created_at = now();", "lifecycle/test_trigger.py"),
    ],
}  # fmt: skip

# Not here: expire_leases reads each lease once more after locking its contract, for a renewal that
# commits between the two. The window is within one statement, so no test can hold it open.


def edits() -> Iterator[Mutant]:
    """Every edit as a mutant."""
    for function, changes in EDITS.items():
        schema = "public" if function == "update_task_contracts_timestamp" else "ehg_tasks"
        for name, old, new, test in changes:
            yield Mutant(f"{function}: {name}", test, edit=(f"{schema}.{function}", old, new))
