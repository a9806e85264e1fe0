"""The commands of agents."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ehg_tasks import AgentTasks, BackendTasks, NewContract
from ehg_tasks.cli.agents import CONTRACT_OPTIONS
from tests.cli.conftest import CreateContract, Program, ReadRow
from tests.conftest import Project

WORK = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "Draw the start page."}
SOME_ID = "00000000-0000-4000-8000-000000000002"

ClaimContract = Callable[..., tuple[str, str]]


@pytest.fixture
def claim(agent: AgentTasks, create: CreateContract) -> ClaimContract:
    """Creates and claims a contract; returns its id and claim token."""

    def create_and_claim(**fields: Any) -> tuple[str, str]:
        create(**fields)
        [claim] = agent.claim("DESIGN")
        return str(claim.contract_id), str(claim.claim_token)

    return create_and_claim


class TestCreate:
    def test_every_field_has_an_option(self) -> None:
        assert CONTRACT_OPTIONS.keys() == NewContract.model_fields.keys()

    def test_options_set_fields_and_the_server_sets_the_others(self, as_agent: Program, row: ReadRow) -> None:
        contract = str(uuid.uuid4())
        arguments = [
            "create",
            "--parent",
            "PLANNER",
            "--target",
            "DESIGN",
            "--objective",
            "-",
            "--id",
            contract,
        ]
        arguments += ["--priority", "-5", "--constraints", '{"color": "green"}', "--max-retries", "0"]
        result = as_agent(*arguments, stdin="Draw it.\nNow.\n")
        assert (result.code, result.out, result.err) == (0, f"{contract}  created\n", "")
        fields = row(contract)
        assert (fields["priority"], fields["constraints"], fields["max_retries"]) == (
            -5,
            {"color": "green"},
            0,
        )
        assert (fields["objective"], fields["timeout_minutes"]) == ("Draw it.\nNow.", 30)

    def test_repeating_an_id_creates_nothing(self, as_agent: Program) -> None:
        arguments = ["create", "--parent", "P", "--target", "T", "--objective", "x", "--id", SOME_ID]
        assert [row["created"] for row in as_agent(*arguments, "--json").json] == [True]
        assert [row["created"] for row in as_agent(*arguments, "--json").json] == [False]
        assert as_agent(*arguments).out == f"{SOME_ID}  already exists\n"

    @pytest.mark.parametrize("form", ["array", "lines"])
    def test_options_fill_in_what_a_file_omits(self, as_agent: Program, row: ReadRow, form: str) -> None:
        items: list[dict[str, Any]] = [{"objective": "Größe"}, {"objective": "two", "target_agent": "QA"}]
        text = json.dumps(items) if form == "array" else "\n\n".join(map(json.dumps, items)) + "\n"
        (as_agent.folder / "work.json").write_text(text, "utf-8")
        arguments = ["create", "--file", "work.json", "--parent", "P", "--target", "DESIGN", "--json"]
        rows = [row(contract["contract_id"]) for contract in as_agent(*arguments).json]
        assert [row["objective"] for row in rows] == ["Größe", "two"]
        assert [row["target_agent"] for row in rows] == ["DESIGN", "QA"]

    def test_a_file_may_be_standard_input(self, as_agent: Program, row: ReadRow) -> None:
        [created] = as_agent("create", "--file", "-", "--json", stdin=json.dumps(WORK)).json
        assert row(created["contract_id"])["objective"] == WORK["objective"]

    @pytest.mark.parametrize(
        ("arguments", "stdin", "error"),
        [
            (["--target", "DESIGN", "--objective", "x"], "", "a contract needs --parent, --target and"),
            (["--file", "none.json"], "", "--file: cannot read none.json: No such file or directory"),
            (["--file", "-"], "", "--file: there are no contracts in standard input"),
            (["--file", "-"], "[1]", "--file, contract 1, is not a JSON object"),
            (["--file", "-"], '{"objective": "x"}', "--file, contract 1: not a contract: parent_agent"),
            (["--file", "-"], f"{json.dumps(WORK)}\n{{bad", "--file, contract 2, is not JSON: Expecting"),
            (["--file", "-"], '[{"priority": NaN}]', "--file is not JSON: NaN is not a JSON number"),
            (["--file", "-"], "[" * 100_000, "--file is not JSON: maximum recursion depth exceeded"),
            (["--file", "-", "--id", SOME_ID], json.dumps(WORK), "--id is for a single contract"),
            (["--file", "-", "--objective", "-"], "", "only one option can read it"),
            (["--constraints", "{bad"], "", "--constraints is not JSON: Expecting property name"),
            (["--output-schema", "@none"], "", "--output-schema: cannot read none: No such file"),
            (["--not-before", "tomorrow"], "", "--not-before is not a time"),
            (
                ["--file", "-", "--depends-on", "x"],
                json.dumps(WORK),
                "depends_on.0: Input should be a valid UUID",
            ),
        ],
    )
    def test_bad_arguments_create_nothing(
        self,
        as_agent: Program,
        contracts: Callable[[], list[Any]],
        arguments: list[str],
        stdin: str,
        error: str,
    ) -> None:
        assert error in as_agent.refuses(7, "create", *arguments, stdin=stdin)
        assert contracts() == []

    def test_a_contract_may_wait_for_others_and_for_a_time(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract
    ) -> None:
        others = [create(), create()]
        arguments = ["create", "--parent", "P", "--target", "T", "--objective", "x", "--json"]
        waiting = ["--depends-on", others[0], "--depends-on", others[1], "--on-dependency-failure", "run"]
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        dependent, delayed, in_two_hours = (
            as_agent(*arguments, *options).json[0]["contract_id"]
            for options in (waiting, ["--not-before", later], ["--not-before", "2h"])
        )
        due = agent.outcome(in_two_hours).next_attempt_at
        assert due is not None
        assert due > datetime.now(UTC) + timedelta(hours=1)
        assert [(o.waiting, o.waits_for) for o in agent.outcomes([dependent, delayed])] == [
            ("dependencies", 2),
            ("delayed", 0),
        ]
        for other in others:
            agent.cancel(other)
        assert agent.outcome(dependent).waiting == "ready"

    def test_a_refusal_of_the_server_is_one_line(self, as_agent: Program) -> None:
        arguments = ["create", "--parent", "P", "--target", "T", "--objective", "x", "--sd", "SD-NONE"]
        assert "23503" in as_agent.refuses(7, *arguments)


class TestClaim:
    def test_claims_the_highest_priorities_for_an_agent_id(
        self, as_agent: Program, create: CreateContract, row: ReadRow
    ) -> None:
        for priority in (1, 3, 2):
            create(priority=priority)
        agent_id = str(uuid.uuid4())
        claims = as_agent("claim", "DESIGN", "--limit", "2", "--agent-id", agent_id, "--json").json
        assert [claim["priority"] for claim in claims] == [3, 2]
        contract = claims[0]["contract_id"]
        assert as_agent("complete", contract, "--token", claims[0]["claim_token"]).code == 0
        assert str(row(contract)["completed_by_agent_id"]) == agent_id

    def test_repeating_a_request_key_returns_the_same_claims(
        self, as_agent: Program, create: CreateContract
    ) -> None:
        create()
        arguments = ["claim", "DESIGN", "--request-key", str(uuid.uuid4()), "--json"]
        claims = as_agent(*arguments).json
        assert len(claims) == 1
        assert as_agent(*arguments).json == claims

    def test_a_claim_may_name_its_contract_and_the_length_of_its_lease(
        self, as_agent: Program, create: CreateContract
    ) -> None:
        create(priority=90)
        contract = create()
        arguments = ["claim", "DESIGN", "--contract", contract, "--lease", "60", "--json"]
        [claim] = as_agent(*arguments).json
        assert claim["contract_id"] == contract
        left = datetime.fromisoformat(claim["lease_expires_at"]) - datetime.now(UTC)
        assert left < timedelta(minutes=2)
        assert as_agent(*arguments).json == []
        assert as_agent("claim", "DESIGN", "--lease", "4").code == 2

    def test_claims_are_printed_for_people_without_control_characters(
        self, as_agent: Program, create: CreateContract
    ) -> None:
        contract = create("red: \x1b[31m, and a line\nmore")
        printed = as_agent("claim", "DESIGN").out
        assert f"contract_id           {contract}\n" in printed
        assert "objective             red: \\x1b[31m, and a line\n                      more\n" in printed

    def test_claiming_when_nothing_is_pending_is_not_an_error(self, as_agent: Program) -> None:
        assert as_agent("claim", "DESIGN", "--json").json == []
        result = as_agent("claim", "DESIGN")
        assert (result.code, result.out, result.err) == (
            0,
            "",
            "No contract can be claimed for DESIGN now.\n",
        )

    def test_bad_arguments_are_refused(self, as_agent: Program) -> None:
        assert "--request-key is not a UUID" in as_agent.refuses(7, "claim", "DESIGN", "--request-key", "x")
        assert as_agent("claim", "DESIGN", "--limit", "101").code == 2


class TestClaimedContracts:
    def test_renew_prints_the_new_end_of_the_claim(self, as_agent: Program, claim: ClaimContract) -> None:
        contract, token = claim()
        lease = as_agent("renew", contract, "--token", token, "--json").json
        assert (lease["contract_id"], lease["attempt"]) == (contract, 1)
        assert f"{contract}  claimed until " in as_agent("renew", contract, EHG_TASKS_CLAIM_TOKEN=token).out

    def test_renew_reports_the_progress(
        self, as_agent: Program, agent: AgentTasks, claim: ClaimContract
    ) -> None:
        contract, token = claim()
        renew = ["renew", contract, "--token", token, "--progress"]
        assert as_agent(*renew, '{"percent": 40}').code == 0
        assert agent.outcome(contract).progress == {"percent": 40}
        assert "must be a JSON object (TC005)" in as_agent.refuses(7, *renew, "[1]")
        assert agent.outcome(contract).progress == {"percent": 40}

    @pytest.mark.parametrize("source", ['{"page": 1}', "@page.json", "-"])
    def test_complete_records_a_result_once(
        self, as_agent: Program, agent: AgentTasks, claim: ClaimContract, row: ReadRow, source: str
    ) -> None:
        contract, token = claim()
        (as_agent.folder / "page.json").write_text('{"page": 1}')
        complete = as_agent.with_env(EHG_TASKS_CLAIM_TOKEN=token)
        arguments = ["complete", contract, "--output", source, "--summary", "drawn", "--tokens", "12"]
        result = complete(*arguments, stdin='{"page": 1}')
        assert (result.code, result.out) == (0, f"{contract}  completed: task contract completed\n")
        assert agent.outcome(contract).output == {"page": 1}
        assert (row(contract)["result_summary"], row(contract)["execution_tokens"]) == ("drawn", 12)
        assert complete(*arguments, "--json", stdin='{"page": 1}').json["was_duplicate"] is True

    def test_a_failed_attempt_is_retried(self, as_agent: Program, claim: ClaimContract, row: ReadRow) -> None:
        contract, token = claim()
        printed = as_agent("fail", contract, "no paper", "--token", token).out
        assert printed.startswith(
            f"{contract}  pending: the attempt failed and will be retried; next attempt from "
        )
        assert (row(contract)["status"], row(contract)["error_message"]) == ("pending", "no paper")

    def test_a_final_failure_is_not_retried(
        self, as_agent: Program, claim: ClaimContract, row: ReadRow
    ) -> None:
        contract, token = claim()
        result = as_agent("fail", contract, "no such page", "--final", "--token", token, "--json").json
        assert (result["status"], row(contract)["status"]) == ("failed", "failed")

    def test_release_does_not_use_up_a_retry(
        self, as_agent: Program, claim: ClaimContract, row: ReadRow
    ) -> None:
        contract, token = claim()
        assert as_agent("release", contract, "--token", token, "--json").json["status"] == "pending"
        assert row(contract)["retry_count"] == 0

    def test_inputs_are_the_input_artifacts(
        self, as_agent: Program, claim: ClaimContract, artifact: str
    ) -> None:
        contract, token = claim(input_artifacts=[artifact])
        [printed] = as_agent("inputs", contract, "--token", token, "--json").json
        assert (printed["artifact_id"], printed["content_text"]) == (artifact, "all of it")
        assert "content_text  all of it\n" in as_agent("inputs", contract, "--token", token).out

    @pytest.mark.parametrize("arguments", [["renew"], ["complete"], ["fail", "why"], ["release"], ["inputs"]])
    def test_without_the_right_token_nothing_changes(
        self, as_agent: Program, claim: ClaimContract, row: ReadRow, arguments: list[str]
    ) -> None:
        contract, token = claim()
        before = row(contract)
        command, *more = arguments
        assert "(TC002)" in as_agent.refuses(6, command, contract, *more, "--token", SOME_ID)
        assert "(TC001)" in as_agent.refuses(5, command, SOME_ID, *more, "--token", token)
        error = as_agent.refuses(7, command, contract, *more, "--token", "not-the-token")
        assert error == "ehg-tasks: --token is not a UUID"
        result = as_agent(command, contract, *more)
        assert (result.code, result.out) == (2, "")
        assert "--token" in result.err
        assert row(contract) == before

    def test_an_invalid_output_leaves_the_contract_in_progress(
        self, as_agent: Program, claim: ClaimContract, row: ReadRow
    ) -> None:
        contract, token = claim()
        arguments = ["complete", contract, "--token", token, "--output"]
        for output in ("{bad", "NaN", "@none.json"):
            as_agent.refuses(7, *arguments, output)
        assert "TC006" in as_agent.refuses(7, *arguments, "-", stdin=json.dumps("x" * 2**20))
        assert row(contract)["status"] == "in_progress"

    def test_a_cancelled_contract_cannot_be_completed(
        self, as_agent: Program, agent: AgentTasks, claim: ClaimContract
    ) -> None:
        contract, token = claim()
        agent.cancel(contract)
        assert "is already cancelled (TC003)" in as_agent.refuses(6, "complete", contract, "--token", token)


class TestCancel:
    def test_the_reason_is_recorded(self, as_agent: Program, create: CreateContract, row: ReadRow) -> None:
        contract = create()
        assert as_agent("cancel", contract, "--reason", "not needed").code == 0
        assert (row(contract)["status"], row(contract)["error_message"]) == ("cancelled", "not needed")
        assert [row["was_duplicate"] for row in as_agent("cancel", contract, "--json").json] == [True]

    def test_an_unknown_contract_is_an_error(self, as_agent: Program) -> None:
        assert "is not a UUID" in as_agent.refuses(7, "cancel", "x")
        assert "(TC001)" in as_agent.refuses(5, "cancel", SOME_ID)


class TestOutcome:
    def test_outcomes_come_in_the_order_of_the_ids(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract
    ) -> None:
        completed, pending = create(), create()
        [claim] = agent.claim("DESIGN")
        agent.complete(claim, output={"page": 1}, result_summary="drawn")
        outcomes = as_agent("outcome", completed, pending, "--json").json
        assert [(outcome["contract_id"], outcome["status"]) for outcome in outcomes] == [
            (completed, "completed"),
            (pending, "pending"),
        ]
        table = as_agent("outcome", completed, pending).out
        assert completed in table
        assert pending in table
        assert 'output              {"page": 1}\n' in as_agent("outcome", completed).out
        assert SOME_ID in as_agent.refuses(5, "outcome", completed, SOME_ID)

    def test_wait_ends_when_the_contract_is_final_or_the_time_is_up(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract
    ) -> None:
        contract = create()
        result = as_agent("outcome", contract, "--wait", "0.1", "--json")
        assert result.code == 8
        assert json.loads(result.out)[0]["status"] == "pending"
        assert result.err == "ehg-tasks: 1 of 1 contracts have not ended after 0.1 s\n"
        agent.cancel(contract)
        assert as_agent("outcome", contract, "--wait", "60", "--json").json[0]["status"] == "cancelled"

    def test_a_contract_that_has_not_ended_shows_what_it_waits_for_and_how_far_it_is(
        self,
        as_agent: Program,
        agent: AgentTasks,
        backend: BackendTasks,
        create: CreateContract,
        database: psycopg.Connection[Any],
    ) -> None:
        running, retried = create(), create()
        first, second = agent.claim("DESIGN", limit=2)
        agent.renew(first, progress={"percent": 40})
        agent.fail(second, "no paper")
        due = datetime.now(UTC) + timedelta(hours=1)
        database.execute("update ehg_tasks.held set not_before = %s", [due])
        delayed = create(not_before=due)
        dependent = create(depends_on=[running, retried])
        paused = create(target_agent="QA")
        backend.pause_agent("QA")
        lines = as_agent("outcome", running, retried, delayed, dependent, paused).out.splitlines()
        assert lines[0].split() == ["ID", "STATUS", "ATTEMPT", "SUMMARY"]
        shown = [" ".join(line.split()[1:]) for line in lines[2:]]
        assert shown[0] == 'in_progress 1 {"percent": 40}'
        assert shown[1].startswith("pending 1 retry from 20")
        assert shown[1].endswith(": no paper")
        assert shown[2].startswith("pending - not before 20")
        assert shown[3:] == ["pending - waits for 2 contracts", "pending - its agent is paused"]
        fields = as_agent("outcome", retried).out
        assert "waiting             retry\n" in fields
        assert "omitted" not in fields
        [outcome] = as_agent("outcome", retried, "--json").json
        assert (outcome["attempt"], outcome["waiting"]) == (1, "retry")
        assert datetime.fromisoformat(outcome["next_attempt_at"]) == due


class TestHistory:
    def test_each_attempt_has_a_row(
        self, as_agent: Program, agent: AgentTasks, create: CreateContract
    ) -> None:
        contract = create()
        result = as_agent("history", contract)
        assert (result.code, result.out, result.err) == (0, "", "No attempt has begun.\n")
        [claim] = agent.claim("DESIGN")
        agent.release(claim)
        [claim] = agent.claim("DESIGN")
        agent.renew(claim, progress={"percent": 40})
        header, _, first, second = as_agent("history", contract).out.splitlines()
        assert header.split()[:3] == ["ATTEMPT", "OUTCOME", "CLAIMED"]
        assert first.split()[:2] == ["1", "released"]
        assert second.split()[:2] == ["2", "running"]
        assert second.rstrip().endswith('{"percent": 40}')
        attempts = as_agent("history", contract, "--json").json
        assert [(item["attempt"], item["outcome"]) for item in attempts] == [(1, "released"), (2, None)]
        assert not any("token" in name for name in attempts[0].keys() - {"execution_tokens"})

    def test_an_unknown_contract_is_an_error(self, as_agent: Program) -> None:
        assert "(TC001)" in as_agent.refuses(5, "history", SOME_ID)


class TestSettings:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["claim", "A"],
            ["outcome", SOME_ID],
            ["history", SOME_ID],
            ["cancel", SOME_ID],
            ["work", "--agent", "A", "--exec", "true"],
        ],
    )
    def test_agents_need_the_publishable_key(
        self, program: Program, project: Project, arguments: list[str]
    ) -> None:
        assert "Set SUPABASE_PUBLISHABLE_KEY" in program.refuses(3, *arguments)
        error = program.refuses(3, *arguments, SUPABASE_PUBLISHABLE_KEY=project.secret_key)
        assert "AgentTasks needs a publishable key, but was given a secret key" in error

    def test_an_unknown_key_is_not_printed(self, program: Program) -> None:
        unknown = "sb_publishable_" + "x" * 22 + "_12345678"
        assert unknown not in program.refuses(4, "claim", "A", SUPABASE_PUBLISHABLE_KEY=unknown)

    def test_the_url_is_required(self, as_agent: Program) -> None:
        assert "SUPABASE_URL is not set" in as_agent.refuses(3, "claim", "A", SUPABASE_URL="")

    def test_an_unreachable_project_is_a_temporary_failure(self, as_agent: Program) -> None:
        url = "http://127.0.0.1:9"
        assert f"cannot reach {url}: " in as_agent.refuses(8, "claim", "A", SUPABASE_URL=url)

    def test_url_and_key_may_be_in_a_dotenv_file(self, program: Program, project: Project) -> None:
        lines = f"SUPABASE_URL={project.url}\nSUPABASE_PUBLISHABLE_KEY={project.publishable_key}\n"
        (program.folder / ".env").write_text(lines)
        assert program("claim", "A", "--json", SUPABASE_URL="").json == []
