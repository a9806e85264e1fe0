"""Each policy of the table, over HTTP with supabase-py: what it allows, what it refuses.

Every refusal is checked twice: by its SQLSTATE, and by a superuser's look at the table, which must be
as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from postgrest import APIError, ReturnMethod
from psycopg import Connection
from supabase import Client

TABLE = "agent_task_contracts"
MINIMAL = ReturnMethod.minimal
ROW = {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "draw"}
Contracts = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def two(database: Connection[Any], contracts: Contracts) -> list[dict[str, Any]]:
    database.execute(
        "insert into public.agent_task_contracts (parent_agent, target_agent, objective, created_at)"
        " values ('P', 'T', 'first', '2026-01-01'), ('P', 'T', 'second', '2026-01-02')"
    )
    return contracts()


@contextmanager
def refused(code: str, contracts: Contracts) -> Iterator[None]:
    """The block is refused with this SQLSTATE, and no contract is other than before."""
    before = contracts()
    with pytest.raises(APIError) as raised:
        yield
    assert raised.value.code == code
    assert contracts() == before


class TestAnonCanCreate:
    def test_an_insert_that_asks_for_nothing_back_works(self, anon_api: Client, contracts: Contracts) -> None:
        answer = anon_api.table(TABLE).insert(ROW, returning=MINIMAL).execute()
        assert answer.data == []
        [row] = contracts()
        assert {name: row[name] for name in ROW} == ROW
        assert (row["status"], row["priority"], row["created_by"]) == ("pending", 50, "system")

    def test_several_at_once(self, anon_api: Client, contracts: Contracts) -> None:
        anon_api.table(TABLE).insert([ROW, ROW | {"objective": "paint"}], returning=MINIMAL).execute()
        assert sorted(row["objective"] for row in contracts()) == ["draw", "paint"]

    def test_an_insert_that_asks_for_its_row_is_refused(self, anon_api: Client, contracts: Contracts) -> None:
        with refused("42501", contracts):
            anon_api.table(TABLE).insert(ROW).execute()

    def test_an_upsert_is_refused(self, anon_api: Client, two: list[Any], contracts: Contracts) -> None:
        """`on conflict (id)` has to read the row that it may meet."""
        with refused("42501", contracts):
            anon_api.table(TABLE).upsert(ROW | {"id": str(two[0]["id"])}, returning=MINIMAL).execute()

    def test_an_upsert_that_ignores_duplicates_is_refused(
        self, anon_api: Client, two: list[Any], contracts: Contracts
    ) -> None:
        with refused("42501", contracts):
            anon_api.table(TABLE).upsert(
                ROW | {"id": str(two[0]["id"])}, returning=MINIMAL, ignore_duplicates=True, on_conflict="id"
            ).execute()


class TestAnonCanUpdate:
    def test_an_update_of_the_only_row_works(self, anon_api: Client, contracts: Contracts) -> None:
        anon_api.table(TABLE).insert(ROW, returning=MINIMAL).execute()
        anon_api.table(TABLE).update({"priority": 7}, returning=MINIMAL).execute()
        assert [row["priority"] for row in contracts()] == [7]

    def test_an_update_with_a_filter_is_refused(
        self, anon_api: Client, two: list[Any], contracts: Contracts
    ) -> None:
        """A filter reads, and anon may not: without the SELECT grant this is loud, not zero rows."""
        with refused("42501", contracts):
            anon_api.table(TABLE).update({"priority": 7}, returning=MINIMAL).eq("id", two[0]["id"]).execute()

    @pytest.mark.usefixtures("two")
    def test_an_update_of_several_rows_is_refused(self, anon_api: Client, contracts: Contracts) -> None:
        with refused("21000", contracts):
            anon_api.table(TABLE).update({"priority": 7}, returning=MINIMAL).execute()

    def test_an_update_that_asks_for_its_row_is_refused(self, anon_api: Client, contracts: Contracts) -> None:
        anon_api.table(TABLE).insert(ROW, returning=MINIMAL).execute()
        with refused("42501", contracts):
            anon_api.table(TABLE).update({"priority": 7}).execute()


class TestAnonCanDoNothingElse:
    @pytest.mark.usefixtures("two")
    def test_select_is_refused(self, anon_api: Client, contracts: Contracts) -> None:
        for columns in ("*", "id"):
            with refused("42501", contracts):
                anon_api.table(TABLE).select(columns).execute()

    def test_delete_is_refused(self, anon_api: Client, two: list[Any], contracts: Contracts) -> None:
        with refused("42501", contracts):
            anon_api.table(TABLE).delete(returning=MINIMAL).eq("id", two[0]["id"]).execute()
        with refused("42501", contracts):
            anon_api.table(TABLE).delete(returning=MINIMAL).execute()

    @pytest.mark.parametrize("table", ["agent_artifacts", "strategic_directives_v2"])
    def test_the_referenced_tables_are_closed(
        self, anon_api: Client, table: str, contracts: Contracts
    ) -> None:
        with refused("42501", contracts):
            anon_api.table(table).select("id").execute()
        with refused("42501", contracts):
            anon_api.table(table).insert({"id": "00000000-0000-0000-0000-000000000001"}).execute()


class TestAuthenticatedUsersCanRead:
    def test_select_sees_every_contract(self, user_api: Client, two: list[dict[str, Any]]) -> None:
        seen = user_api.table(TABLE).select("id, objective").order("created_at").execute()
        assert seen.data == [{"id": str(row["id"]), "objective": row["objective"]} for row in two]

    def test_insert_is_refused(self, user_api: Client, contracts: Contracts) -> None:
        with refused("42501", contracts):
            user_api.table(TABLE).insert(ROW, returning=MINIMAL).execute()

    def test_update_is_refused(self, user_api: Client, two: list[Any], contracts: Contracts) -> None:
        with refused("42501", contracts):
            user_api.table(TABLE).update({"priority": 7}).eq("id", two[0]["id"]).execute()
        with refused("42501", contracts):
            user_api.table(TABLE).update({"priority": 7}, returning=MINIMAL).execute()

    def test_upsert_is_refused(self, user_api: Client, two: list[Any], contracts: Contracts) -> None:
        with refused("42501", contracts):
            user_api.table(TABLE).upsert(ROW | {"id": str(two[0]["id"])}).execute()

    def test_delete_is_refused(self, user_api: Client, two: list[Any], contracts: Contracts) -> None:
        with refused("42501", contracts):
            user_api.table(TABLE).delete().eq("id", two[0]["id"]).execute()


class TestServiceRoleHasFullAccess:
    def test_it_inserts_reads_updates_and_deletes(self, service_api: Client, contracts: Contracts) -> None:
        [made] = service_api.table(TABLE).insert(ROW).execute().data
        assert isinstance(made, dict)
        [seen] = service_api.table(TABLE).select("*").eq("id", made["id"]).execute().data
        assert seen == made
        [changed] = service_api.table(TABLE).update({"priority": 7}).eq("id", made["id"]).execute().data
        assert isinstance(changed, dict)
        assert changed["priority"] == 7
        service_api.table(TABLE).upsert({"id": made["id"], **ROW, "priority": 8}).execute()
        assert [row["priority"] for row in contracts()] == [8]
        service_api.table(TABLE).delete().eq("id", made["id"]).execute()
        assert contracts() == []

    def test_the_guards_do_not_bind_it(
        self, service_api: Client, two: list[Any], contracts: Contracts
    ) -> None:
        service_api.table(TABLE).update({"priority": 7}).eq("target_agent", "T").execute()
        assert [row["priority"] for row in contracts()] == [7, 7]
