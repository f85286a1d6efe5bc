"""Views against plain DuckDB over random rows, and what the policy says of columns."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from policies.codec import load_policy
from policies.document import Grain, Policy, Role
from sandbox.passes.rows import Whole
from sandbox.plan.canonical import from_data, to_data
from sandbox.plan.gaps import gap_bound, gap_grid
from sandbox.plan.terms import (
    All,
    Apply,
    Compare,
    Gap,
    Kind,
    Literal,
    Member,
    Negate,
    Ref,
    Term,
    Truth,
)
from sandbox.plan.view_columns import extended, is_gap, typed
from sandbox.plan.views import (
    PerUnit,
    Sorting,
    Span,
    UnitJoin,
    UnitWindow,
    Value,
    View,
    base_tables,
    by_name,
    closure,
    make_view,
)

POLICY = load_policy(
    """
version: 1
tables:
  people:
    units: [{domain: person, column: id}]
    columns:
      id: {role: unit_key}
      name: {role: hidden}
      city: {role: dimension}
      age: {role: [dimension, measure], grid: 5}
      illness: {role: dimension, sensitive: true}
      joined: {role: dimension, grain: quarter}
  visits:
    units: [{domain: person, column: pid}]
    columns:
      pid: {role: unit_key}
      day: {role: dimension, grain: month}
      dept: {role: dimension, values: public}
      cost: {role: measure, grid: 100}
      weight: {role: measure, grid: 1, scale: 2}
      wage: {role: measure, grid: 50}
  cities: {public: true}
rules:
  - kind: aggregate
    mode: safe
    min_units: 10
    aggregates: [count, sum, avg]
    purposes: [official-statistics]
    approval: automatic
