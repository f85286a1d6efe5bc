"""What is told apart by its text shares no row: whatever the data, types and NULLs are."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.history.confined import apart, confined, confined_further
from sandbox.plan.canonical import canonical
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import (
    All,
    AnyOf,
    Bin,
    Choose,
    Compare,
    DatePart,
    DateText,
    Holds,
    Kind,
    Literal,
    Missing,
    Negate,
    Predicate,
    Ref,
    Term,
    Trunc,
    Within,
    kind_of,
)

TYPES = {
    "n": "INTEGER", "w": "HUGEINT", "d": "DECIMAL(10,2)", "x": "DOUBLE", "f": "FLOAT",
    "s": "VARCHAR", "b": "BOOLEAN", "day": "DATE", "at": "TIMESTAMP",
}  # fmt: skip
N, W = Ref("t", "n", Kind.INTEGER), Ref("t", "w", Kind.INTEGER)
D = Ref("t", "d", Kind.DECIMAL, 2)
X, F = Ref("t", "x", Kind.DOUBLE), Ref("t", "f", Kind.DOUBLE)
S, B = Ref("t", "s", Kind.TEXT), Ref("t", "b", Kind.BOOLEAN)
DAY, AT = Ref("t", "day", Kind.DATE), Ref("t", "at", Kind.TIMESTAMP)
TERMS: list[Term] = [
    N, W, D, X, F, S, B, DAY, AT,
    Bin(N, Decimal(5), index_only=False, truncating=False),
    Bin(X, Decimal("0.1"), index_only=False, truncating=False),
    *(Trunc(ref, grain) for ref in (DAY, AT) for grain in ("week", "month", "quarter")),
    Trunc(AT, "day"), Trunc(DAY, "year"),
    DatePart(DAY, "month"), DateText(DAY, "%Y-%m"),
]  # fmt: skip
# Neighbours that some type cannot tell apart, zero of both signs, the ends of every order.
NUMBERS = [
    "0", "1", "2", "5", "-5", "0.1", "0.10000001", "0.30", "19.95", "19.950000000000001",
    "16777216", "16777217", "9007199254740992", "9007199254740993", "0.0000001",
]  # fmt: skip
DATES = [
    "2024-12-29", "2024-12-30", "2025-01-01", "2025-01-31", "2025-02-01", "2025-02-28",
    "2025-03-01", "2025-04-01", "2024-02-29", "9998-12-31", "0002-01-01",
]  # fmt: skip
TIMES = [f"{day} {time}" for day in DATES for time in ("00:00:00", "23:59:59.999999")]
TEXTS = ["", "a", "A", "a ", "ä", "ab", "2025-01", "2025-02"]


def _constants(kind: Kind) -> st.SearchStrategy[Literal]:
    match kind:
        case Kind.TEXT:
            return st.sampled_from(TEXTS).map(lambda text: Literal(text, kind))
        case Kind.BOOLEAN:
            return st.booleans().map(lambda value: Literal(value, kind))
        case Kind.DATE:
            return st.sampled_from(DATES).map(lambda text: Literal(text, kind))
        case Kind.TIMESTAMP:
            return st.sampled_from(TIMES).map(lambda text: Literal(text, kind))
    return st.sampled_from(NUMBERS).map(_number)


def _number(text: str) -> Literal:
    value = Decimal(text).normalize() + 0
    whole = value == value.to_integral_value()
    return Literal(value, Kind.INTEGER if whole else Kind.DECIMAL)


@st.composite
def leaves(draw: st.DrawFn, term: Term | None = None) -> Predicate:
    """Draw a condition on one term."""
    term = draw(st.sampled_from(TERMS)) if term is None else term
    constants = _constants(kind_of(term))
    way = draw(st.sampled_from(["compare", "compare", "compare", "within", "missing"]))
    if way == "missing":
        return Missing(term)
    if way == "within":
        return Within(term, tuple(draw(st.lists(constants, min_size=1, max_size=3))))
    if isinstance(term, Ref) and term.kind is Kind.BOOLEAN:
        return Holds(term)
    operator = draw(st.sampled_from(["=", "=", "<>", "<", "<=", ">", ">="]))
    return Compare(operator, term, draw(constants))


predicates: st.SearchStrategy[Predicate] = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=2).map(tuple)),
        st.builds(Negate, inner),
    ),
    max_leaves=4,
).map(canonical)
keys = st.lists(
    st.one_of(
        st.sampled_from(TERMS),
        st.builds(
            lambda one, other: Choose(
                ((one, _number("1")), (other, _number("2"))), _number("0"), Kind.INTEGER
            ),
            leaves(),
            leaves(),
        ),
    ),
    min_size=1,
    max_size=2,
    unique=True,
).map(tuple)
_dates = st.sampled_from([None, *DATES, "infinity", "-infinity", "0044-03-15 (BC)"])
rows = st.lists(
    st.tuples(
        st.sampled_from([None, *map(int, ("0", "1", "2", "5", "-5", "16777217"))]),
        st.sampled_from([None, 0, 5, 2**24 + 1, 2**53, 2**53 + 1]),
        st.sampled_from([None, "0", "0.1", "19.95", "5", "-5"]),
        st.sampled_from(
            [None, "0", "-0.0", "0.1", "19.95", "nan", "inf", "9007199254740993"]
        ),
        st.sampled_from([None, "-0.0", "0.1", "0.10000001", "16777217", "nan", "-inf"]),
        st.sampled_from([None, *TEXTS]),
        st.sampled_from([None, True, False]),
        _dates,
        st.sampled_from([None, *TIMES, "infinity", "-infinity"]),
    ),
    min_size=1,
    max_size=15,
)


@dataclass(frozen=True, slots=True)
class Table:
    """One table `t` of an engine, to be filled and asked."""

    connection: duckdb.DuckDBPyConnection

    def fill(self, data: list[tuple[object, ...]]) -> None:
        """Hold these rows and no others."""
        self.connection.execute("DELETE FROM t")
        marks = ", ".join(f"CAST(? AS {kind})" for kind in TYPES.values())
        self.connection.executemany(f"INSERT INTO t VALUES ({marks})", data)

    def labels(
        self, keys: tuple[Term, ...], *filters: Predicate
    ) -> list[tuple[object, ...]]:
        """Return of each row that passes the filters what its keys leave as."""
        listed = ", ".join(["1", *(term_sql(key) for key in keys)])
        where = " AND ".join(f"(({predicate_sql(item)}) IS TRUE)" for item in filters)
        found = self.connection.execute(f"SELECT {listed} FROM t WHERE {where}").fetchall()
        labels = [list(map(scalar, row[1:])) for row in found]
        return [tuple(label) for label in json.loads(json.dumps(labels))]


@pytest.fixture(scope="module")
def table() -> Table:
    connection = duckdb.connect()
    columns = ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
    connection.execute(f"CREATE TABLE t ({columns})")
    return Table(connection)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Predicate, Predicate]:
    """Draw two filters; most of them speak of one term, so that many are apart."""
    term = draw(st.sampled_from(TERMS))
    one, other = (
        All((draw(leaves(term)), *draw(st.lists(predicates, max_size=1)))) for _ in range(2)
    )
    turned: Predicate = Negate(other) if draw(st.booleans()) else other
    return canonical(one), canonical(turned)


@given(pair=pairs(), data=rows)
def test_apart_filters_let_no_common_row_pass(
    table: Table, pair: tuple[Predicate, Predicate], data: list[tuple[object, ...]]
) -> None:
    one, other = pair
    if not apart(confined(one), confined(other)):
        return
    table.fill(data)

    assert table.labels((), one, other) == []


@given(pair=pairs(), keys=keys, data=rows, chance=st.randoms(use_true_random=False))
def test_apart_from_labels_shares_no_row_of_theirs(
    table: Table,
    pair: tuple[Predicate, Predicate],
    keys: tuple[Term, ...],
    data: list[tuple[object, ...]],
    chance: random.Random,
) -> None:
    past, new = pair
    table.fill(data)
    groups = sorted(set(table.labels(keys, past)), key=str)
    left = set(chance.sample(groups, k=(len(groups) + 1) // 2))
    if not left or not apart(confined(new), confined_further(confined(past), keys, left)):
        return

    assert left.isdisjoint(table.labels(keys, past, new))


def _equal(term: Term, value: str) -> Predicate:
    kind = kind_of(term)
    if kind in (Kind.TEXT, Kind.DATE, Kind.TIMESTAMP):
        return Compare("=", term, Literal(value, kind))
    return Compare("=", term, _number(value))


def _from(term: Term, value: str) -> Predicate:
    return Compare(">=", term, _equal(term, value).constant)  # type: ignore[union-attr]  # is one


def _below(term: Term, value: str) -> Predicate:
    return Compare("<", term, _equal(term, value).constant)  # type: ignore[union-attr]  # is one


MONTH = Trunc(DAY, "month")
FIVES = Bin(N, Decimal(5), index_only=False, truncating=False)
CASES = Choose(
    ((_equal(S, "a"), _number("1")), (_equal(S, "b"), _number("2"))),
    _number("0"),
    Kind.INTEGER,
)
APART = [
    (_equal(S, "a"), _equal(S, "b")),
    (_equal(S, "a"), Negate(_equal(S, "a"))),
    (_equal(S, "a"), Negate(Within(S, (Literal("a", Kind.TEXT), Literal("b", Kind.TEXT))))),
    (_equal(S, "a"), Missing(S)),
    (Missing(S), Negate(Missing(S))),
    (Holds(B), Negate(Holds(B))),
    (_below(N, "5"), _from(N, "5")),
    (Compare("<=", X, _number("0.1")), Compare(">", X, _number("0.1"))),
    (_equal(MONTH, "2025-02-01"), _equal(MONTH, "2025-03-01")),
    (_equal(MONTH, "2025-02-01"), _from(DAY, "2025-03-01")),
    (_equal(MONTH, "2025-02-01"), _equal(Trunc(DAY, "year"), "2024-01-01")),
    (_equal(Trunc(DAY, "week"), "2024-12-30"), _equal(DAY, "2025-01-06")),
    (_equal(FIVES, "5"), _equal(FIVES, "10")),
    (All((_equal(S, "a"), _equal(N, "1"))), All((_equal(S, "a"), _equal(N, "2")))),
    (AnyOf((_equal(N, "1"), _equal(N, "2"))), _from(N, "5")),
    (All((_from(N, "1"), _below(N, "5"))), _equal(N, "0")),
]
IN_DOUBT = [
    (_equal(S, "a"), _equal(S, "a")),
    (_equal(S, "a"), _equal(N, "1")),
    (Compare("<", S, Literal("a", Kind.TEXT)), Compare(">", S, Literal("b", Kind.TEXT))),
    (_equal(F, "16777216"), _equal(F, "16777217")),
    (_equal(F, "0.1"), _equal(F, "0.10000001")),
    (_equal(MONTH, "2025-02-01"), _equal(Trunc(DAY, "week"), "2025-01-27")),
    (_equal(MONTH, "2025-02-01"), _equal(DAY, "2025-02-28")),
    (_equal(Trunc(DAY, "quarter"), "2025-01-01"), _equal(DAY, "2025-03-01")),
    (_equal(FIVES, "5"), _equal(N, "7")),
    (AnyOf((_equal(S, "a"), _equal(N, "1"))), _equal(S, "b")),
    (Compare("<=", N, _number("5")), _from(N, "5")),
    (Missing(MONTH), _from(DAY, "2025-02-01")),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_apart_is_seen(one: Predicate, other: Predicate) -> None:
    limits = confined(canonical(one)), confined(canonical(other))

    assert apart(*limits)
    assert apart(*reversed(limits))


@pytest.mark.parametrize(("one", "other"), IN_DOUBT)
def test_apart_is_not_seen_where_in_doubt(one: Predicate, other: Predicate) -> None:
    assert not apart(confined(canonical(one)), confined(canonical(other)))


@pytest.mark.parametrize(
    ("keys", "labels", "new", "is_apart"),
    [
        ((S,), [("a",), ("b",)], _equal(S, "c"), True),
        ((S,), [("a",), ("b",)], _equal(S, "b"), False),
        ((S,), [("a",), (None,)], _equal(S, "b"), True),
        ((S,), [("a",), (None,)], Missing(S), False),
        ((S, N), [("a", 1), ("b", 2)], _from(N, "3"), True),
        ((MONTH,), [("2025-02-01",)], _from(DAY, "2025-03-01"), True),
        ((CASES,), [(1,)], _equal(S, "c"), True),
        ((CASES,), [(1,), (2,)], _equal(S, "b"), False),
        ((CASES,), [(0,)], _equal(S, "a"), False),  # NULL takes ELSE too: not looked at
        ((X,), [(None,)], _from(X, "1"), False),  # NaN leaves as NULL does
        ((D,), [(19.95,)], _equal(D, "5"), False),  # a label may be rounded
        ((AT,), [("2025-01-01T00:00:00",)], _equal(AT, "2025-02-01 00:00:00"), False),
    ],
)
def test_apart_by_labels(
    keys: tuple[Term, ...],
    labels: list[tuple[object, ...]],
    new: Predicate,
    *,
    is_apart: bool,
) -> None:
    limits = confined_further({}, keys, labels)

    assert apart(confined(canonical(new)), limits) == is_apart
