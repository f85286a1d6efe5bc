"""What a plain engine says of the same data: the yardstick of every released value.

An answer equals it row by row where nothing is withheld. Where something is, each released
row must be a row of the plain engine in the values it shows, which its row does not share
with others; values computed over a set with withheld members are not compared.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import repeat
from typing import Any

import duckdb

TOLERANCE = 1e-9
# Computed over other rows: where one of those is withheld, the value may differ.
_OVER_A_SET = re.compile(
    r"\bOVER\b|\bQUALIFY\b|\bLIMIT\b|\bJOIN\b|FROM \(|\bWITH\b|\(SELECT\b", re.IGNORECASE
)
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A query with what is known of its answer."""

    id: str
    kind: str  # its class
    sql: str
    world: str
    oracle: tuple[str, ...] = ()  # the answer must be that of one of these
    approximate: dict[str, float] = field(default_factory=dict)
    share: dict[str, float] = field(default_factory=dict)
    over_values: tuple[str, ...] = ()  # columns that count values: fewer when partial


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing found: faults, or why there was nothing to compare."""

    faults: tuple[str, ...] = ()
    skipped: str = ""


def value_of(value: Any) -> Any:
    """Return a value of either side in a form that can be compared."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.datetime):
        return value_of(value.isoformat())
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, str):
        return value.removesuffix("T00:00:00").removesuffix(" 00:00:00")
    if isinstance(value, list):
        return [value_of(item) for item in value]
    return value


def is_same(one: Any, other: Any, *, off: float = 0.0, share: float = 0.0) -> bool:
    """Whether two values are equal, numbers within a tolerance."""
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(
            is_same(a, b, off=off, share=share) for a, b in pairs
        )
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        if isinstance(one, int) and isinstance(other, int) and not (off or share):
            return one == other
        return math.isclose(
            one, other, rel_tol=max(TOLERANCE, share), abs_tol=max(TOLERANCE, off)
        )
    return bool(one == other)


def compare(
    question: Question,
    answer: dict[str, Any],
    plain: duckdb.DuckDBPyConnection,
    shuffled: duckdb.DuckDBPyConnection,
) -> Comparison:
    """Compare a released answer with that of the plain engine."""
    found = []
    for sql in question.oracle or (question.sql,):
        comparison = _compare(question, sql, answer, plain, shuffled)
        if not comparison.faults:
            return comparison
        found.append(comparison)
    return found[0]


def _compare(
    question: Question,
    sql: str,
    answer: dict[str, Any],
    plain: duckdb.DuckDBPyConnection,
    shuffled: duckdb.DuckDBPyConnection,
) -> Comparison:
    cursor = plain.execute(sql)
    names = [column[0] for column in cursor.description or ()]
    expected = [tuple(map(value_of, row)) for row in cursor.fetchall()]
    again = [tuple(map(value_of, row)) for row in shuffled.execute(sql).fetchall()]
    came = [tuple(map(value_of, row)) for row in answer["rows"]]
    limits = [
        (question.approximate.get(name, 0.0), question.share.get(name, 0.0))
        for name in names
    ]
    if len(answer["columns"]) != len(names):
        return Comparison(
            (f"{len(answer['columns'])} columns came, {len(names)} expected",)
        )
    if not answer.get("partial"):
        faults = _whole(came, expected, again, limits, is_ordered=_is_ordered(sql))
        return Comparison(tuple(faults))
    if _OVER_A_SET.search(question.sql):
        return Comparison(skipped="computed over a set that holds withheld cells")
    for name in question.over_values:
        limits[names.index(name)] = (math.inf, 0.0)
    return Comparison(tuple(_partial(came, expected, limits)))


def _is_ordered(sql: str) -> bool:
    """Whether the outermost statement has an ORDER BY: brackets are taken away first."""
    inner = re.compile(r"\([^()]*\)")
    while inner.search(sql):
        sql = inner.sub(" ", sql)
    return "ORDER BY" in sql.upper()


Limits = Sequence[tuple[float, float]]


def _is_row(one: Row, other: Row, limits: Limits) -> bool:
    return all(
        is_same(a, b, off=off, share=share)
        for a, b, (off, share) in zip(one, other, limits, strict=True)
    )


def _whole(
    came: list[Row],
    expected: list[Row],
    again: list[Row],
    limits: Limits,
    *,
    is_ordered: bool,
) -> Iterator[str]:
    if len(came) != len(expected):
        yield f"{len(came)} rows came, {len(expected)} expected"
        return
    # An order that the plain engine keeps over shuffled tables is one the query asked for.
    if is_ordered and all(map(_is_row, expected, again, repeat(limits))):
        for number, (row, other) in enumerate(zip(came, expected, strict=True)):
            if not _is_row(row, other, limits):
                yield f"row {number} is {row}; {other} should stand there"
                return
        return
    left = list(expected)
    for number, row in enumerate(came):
        match = next((i for i, o in enumerate(left) if _is_row(row, o, limits)), None)
        if match is None:
            yield f"row {number} is {row}; the nearest is {_nearest(row, left)}"
            return
        left.pop(match)


def _partial(came: list[Row], expected: list[Row], limits: Limits) -> Iterator[str]:
    """Compare rows in what they show: None stands for withheld or for NULL."""
    for number, row in enumerate(came):
        if all(value is None for value in row):
            continue
        fits = any(
            all(
                a is None or is_same(a, b, off=off, share=share)
                for a, b, (off, share) in zip(row, other, limits, strict=True)
            )
            for other in expected
        )
        if not fits:
            yield f"row {number} is {row}; the nearest is {_nearest(row, expected)}"
            return


def _nearest(row: Row, among: Sequence[Row]) -> Row | None:
    def likeness(other: Row) -> int:
        return sum(is_same(a, b) for a, b in zip(row, other, strict=True))

    return max(among, key=likeness, default=None)