"""
)

PID = Ref("visits", "pid", Kind.INTEGER)
DAY = Ref("visits", "day", Kind.DATE)
DEPT = Ref("visits", "dept", Kind.TEXT)
COST = Ref("visits", "cost", Kind.INTEGER)
WEIGHT = Ref("visits", "weight", Kind.DOUBLE)
WAGE = Ref("visits", "wage", Kind.DECIMAL, 2)
ID = Ref("people", "id", Kind.INTEGER)
CITY = Ref("people", "city", Kind.TEXT)
AGE = Ref("people", "age", Kind.INTEGER)
ILLNESS = Ref("people", "illness", Kind.TEXT)
JOINED = Ref("people", "joined", Kind.DATE)
NOT_ICU = Compare("<>", DEPT, Literal("ICU", Kind.TEXT))


def _fill(connection: duckdb.DuckDBPyConnection) -> None:
    chance = random.Random(7)
    connection.execute(
        "CREATE TABLE people (id BIGINT, name VARCHAR, city VARCHAR, age INTEGER, "
        "illness VARCHAR, joined DATE)"
    )
    connection.execute(
        "CREATE TABLE visits (pid BIGINT, day DATE, dept VARCHAR, cost INTEGER, "
        "weight DOUBLE, wage DECIMAL(12,2))"
    )
    for number in range(80):
        connection.execute(
            "INSERT INTO people VALUES (?, 'x', ?, ?, ?, DATE '2024-01-01' + ?::INT)",
            [
                number if number % 20 else None,
                chance.choice("ABC"),
                chance.randint(20, 90),
                chance.choice(["flu", "none", None]),
                chance.randint(0, 300),
            ],
        )
    for _ in range(500):
        connection.execute(
            "INSERT INTO visits VALUES (?, DATE '2024-01-01' + ?::INT, ?, ?, ?, ?)",
            [
                chance.choice([None, *range(1, 60)]),
                chance.randint(0, 60),
                chance.choice(["ER", "ICU", "GP", None]),
                chance.choice([None, chance.randint(0, 5000)]),
                chance.choice([None, round(chance.uniform(1, 9), 2)]),
                Decimal(chance.randint(0, 10**6)).scaleb(-2),
            ],
        )


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    made = duckdb.connect()
    _fill(made)
    yield made
    made.close()


def _view(table: str, *values: Value, keys: tuple[Term, ...] | None, **more: Any) -> Any:
    units = more.pop("units", (("person", PID),))
    return make_view(
        table=table,
        outputs=[typed(value, more.pop("policy", POLICY)) for value in values],
        units=units,
        keys=keys,
        **more,
    )


def _rows(
    connection: duckdb.DuckDBPyConnection, view: View, refs: tuple[Ref, ...]
) -> list[tuple[Any, ...]]:
    columns = ", ".join(f'"{ref.column}"' for ref in refs)
    return _sorted(connection.execute(f'SELECT {columns} FROM "{view.name}"').fetchall())


def _sorted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    plain = [
        tuple(round(float(v), 6) if isinstance(v, (float, Decimal)) else v for v in row)
        for row in rows
    ]
    return sorted(plain, key=str)


def _is_like(
    connection: duckdb.DuckDBPyConnection,
    made: tuple[View, tuple[Ref, ...]],
    sql: str,
    views: tuple[View, ...] = (),
) -> None:
    view, refs = made
    Whole(connection).materialise((*views, view), POLICY)
    assert _rows(connection, view, refs) == _sorted(connection.execute(sql).fetchall())


def test_view_grouped_by_unit_equals_plain(connection: duckdb.DuckDBPyConnection) -> None:
    made = _view(
        "visits",
        PID,
        PerUnit("count", None),
        PerUnit("sum", COST),
        PerUnit("avg", COST),
        PerUnit("sum", WEIGHT),
        PerUnit("max", WAGE),
        PerUnit("min", DAY),
        PerUnit("count_distinct", DEPT),
        PerUnit("count", None, NOT_ICU),
        PerUnit("any", Truth(NOT_ICU)),
        keys=(PID,),
        where=Compare(">=", DAY, Literal("2024-01-10", Kind.DATE)),
    )

    _is_like(
        connection,
        made,
        "SELECT pid, count(*), sum(cost), avg(cost), sum(weight), max(wage), min(day), "
        "count(DISTINCT dept), count(*) FILTER (WHERE dept <> 'ICU'), "
        "bool_or(dept <> 'ICU') FROM visits WHERE day >= DATE '2024-01-10' "
        "AND pid IS NOT NULL GROUP BY pid",
    )


def test_view_first_by_order_is_total(connection: duckdb.DuckDBPyConnection) -> None:
    made = _view("visits", PID, PerUnit("first", DEPT, orders=(Sorting(DAY),)), keys=(PID,))

    _is_like(
        connection,
        made,
        "SELECT pid, first(dept ORDER BY day, dept NULLS LAST) FROM visits "
        "WHERE pid IS NOT NULL GROUP BY pid",
    )


def test_view_windows_equal_plain(connection: duckdb.DuckDBPyConnection) -> None:
    order = (Sorting(DAY, descending=True),)
    made = _view(
        "visits",
        PID,
        DAY,
        COST,
        UnitWindow("row_number", (), (PID,), order),
        UnitWindow("lag", (COST,), (PID,), order),
        UnitWindow("rank", (), (PID,), order),
        UnitWindow("sum", (COST,), (PID,), order),
        UnitWindow("count", (), (PID,)),
        UnitWindow("first_value", (COST,), (PID,), order, ignore_nulls=True),
        UnitWindow(
            "avg", (COST,), (PID,), order, Span("rows", ("preceding", 2), ("current", 0))
        ),
        keys=None,
    )

    total = "(PARTITION BY pid ORDER BY day DESC, cost, pid{})"
    _is_like(
        connection,
        made,
        f"SELECT pid, day, cost, row_number() OVER {total.format('')}, "
        f"lag(cost) OVER {total.format('')}, rank() OVER w, sum(cost) OVER w, "
        "count(*) OVER (PARTITION BY pid), "
        "first_value(cost ORDER BY day DESC, cost IGNORE NULLS) OVER w, "
        f"avg(cost) OVER {total.format(' ROWS BETWEEN 2 PRECEDING AND CURRENT ROW')} "
        "FROM visits WHERE pid IS NOT NULL "
        "WINDOW w AS (PARTITION BY pid ORDER BY day DESC)",
    )


@pytest.mark.parametrize("kind", ["inner", "left", "right", "full"])
def test_view_join_equals_plain(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    both = Apply("coalesce", (ID, PID), Kind.INTEGER)
    terms: dict[str, Term] = {"inner": ID, "left": ID, "right": PID, "full": both}
    unit = terms[kind]
    made = _view(
        "people",
        unit,
        CITY,
        DEPT,
        keys=None,
        joins=[UnitJoin(kind, "visits", ((ID, PID),))],
        units=(("person", unit),),
    )

    name = {"inner": "id", "left": "id", "right": "pid", "full": "coalesce(id, pid)"}[kind]
    _is_like(
        connection,
        made,
        f"SELECT {name}, city, dept FROM people {kind.upper()} JOIN visits ON id = pid "
        f"WHERE {name} IS NOT NULL",
    )


def test_view_left_join_condition_and_coalesced_sum(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    made = _view(
        "people",
        ID,
        CITY,
        PerUnit(
            "sum", Apply("coalesce", (COST, Literal(Decimal(0), Kind.INTEGER)), COST.kind)
        ),
        keys=(ID, CITY),
        joins=[UnitJoin("left", "visits", ((ID, PID),), NOT_ICU)],
        units=(("person", ID),),
    )

    _is_like(
        connection,
        made,
        "SELECT id, city, sum(coalesce(cost, 0)) FROM people LEFT JOIN visits "
        "ON id = pid AND dept <> 'ICU' WHERE id IS NOT NULL GROUP BY id, city",
    )


def test_view_self_join_with_gap_equals_plain(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    again, (pid, day, cost) = _view("visits", PID, DAY, COST, keys=None, copy=1)
    gap = Gap("day", DAY, day, elapsed=True)
    both = All(
        (
            Compare("<=", gap, Literal(Decimal(30), Kind.INTEGER)),
            Compare(">", gap, Literal(Decimal(0), Kind.INTEGER)),
        )
    )
    made = _view(
        "visits", PID, DAY, cost, gap, keys=None,
        joins=[UnitJoin("inner", again.name, ((PID, pid),), both)],
    )  # fmt: skip

    _is_like(
        connection,
        made,
        "SELECT a.pid, a.day, b.cost, b.day - a.day FROM visits a JOIN visits b "
        "ON a.pid = b.pid AND b.day - a.day <= 30 AND b.day > a.day",
        views=(again,),
    )


@pytest.mark.parametrize("kind", ["asof", "asof_left"])
def test_view_asof_join_equals_plain(
    connection: duckdb.DuckDBPyConnection, kind: str
) -> None:
    made = _view(
        "people", ID, JOINED, DAY, COST, keys=None, units=(("person", ID),),
        joins=[UnitJoin(kind, "visits", ((ID, PID),), nearest=(">=", JOINED, DAY))],
    )  # fmt: skip

    word = "ASOF LEFT JOIN" if kind == "asof_left" else "ASOF JOIN"
    _is_like(
        connection,
        made,
        f"SELECT id, joined, day, cost FROM people {word} (SELECT pid, day, min(cost) AS "
        "cost FROM visits GROUP BY pid, day) AS v ON id = pid AND joined >= day "
        "WHERE id IS NOT NULL",
    )


def test_member_without_null_traps(connection: duckdb.DuckDBPyConnection) -> None:
    inner, (pid,) = _view("visits", PID, keys=None, where=Negate(NOT_ICU))
    made = _view(
        "people", ID, CITY, keys=None, units=(("person", ID),),
        where=Negate(Member(ID, inner.name, pid.column)),
    )  # fmt: skip

    _is_like(
        connection,
        made,
        "SELECT id, city FROM people WHERE id IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM visits WHERE pid = id AND NOT dept <> 'ICU')",
        views=(inner,),
    )


def test_view_union_all_keeps_every_row(connection: duckdb.DuckDBPyConnection) -> None:
    people, _ = _view("people", ID, keys=None, units=(("person", ID),))
    visits, (pid,) = _view("visits", PID, keys=None)
    both = View(
        people.name, (), _TRUE, None, _columns(people), (("person", "c0"),), ((pid,),)
    )

    _is_like(
        connection,
        (both, (both.ref("c0"),)),
        "SELECT id FROM people WHERE id IS NOT NULL "
        "UNION ALL SELECT pid FROM visits WHERE pid IS NOT NULL",
        views=(people, visits),
    )


def _columns(view: View) -> Any:
    found = []
    for column in view.columns:
        found.append(type(column)(column.name, view.ref(column.name), column.kind))
    return tuple(found)


_TRUE = make_view(table="t", outputs=(), units=())[0].where


def test_materialise_infinite_dates_and_numbers_do_not_raise(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute(
        "INSERT INTO visits VALUES (5, 'infinity', 'ER', 1, 'NaN', 1), "
        "(5, '-infinity', 'ER', 1, 'infinity', 1), (5, '5000-01-01', 'ER', 1, 1e30, 1)"
    )
    again, (pid, day) = _view("visits", PID, DAY, keys=None, copy=1)
    pairs, refs = _view(
        "visits", PID, Gap("day", DAY, day, elapsed=True), WEIGHT, keys=None,
        joins=[UnitJoin("inner", again.name, ((PID, pid),))],
    )  # fmt: skip
    sums = make_view(
        table=pairs.name,
        outputs=[
            typed(value, extended(POLICY, (again, pairs)))
            for value in (PerUnit("sum", refs[1]), PerUnit("sum", refs[2]))
        ],
        units=(("person", refs[0]),),
        keys=(refs[0],),
    )

    Whole(connection).materialise((again, pairs, sums[0]), POLICY)

    assert _rows(connection, *sums)


# --- values


def test_view_named_by_content_round_trips() -> None:
    make: Callable[[], tuple[View, tuple[Ref, ...]]] = lambda: _view(  # noqa: E731
        "visits",
        PID,
        PerUnit("first", DEPT, NOT_ICU, (Sorting(DAY),)),
        keys=(PID,),
        where=Compare(">=", DAY, Literal("2024-01-01", Kind.DATE)),
        joins=[UnitJoin("left", "people", ((PID, ID),), NOT_ICU, None)],
    )
    view, _ = make()

    assert make()[0] == view
    assert from_data(to_data(view)) == view
    assert from_data(to_data(view)).name == view.name


def test_view_names_of_outputs_do_not_matter() -> None:
    one, (pid, cost) = _view("visits", PID, COST, keys=None)
    other, (cost_again, pid_again) = _view("visits", COST, PID, keys=None)

    assert one == other
    assert (pid, cost) == (pid_again, cost_again)


def test_closure_lists_views_after_what_they_read() -> None:
    inner, (pid,) = _view("visits", PID, keys=None)
    outer, _ = _view(
        "people", ID, keys=None, units=(("person", ID),),
        where=Member(ID, inner.name, pid.column),
    )  # fmt: skip
    views = by_name((outer, inner))

    assert closure([outer.name], views) == (inner, outer)
    assert base_tables([outer.name], views) == ("visits", "people") or base_tables(
        [outer.name], views
    ) == ("people", "visits")


# --- what the policy says


def _column(value: Value, **more: Any) -> Any:
    view, (ref,) = _view("visits", value, keys=more.pop("keys", (PID,)), **more)
    policy = extended(POLICY, (view,))
    table = policy.table(view.name)
    assert table is not None
    return table.column(ref.column)


@pytest.mark.parametrize(
    ("value", "roles", "grid"),
    [
        (PerUnit("count", None), {Role.DIMENSION, Role.MEASURE}, 1),
        (PerUnit("sum", COST), {Role.MEASURE}, 100),
        (PerUnit("max", WAGE), {Role.MEASURE}, 50),
        (PerUnit("avg", COST), {Role.MEASURE}, None),
        (PerUnit("sum", DEPT), {Role.HIDDEN}, None),
        (PerUnit("first", DEPT), {Role.DIMENSION}, None),
        (PerUnit("any", Truth(NOT_ICU)), {Role.DIMENSION}, None),
        (UnitWindow("row_number", (), (PID,)), {Role.DIMENSION, Role.MEASURE}, 1),
        (UnitWindow("lag", (COST,), (PID,)), {Role.MEASURE}, 100),
        (Apply("upper", (DEPT,), Kind.TEXT), {Role.DIMENSION}, None),
        (Apply("to_text", (COST,), Kind.TEXT), {Role.HIDDEN}, None),
        (Gap("day", DAY, DAY, elapsed=True), {Role.MEASURE}, 30),
        (Ref("visits", "nothing", Kind.TEXT), {Role.HIDDEN}, None),
    ],
)
def test_view_table_gives_roles_and_grid(
    value: Value, roles: set[Role], grid: int | None
) -> None:
    column = _column(value)

    assert column.roles == roles
    assert column.grid == grid


def test_view_table_dates_keep_their_grain_and_lose_public_values() -> None:
    assert _column(PerUnit("min", DAY)).grain is Grain.MONTH
    assert not _column(DEPT, keys=None).values_public


def test_view_table_sensitive_filter_reaches_what_it_filters() -> None:
    view, (_, city, count) = _view(
        "people", ID, CITY, PerUnit("count", None), keys=(ID, CITY),
        units=(("person", ID),), where=Compare("=", ILLNESS, Literal("flu", Kind.TEXT)),
    )  # fmt: skip
    table = extended(POLICY, (view,)).table(view.name)
    assert table is not None
    unit = table.column(dict(view.units)["person"])

    assert unit is not None
    assert unit.has(Role.UNIT_KEY)
    assert unit.sensitive
    assert table.column(count.column).sensitive  # type: ignore[union-attr]
    assert not table.column(city.column).sensitive  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("gap", "grid"),
    [
        (Gap("day", DAY, DAY, elapsed=True), 30),
        (Gap("day", DAY, JOINED, elapsed=True), 91),
        (Gap("month", DAY, DAY, elapsed=False), 1),
        (Gap("month", DAY, JOINED, elapsed=False), None),
        (Gap("year", DAY, JOINED, elapsed=False), 1),
        (Gap("week", DAY, DAY, elapsed=False), None),
        (Gap("hour", DAY, DAY, elapsed=True), 720),
        (Gap("day", Literal("2024-01-15", Kind.DATE), DAY, elapsed=True), None),
        (Gap("day", DAY, Ref("cities", "founded", Kind.DATE), elapsed=True), None),
    ],
)
def test_gap_grid(gap: Gap, grid: int | None) -> None:
    assert gap_grid(gap, POLICY) == grid


def test_gap_bound_is_closed() -> None:
    assert gap_bound("<=", Decimal(30), Decimal(60))
    assert gap_bound(">", Decimal(30), Decimal(0))
    assert not gap_bound("<", Decimal(30), Decimal(60))
    assert not gap_bound("<=", Decimal(30), Decimal(45))
    assert gap_bound("<", Decimal(1), Decimal(7))


def test_is_gap_through_views() -> None:
    one, (_, gap) = _view("visits", PID, Gap("day", DAY, DAY, elapsed=True), keys=None)
    view, (top,) = make_view(
        table=one.name,
        outputs=[(PerUnit("max", gap), Kind.INTEGER, None)],
        units=(("person", one.ref(dict(one.units)["person"])),),
        keys=(one.ref(dict(one.units)["person"]),),
    )

    assert is_gap(top, by_name((one, view)))
    assert not is_gap(COST, by_name((one, view)))


def test_extended_policy_names_each_view_once() -> None:
    view, _ = _view("visits", PID, keys=None)
    policy: Policy = extended(extended(POLICY, (view,)), (view,))

    assert len(policy.tables) == len(POLICY.tables) + 1
