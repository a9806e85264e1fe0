"""Turn the rows of an answer into models. No I/O."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from ehg_tasks.errors import ContractNotFound, UnexpectedAnswer, one_line
from ehg_tasks.models import InputArtifact, Outcome

Model = TypeVar("Model", bound=BaseModel)
Omittable = TypeVar("Omittable", Outcome, InputArtifact)


def rows(model: type[Model], data: Any) -> list[Model]:
    """Read any number of rows.

    Raises:
        UnexpectedAnswer: `data` is not a list of rows of this model.
    """
    if not isinstance(data, list):
        raise UnexpectedAnswer("the answer is not a list of rows")
    try:
        return [model.model_validate(row) for row in data]
    except ValidationError as error:
        text = one_line(error)
        raise UnexpectedAnswer(f"the answer does not have the expected shape: {text}") from None


def counted(rows: list[Model], count: int) -> list[Model]:
    """Return the rows. Raises UnexpectedAnswer if their number is not `count`."""
    if len(rows) != count:
        raise UnexpectedAnswer(f"the answer has {len(rows)} rows instead of {count}")
    return rows


def row(model: type[Model], data: Any) -> Model:
    """Read exactly one row.

    Raises:
        UnexpectedAnswer: there are none or several, or it is not a row of this model.
    """
    return counted(rows(model, data), 1)[0]


def contract(model: type[Model], contract_id: UUID | str, data: Any) -> Model:
    """Read the row of one contract.

    Raises:
        ContractNotFound: there is no row.
        UnexpectedAnswer: there are several, or it is not a row of this model.
    """
    if data == []:
        raise ContractNotFound(f"there is no task contract {contract_id}")
    return row(model, data)


def omitted(rows: list[Omittable]) -> list[Omittable]:
    """The rows without their content, which must be asked for again: the answer would have been too large.

    Raises:
        UnexpectedAnswer: no row has its content, so asking again would never end.
    """
    again = [row for row in rows if row.omitted]
    if again and len(again) == len(rows):
        raise UnexpectedAnswer("the answer leaves out the content of every row")
    return again
