"""Names of agents that look alike: the same queue, or refused, never silently another queue.

tests/access/test_guards.py covers direct writes by agents.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from tests.lifecycle.helpers import Database, claim, create
from tests.lifecycle.invariants import check_invariants
from tests.sql import Caller, jsonb, refused

Contracts = Callable[[], list[dict[str, Any]]]
FIELDS = {"parent_agent": "P", "target_agent": "Té", "objective": "o"}

# Names that are the queue "Té" for every caller.
SAME = {
    "a trailing space": "Té ",
    "a leading line end": "\nTé",
    "a trailing no-break space": "Té\u00a0",
    "ideographic spaces": "\u3000\u3000Té\u3000",
    "a decomposed accent": "Te\u0301",
    "both": "\tTe\u0301 \u2003",
}
# Names with characters that nobody sees. The functions refuse them, and so do the guards on direct writes by
# agents. Those that a backend job writes directly are the queue "Té".
INVISIBLE = {
    "a zero-width space": "T\u200bé",
    "a zero-width joiner at the end": "Té\u200d",
    "a byte order mark": "\ufeffTé",
    "a soft hyphen": "T\u00adé",
    "a right-to-left mark": "\u200fTé",
    "a variation selector": "Té\ufe0f",
    "a tag": "Té\U000e0041",
    "a control character": "T\u0001é",
    "one before a space": "Té \u200b",
    "one within a decomposed accent": "Te\u200d\u0301",
}


@pytest.mark.parametrize("name", SAME.values(), ids=SAME)
class TestSameQueue:
    def test_created_under_such_a_name_it_is_claimed_under_the_plain_one(
        self, anon: Caller, contracts: Contracts, name: str
    ) -> None:
        contract_id = create(anon, name, parent_agent=name)
        items = [FIELDS | {"target_agent": name, "parent_agent": name}] * 2
        rows = anon("create_task_contracts", contracts=jsonb(items))
        ids = [row["contract_id"] for row in anon("claim_task_contract", target_agent="Té", limit=9)]
        assert ids == [contract_id, *(row["contract_id"] for row in rows)]
        assert {(row["parent_agent"], row["target_agent"]) for row in contracts()} == {("Té", "Té")}

    def test_created_under_the_plain_name_it_is_claimed_under_such_a_one(
        self, anon: Caller, name: str
    ) -> None:
        contract_id = create(anon, "Té")
        assert claim(anon, name)["contract_id"] == contract_id

    def test_a_repeat_under_either_name_is_the_same_request(self, anon: Caller, name: str) -> None:
        contract_id = create(anon, name)
        for target_agent in (name, "Té"):
            [answer] = anon(
                "create_task_contract", **FIELDS | {"target_agent": target_agent}, contract_id=contract_id
            )
            assert answer["created"] is False


@pytest.mark.parametrize("name", INVISIBLE.values(), ids=INVISIBLE)
class TestInvisible:
    def test_the_functions_refuse_it(self, anon: Caller, contracts: Contracts, name: str) -> None:
        for field in ("parent_agent", "target_agent"):
            with refused("TC005", f"{field} holds an invisible character"):
                anon("create_task_contract", **FIELDS | {field: name})
            with refused("TC005", f"contract 2 of 2: {field} holds an invisible character"):
                anon("create_task_contracts", contracts=jsonb([FIELDS, FIELDS | {field: name}]))
        with refused("TC005", "p_target_agent holds an invisible character"):
            anon("claim_task_contract", target_agent=name)
        assert contracts() == []


@pytest.mark.parametrize("name", [*SAME.values(), *INVISIBLE.values()], ids=[*SAME, *INVISIBLE])
@pytest.mark.parametrize("write", ["insert", "update"])
def test_what_a_backend_job_writes_directly_is_claimed_under_the_plain_name(
    anon: Caller, service: Caller, database: Database, name: str, write: str
) -> None:
    if write == "insert":
        service.run(
            "insert into public.agent_task_contracts (parent_agent, target_agent, objective)"
            " values ('P', %s, 'o')",
            [name],
        )
    else:
        create(anon, "OTHER")
        service.run("update public.agent_task_contracts set target_agent = %s", [name])
    check_invariants(database)
    row = claim(anon, "Té")
    anon("release_task_contract", contract_id=row["contract_id"], claim_token=row["claim_token"])
    check_invariants(database)
    assert claim(anon, "Té")["contract_id"] == row["contract_id"]


def test_every_character_that_nobody_sees_is_refused_or_removed(database: Database) -> None:
    """By Unicode's categories: controls, formats, separators, and code points that are no characters."""
    categories = {"Cc", "Cf", "Zl", "Zp", "Zs"}
    unseen = [
        character
        for character in map(chr, range(1, sys.maxunicode + 1))
        if unicodedata.category(character) in categories
        and character != " "
        # Marks that have a width or a shape: Arabic and Syriac number signs, Egyptian joiners.
        and not unicodedata.name(character, "").startswith(("ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN"))
    ]
    names = [f"A{character}B" for character in unseen]
    queues = database.execute(
        "select distinct ehg_tasks.queue_name(n) from unnest(%s::text[]) as n", [names]
    ).fetchall()
    assert {queue for (queue,) in queues} == {"AB", "A B"}
    for name in names[:: len(names) // 20]:
        with refused("TC005", "invisible"):
            database.execute("select ehg_tasks.agent_name('name', %s)", [name])


@pytest.mark.parametrize("name", ["Ana Müller", "設計", "naïve-agent_1.2", "x" * 50, "é" * 50, "🛠", "नमस्ते"])
def test_visible_names_stay_as_they_are(anon: Caller, contracts: Contracts, name: str) -> None:
    create(anon, name)
    assert contracts()[0]["target_agent"] == name
    claim(anon, name)


def test_a_name_of_fifty_characters_may_be_surrounded_by_white_space(anon: Caller) -> None:
    create(anon, f"  {'x' * 50}  ")
    claim(anon, "x" * 50)
    with refused("TC005", "target_agent is longer than 50 characters"):
        create(anon, "x" * 51)
