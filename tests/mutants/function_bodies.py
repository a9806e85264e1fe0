"""Mutants of function bodies: each check, comparison, default, order, clock and lock removed or reversed.

Not here: the settings that fix plans, which tests/access/test_plans.py looks at, and what no test can tell
apart, such as a shortcut that is left out, or the order in which rows are locked.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.mutants.mutants import Mutant

CREATE = "lifecycle/test_create.py"
DEPENDENCIES = "lifecycle/test_dependencies.py"
NOT_BEFORE = "lifecycle/test_not_before.py"
CLAIM = "lifecycle/test_claim.py"
CLOCKS = "lifecycle/test_two_clocks.py"
TOKEN = "lifecycle/test_claim_token.py"
PROGRESS = "lifecycle/test_progress.py"
COMPLETE = "lifecycle/test_complete.py"
BULK = "lifecycle/test_bulk.py"
FINISH = "lifecycle/test_fail_release_cancel.py"
REQUEUE = "lifecycle/test_requeue.py"
AGENTS = "lifecycle/test_registered_agents.py"
NAMES = "lifecycle/test_names.py"
READ = "lifecycle/test_read.py"
OUTCOMES = "lifecycle/test_outcomes.py"
HISTORY = "lifecycle/test_history.py"
CEILINGS = "lifecycle/test_ceilings.py"
MAINTENANCE = "lifecycle/test_maintenance.py"
ENGINE = "lifecycle/test_queue.py"
SHARED = "lifecycle/test_rules.py"
GUARDS = "access/test_guards.py"
POISON = "reliability/test_poison.py"

# function -> (name of the mutant, text to replace, replacement, test that fails); all in schema ehg_tasks
RULES: dict[str, list[tuple[str, str, str, str]]] = {
    "final_statuses": [
        ("completed is not final", "'completed', ", "", TOKEN),
        ("failed is not final", "'failed', ", "", TOKEN),
        ("cancelled is not final", ", 'cancelled'", "", TOKEN),
        ("pending is final", "'cancelled'", "'cancelled', 'pending'", TOKEN),
    ],
    "time_limit": [
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
    "retry_wait": [
        ("no ceiling", "least(interval '5 seconds' * power", "greatest(interval '5 seconds' * power", FINISH),
        ("no growth", "power(2, ", "power(1, ", FINISH),
        ("the first wait is doubled", " - 1)", ")", FINISH),
        ("overflows after many retries", "least(greatest(p_retry_count, 1), 20)", "greatest(p_retry_count, 1)", f"{FINISH} {POISON}"),
    ],
    "is_blank": [
        ("white space is a text", " or p_text !~ '\\S'", "", SHARED),
        ("null is a text", "p_text is null or ", "", SHARED),
    ],
    "as_json": [
        ("text that is not JSON is an error", "exception when data_exception then", "exception when unique_violation then", READ),
        ("text that is not JSON is lost", "return to_jsonb(p_text);", "return null;", READ),
    ],
    "trimmed_name": [
        ("decomposed characters differ", "normalize(p_name)", "p_name", NAMES),
        ("white space before the name stays", r"^[\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+|", "", NAMES),
        ("white space after the name stays", r"|[\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$", "", NAMES),
        ("only one end is trimmed", "'', 'g')", "'')", NAMES),
        ("only plain white space is trimmed", r"\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000", "", NAMES),
    ],
    "queue_name": [
        ("the name as it is written", "if p_name ~ '^[!-~]([ -~]*[!-~])?$' then", "if true then", NAMES),
        ("not trimmed", "return ehg_tasks.trimmed_name(regexp_replace(", "return (regexp_replace(", NAMES),
        ("other spaces stay", r"\u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000", "_", NAMES),
        ("control characters stay", r"\u0001-\u001f\u007f-\u009f", "", NAMES),
        ("zero-width characters stay", r"\u200b-\u200f", "", NAMES),
        ("tags stay", r"\U000e0000-\U000e0fff", "", NAMES),
    ],
    "agent_name": [
        ("51 plain characters allowed", "{0,48}", "{0,49}", CREATE),
        ("51 other characters allowed", "length(v_name) > 50", "length(v_name) > 51", f"{NAMES} {CREATE}"),
        ("50 other characters refused", "length(v_name) > 50", "length(v_name) >= 50", NAMES),
        ("white space counts", "length(v_name) > 50", "length(p_name) > 50", NAMES),
        ("no name allowed", "if coalesce(v_name, '') = '' then", "if false then", CREATE),
        ("a null name allowed", "if coalesce(v_name, '') = '' then", "if v_name = '' then", CREATE),
        ("invisible characters allowed", "v_name <> ehg_tasks.queue_name(v_name)", "false", NAMES),
        ("not trimmed", "return v_name;", "return p_name;", f"{NAMES} {AGENTS}"),
    ],
    "is_service_role": [
        ("every caller is", "select pg_has_role(", "select true or pg_has_role(", TOKEN),
        ("no caller is", "select pg_has_role(", "select false and pg_has_role(", COMPLETE),
    ],
    "check_size": [
        ("size checks removed", "p_bytes > p_limit", "false", GUARDS),
        ("the largest allowed size refused", "p_bytes > p_limit", "p_bytes >= p_limit", COMPLETE),
        ("a byte more allowed", "p_bytes > p_limit", "p_bytes > p_limit + 1", f"{CREATE} {GUARDS}"),
    ],
    "check_count": [
        ("one more allowed", "p_count > p_limit", "p_count > p_limit + 1", f"{CREATE} {READ} {GUARDS}"),
        ("as many as allowed refused", "p_count > p_limit", "p_count >= p_limit", f"{CREATE} {READ}"),
    ],
    "check_json": [
        ("any depth allowed", "jsonb_path_exists(p_json, 'strict $.**{65 to last}')", "false", f"{SHARED}::TestJson"),
        ("65 levels allowed", "{65 to last}", "{66 to last}", f"{SHARED}::TestJson"),
        ("64 levels refused", "{65 to last}", "{64 to last}", f"{SHARED}::TestJson"),
        ("any number allowed", "length(n.value::text) > 400", "false", f"{SHARED}::TestJson"),
        ("401 digits allowed", "length(n.value::text) > 400", "length(n.value::text) > 401", f"{SHARED}::TestJson"),
        ("400 digits refused", "length(n.value::text) > 400", "length(n.value::text) >= 400", f"{SHARED}::TestJson"),
    ],
    "check_batch": [
        ("null allowed", "p_items is null or ", "", SHARED),
        ("an object allowed", "jsonb_typeof(p_items) <> 'array' or ", "", BULK),
        ("an empty array allowed", " or jsonb_array_length(p_items) = 0", "", BULK),
        ("101 items allowed", ", 100);", ", 101);", BULK),
        ("100 items refused", ", 100);", ", 99);", BULK),
        ("other values than objects allowed", "if jsonb_path_exists(p_items, 'strict $[*] ? (@.type() != \"object\")')", "if false", BULK),
        ("unknown fields allowed", "if v_problem is not null", "if false", BULK),
    ],
    "check_contract_sizes": [
        ("objective unchecked", "perform ehg_tasks.check_size('objective', octet_length(p_contract.objective));", "", GUARDS),
        ("input_summary unchecked", "perform ehg_tasks.check_size('input_summary', octet_length(p_contract.input_summary));", "", GUARDS),
        ("result_summary unchecked", "perform ehg_tasks.check_size('result_summary', octet_length(p_contract.result_summary));", "", GUARDS),
        ("error_message unchecked", "perform ehg_tasks.check_size('error_message', octet_length(p_contract.error_message));", "", GUARDS),
        ("constraints unchecked", "perform ehg_tasks.check_size('constraints', octet_length(p_contract.constraints::text));", "", GUARDS),
        ("output_schema unchecked", "perform ehg_tasks.check_size('output_schema', octet_length(p_contract.output_schema::text));", "", GUARDS),
        ("characters counted in place of bytes", "octet_length(p_contract.error_message)", "length(p_contract.error_message)", GUARDS),
        ("input_artifacts unchecked", "perform ehg_tasks.check_count('input_artifacts', cardinality(p_contract.input_artifacts));", "", GUARDS),
    ],
    "lock_contract": [
        ("the row is not locked", "for update", "", CLAIM),
        ("an unknown contract is not an error", "if not found", "if false", TOKEN),
        ("a missing id is not an error", "if p_contract_id is null", "if false", TOKEN),
    ],
    "check_not_final": [
        ("final statuses allowed", "p_contract.status = any (ehg_tasks.final_statuses())", "false", TOKEN),
    ],
    "check_claim": [
        ("final statuses not checked", "perform ehg_tasks.check_not_final(p_contract);", "", TOKEN),
        ("missing token allowed", "if p_claim_token is null", "if false", TOKEN),
        ("token not compared", "v_attempt.claim_token is distinct from p_claim_token", "false", TOKEN),
        ("any token without an attempt allowed", "v_attempt.claim_token is distinct from p_claim_token", "v_attempt.claim_token <> p_claim_token", TOKEN),
        ("an ended attempt allowed", "or v_attempt.ended_at is not null", "", TOKEN),
        ("the first attempt counts", "order by a.attempt desc", "order by a.attempt", CLOCKS),
    ],
}  # fmt: skip

QUEUE: dict[str, list[tuple[str, str, str, str]]] = {
    "lower_low_water_mark": [
        ("no mark", "perform pg_advisory_xact_lock_shared(", "return;\n  perform pg_advisory_xact_lock_shared(", CLAIM),
        ("any mark is low enough", "\n      and (m.created_at, m.contract_id) <= (p_created_at, p_contract_id)", "", f"{CLAIM}::TestOrder {ENGINE}"),
        ("a higher mark stays", "do update\n  set created_at = excluded.created_at, contract_id = excluded.contract_id\n  where (m.created_at, m.contract_id) > (excluded.created_at, excluded.contract_id)", "do nothing", f"{CLAIM}::TestOrder {ENGINE}"),
        ("ids do not count", "(m.created_at, m.contract_id) <= (p_created_at, p_contract_id)", "m.created_at <= p_created_at", CLAIM),
        ("the mark of another priority is enough", "m.target_agent = p_target_agent and m.priority = p_priority\n", "m.target_agent = p_target_agent\n", CLAIM),
        ("the mark of another agent is enough", "m.target_agent = p_target_agent and m.priority = p_priority\n", "m.priority = p_priority\n", CLAIM),
    ],
    "raise_low_water_marks": [
        ("past the first row", "(r.created_at, r.contract_id) >= (m.created_at, m.contract_id)", "(r.created_at, r.contract_id) > (m.created_at, m.contract_id)", f"{ENGINE}::TestMarks"),
        ("to the last row", "order by r.created_at, r.contract_id\n", "order by r.created_at desc, r.contract_id desc\n", f"{ENGINE}::TestMarks"),
        ("the marks of other agents too", "where m.target_agent = p_target_agent and m.priority = f.priority\n    and (m", "where m.priority = f.priority\n    and (m", f"{ENGINE}::TestMarks"),
        ("unused marks of other agents deleted", "where m.target_agent = p_target_agent and m.priority = f.priority and f.contract_id is null", "where m.priority = f.priority and f.contract_id is null", f"{ENGINE}::TestMarks"),
        ("used marks deleted", " and f.contract_id is null", "", f"{ENGINE}::TestMarks"),
        ("past the first lease", "least(clock_timestamp(), (", "greatest(clock_timestamp(), (", f"{ENGINE}::TestMarks"),
        ("to the last lease", "order by a.expires_at\n", "order by a.expires_at desc\n", f"{ENGINE}::TestMarks"),
    ],
    "move_to_ready": [
        ("before its time", " and h.not_before <= v_now", "", NOT_BEFORE),
        ("without a mark", "perform ehg_tasks.lower_low_water_mark(f.target_agent, f.priority, f.created_at, f.contract_id)", "perform f.contract_id", f"{ENGINE}::TestMarks"),
        ("with the mark of the last", "order by r.target_agent, r.priority, r.created_at, r.contract_id", "order by r.target_agent, r.priority, r.created_at desc, r.contract_id desc", f"{ENGINE}::TestMarks"),
    ],
    "settle_dependents": [
        ("a completion cancels them", "if p_status = 'completed' then", "if false then", f"{DEPENDENCIES}::TestWaiting"),
        ("a failure frees them", "if p_status = 'completed' then", "if true then", f"{DEPENDENCIES}::TestFailure"),
        ("what runs all the same is cancelled", "where d.depends_on = p_contract_id and not d.settled and d.on_failure = 'cancel'", "where d.depends_on = p_contract_id and not d.settled", f"{DEPENDENCIES}::TestFailure"),
        ("what runs all the same is cancelled, further down", "where e.depends_on = f.id and not e.settled and e.on_failure = 'cancel'", "where e.depends_on = f.id and not e.settled", f"{DEPENDENCIES} {ENGINE}"),
        ("one level at a time", "where e.depends_on = f.id and not e.settled and", "where false and", f"{DEPENDENCIES}::TestFailure"),
        ("contracts that are not pending are cancelled", "c.id = d.contract_id and c.status is not distinct from 'pending'", "c.id = d.contract_id", f"{DEPENDENCIES}::TestFailure"),
        ("contracts that are not pending are cancelled, further down", "c.id = e.contract_id and c.status is not distinct from 'pending'", "c.id = e.contract_id", f"{DEPENDENCIES} {ENGINE}"),
        ("those that no longer wait are cancelled", "where d.depends_on = p_contract_id and not d.settled and d.on_failure", "where d.depends_on = p_contract_id and d.on_failure", f"{REQUEUE} {ENGINE}"),
        ("a deletion is told as a cancellation", " when 'deleted' then 'was deleted'", "", f"{DEPENDENCIES}::TestFailure"),
        ("a failure is told as a cancellation", "case p_status when 'failed' then 'failed' when", "case p_status when", f"{DEPENDENCIES}::TestFailure"),
        ("the first contract is the reason for all", "select d.contract_id, f.id, 'was cancelled'", "select d.contract_id, p_contract_id, 'was cancelled'", f"{DEPENDENCIES}::TestFailure"),
        ("dependencies stay unsettled", "set settled = true", "set settled = false", f"{DEPENDENCIES}::TestFailure"),
        ("one dependency at a time is counted", "h.waits_for - s.number", "h.waits_for - 1", f"{DEPENDENCIES} {ENGINE}"),
        ("freed contracts stay held", "perform ehg_tasks.move_to_ready(v_freed);", "", f"{DEPENDENCIES}::TestWaiting"),
        ("without an end", "set status = 'cancelled', completed_at = clock_timestamp(),", "set status = 'cancelled',", f"{DEPENDENCIES}::TestFailure"),
        ("without a reason", ", error_message = f.message", "", f"{DEPENDENCIES}::TestFailure"),
    ],
    "follow_insert": [
        ("new contracts are not ready", "where a.status = 'pending';", "where false;", CLAIM),
        ("contracts of any status are ready", "where a.status = 'pending';", ";", f"{CLAIM} {ENGINE}"),
        ("under the name as it is written", "select a.id, ehg_tasks.queue_name(a.target_agent)", "select a.id, a.target_agent", NAMES),
        ("the mark under the name as it is written", "ehg_tasks.queue_name(f.target_agent)", "f.target_agent", f"{ENGINE}::TestStatus"),
        ("the mark of the last", "a.priority, a.created_at, a.id\n  ) as f", "a.priority, a.created_at desc, a.id\n  ) as f", f"{DEPENDENCIES} {CREATE}"),
    ],
    "follow_status": [
        ("the same status again begins a new wait", "if old.status is not distinct from new.status", "if false", f"{ENGINE}::TestStatus"),
        ("ready rows stay", "delete from ehg_tasks.ready r where r.contract_id = new.id;\n    if not found then", "if true then", DEPENDENCIES),
        ("held rows stay", "delete from ehg_tasks.held h where h.contract_id = new.id;", "null;", NOT_BEFORE),
        ("attempts stay open", "elsif old.status = 'in_progress' then", "elsif false then", MAINTENANCE),
        ("an interrupted attempt has the status as outcome", "case when new.status = 'pending' then 'interrupted' else new.status end", "new.status", HISTORY),
        ("the error is not recorded", "error_message = case when new.status <> 'pending' then new.error_message end,\n", "", HISTORY),
        ("an earlier error is that of an interrupted attempt", "case when new.status <> 'pending' then new.error_message end", "new.error_message", HISTORY),
        ("the tokens are not recorded", ",\n        execution_tokens = new.execution_tokens", "", HISTORY),
        ("an attempt ends twice", "\n      and a.outcome is null;", ";", HISTORY),
        ("dependencies are not waited for again", "if v_waits_for > 0 then", "if false then", REQUEUE),
        ("settled dependencies are waited for again", "where d.contract_id = new.id and not d.settled", "where d.contract_id = new.id", REQUEUE),
        ("under the name as it is written", "ehg_tasks.queue_name(new.target_agent)", "new.target_agent", f"{ENGINE}::TestStatus"),
        ("a held contract is ready too", "elsif not exists (select from ehg_tasks.held h where h.contract_id = new.id) then", "else", FINISH),
        ("no mark", "perform ehg_tasks.lower_low_water_mark(\n        ehg_tasks.queue_name(new.target_agent), new.priority, new.created_at, new.id);", "", f"{ENGINE}::TestMarks"),
        ("dependents are not settled", "perform ehg_tasks.settle_dependents(new.id, new.status);", "null;", DEPENDENCIES),
    ],
    "follow_order": [
        ("the agent of a ready contract stays", "set target_agent = v_agent, priority = new.priority, created_at = new.created_at\n  where r.", "set priority = new.priority, created_at = new.created_at\n  where r.", f"{ENGINE}::TestOrder"),
        ("the priority of a ready contract stays", "priority = new.priority, created_at = new.created_at\n  where r.", "created_at = new.created_at\n  where r.", f"{ENGINE}::TestOrder"),
        ("the age of a ready contract stays", ", created_at = new.created_at\n  where r.", "\n  where r.", f"{ENGINE}::TestOrder"),
        ("the agent of a held contract stays", "set target_agent = v_agent, priority = new.priority, created_at = new.created_at\n    where h.", "set priority = new.priority, created_at = new.created_at\n    where h.", f"{ENGINE}::TestOrder"),
        ("the priority of a held contract stays", "priority = new.priority, created_at = new.created_at\n    where h.", "created_at = new.created_at\n    where h.", f"{ENGINE}::TestOrder"),
        ("the age of a held contract stays", ", created_at = new.created_at\n    where h.", "\n    where h.", f"{ENGINE}::TestOrder"),
        ("under the name as it is written", "ehg_tasks.queue_name(new.target_agent)", "new.target_agent", f"{ENGINE}::TestOrder"),
        ("no mark", "perform ehg_tasks.lower_low_water_mark(v_agent, new.priority, new.created_at, new.id);", "null;", f"{ENGINE}::TestOrder"),
    ],
    "follow_id": [
        ("in ready", "update ehg_tasks.ready r set contract_id = new.id where r.contract_id = old.id;", "", f"{ENGINE}::TestId"),
        ("in held", "update ehg_tasks.held h set contract_id = new.id where h.contract_id = old.id;", "", f"{ENGINE}::TestId"),
        ("in attempts", "update ehg_tasks.attempts a set contract_id = new.id where a.contract_id = old.id;", "", f"{ENGINE}::TestId"),
        ("in its dependencies", "update ehg_tasks.dependencies d set contract_id = new.id where d.contract_id = old.id;", "", f"{ENGINE}::TestId"),
        ("in dependencies on it", "update ehg_tasks.dependencies d set depends_on = new.id where d.depends_on = old.id;", "", f"{ENGINE}::TestId"),
        ("no mark", "perform ehg_tasks.lower_low_water_mark(r.target_agent, r.priority, r.created_at, r.contract_id)", "perform r.contract_id", f"{ENGINE}::TestId"),
    ],
    "follow_delete": [
        ("ready rows stay", "delete from ehg_tasks.ready r where r.contract_id = any (v_ids);", "", f"{DEPENDENCIES}::TestDeletion"),
        ("held rows stay", "delete from ehg_tasks.held h where h.contract_id = any (v_ids);", "", f"{DEPENDENCIES}::TestDeletion"),
        ("attempts stay", "delete from ehg_tasks.attempts a where a.contract_id = any (v_ids);", "", HISTORY),
        ("its dependencies stay", "delete from ehg_tasks.dependencies d where d.contract_id = any (v_ids);", "", f"{DEPENDENCIES}::TestDeletion"),
        ("dependents are not settled", "perform ehg_tasks.settle_dependents(r.id, 'deleted') from removed r;", "", f"{DEPENDENCIES}::TestDeletion"),
        ("dependencies on it stay", "delete from ehg_tasks.dependencies d where d.depends_on = any (v_ids);", "", f"{DEPENDENCIES}::TestDeletion"),
    ],
    "follow_truncate": [
        ("the engine keeps its rows", "truncate ehg_tasks.ready, ehg_tasks.low_water_marks, ehg_tasks.held, ehg_tasks.attempts,\n    ehg_tasks.lease_marks, ehg_tasks.dependencies;", "", f"{ENGINE}::TestStatus"),
    ],
    "rebuild_queue": [
        ("ready rows stay", "delete from ehg_tasks.ready r\n  where not exists (\n    select from public.agent_task_contracts c where c.id = r.contract_id and c.status = 'pending');", "", f"{ENGINE}::TestRebuild"),
        ("held rows stay", "delete from ehg_tasks.held h\n  where not exists (\n    select from public.agent_task_contracts c where c.id = h.contract_id and c.status = 'pending');", "", f"{ENGINE}::TestRebuild"),
        ("attempts stay open", "set ended_at = clock_timestamp(), outcome = 'interrupted'", "set outcome = 'interrupted'", f"{ENGINE}::TestRebuild"),
        ("ready rows are not corrected", "where c.id = r.contract_id\n    and", "where false and", f"{ENGINE}::TestRebuild"),
        ("held rows are not corrected", "where c.id = h.contract_id\n    and", "where false and", f"{ENGINE}::TestRebuild"),
        ("dependencies are not waited for", "where c.status = 'pending'\n    and not exists (select from ehg_tasks.ready r where r.contract_id = c.id)\n    and not exists (select from ehg_tasks.held h where h.contract_id = c.id)\n  group by", "where false\n  group by", f"{ENGINE}::TestRebuild"),
        ("pending contracts are not ready", "where c.status = 'pending'\n    and not exists (select from ehg_tasks.ready r where r.contract_id = c.id)\n    and not exists (select from ehg_tasks.held h where h.contract_id = c.id);", "where false;", f"{ENGINE}::TestRebuild"),
        ("dependents are not settled", "where not d.settled and (c.id is null or c.status = any (ehg_tasks.final_statuses()))", "where false", f"{ENGINE}::TestRebuild"),
        ("deletions are not settled", "c.id is null or ", "", f"{ENGINE}::TestRebuild"),
        ("no marks", "insert into ehg_tasks.low_water_marks", "return; insert into ehg_tasks.low_water_marks", f"{ENGINE}::TestRebuild"),
        ("the marks of the last", "order by r.target_agent, r.priority, r.created_at, r.contract_id", "order by r.target_agent, r.priority, r.created_at desc, r.contract_id desc", f"{ENGINE}::TestRebuild"),
    ],
    "past_time": [
        ("infinite times count", "isfinite(t.time) and ", "", f"{MAINTENANCE}::TestImplausibleTimes"),
        ("future times count", " and t.time <= clock_timestamp()", "", f"{MAINTENANCE}::TestImplausibleTimes"),
        ("the last time counts", "order by t.place", "order by t.place desc", f"{MAINTENANCE}::TestImplausibleTimes"),
    ],
    "update_task_contracts_timestamp": [
        ("updated_at not set", "new.updated_at = now();", "", "lifecycle/test_trigger.py"),
        ("created_at set too", "new.updated_at = now();", "new.updated_at = now(); new.created_at = now();", "lifecycle/test_trigger.py"),
    ],
}  # fmt: skip

REGISTRY: dict[str, list[tuple[str, str, str, str]]] = {
    "check_agent_token": [
        ("no token needed", "if not found or ehg_tasks.is_service_role() then", "if true then", AGENTS),
        ("the service role needs one", " or ehg_tasks.is_service_role()", "", AGENTS),
        ("agents without a token need one", " and a.token_hash is not null", "", f"{GUARDS}::TestRegisteredParent"),
        ("every agent needs one", "a.name = p_name and ", "", AGENTS),
        ("the current token refused", "v_hash = v_agent.token_hash\n    or ", "", AGENTS),
        ("the previous token refused", "\n    or (v_hash = v_agent.previous_token_hash and clock_timestamp() < v_agent.previous_token_expires_at)", "", AGENTS),
        ("the previous token valid for ever", " and clock_timestamp() < v_agent.previous_token_expires_at", "", AGENTS),
        ("empty headers are an error", "nullif(current_setting('request.headers', true), '')", "current_setting('request.headers', true)", f"{GUARDS}::TestRegisteredParent"),
        ("no headers are an error", "'request.headers', true", "'request.headers'", f"{GUARDS} {AGENTS}"),
    ],
    "new_agent_token": [
        ("always the same", "gen_random_uuid()::text || gen_random_uuid()::text", "'0'", AGENTS),
    ],
    "check_registered": [
        ("any name allowed", "if not p_found", "if false", AGENTS),
    ],
    "register_task_agent": [
        ("null p_with_token allowed", "p_with_token is null or ", "", f"{AGENTS}::TestRegister"),
        ("negative limit allowed", " or p_max_running < 0", "", f"{AGENTS}::TestRegister"),
        ("a limit of zero refused", "p_max_running < 0", "p_max_running <= 0", f"{AGENTS}::TestRegister"),
        ("large descriptions allowed", "perform ehg_tasks.check_size('p_description', octet_length(p_description), 4096);", "", f"{AGENTS}::TestRegister"),
        ("the token itself stored", "v_hash := sha256(convert_to(v_token, 'UTF8'));", "v_hash := convert_to(v_token, 'UTF8');", f"{AGENTS}::TestRegister"),
        ("never a token", "if p_with_token then", "if false then", f"{AGENTS}::TestRegister"),
        ("always a token", "if p_with_token then", "if true then", f"{AGENTS}::TestRegister"),
        ("the description not stored", "values (v_name, p_description,", "values (v_name, null,", f"{AGENTS}::TestRegister"),
        ("the limit not stored", "v_hash, p_max_running)", "v_hash, null)", f"{AGENTS}::TestRegister"),
        ("the description cannot change", "set description = p_description, ", "set ", f"{AGENTS}::TestRegister"),
        ("the limit cannot change", "max_running = p_max_running, ", "", f"{AGENTS}::TestRegister"),
        ("the token replaced", "coalesce(a.token_hash, v_hash)", "v_hash", f"{AGENTS}::TestRegister"),
        ("no token later", "coalesce(a.token_hash, v_hash)", "a.token_hash", f"{AGENTS}::TestRegister"),
        ("every agent changed", "where a.name = v_name\n", "where true\n", f"{AGENTS}::TestRegister"),
        ("a token shown that was not issued", "case when v_hash = sha256(convert_to(v_token, 'UTF8')) then v_token end", "v_token", f"{AGENTS}::TestRegister"),
        ("the name as it is written", "ehg_tasks.agent_name('p_name', p_name)", "p_name", f"{AGENTS}::TestRegister"),
    ],
    "rotate_task_agent": [
        ("no grace period allowed", "p_grace_minutes is null or ", "", f"{AGENTS}::TestRotate"),
        ("negative grace allowed", "not between 0 and", "not between -1 and", f"{AGENTS}::TestRotate"),
        ("no grace refused", "not between 0 and", "not between 1 and", f"{AGENTS}::TestRotate"),
        ("more than a week allowed", "and 10080 then", "and 10081 then", f"{AGENTS}::TestRotate"),
        ("a week refused", "and 10080 then", "and 10079 then", f"{AGENTS}::TestRotate"),
        ("the previous token forgotten", "set previous_token_hash = a.token_hash,\n", "set previous_token_hash = null,\n", f"{AGENTS}::TestRotate"),
        ("a grace period for no token", "case when a.token_hash is not null then clock_timestamp() + make_interval(mins => p_grace_minutes) end", "clock_timestamp() + make_interval(mins => p_grace_minutes)", f"{AGENTS}::TestRotate"),
        ("grace of no length", "make_interval(mins => p_grace_minutes)", "make_interval()", f"{AGENTS}::TestRotate"),
        ("the token itself stored", "sha256(convert_to(v_token, 'UTF8'))", "convert_to(v_token, 'UTF8')", f"{AGENTS}::TestRotate"),
        ("every agent changed", "where a.name = v_name\n", "where true\n", f"{AGENTS}::TestRotate"),
        ("any name allowed", "perform ehg_tasks.check_registered(found, v_name);", "", f"{AGENTS}::TestRotate"),
    ],
    "pause_task_agent": [
        ("not paused", "values (v_name, clock_timestamp())", "values (v_name, null)", f"{AGENTS}::TestPause"),
        ("a registered agent not paused", "do update set paused_at = excluded.paused_at where a.paused_at is null", "do nothing", f"{AGENTS}::TestPause"),
        ("a repeat begins the pause anew", " where a.paused_at is null", "", f"{AGENTS}::TestPause"),
        ("the name as it is written", "ehg_tasks.agent_name('p_name', p_name)", "p_name", f"{AGENTS}::TestPause"),
    ],
    "resume_task_agent": [
        ("still paused", "set paused_at = null, ", "set ", f"{AGENTS}::TestPause"),
        ("its time not stored", ", resumed_at = clock_timestamp()", "", f"{AGENTS}::TestPause"),
        ("a repeat changes the time", " and a.paused_at is not null", "", f"{AGENTS}::TestPause"),
        ("every agent resumed", "where a.name = v_name and", "where", f"{AGENTS}::TestPause"),
        ("any name allowed", "perform ehg_tasks.check_registered(found, v_name);", "", f"{AGENTS}::TestPause"),
    ],
    "remove_task_agent": [
        ("every agent removed", " where a.name = v_name;", ";", f"{AGENTS}::TestRemove"),
        ("any name allowed", "perform ehg_tasks.check_registered(found, v_name);", "", f"{AGENTS}::TestRemove"),
    ],
}  # fmt: skip

DIRECT_WRITES: dict[str, list[tuple[str, str, str, str]]] = {
    "guard_anon_sizes": [
        ("depth of constraints unchecked", "perform ehg_tasks.check_json('constraints', new.constraints);", "", POISON),
        ("depth of output_schema unchecked", "perform ehg_tasks.check_json('output_schema', new.output_schema);", "", POISON),
        ("sizes unchecked", "perform ehg_tasks.check_contract_sizes(new);", "", GUARDS),
    ],
    "guard_anon_start": [
        ("another status allowed", "new.status is distinct from 'pending' or ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("no status allowed", "new.status is distinct from 'pending'", "new.status <> 'pending'", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("retries allowed", "or coalesce(new.retry_count, 0) <> 0", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("a start allowed", "new.started_at, ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("an end allowed", "new.completed_at, ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("an output allowed", "new.output_artifact_id, ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("a summary allowed", "new.result_summary,", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("tokens allowed", "new.execution_tokens, ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("an error allowed", "new.error_message, ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("a key allowed", "new.completion_idempotency_key,", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("an agent id allowed", ",\n                    new.completed_by_agent_id", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("infinite creation allowed", "not isfinite(new.created_at) or ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("future creation allowed", "new.created_at > clock_timestamp()", "false", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("infinite update allowed", "not isfinite(new.updated_at) or ", "", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
        ("future update allowed", "new.updated_at > clock_timestamp()", "false", f"{GUARDS}::test_an_insert_by_an_agent_must_start_at_the_beginning"),
    ],
    "guard_anon_names": [
        ("any parent_agent allowed", "new.parent_agent <> ehg_tasks.agent_name('parent_agent', new.parent_agent)", "false", f"{GUARDS}::test_a_name_that_looks_like_another_is_refused"),
        ("any target_agent allowed", "new.target_agent <> ehg_tasks.agent_name('target_agent', new.target_agent)", "false", f"{GUARDS}::test_a_name_that_looks_like_another_is_refused"),
        ("no token needed", "perform ehg_tasks.check_agent_token(new.parent_agent);", "", f"{GUARDS}::TestRegisteredParent"),
        ("the token of the target agent needed", "check_agent_token(new.parent_agent)", "check_agent_token(new.target_agent)", f"{GUARDS}::TestRegisteredParent"),
    ],
    "guard_anon_rows": [
        ("two rows allowed", "> 1 then", "> 2 then", GUARDS),
        ("one row refused", "> 1 then", "> 0 then", GUARDS),
    ],
}  # fmt: skip

CREATION: dict[str, list[tuple[str, str, str, str]]] = {
    "default_contract": [
        ("another constraints", "v_contract.constraints := '{}'", "v_contract.constraints := null", f"{CREATE}::TestBulk"),
        ("another input_artifacts", "v_contract.input_artifacts := '{}'", "v_contract.input_artifacts := null", f"{CREATE}::TestBulk"),
        ("another expected_output_type", "'artifact'", "'text'", f"{CREATE}::TestBulk"),
        ("another priority", "v_contract.priority := 50", "v_contract.priority := 51", f"{CREATE}::TestBulk"),
        ("another max_tokens", "4000", "4001", f"{CREATE}::TestBulk"),
        ("another timeout_minutes", "v_contract.timeout_minutes := 30", "v_contract.timeout_minutes := 31", f"{CREATE}::TestBulk"),
        ("another max_retries", "v_contract.max_retries := 2", "v_contract.max_retries := 3", f"{CREATE}::TestBulk"),
        ("another created_by", "'system'", "null", f"{CREATE}::TestBulk"),
    ],
    "check_new_contract": [
        ("anything but an object allowed", "if jsonb_typeof(p_item) <> 'object' then", "if false then", CREATE),
        ("any depth and any number allowed", "perform ehg_tasks.check_json('a contract', p_item);", "", POISON),
        ("unknown fields allowed", "if p_item - ehg_tasks.new_contract_fields() <> '{}' then", "if false then", CREATE),
        ("an empty objective allowed", "if coalesce(p_item ->> 'objective', '') !~ '\\S' then", "if false then", CREATE),
        ("no objective allowed", "coalesce(p_item ->> 'objective', '')", "p_item ->> 'objective'", CREATE),
        ("any parent_agent allowed", "perform ehg_tasks.agent_name('parent_agent', p_item ->> 'parent_agent');", "", CREATE),
        ("any target_agent allowed", "perform ehg_tasks.agent_name('target_agent', p_item ->> 'target_agent');", "", CREATE),
        ("a long sd_id reaches the table", "when length(p_item ->> 'sd_id') > 50", "when false", CREATE),
        ("a long expected_output_type reaches the table", "when length(p_item ->> 'expected_output_type') > 50", "when false", CREATE),
        ("a long created_by reaches the table", "when length(p_item ->> 'created_by') > 100", "when false", CREATE),
        ("any output_schema allowed", "if jsonb_typeof(p_item -> 'output_schema') not in ('object', 'boolean', 'null') then", "if false then", CREATE),
        ("sizes not checked", "if octet_length(p_item::text) > 16384 then", "if false then", CREATE),
        ("any future time allowed", "v_not_before > clock_timestamp() + interval '366 days' or ", "", NOT_BEFORE),
        ("infinite times allowed", " or not isfinite(v_not_before)", "", NOT_BEFORE),
        ("any depends_on allowed", "if coalesce(jsonb_typeof(p_item -> 'depends_on'), 'null') not in ('array', 'null') then", "if false then", f"{DEPENDENCIES}::TestRefusals"),
        ("101 dependencies allowed", ", 100);", ", 101);", f"{DEPENDENCIES}::TestRefusals"),
        ("100 dependencies refused", ", 100);", ", 99);", f"{DEPENDENCIES}::TestRefusals"),
        ("any on_dependency_failure allowed", "coalesce(p_item ->> 'on_dependency_failure', 'cancel') not in ('cancel', 'run')", "false", f"{DEPENDENCIES}::TestRefusals"),
    ],
    "in_array": [
        ("never", "p_count > 1", "false", f"{CREATE}::TestBulk"),
        ("for a single contract too", "p_count > 1", "true", CREATE),
    ],
    "check_new_contracts": [
        ("the wrong number", "v_number := v_number + 1;", "", f"{CREATE}::TestBulk"),
        ("only the first contract checked", "for v_item in select i.value from jsonb_array_elements(p_contracts) as i loop", "for v_item in select i.value from jsonb_array_elements(p_contracts) as i limit 1 loop", f"{CREATE}::TestBulk"),
        ("a value of the wrong type has no number", "perform jsonb_populate_record(\n      ehg_tasks.default_contract(), v_item - array['parent_agent', 'target_agent']);", "", CREATE),
    ],
    "all_plainly_valid": [
        ("any depth and any number", "perform ehg_tasks.check_json('p_contracts', p_contracts);", "", f"{POISON} {SHARED}"),
        ("any field", "and i.value - v_fields = '{}'\n", "\n", f"{CREATE}::TestBulk"),
        ("any parent_agent", "and i.value ->> 'parent_agent' ~ '^[!-~]([ -~]{0,48}[!-~])?$'\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("any target_agent", "and i.value ->> 'target_agent' ~ '^[!-~]([ -~]{0,48}[!-~])?$'\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("any objective", "and i.value ->> 'objective' ~ '\\S'\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("any sd_id", "and coalesce(length(i.value ->> 'sd_id'), 0) <= 50\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("any expected_output_type", "and coalesce(length(i.value ->> 'expected_output_type'), 0) <= 50\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("any created_by", "and coalesce(length(i.value ->> 'created_by'), 0) <= 100\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("any output_schema", "and coalesce(jsonb_typeof(i.value -> 'output_schema'), 'null') in ('object', 'boolean', 'null')\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("any size", "and pg_column_size(i.value) <= 8192\n", "\n", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
        ("contracts that wait", "and not i.value ?| array['not_before', 'depends_on', 'on_dependency_failure']) is true", ") is true", f"{SHARED}::TestCreate"),
        ("what is missing is valid", ") is true)", "))", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
    ],
    "missing_references": [
        ("unknown artifacts allowed", "not exists (select from public.agent_artifacts a where a.id = i.id::uuid)", "false", CREATE),
        ("unknown dependencies allowed", "(d.id::uuid = any (p_known)) is not true", "false", f"{DEPENDENCIES}::TestRefusals"),
        ("null dependencies allowed", "(d.id::uuid = any (p_known)) is not true", "not (d.id::uuid = any (p_known))", f"{DEPENDENCIES}::TestRefusals"),
    ],
    "let_wait": [
        ("a repeated dependency is an error", "select distinct i.id", "select i.id", f"{DEPENDENCIES}::TestWaiting"),
        ("no default of on_dependency_failure", "coalesce(i.item ->> 'on_dependency_failure', 'cancel')", "i.item ->> 'on_dependency_failure'", f"{DEPENDENCIES}::TestWaiting"),
        ("final dependencies are waited for", "c.status = any (ehg_tasks.final_statuses())", "false", f"{DEPENDENCIES}::TestWaiting"),
        ("dependencies are not waited for", "(w.waits_for > 0 or w.not_before > clock_timestamp())", "w.not_before > clock_timestamp()", f"{DEPENDENCIES}::TestWaiting"),
        ("the time is not waited for", "(w.waits_for > 0 or w.not_before > clock_timestamp())", "w.waits_for > 0", NOT_BEFORE),
        ("the time is not stored", "m.created_at, m.not_before, m.waits_for", "m.created_at, '-infinity', m.waits_for", NOT_BEFORE),
        ("the number of dependencies is not stored", "m.not_before, m.waits_for", "m.not_before, 1", f"{DEPENDENCIES}::TestWaiting"),
        ("an earlier failure does not cancel", "where c.id = f.contract_id", "where false", f"{DEPENDENCIES}::TestFailure"),
        ("an earlier failure cancels what runs all the same", " and d.on_failure = 'cancel'", "", f"{DEPENDENCIES}::TestFailure"),
        ("an earlier completion cancels", "p.status in ('failed', 'cancelled')", "p.status <> 'pending'", f"{DEPENDENCIES}::TestWaiting"),
        ("without an end", "completed_at = clock_timestamp(),", "", f"{DEPENDENCIES}::TestFailure"),
        ("an earlier failure is told as a cancellation", "case f.status when 'failed' then 'failed' else 'was cancelled' end", "'was cancelled'", f"{DEPENDENCIES}::TestFailure"),
    ],
    "check_repeat": [
        ("numbers out of range", "if not found then", "if false then", CREATE),
        ("another content allowed", "is distinct from v_existing;", "is null;", CREATE),
        ("fewer dependencies allowed", "d.contract_id = p_contract_id and d.depends_on <> all (v_depends_on))", "false)", f"{DEPENDENCIES}::TestRepeat"),
        ("more dependencies allowed", "c.id = any (v_depends_on) and", "false and", f"{DEPENDENCIES}::TestRepeat"),
        ("dependencies that are not given compared", "if p_item ? 'depends_on' then", "if true then", f"{DEPENDENCIES}::TestRepeat"),
        ("another on_dependency_failure allowed", "d.on_failure <> coalesce", "null <> coalesce", f"{DEPENDENCIES}::TestRepeat"),
        ("an on_dependency_failure that is not given compared", "if p_item ? 'on_dependency_failure' then", "if true then", f"{DEPENDENCIES}::TestRepeat"),
        ("another time allowed", "if p_item ? 'not_before' and", "if false and", f"{NOT_BEFORE}::TestRepeat"),
        ("a time that is not given compared", "if p_item ? 'not_before' and", "if", f"{NOT_BEFORE}::TestRepeat"),
        ("the time of a final contract compared", "v_existing.status = 'pending'\n    and", "true and", f"{NOT_BEFORE}::TestRepeat"),
        ("the wait of a retry compared", "\n    and not exists (select from ehg_tasks.attempts a where a.contract_id = p_contract_id)", "", f"{NOT_BEFORE}::TestRepeat"),
        ("times in the past compared", "greatest(v_held_until, v_not_before) > clock_timestamp() and ", "", f"{NOT_BEFORE}::TestRepeat"),
    ],
    "insert_contracts": [
        ("no token needed", "if exists (select from ehg_tasks.agents a where a.token_hash is not null) then", "if false then", f"{AGENTS}::TestToken"),
        ("contracts of one call have the same age", "+ (i.n - 1) * interval '1 microsecond'", "", f"{CREATE}::TestBulk"),
        ("any timeout allowed", "r.timeout_minutes between 1 and 10080 and ", "", CREATE),
        ("any number of tokens allowed", " and r.max_tokens >= 1", "", CREATE),
        ("any number of retries allowed", " and r.max_retries between 0 and 100", "", CREATE),
        ("a repeat is an error", "on conflict (id) do nothing", "", CREATE),
        ("a repeat creates", "array_agg(d.id is not null order by i.n)", "array_agg(true order by i.n)", CREATE),
        ("equal items of one call both create", " and d.created_at = i.new_time", "", f"{DEPENDENCIES}::TestRepeat"),
        ("nothing waits", "if v_waiting then\n    perform ehg_tasks.let_wait", "if false then\n    perform ehg_tasks.let_wait", NOT_BEFORE),
        ("a repeat waits again", "\n      where v_created[i.n]", "", f"{DEPENDENCIES}::TestRepeat"),
        ("no earlier contract of the call is known", "v_known := v_known || v_ids[v_number];", "", f"{DEPENDENCIES}::TestWaiting"),
        ("references not checked", "v_problem := ehg_tasks.missing_references(v_item, v_known);", "", CREATE),
        ("artifacts not checked", " or jsonb_path_exists(p_contracts, '$[*].input_artifacts[*]')", "", CREATE),
        ("repeats not compared", "perform ehg_tasks.check_repeat(v_ids[v_number], v_item, ehg_tasks.in_array(v_number, v_count));", "null;", CREATE),
        ("repeats alone not compared", "not true = all (v_created) or ", "", CREATE),
        ("artifacts of a repeat checked", "if v_created[v_number] then", "if true then", CREATE),
        ("the summary without the objective", "left(i.value ->> 'objective', 100)", "''", CREATE),
        ("the summary as long as the objective", "left(i.value ->> 'objective', 100)", "i.value ->> 'objective'", f"{CREATE} {SHARED}::TestCreate"),
        *[
            (f"{column} not stored", f"r.{column},", f"v_default.{column},", f"{CREATE}::test_every_field_is_stored")
            for column in (
                "session_id", "sd_id", "constraints", "input_artifacts", "input_summary", "expected_output_type",
                "output_schema", "priority", "max_tokens", "timeout_minutes", "max_retries", "created_by",
            )
        ],
    ],
    "create_task_contracts": [
        ("an empty list allowed", "coalesce(v_count, 0) = 0", "v_count is null", f"{CREATE}::TestBulk"),
        ("null allowed", "coalesce(v_count, 0) = 0", "v_count = 0", f"{CREATE}::TestBulk"),
        ("any number allowed", "perform ehg_tasks.check_count('p_contracts', v_count);", "", f"{CREATE}::TestBulk"),
        ("contracts not checked", "perform ehg_tasks.check_new_contracts(p_contracts);\n    select", "select", CREATE),
        ("the parent_agent as it is written", "'parent_agent', ehg_tasks.queue_name(i.value ->> 'parent_agent')", "'parent_agent', i.value ->> 'parent_agent'", NAMES),
        ("the target_agent as it is written", "'target_agent', ehg_tasks.queue_name(i.value ->> 'target_agent')", "'target_agent', i.value ->> 'target_agent'", NAMES),
        ("in any order", "order by i.n)", "order by i.n desc)", f"{DEPENDENCIES}::TestWaiting"),
        ("a value of the wrong type does not name its contract", "perform ehg_tasks.check_new_contracts(p_contracts);  -- names the contract at fault", "", f"{CREATE}::TestBulk {SHARED}::TestCreate"),
    ],
    "create_task_contract": [
        ("any parent_agent at once", "p_parent_agent ~ '^[!-~]([ -~]{0,48}[!-~])?$' and ", "", f"{CREATE} {NAMES}"),
        ("any target_agent at once", "p_target_agent ~ '^[!-~]([ -~]{0,48}[!-~])?$'\n", "true\n", f"{CREATE} {NAMES}"),
        ("any objective at once", "p_objective ~ '\\S' and ", "", CREATE),
        ("a large objective at once", "octet_length(p_objective) <= 65536", "true", CREATE),
        ("a large input_summary at once", "coalesce(octet_length(p_input_summary), 0) <= 65536", "true", CREATE),
        ("a long sd_id at once", "coalesce(length(p_sd_id), 0) <= 50", "true", CREATE),
        ("a long expected_output_type at once", "length(p_expected_output_type) <= 50", "true", CREATE),
        ("a long created_by at once", "coalesce(length(p_created_by), 0) <= 100", "true", CREATE),
        ("any constraints at once", "coalesce(pg_column_size(p_constraints), 0) <= 500 and coalesce(octet_length(p_constraints::text), 0) <= 128", "true", CREATE),
        ("any output_schema at once", "p_output_schema is null and ", "", CREATE),
        ("any number of tokens at once", "coalesce(p_max_tokens, 1) >= 1 and ", "", CREATE),
        ("any timeout at once", "coalesce(p_timeout_minutes, 1) between 1 and 10080", "true", CREATE),
        ("any number of retries at once", "coalesce(p_max_retries, 0) between 0 and 100", "true", CREATE),
        ("any artifacts at once", "p_input_artifacts = '{}' and ", "", CREATE),
        ("any dependencies at once", "p_depends_on = '{}' and ", "", f"{DEPENDENCIES}::TestWaiting"),
        ("any time at once", "p_not_before is null", "true", NOT_BEFORE),
        ("any on_dependency_failure at once", "p_on_dependency_failure in ('cancel', 'run')", "true", f"{DEPENDENCIES}::TestRefusals"),
        ("no token needed at once", "and not exists (select from ehg_tasks.agents a where a.name = p_parent_agent and a.token_hash is not null)", "", f"{AGENTS}::TestToken"),
        ("a repeat creates", "if found then", "if true then", CREATE),
        ("another id than asked for", "coalesce(p_contract_id, gen_random_uuid())", "gen_random_uuid()", f"{CREATE} {DEPENDENCIES}"),
        ("the summary as long as the objective", "left(p_objective, 100)", "p_objective", f"{CREATE} {SHARED}::TestCreate"),
        *[
            (f"{column} not stored at once", f"p_{column},{rest}", f"null,{rest}", f"{SHARED}::TestCreate")
            for column, rest in {
                "session_id": " p_sd_id, p_parent_agent", "sd_id": " p_parent_agent",
                "constraints": " p_input_artifacts,\n", "input_summary": " p_expected_output_type, p_output_schema, p_priority",
                "expected_output_type": " p_output_schema, p_priority, p_max_tokens, p_timeout",
                "priority": " p_max_tokens, p_timeout", "max_tokens": " p_timeout",
                "timeout_minutes": "\n      p_max_retries", "max_retries": " p_created_by, clock_timestamp()",
                "created_by": " clock_timestamp()",
            }.items()
        ],
    ],
}  # fmt: skip

# One for each migration.
CHAPTERS = [RULES, QUEUE, REGISTRY, DIRECT_WRITES, CREATION]


def function_bodies() -> Iterator[Mutant]:
    """Yield each replacement as a mutant."""
    for chapter in CHAPTERS:
        for function, changes in chapter.items():
            schema = "public" if function == "update_task_contracts_timestamp" else "ehg_tasks"
            for name, old, new, test in changes:
                yield Mutant(f"{function}: {name}", test, replace=(f"{schema}.{function}", old, new))
