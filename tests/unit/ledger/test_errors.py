"""Each error has a code of its own, a way forward, a place in the tree, and a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ledger import errors
from ledger.errors import LedgerError, RootMismatch

ALL: list[type[LedgerError]] = sorted(
    (value for value in vars(errors).values() if isinstance(value, type)),
    key=lambda error: error.__name__,
)
NAMED = [error for error in ALL if error is not LedgerError]
TESTS = "".join(
    path.read_text("utf-8")
    for path in Path(__file__).parent.glob("test_*.py")
    if path.name != Path(__file__).name
)


def test_codes_are_unique() -> None:
    assert len({error.code for error in ALL}) == len(ALL)


@pytest.mark.parametrize("error", NAMED, ids=lambda error: error.code)
def test_error_is_drawn_hinted_and_tested(error: type[LedgerError]) -> None:
    assert issubclass(error, LedgerError)
    assert error.hint != LedgerError.hint
    assert f"── {error.__name__} " in (errors.__doc__ or "")
    assert re.search(rf"raises\(\s*\(?{error.__name__}\b", TESTS)


def test_hint_given_replaces_the_class_one() -> None:
    assert LedgerError("x", hint="Ask.").hint == "Ask."
    assert LedgerError("x").hint == LedgerError.hint
    assert LedgerError.hint != "Ask."


def test_root_mismatch_carries_its_evidence() -> None:
    error = RootMismatch(expected=b"\x01" * 32, calculated=b"\x02" * 32, what="inclusion")

    assert str(error) == f"inclusion: expected root {'01' * 32}, came {'02' * 32}"
    assert (error.expected, error.calculated) == (b"\x01" * 32, b"\x02" * 32)
