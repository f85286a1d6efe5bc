"""Tables of data, query and policy, and what must be released of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from policies.decision import Request, Verdict, decide
from sandbox.analyse import analyse
from sandbox.protocol import Limits
from sandbox.stages.release import release
from tests.spec.cases import (
    FILES,
    PURPOSE,
    WITHHELD,
    cases,
    engine_of,
    policy_of,
    schemas_of,
)
from tests.spec.printed import PAGE, page

LIMITS = Limits(memory_bytes=1024**3)


def _cases() -> list[Any]:
    return [
        pytest.param(case, id=case["title"].replace(" ", "_"))
        for name in FILES
        for case in cases(name)
    ]


def _is_same(expected: object, came: object) -> bool:
    if isinstance(expected, (int, float)) and isinstance(came, (int, float)):
        return math.isclose(expected, came, rel_tol=1e-12, abs_tol=1e-12)
    return str(came).startswith(str(expected)) if came is not None else expected is None


@pytest.mark.parametrize("case", _cases())
def test_release_gives_what_the_table_says(case: dict[str, Any]) -> None:
    policy, connection = policy_of(case), engine_of(case)
    history: list[str] = []

    for ask in case["asks"]:
        found = analyse(ask["sql"], policy, schemas_of(case), connection)
        decision = decide(policy, Request(PURPOSE), found.shape)
        codes = [reason.code for reason in decision.reasons]
        if "refused" in ask:
            assert decision.verdict is Verdict.REFUSE, ask["sql"]
            assert ask["refused"] is True or ask["refused"] in codes, (ask["sql"], codes)
            continue
        assert decision.verdict is Verdict.ALLOW, (ask["sql"], codes)
        assert found.plan is not None
        assert decision.rule is not None
        answer = release(
            found.plan, policy, decision.rule, connection, history=history, limits=LIMITS
        )
        if case.get("session"):
            history.append(answer.history)

        came = [
            [WITHHELD if i in mask else value for i, value in enumerate(row)]
            for row, mask in zip(answer.rows, answer.withheld, strict=True)
        ]
        assert len(came) == len(ask["released"]), (ask["sql"], came)
        for expected, row in zip(ask["released"], came, strict=True):
            assert len(expected) == len(row)
            assert all(map(_is_same, expected, row)), (ask["sql"], came)
        withheld = any(WITHHELD in row for row in ask["released"])
        assert answer.partial is ask.get("partial", withheld), ask["sql"]
        # Rows may be withheld that are not printed, where a result stands over them.
        assert answer.suppressed >= sum(WITHHELD in row for row in came)


def test_cases_hold_nothing_that_is_not_read() -> None:
    """A comma in unquoted SQL would cut the statement and make keys of the rest."""
    known = {"sql", "released", "refused", "partial"}
    asks = [ask for name in FILES for case in cases(name) for ask in case["asks"]]

    assert [ask for ask in asks if not set(ask) <= known] == []


def test_released_page_is_printed_from_these_cases() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.spec.printed`"
