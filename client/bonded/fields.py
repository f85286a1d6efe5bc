"""Fields of what a node sends, by type; AnswerMalformed where one is of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from bonded.errors import AnswerMalformed
from bonded.transport import Json

T = TypeVar("T")


def text_of(record: Json, key: str) -> str:
    """Return a text that must be there."""
    return of_type(record, key, str)


def optional_text(record: Json, key: str) -> str:
    """Return a text, empty where it is not there."""
    return "" if record.get(key) is None else of_type(record, key, str)


def optional_int(record: Json, key: str) -> int | None:
    """Return a whole number, or None where it is not there."""
    return None if record.get(key) is None else of_type(record, key, int)


def mapping_of(record: Json, key: str) -> Json:
    """Return a record within the record."""
    return of_type(record, key, dict)


def records_of(record: Json, key: str) -> Sequence[Json]:
    """Return the records of a list, none where it is not there."""
    if record.get(key) is None:
        return ()
    return [_checked(key, item, dict) for item in of_type(record, key, list)]


def texts_of(record: Json, key: str) -> tuple[str, ...]:
    """Return the texts of a list, none where it is not there."""
    if record.get(key) is None:
        return ()
    return tuple(_checked(key, item, str) for item in of_type(record, key, list))


def of_type(record: Json, key: str, kind: type[T]) -> T:
    """Return a field of this type."""
    return _checked(key, record.get(key), kind)


def _checked(key: str, value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise AnswerMalformed(
            f"field `{key}` should be {kind.__name__}, the node sent {type(value).__name__}"
        )
    return value
