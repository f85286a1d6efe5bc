"""The table of allowed uses, cell by cell: None is allowed, a code is refused."""

from __future__ import annotations

from typing import cast

import pytest

from policies.columns import refuse_use
from policies.shape import ColumnUse, Place, Usage
from tests.unit.policies.policy_values import example

U = Usage
# column, usage, aggregate, constants on the grid, code or None
CASES: list[tuple[str, Usage, str | None, bool, str | None]] = [
    ("name", U.NULL_TEST, None, True, "column_hidden"),
    ("absent", U.AGGREGATE, "count", True, "column_hidden"),
    ("bmi", U.AGGREGATE, "avg", True, None),
    ("city", U.ROW_OUTPUT, None, True, "row_level_output"),
    ("income", U.ROW_OUTPUT, None, True, "row_level_output"),
    ("visit_date", U.ROW_OUTPUT, None, True, "row_level_output"),
    ("city", U.OTHER, None, True, "use_not_understood"),
    ("city", cast("Usage", "invented"), None, True, "use_unknown"),
    ("id", U.JOIN_KEY, None, True, None),
    ("id", U.COUNT_DISTINCT, "count_distinct", True, None),
    ("id", U.AGGREGATE, "count", True, None),
    ("id", U.AGGREGATE, "approx_count_distinct", True, None),
    ("id", U.AGGREGATE, "sum", True, "unit_key_aggregated"),
    ("id", U.GROUP_KEY, None, True, "unit_key_grouped"),
    ("id", U.GROUP_BIN, None, True, "unit_key_grouped"),
    ("id", U.EQUALITY, None, True, "unit_key_compared"),
    ("id", U.NULL_TEST, None, True, "unit_key_compared"),
    ("visit_id", U.JOIN_KEY, None, True, None),
    ("visit_id", U.COUNT_DISTINCT, "count_distinct", True, "row_key_used"),
    ("city", U.JOIN_KEY, None, True, None),
    ("age", U.JOIN_KEY, None, True, "join_on_measure"),
    ("visit_date", U.JOIN_KEY, None, True, "join_on_measure"),
    ("income", U.AGGREGATE, "count", True, None),
    ("income", U.AGGREGATE, "avg", True, None),
    ("city", U.AGGREGATE, "avg", True, "not_a_measure"),
    ("city", U.COUNT_DISTINCT, "count_distinct", True, None),
    ("city", U.AGGREGATE, "approx_count_distinct", True, None),
    ("age", U.COUNT_DISTINCT, "count_distinct", True, "distinct_of_measure"),
    ("age", U.COUNT_DISTINCT, None, True, "distinct_of_measure"),
    ("age", U.COUNT_DISTINCT, "count", True, "distinct_of_measure"),
    ("income", U.NULL_TEST, None, True, None),
    ("id", U.PER_UNIT, None, True, None),
    ("visit_id", U.PER_UNIT, None, True, None),
    ("income", U.PER_UNIT, None, True, None),
    ("name", U.PER_UNIT, None, True, "column_hidden"),
    ("city", U.GROUP_KEY, None, True, None),
    ("city", U.GROUP_EXPRESSION, None, True, None),
    ("failure", U.GROUP_KEY, None, True, None),
    ("age", U.GROUP_KEY, None, True, "group_by_measure"),
    ("weight", U.GROUP_EXPRESSION, None, True, "group_by_measure"),
    ("visit_date", U.GROUP_KEY, None, True, "group_below_grain"),
    ("visit_date", U.GROUP_TRUNC, None, True, None),
    ("visit_date", U.GROUP_TRUNC, None, False, "below_grain"),
    ("income", U.GROUP_TRUNC, None, True, "below_grain"),
    ("age", U.GROUP_BIN, None, True, None),
    ("age", U.GROUP_BIN, None, False, "bin_off_grid"),
    ("weight", U.GROUP_BIN, None, True, "bin_off_grid"),
    ("city", U.EQUALITY, None, False, None),
    ("age", U.RANGE, None, True, None),
    ("age", U.RANGE, None, False, "constant_off_grid"),
    ("visit_date", U.RANGE, None, True, None),
    ("visit_date", U.RANGE, None, False, "constant_off_grid"),
    ("weight", U.RANGE, None, True, "measure_without_grid"),
]


@pytest.mark.parametrize(("column", "usage", "aggregate", "on_grid", "code"), CASES)
def test_refuse_use_by_role(
    column: str, usage: Usage, aggregate: str | None, on_grid: bool, code: str | None
) -> None:
    table = example().table("patients")
    assert table is not None
    place = Place(7, 1, 8)
    use = ColumnUse(
        "patients", column, usage, place, aggregate, on_grid=on_grid, detail="day"
    )

    reason = refuse_use(table, use)

    assert (None if reason is None else reason.code) == code
    if reason is not None:
        assert reason.hint
        assert reason.place == place
        assert reason.policy_path == f"tables.patients.columns.{column}"


def test_refuse_use_every_usage_has_a_case() -> None:
    assert {case[1] for case in CASES} >= set(Usage)
