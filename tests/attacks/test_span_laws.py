"""No few people can be computed from what is released: by any sum with any weights.

A small table of two keys; each released count is a vector over its cells. Whoever holds the
answers can compute every vector in their span; none may be a set of one to nine people.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.decision import Request, Verdict, decide
from sandbox.analyse import analyse
from sandbox.protocol import Limits
from sandbox.stages.release import release
from tests.spec.cases import PURPOSE, engine_of, policy_of, schemas_of

LIMITS = Limits(memory_bytes=1024**3)
MIN_UNITS = 10
G, H = ("a", "b", "c", "d"), ("u", "v", "w")
CELLS = list(itertools.product(G, H))
SUBSETS = np.array(list(itertools.product((0, 1), repeat=len(CELLS))), dtype=float)


@dataclass(frozen=True, slots=True)
class View:
    """A query whose rows are (is total over g, over h, g, h, count), and its filter."""

    grouping: str
    where: str = ""
    left_out: tuple[str, ...] = ()  # values of g and h that the filter leaves out

    @property
    def sql(self) -> str:
        """The query."""
        where = f" WHERE {self.where}" if self.where else ""
        return (
            "SELECT grouping(g) AS gg, grouping(h) AS gh, g, h, count(*) AS n "
            f"FROM t{where} GROUP BY {self.grouping}"
        )


VIEWS = [
    View(grouping, where, left_out)
    for grouping in (
        "CUBE (g, h)", "ROLLUP (g, h)", "ROLLUP (h, g)",
        "GROUPING SETS ((g, h), ())", "GROUPING SETS ((g), (h))",
    )
    for where, left_out in (
        ("", ()),
        ("g <> 'a'", ("a",)),
        ("h <> 'w'", ("w",)),
        ("g IN ('a', 'b')", ("c", "d")),
    )
]  # fmt: skip
# Each example is up to four queries: few in every run, many by `./bonded test --long`.
few = settings(max_examples=settings().max_examples // 5)
counts = st.lists(
    st.one_of(st.integers(0, 12), st.integers(10, 40), st.integers(10, 40)),
    min_size=len(CELLS),
    max_size=len(CELLS),
).filter(lambda found: sum(found) >= MIN_UNITS)


def _case(cells: list[int]) -> dict[str, Any]:
    """A table with so many people in each cell."""
    return {
        "types": {"id": "BIGINT", "g": "VARCHAR", "h": "VARCHAR"},
        "columns": {
            "id": {"role": "unit_key"},
            "g": {"role": "dimension"},
            "h": {"role": "dimension"},
        },
        "data": [
            {"units": count, "g": g, "h": h}
            for (g, h), count in zip(CELLS, cells, strict=True)
            if count
        ],
    }


def _released(case: dict[str, Any], asks: list[tuple[View, ...]]) -> list[np.ndarray]:
    """Ask each, as one UNION ALL where it is several, and return vectors of what came."""
    policy, connection = policy_of(case), engine_of(case)
    history: list[str] = []
    vectors = []
    for views in asks:
        sql = " UNION ALL ".join(
            f"SELECT {number} AS q, * FROM ({view.sql}) x{number}"
            for number, view in enumerate(views)
        )
        found = analyse(sql, policy, schemas_of(case), connection)
        decision = decide(policy, Request(PURPOSE), found.shape)
        if decision.verdict is Verdict.REFUSE:
            continue  # refusing tells nothing; that views are answered is another law
        assert found.plan is not None
        assert decision.rule is not None
        answer = release(
            found.plan, policy, decision.rule, connection, history=history, limits=LIMITS
        )
        history.append(answer.history)
        for row, mask in zip(answer.rows, answer.withheld, strict=True):
            if not mask:
                number, over_g, over_h, g, h, _ = row
                left_out = views[int(str(number))].left_out
                vectors.append(
                    np.array(
                        [
                            (bool(over_g) or mine == g)
                            and (bool(over_h) or other == h)
                            and mine not in left_out
                            and other not in left_out
                            for mine, other in CELLS
                        ],
                        dtype=float,
                    )
                )
    return vectors


def _computable(vectors: list[np.ndarray], cells: list[int]) -> list[str]:
    """Return the sets of one to nine people whose number the vectors' span tells."""
    if not vectors:
        return []
    people = np.array(cells, dtype=float)
    basis = np.linalg.svd(np.array(vectors))
    rank = int(np.sum(basis[1] > 1e-9))
    outside = basis[2][rank:]  # a set is in the span when nothing of it lies outside
    inside = np.all(np.abs(SUBSETS @ outside.T) < 1e-9, axis=1)
    few = SUBSETS @ people
    found = SUBSETS[inside & (few > 0) & (few < MIN_UNITS)]
    return [
        " + ".join(f"{g}{h}" for (g, h), taken in zip(CELLS, row, strict=True) if taken)
        for row in found
    ]


@few
@given(cells=counts, view=st.sampled_from(VIEWS))
def test_span_of_one_grouping_holds_no_few(cells: list[int], view: View) -> None:
    vectors = _released(_case(cells), [(view,)])

    assert not _computable(vectors, cells), view.sql


@few
@given(cells=counts, views=st.lists(st.sampled_from(VIEWS), min_size=2, max_size=3))
def test_span_of_one_union_holds_no_few(cells: list[int], views: list[View]) -> None:
    vectors = _released(_case(cells), [tuple(views)])

    assert not _computable(vectors, cells), [view.sql for view in views]


@few
@given(cells=counts, views=st.lists(st.sampled_from(VIEWS), min_size=2, max_size=4))
def test_span_of_a_session_holds_no_few(cells: list[int], views: list[View]) -> None:
    vectors = _released(_case(cells), [(view,) for view in views])

    assert not _computable(vectors, cells), [view.sql for view in views]


def test_span_of_unprotected_counts_holds_few() -> None:
    """The control: totals and all cells but one tell that one."""
    cells = [30] * 11 + [3]
    vectors = [*np.eye(12)[:11], np.ones(12)]

    assert _computable(vectors, cells) == ["dw"]


@pytest.mark.parametrize("view", VIEWS[:4])
def test_views_are_answered_where_all_are_many(view: View) -> None:
    assert _released(_case([40] * len(CELLS)), [(view,)])
