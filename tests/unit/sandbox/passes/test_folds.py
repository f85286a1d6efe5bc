"""Merging parts: in any order and grouping it gives what the whole gives."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ResourceExceeded
from sandbox.passes.folds import Fold, Merge, Merged, Row, SumOutOfRange, merged

TOP = 3
FOLD = Fold(1, (Merge.SUM, Merge.MIN, Merge.MAX, Merge.LARGEST, Merge.SUM), top=TOP)
SQL = f"""SELECT k, sum(v) AS s, min(v) AS lo, max(v) AS hi, max(v, {TOP}) AS top,
          sum(v::DECIMAL(12,2)) AS d FROM part GROUP BY k"""
rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from([-1.0, 0.5, math.nan])),
        st.one_of(st.none(), st.integers(-(10**6), 10**6)),
    ),
    max_size=30,
)


def grouped(part: Sequence[tuple[float | None, int | None]]) -> tuple[list[Row], list[str]]:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE part (k DOUBLE, v BIGINT)")
    if part:
        connection.executemany("INSERT INTO part VALUES (?, ?)", [list(r) for r in part])
    cursor = connection.execute(SQL)
    types = [str(item[1]) for item in cursor.description or ()]
    return cursor.fetchall(), types


def of(parts: Sequence[tuple[list[Row], list[str]]]) -> list[str]:
    total = Merged(FOLD)
    for found, types in parts:
        total.add(found, types)
    return sorted(map(str, total.rows()))


@given(parts=st.lists(rows, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_merged_parts_are_the_whole_in_any_order(
    parts: list[list[tuple[float | None, int | None]]], seed: int
) -> None:
    answered = [grouped(part) for part in parts]
    whole = [grouped([row for part in parts for row in part])]
    shuffled = list(answered)
    random.Random(seed).shuffle(shuffled)

    assert of(answered) == of(shuffled) == of(whole)


values = st.one_of(st.none(), st.integers(-(2**100), 2**100))
lists = st.one_of(
    st.none(),
    st.lists(st.integers(), min_size=1, max_size=TOP).map(
        lambda v: sorted(v, reverse=True)
    ),
)


@pytest.mark.parametrize("merge", list(Merge))
@given(data=st.data())
def test_merged_is_associative_and_free_of_order(merge: Merge, data: st.DataObject) -> None:
    drawn = lists if merge is Merge.LARGEST else values
    a, b, c = data.draw(drawn), data.draw(drawn), data.draw(drawn)

    def both(one: object, other: object) -> object:
        return merged(merge, one, other, kind="HUGEINT", top=TOP)

    assert both(both(a, b), c) == both(a, both(b, c))
    assert both(a, b) == both(b, a)
    assert both(a, None) == a


def test_merged_sum_beyond_its_type_is_refused_as_the_engine_would() -> None:
    for one, kind in ((2**126, "HUGEINT"), (Decimal(10) ** 35, "DECIMAL(38,2)")):
        with pytest.raises(SumOutOfRange):
            merged(Merge.SUM, one, 9 * one, kind=kind)


def test_merged_bignum_has_no_end() -> None:
    assert merged(Merge.SUM, str(2**200), str(2**200), kind="BIGNUM") == str(2**201)


def test_merged_decimal_loses_no_digit() -> None:
    one, other = Decimal("123456789012345678901234567890.12"), Decimal("0.01")

    assert str(merged(Merge.SUM, one, other, kind="DECIMAL(38,2)")).endswith("890.13")


@pytest.mark.parametrize("limit", [3, None])
def test_merged_groups_beyond_the_limit_are_refused(limit: int | None) -> None:
    total = Merged(Fold(1, limit=limit))
    add: Callable[[range], None] = lambda span: total.add([(i,) for i in span], ("BIGINT",))  # noqa: E731 - twice, with other ranges

    add(range(3))
    if limit is None:
        add(range(2, 5))
        assert len(total.rows()) == 5
        return
    with pytest.raises(ResourceExceeded):
        add(range(2, 5))


def test_merged_looks_for_no_more_than_enough() -> None:
    total = Merged(Fold(1, enough=4))
    for start in (0, 3, 6):
        total.add([(i,) for i in range(start, start + 3)], ("BIGINT",))

    assert len(total.rows()) == 4
