"""A release that cannot matter does not: answers with it and without it are the same.

Sessions over a table of people, their visits and a public list of groups. What is told
apart by text is compared once all the same; what is counted for many earlier releases at
once is counted for each alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.decision import Request, Verdict, decide
from sandbox.analyse import analyse
from sandbox.history import reach
from sandbox.history.atoms import Atoms
from sandbox.history.audit import Audit
from sandbox.protocol import Limits
from sandbox.stages.release import Released, release
from tests.spec.cases import PURPOSE, engine_of, policy_of, schemas_of

LIMITS = Limits(memory_bytes=1024**3)
# Each example is two sessions: few in every run, many by `./bonded test --long`.
few = settings(max_examples=max(10, settings().max_examples // 5))
FILTERS = [
    "TRUE", "g = 'a'", "g <> 'a'", "g IN ('a', 'b')", "g IS NULL", "g = 'c'",
    "h = 'u'", "h = 'v'", "g = 'a' AND h = 'u'", "g = 'b' OR h = 'v'", "k < 3", "k >= 3",
    "date_trunc('month', day) = DATE '2025-01-01'", "day >= DATE '2025-02-01'",
    "date_trunc('month', day) = DATE '2025-02-01' AND g = 'a'",
]  # fmt: skip
QUERIES = [
    "SELECT count(*) FROM t WHERE {0}",
    "SELECT g, count(*) FROM t WHERE {0} GROUP BY g",
    "SELECT g, h, count(*) FROM t WHERE {0} GROUP BY ALL",
    "SELECT date_trunc('month', day) AS m, count(*) FROM t WHERE {0} GROUP BY m",
    "SELECT count(*) FILTER (WHERE {1}) FROM t WHERE {0}",
    "SELECT h, count(*) FROM t JOIN v USING (id) WHERE {0} GROUP BY h",
    "SELECT count(*) FROM t JOIN p ON t.g = p.g WHERE {0}",
    "SELECT n, count(*) FROM (SELECT id, count(*) AS n FROM v GROUP BY id) x GROUP BY n",
    "SELECT count(*) FROM t WHERE {0} AND id IN (SELECT id FROM v WHERE {2})",
    "SELECT count(*) FROM (SELECT g, h FROM t WHERE {0}) x WHERE {3}",
]


@st.composite
def sessions(draw: st.DrawFn) -> list[str]:
    """Draw the queries of one session."""
    found = []
    for _ in range(draw(st.integers(3, 6))):
        query = draw(st.sampled_from([*QUERIES[:3] * 2, *QUERIES]))
        one, other = (draw(st.sampled_from(FILTERS)) for _ in range(2))
        where = f"t.{one}" if " JOIN p " in query and one.startswith("g ") else one
        found.append(
            query.format(
                where.replace("OR h", "OR t.h") if " JOIN p " in query else where,
                other,
                draw(st.sampled_from(["c = 'x'", "c = 'y'"])),
                draw(st.sampled_from(["g = 'a'", "h = 'u'", "TRUE"])),
            )
        )
    return found


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Draw people in groups around the threshold, and visits of some of them."""
    people, visits = [], []
    for number in range(draw(st.integers(4, 10))):
        first = 1 + 100 * number
        size = draw(st.sampled_from([3, 8, 12, 15, 20, 30, 40]))
        people.append(
            {
                "ids": f"{first}..{first + size - 1}",
                "g": draw(st.sampled_from(["a", "a", "b", "b", "c", None])),
                "h": draw(st.sampled_from(["u", "u", "v", None])),
                "k": draw(st.sampled_from([1, 3, 5, [1, 3], None])),
                "day": draw(st.sampled_from(DAYS)),
            }
        )
        seen = draw(st.sampled_from([0, size // 2, size - 2, size]))
        if seen:
            visits.append(
                {
                    "ids": f"{first}..{first + seen - 1}",
                    "c": draw(st.sampled_from(["x", "y", ["x", "y"]])),
                    "each": draw(st.integers(1, 2)),
                }
            )
    return {
        "types": {
            "id": "BIGINT", "g": "VARCHAR", "h": "VARCHAR", "k": "INTEGER", "day": "DATE",
        },
        "columns": {
            "id": {"role": "unit_key"},
            "g": {"role": "dimension"},
            "h": {"role": "dimension"},
            "k": {"role": "measure", "grid": 1},
            "day": {"role": "dimension", "grain": "month"},
        },
        "data": people,
        "tables": {
            "v": {
                "types": {"id": "BIGINT", "c": "VARCHAR"},
                "columns": {"id": {"role": "unit_key"}, "c": {"role": "dimension"}},
                "data": visits or [{"ids": [1], "c": "x"}],
            },
            "p": {
                "public": True,
                "types": {"g": "VARCHAR"},
                "data": [{"as": "none", "g": "a"}, {"as": "none", "g": "b"}],
            },
        },
    }  # fmt: skip


DAYS = [datetime.date(2025, 1, 5), datetime.date(2025, 2, 5), None]


def _answers(case: dict[str, Any], sqls: Sequence[str]) -> list[Released | str]:
    policy, connection = policy_of(case), engine_of(case)
    history: list[str] = []
    found: list[Released | str] = []
    for sql in sqls:
        analysed = analyse(sql, policy, schemas_of(case), connection)
        decision = decide(policy, Request(PURPOSE), analysed.shape)
        if decision.verdict is Verdict.REFUSE or analysed.plan is None:
            found.append(str([reason.code for reason in decision.reasons]))
            continue
        assert decision.rule is not None
        answer = release(
            analysed.plan,
            policy,
            decision.rule,
            connection,
            history=history,
            limits=LIMITS,
        )
        history.append(answer.history)
        found.append(answer)
    return found


@few
@given(case=worlds(), sqls=sessions())
def test_session_is_answered_as_if_nothing_were_told_apart(
    case: dict[str, Any], sqls: list[str]
) -> None:
    answers = _answers(case, sqls)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "apart", lambda *_: False)
        assert _answers(case, sqls) == answers


@few
@given(case=worlds(), sqls=sessions())
def test_session_is_answered_as_if_each_pair_were_counted(
    case: dict[str, Any], sqls: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Audit, "mark", lambda *_: None)
        answers = _answers(case, sqls)
        patch.setattr(Atoms, "are_too_many", property(lambda _: True))

        assert _answers(case, sqls) == answers
