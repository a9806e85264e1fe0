"""Answers of the server become models; an answer of another shape is an error."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ehg_tasks import answers
from ehg_tasks.errors import ContractNotFound, UnexpectedAnswer
from ehg_tasks.models import InputArtifact, StatusChange

ID = UUID(int=1)
ROW = {"contract_id": str(ID), "status": "pending", "message": "m", "was_duplicate": False}


def test_rows_become_models_without_the_columns_of_a_later_version() -> None:
    model = StatusChange.model_validate(ROW)
    assert answers.rows(StatusChange, []) == []
    assert answers.rows(StatusChange, [ROW, ROW | {"new_column": 1}]) == [model, model]
    assert answers.row(StatusChange, [ROW]) == model


@pytest.mark.parametrize(
    "data", [None, [], {}, "text", [ROW, ROW], [None], [{}], [ROW | {"status": "unknown"}]]
)
def test_an_answer_that_is_not_one_row_of_the_model_is_refused(data: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        answers.row(StatusChange, data)


def test_an_answer_without_a_row_means_that_the_contract_does_not_exist() -> None:
    with pytest.raises(ContractNotFound, match=str(ID)):
        answers.contract(StatusChange, ID, [])
    assert answers.contract(StatusChange, ID, [ROW]).contract_id == ID


def test_an_answer_must_have_a_row_for_each_item_of_a_bulk_call() -> None:
    rows = answers.rows(StatusChange, [ROW, ROW])
    assert answers.counted(rows, 2) == rows
    with pytest.raises(UnexpectedAnswer, match="has 2 rows instead of 3"):
        answers.counted(rows, 3)


def artifact(number: int, *, omitted: bool) -> InputArtifact:
    return InputArtifact(
        artifact_id=UUID(int=number),
        type="a",
        summary="s",
        content_text=None if omitted else "text",
        token_count=None,
        created_at=None,
        omitted=omitted,
    )


def test_rows_without_their_content_are_asked_for_again_as_long_as_some_come_in_full() -> None:
    full, first, second = artifact(1, omitted=False), artifact(2, omitted=True), artifact(3, omitted=True)
    assert answers.omitted([]) == []
    assert answers.omitted([full]) == []
    assert answers.omitted([full, first, second]) == [first, second]
    with pytest.raises(UnexpectedAnswer, match="leaves out the content of every row"):
        answers.omitted([first, second])
