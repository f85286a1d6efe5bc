"""Stage 2 as SQL: no statement grows faster than the query that it is written from."""

from __future__ import annotations

from sandbox.plan.results import Cells, ColumnCell, OneRow, Relation, ScalarOf, Selected
from sandbox.stages.result_sql import ordered_sql


def _nested(depth: int) -> Relation:
    relation: Relation = Selected(Cells(0, 0, 1), (ColumnCell(0),))
    for _ in range(depth):
        relation = Selected(OneRow(), (ScalarOf(relation),))
    return relation


def test_ordered_sql_of_nested_scalars_grows_by_the_level() -> None:
    """Each level named the one below three times: fourteen made a gigabyte of SQL."""
    sizes = [len(ordered_sql(_nested(depth))) for depth in (5, 10, 15, 20)]

    assert sizes[3] - sizes[2] < 2 * (sizes[1] - sizes[0])


def test_ordered_sql_of_equal_scalars_writes_them_once() -> None:
    scalar = ScalarOf(Selected(Cells(0, 0, 1), (ColumnCell(0),)))

    assert ordered_sql(Selected(OneRow(), (scalar, scalar))).count("cells_0") == 1
