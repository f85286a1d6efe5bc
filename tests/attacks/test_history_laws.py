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
from sandbox.history.pairs import earlier
from sandbox.passes.holding import AllOpen
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


WIDE = "SELECT count(*) FROM t WHERE g IN ('a', 'b')"
APART = "SELECT count(*) FROM t WHERE g = 'b'"
MOST = "SELECT count(*) FROM t WHERE g = 'a' AND h = 'u'"


def _chained() -> dict[str, Any]:
    case = {"types": {"id": "BIGINT", "g": "VARCHAR", "h": "VARCHAR"}}
    roles = {"id": "unit_key", "g": "dimension", "h": "dimension"}
    return case | {
        "columns": {name: {"role": role} for name, role in roles.items()},
        "data": [
            {"units": 40, "g": "a", "h": "u"},
            {"units": 3, "g": "a", "h": "v"},
            {"units": 40, "g": "b", "h": "v"},
        ],
    }


@pytest.mark.parametrize("before", [[WIDE, APART], [APART, WIDE]])
def test_release_apart_from_the_answer_is_linked_by_a_third(before: list[str]) -> None:
    """What is wide, less `b`, less most of `a`, is three people; no two of them tell it."""
    case = _chained()

    *_, answer = _answers(case, [*before, MOST])

    assert isinstance(answer, Released)
    assert dict(answer.report) == {"history": 1}
    for one in before:
        *_, alone = _answers(case, [one, MOST])
        assert isinstance(alone, Released)
        assert not any(alone.withheld)


def test_few_units_are_found_though_other_releases_cut_their_rows() -> None:
    """Six people have rows of `y`; half of these rows lie in another release too."""
    rows = [("x", "u", 40, 1), ("x", "v", 40, 101), ("y", "u", 6, 1)]
    rows += [("y", "v", 6, 1), ("z", "u", 40, 201)]
    case = _chained() | {
        "data": [
            {"ids": f"{first}..{first + size - 1}", "g": g, "h": h}
            for g, h, size, first in rows
        ]
    }
    counted = "SELECT count(*) FROM t WHERE "

    *_, answer = _answers(
        case, [counted + "g = 'x'", counted + "h = 'u'", counted + "g <> 'z'"]
    )

    assert isinstance(answer, Released)
    assert dict(answer.report) == {"history": 1}


def test_release_that_is_linked_to_nothing_is_let_go() -> None:
    case = _chained()
    policy, connection = policy_of(case), engine_of(case)
    answer = _answers(case, [APART])[0]
    assert isinstance(answer, Released)

    def kept(sql: str) -> int:
        plan = analyse(sql, policy, schemas_of(case), connection).plan
        assert plan is not None
        holding = AllOpen(connection, policy)
        return len(earlier(plan.blocks[0], policy, [answer.history], holding))

    assert kept(MOST) == 0
    assert kept(WIDE) == 1


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
