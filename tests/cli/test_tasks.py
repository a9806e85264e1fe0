"""What agents do on the command line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from ehg_tasks import AgentTasks, BackendTasks
from tests.cli.conftest import Program
from tests.conftest import Project

Read = Callable[[str], dict[str, Any]]
WORK: dict[str, Any] = {
    "parent_agent": "PLANNER",
    "target_agent": "DESIGN",
    "objective": "Draw the start page.",
}
SOME_ID = str(uuid.uuid4())


def claimed(agent: AgentTasks, **fields: Any) -> tuple[str, str]:
    """A contract in progress: its id and claim token."""
    agent.create(**(WORK | fields))
    [claim] = agent.claim("DESIGN")
    return str(claim.contract_id), str(claim.claim_token)


class TestCreate:
    def test_one(self, as_agent: Program, row: Read) -> None:
        own = str(uuid.uuid4())
        arguments = ["create", "--parent", "PLANNER", "--target", "DESIGN", "--objective", "-", "--id", own]
        more = ["--priority", "-5", "--constraints", '{"colour": "green"}', "--max-retries", "0"]
        first = as_agent(*arguments, *more, given="Draw it.\nNow.\n")
        assert (first.code, first.out, first.err) == (0, f"{own}  created\n", "")
        told = row(own)
        assert (told["priority"], told["constraints"], told["max_retries"]) == (-5, {"colour": "green"}, 0)
        assert (told["objective"], told["timeout_minutes"]) == ("Draw it.\nNow.", 30)
        again = as_agent(*arguments, *more, "--json", given="Draw it.\nNow.\n").json
        assert (again["contract_id"], again["created"]) == (own, False)

    @pytest.mark.parametrize("form", ["array", "lines"])
    def test_a_file(self, as_agent: Program, row: Read, form: str) -> None:
        items: list[dict[str, Any]] = [{"objective": "Größe"}, {"objective": "two", "target_agent": "QA"}]
        text = json.dumps(items) if form == "array" else "\n\n".join(map(json.dumps, items)) + "\n"
        (as_agent.folder / "work.json").write_text(text, "utf-8")
        command = ["create", "--file", "work.json", "--parent", "P", "--target", "DESIGN", "--json"]
        rows = [row(contract["contract_id"]) for contract in as_agent(*command).json]
        assert [r["objective"] for r in rows] == ["Größe", "two"]
        assert [r["target_agent"] for r in rows] == ["DESIGN", "QA"]

    def test_standard_input(self, as_agent: Program, row: Read) -> None:
        [created] = as_agent("create", "--file", "-", "--json", given=json.dumps(WORK)).json
        assert row(created["contract_id"])["objective"] == WORK["objective"]

    @pytest.mark.parametrize(
        ("arguments", "given", "why"),
        [
            (["--target", "DESIGN", "--objective", "x"], "", "a contract needs --parent, --target and"),
            (["--file", "none.json"], "", "--file: cannot read none.json: No such file or directory"),
            (["--file", "-"], "", "--file: there is no contract in standard input"),
            (["--file", "-"], "[1]", "--file, contract 1, is no JSON object"),
            (["--file", "-"], '{"objective": "x"}', "--file, contract 1: not a contract: parent_agent"),
            (["--file", "-"], f"{json.dumps(WORK)}\n{{bad", "--file, contract 2, is not JSON: Expecting"),
            (["--file", "-"], '[{"priority": NaN}]', "--file is not JSON: NaN is no JSON number"),
            (["--file", "-", "--id", SOME_ID], json.dumps(WORK), "--id is for one contract"),
            (["--file", "-", "--objective", "-"], "", "only one option can read standard input"),
            (["--constraints", "{bad"], "", "--constraints is not JSON: Expecting property name"),
            (["--output-schema", "@none"], "", "--output-schema: cannot read none: No such file"),
        ],
    )
    def test_refusals(
        self,
        as_agent: Program,
        contracts: Callable[[], list[Any]],
        arguments: list[str],
        given: str,
        why: str,
    ) -> None:
        assert why in as_agent.refuses(7, "create", *arguments, given=given)
        assert contracts() == []

    def test_the_server_refuses(self, as_agent: Program) -> None:
        arguments = ["create", "--parent", "P", "--target", "T", "--objective", "x", "--sd", "SD-NONE"]
        assert "23503" in as_agent.refuses(7, *arguments)


class TestClaim:
    def test_claims(self, as_agent: Program, agent: AgentTasks, row: Read) -> None:
        for priority in (1, 3, 2):
            agent.create(**WORK, priority=priority)
        who, key = str(uuid.uuid4()), str(uuid.uuid4())
        command = ["claim", "DESIGN", "--limit", "2", "--agent-id", who, "--request-key", key, "--json"]
        claims = as_agent(*command).json
        assert [claim["priority"] for claim in claims] == [3, 2]
        assert as_agent(*command).json == claims
        assert row(claims[0]["contract_id"])["status"] == "in_progress"
        done = as_agent("complete", claims[0]["contract_id"], "--token", claims[0]["claim_token"])
        assert done.code == 0
        assert str(row(claims[0]["contract_id"])["completed_by_agent_id"]) == who

    def test_for_people(self, as_agent: Program, agent: AgentTasks) -> None:
        nothing = as_agent("claim", "DESIGN")
        assert (nothing.code, nothing.out, nothing.err) == (0, "", "No contract waits for DESIGN.\n")
        created = agent.create(**WORK | {"objective": "red: \x1b[31m, and a line\nmore"})
        told = as_agent("claim", "DESIGN").out
        assert f"contract_id           {created.contract_id}\n" in told
        assert "red: \\x1b[31m, and a line\n" in told
        assert "\x1b" not in told

    def test_nothing_waits(self, as_agent: Program) -> None:
        assert as_agent("claim", "DESIGN", "--json").json == []

    def test_refusals(self, as_agent: Program) -> None:
        assert "request_key is not a UUID" in as_agent.refuses(7, "claim", "DESIGN", "--request-key", "x")
        assert as_agent("claim", "DESIGN", "--limit", "101").code == 2


class TestHeldClaims:
    def test_renew(self, as_agent: Program, agent: AgentTasks) -> None:
        contract, token = claimed(agent)
        lease = as_agent("renew", contract, "--token", token, "--json").json
        assert (lease["contract_id"], lease["attempt"]) == (contract, 1)
        assert f"{contract}  held until " in as_agent("renew", contract, EHG_TASKS_CLAIM_TOKEN=token).out

    @pytest.mark.parametrize("form", ["argument", "file", "standard input"])
    def test_complete(self, as_agent: Program, agent: AgentTasks, row: Read, form: str) -> None:
        contract, token = claimed(agent)
        (as_agent.folder / "page.json").write_text('{"page": 1}')
        source = {"argument": '{"page": 1}', "file": "@page.json", "standard input": "-"}[form]
        command = ["complete", contract, "--output", source, "--summary", "drawn", "--tokens", "12"]
        told = as_agent(*command, given='{"page": 1}', EHG_TASKS_CLAIM_TOKEN=token)
        assert (told.code, told.out) == (0, f"{contract}  completed: task contract completed\n")
        assert token not in told.out + told.err
        assert agent.outcome(contract).output == {"page": 1}
        assert (row(contract)["result_summary"], row(contract)["execution_tokens"]) == ("drawn", 12)
        again = as_agent(*command, "--json", given='{"page": 1}', EHG_TASKS_CLAIM_TOKEN=token).json
        assert again["was_duplicate"] is True

    def test_fail(self, as_agent: Program, agent: AgentTasks, row: Read) -> None:
        contract, token = claimed(agent)
        told = as_agent("fail", contract, "no paper", "--token", token)
        assert told.out.startswith(
            f"{contract}  pending: the attempt failed and will be retried; next attempt "
        )
        assert (row(contract)["status"], row(contract)["error_message"]) == ("pending", "no paper")

    def test_fail_for_good(self, as_agent: Program, agent: AgentTasks, row: Read) -> None:
        contract, token = claimed(agent)
        told = as_agent("fail", contract, "no such page", "--final", "--token", token, "--json").json
        assert (told["status"], row(contract)["status"]) == ("failed", "failed")

    def test_release(self, as_agent: Program, agent: AgentTasks, row: Read) -> None:
        contract, token = claimed(agent)
        assert as_agent("release", contract, "--token", token, "--json").json["status"] == "pending"
        assert row(contract)["retry_count"] == 0

    def test_inputs(self, as_agent: Program, agent: AgentTasks, database: Any) -> None:
        artifact = database.execute(
            "insert into public.agent_artifacts (type, summary, content_text)"
            " values ('analysis', 'a study', 'all of it') returning id"
        ).fetchone()[0]
        contract, token = claimed(agent, input_artifacts=[artifact])
        [told] = as_agent("inputs", contract, "--token", token, "--json").json
        assert (told["artifact_id"], told["content_text"]) == (str(artifact), "all of it")
        assert "content_text  all of it\n" in as_agent("inputs", contract, "--token", token).out

    @pytest.mark.parametrize("command", [["renew"], ["complete"], ["fail", "why"], ["release"], ["inputs"]])
    def test_refusals(self, as_agent: Program, agent: AgentTasks, row: Read, command: list[str]) -> None:
        contract, token = claimed(agent)
        before = row(contract)
        act, *more = command
        other = str(uuid.uuid4())
        assert "(TC002)" in as_agent.refuses(6, act, contract, *more, "--token", other)
        assert "(TC001)" in as_agent.refuses(5, act, other, *more, "--token", token)
        refusal = as_agent.refuses(7, act, contract, *more, "--token", "not-the-token")
        assert refusal == "ehg-tasks: --token is not a UUID"
        without = as_agent(act, contract, *more)
        assert (without.code, without.out) == (2, "")
        assert "--token" in without.err
        assert row(contract) == before

    def test_bad_output(self, as_agent: Program, agent: AgentTasks, row: Read) -> None:
        contract, token = claimed(agent)
        for output in ("{bad", "NaN", "@none.json"):
            as_agent.refuses(7, "complete", contract, "--token", token, "--output", output)
        large = json.dumps("x" * 2**20)
        assert "TC006" in as_agent.refuses(
            7, "complete", contract, "--token", token, "--output", "-", given=large
        )
        assert row(contract)["status"] == "in_progress"

    def test_ended_by_another(self, as_agent: Program, agent: AgentTasks) -> None:
        contract, token = claimed(agent)
        agent.cancel(contract)
        assert "is already cancelled (TC003)" in as_agent.refuses(6, "complete", contract, "--token", token)


class TestCancelAndOutcome:
    def test_cancel(self, as_agent: Program, agent: AgentTasks, row: Read) -> None:
        contract = str(agent.create(**WORK).contract_id)
        assert as_agent("cancel", contract, "--reason", "not needed").code == 0
        assert (row(contract)["status"], row(contract)["error_message"]) == ("cancelled", "not needed")
        assert as_agent("cancel", contract, "--json").json["was_duplicate"] is True
        assert "ID is not" in as_agent.refuses(7, "cancel", "x").replace("contract_id", "ID")
        assert "(TC001)" in as_agent.refuses(5, "cancel", SOME_ID)

    def test_outcomes(self, as_agent: Program, agent: AgentTasks) -> None:
        ids = [str(agent.create(**WORK).contract_id) for _ in range(2)]
        [claim] = agent.claim("DESIGN")
        agent.complete(claim, output={"page": 1}, result_summary="drawn")
        told = as_agent("outcome", *ids, "--json").json
        assert [(o["contract_id"], o["status"]) for o in told] == [(ids[0], "completed"), (ids[1], "pending")]
        table = as_agent("outcome", *ids).out
        assert all(contract in table for contract in ids)
        assert 'output              {"page": 1}\n' in as_agent("outcome", ids[0]).out
        assert SOME_ID in as_agent.refuses(5, "outcome", ids[0], SOME_ID)

    def test_waiting(self, as_agent: Program, agent: AgentTasks) -> None:
        contract = str(agent.create(**WORK).contract_id)
        told = as_agent("outcome", contract, "--wait", "0.1", "--json")
        assert told.code == 8
        assert json.loads(told.out)[0]["status"] == "pending"
        assert told.err == "ehg-tasks: 1 of 1 contracts had not ended after 0.1 s\n"
        agent.cancel(contract)
        assert as_agent("outcome", contract, "--wait", "60", "--json").json[0]["status"] == "cancelled"


class TestKeys:
    @pytest.mark.parametrize("command", [["claim", "A"], ["outcome", SOME_ID], ["cancel", SOME_ID]])
    def test_agents_need_the_publishable_key(
        self, program: Program, project: Project, command: list[str]
    ) -> None:
        assert "Set SUPABASE_PUBLISHABLE_KEY" in program.refuses(3, *command)
        wrong = program.refuses(3, *command, SUPABASE_PUBLISHABLE_KEY=project.secret_key)
        assert "AgentTasks works with a publishable key, and was given a secret key" in wrong
        unknown = "sb_publishable_" + "x" * 22 + "_12345678"
        assert unknown not in program.refuses(4, *command, SUPABASE_PUBLISHABLE_KEY=unknown)

    def test_a_project_is_needed(self, as_agent: Program) -> None:
        assert "SUPABASE_URL is not set" in as_agent.refuses(3, "claim", "A", SUPABASE_URL="")

    def test_nobody_answers(self, as_agent: Program) -> None:
        assert "cannot reach http://127.0.0.1:9: " in as_agent.refuses(
            8, "claim", "A", SUPABASE_URL="http://127.0.0.1:9"
        )

    def test_keys_come_from_a_file(self, program: Program, project: Project, backend: BackendTasks) -> None:
        (program.folder / ".env").write_text(f"SUPABASE_PUBLISHABLE_KEY={project.publishable_key}\n")
        assert program("claim", "A", "--json").json == []
