"""Statistics from exact atoms, beside what a plain engine computes over the same rows."""

from __future__ import annotations

import json
import math
import random
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.codec import load_policy
from policies.decision import Request, Verdict, decide
from sandbox.analyse import analyse
from sandbox.errors import QueryRejected
from sandbox.protocol import Limits
from sandbox.stages.release import Released, release

LIMITS = Limits(memory_bytes=1024**3)
PURPOSE = "official-statistics"
_OURS = ("aggregate", "quantile", "distinct", "value_returning")
SCHEMAS = {
    "t": [
        ("id", "BIGINT"), ("g", "VARCHAR"), ("i", "INTEGER"), ("d", "DECIMAL(12,3)"),
        ("f", "DOUBLE"), ("big", "BIGINT"), ("b", "BOOLEAN"),
    ],
    "o": [("id", "BIGINT"), ("w", "INTEGER")],
}  # fmt: skip
MEASURE = {"role": "measure", "grid": 10, "scale": 6}
FAMILIES = [
    "count", "count_distinct", "approx_count_distinct", "sum", "avg", "stddev", "variance",
    "covar", "corr", "regr", "skewness", "kurtosis", "quantile",
]  # fmt: skip
OF_ONE = (
    "avg", "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop", "sem",
    "skewness", "kurtosis", "kurtosis_pop",
)  # fmt: skip
OF_TWO = (
    "covar_samp", "covar_pop", "corr", "regr_slope", "regr_intercept", "regr_r2",
    "regr_count", "regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy",
)  # fmt: skip
COMBINED = (
    "sum(i + 2 * d - 3)", "avg(i * d)", "sum(f * f)", "sum(d / 100)", "avg(-f * 1.5)",
    "sum((i + 1) * (i - 1))", "count(i + d)", "avg(f::DOUBLE)", "sum(i - i * d)",
)  # fmt: skip
CHOSEN = (
    "stddev(d) FILTER (WHERE i >= 0)", "avg(CASE WHEN i >= 0 THEN f END)",
    "corr(i, f) FILTER (WHERE g = 'a')", "count_if(i >= 0)", "sum(i >= 0)",
    "avg((i >= 0)::DOUBLE)", "sum(b)", "countif(b)", "sum(g LIKE 'a%')",
    "sum(coalesce(i, 0))", "avg(ifnull(d, 7))",
    "stddev(CASE WHEN i >= 0 THEN 1 ELSE 0 END)",
    "count(DISTINCT CASE WHEN i >= 0 THEN id END)", "approx_count_distinct(id)",
    "sum(d * i) FILTER (WHERE i < 0)", "count(DISTINCT g)",
)  # fmt: skip


def _policy(min_units: int = 1, **rule: Any) -> Any:
    roles = {
        "id": {"role": "unit_key"}, "g": {"role": "dimension"}, "b": {"role": "dimension"},
        "i": {**MEASURE, "role": ["measure", "dimension"]}, "d": MEASURE, "f": MEASURE,
        "big": {"role": "measure"},
    }  # fmt: skip
    other = {"id": {"role": "unit_key"}, "w": {"role": "measure", "grid": 10}}
    units = [{"domain": "person", "column": "id"}]
    return load_policy(
        json.dumps(
            {
                "version": 1,
                "tables": {
                    "t": {"units": units, "columns": roles},
                    "o": {"units": units, "columns": other},
                },
                "rules": [
                    {
                        "kind": "aggregate",
                        "mode": "safe",
                        "min_units": min_units,
                        "purposes": [PURPOSE],
                        "aggregates": FAMILIES,
                        "approval": "automatic",
                        **rule,
                    }
                ],
            }
        )
    )


def _engine(rows: list[tuple[Any, ...]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for name, columns in SCHEMAS.items():
        text = ", ".join(f"{column} {kind}" for column, kind in columns)
        connection.execute(f"CREATE TABLE {name} ({text})")
    if rows:
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("INSERT INTO o SELECT id, (id * 7) % 13 FROM t")
    return connection


def _released(connection: duckdb.DuckDBPyConnection, sql: str, policy: Any) -> Released:
    found = analyse(sql, policy, SCHEMAS, connection)
    decision = decide(policy, Request(PURPOSE), found.shape)
    assert decision.verdict is Verdict.ALLOW, (sql, decision.reasons)
    assert found.plan is not None
    assert decision.rule is not None
    return release(found.plan, policy, decision.rule, connection, history=(), limits=LIMITS)


def _refused(sql: str) -> set[str]:
    policy, connection = _policy(), _engine([])
    found = analyse(sql, policy, SCHEMAS, connection)
    decision = decide(policy, Request(PURPOSE), found.shape)
    assert decision.verdict is Verdict.REFUSE, sql
    hints = [item.hint for item in found.shape.findings if item.code.startswith(_OURS)]
    assert all(hints)
    return {reason.code for reason in decision.reasons}


def _is_close(one: Any, other: Any, scale: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-9 * scale)


def _rows(seed: int) -> list[tuple[Any, ...]]:
    """Two rows of each unit, a tenth of the values missing."""
    chance = random.Random(seed)

    def value(made: Any) -> Any:
        return None if chance.random() < 0.1 else made

    return [
        (
            number // 2,
            chance.choice("ab"),
            value(chance.randint(-40, 60)),
            value(Decimal(chance.randint(-999_000, 999_000)).scaleb(-3)),
            # Six places, so that the exact sums are the engine's.
            value(chance.randint(-(10**8), 10**8) / 10**6),
            chance.randint(-3, 3),
            chance.random() < 0.3,
        )
        for number in range(chance.randint(20, 60))
    ]


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    y=st.sampled_from("idf"),
    x=st.sampled_from("idf"),
    keyed=st.booleans(),
)
def test_statistics_equal_a_plain_engine(seed: int, y: str, x: str, *, keyed: bool) -> None:
    plain_ones = [
        *(f"{name}({y})" for name in OF_ONE),
        *(f"{name}({y}, {x})" for name in OF_TWO),
        *COMBINED,
    ]
    connection, policy = _engine(_rows(seed)), _policy()
    compared = 0
    # Conditions share hidden keys, whose small pieces would withhold one another.
    for items in (plain_ones, *([item] for item in CHOSEN)):
        text = ", ".join(items)
        sql = f"SELECT {'g, ' if keyed else ''}{text} FROM t{' GROUP BY g' * keyed}"
        answer = _released(connection, sql, policy)
        plain = {row[:keyed]: row for row in connection.execute(sql).fetchall()}
        for row, withheld in zip(answer.rows, answer.withheld, strict=True):
            for position in set(range(keyed, len(row))) - set(withheld):
                expected = plain[row[:keyed]][position]
                # Of sums of some thousands squared, a billionth.
                assert _is_close(row[position], expected, 1e3), (sql, position)
                compared += 1
    assert compared > (len(plain_ones) + len(CHOSEN)) / 2


@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_statistics_over_a_join_equal_a_plain_engine(seed: int) -> None:
    connection, policy = _engine(_rows(seed)), _policy()
    asked = ["stddev(w)", "corr(i, w)", "sum(i * w)", "regr_slope(d, w)", "avg(i - w)"]
    sql = f"SELECT {', '.join(asked)} FROM t JOIN o ON t.id = o.id"

    answer = _released(connection, sql, policy)

    plain = connection.execute(sql).fetchone()
    assert plain is not None
    for position in set(range(len(asked))) - set(answer.withheld[0]):
        assert _is_close(answer.rows[0][position], plain[position], 1e3), asked[position]


def test_statistics_small_spread_about_a_large_average_is_exact() -> None:
    values = [Decimal("900000000.000") + Decimal(n).scaleb(-3) for n in range(40)]
    rows = [(n, "a", n, value, None, n, True) for n, value in enumerate(values)]

    answer = _released(_engine(rows), "SELECT var_pop(d), skewness(d) FROM t", _policy())

    assert answer.rows[0][0] == pytest.approx((40**2 - 1) / 12 * 1e-6, rel=1e-12)
    assert answer.rows[0][1] == pytest.approx(0, abs=1e-12)


def test_statistics_fourth_power_of_large_numbers_is_exact() -> None:
    rows = [(n, "a", n, None, None, 10**13 * (n % 7 + 1), True) for n in range(70)]

    answer = _released(_engine(rows), "SELECT kurtosis_pop(big) FROM t", _policy())

    assert answer.rows[0][0] == pytest.approx(-1.25, rel=1e-12)


def test_statistics_products_out_of_range_leave_nothing() -> None:
    rows = [(n, "a", n, None, None, 2**62 + n, True) for n in range(40)]
    connection = _engine(rows)

    assert not _released(connection, "SELECT avg(big) FROM t", _policy()).partial
    with pytest.raises(QueryRejected) as raised:
        _released(connection, "SELECT skewness(big) FROM t", _policy())

    assert raised.value.code == "measure_out_of_range"
    assert not any(character.isdigit() for character in str(raised.value))


def _row(number: int, i: int | None, f: float | None, g: str = "a") -> tuple[Any, ...]:
    return (number, g, i, None, f, 0, True)


def _is_withheld(rows: list[tuple[Any, ...]], item: str, **rule: Any) -> bool:
    policy = _policy(**{"min_units": 10, **rule})
    answer = _released(_engine(rows), f"SELECT {item} FROM t", policy)
    return bool(answer.withheld[0])


@pytest.mark.parametrize(
    "item", ["corr(f, i)", "regr_slope(f, i)", "covar_pop(i, f)", "sum(i * f)"]
)
def test_pair_on_a_line_is_withheld(item: str) -> None:
    """Where f = 2 i + 1 for all, one column tells the other of each."""
    line = [_row(n, n % 9, 2.0 * (n % 9) + 1) for n in range(40)]
    cloud = [_row(n, n % 9, float(n % 7)) for n in range(40)]

    assert _is_withheld(line, item)
    assert not _is_withheld(cloud, item)


@pytest.mark.parametrize("item", ["stddev(i)", "var_pop(i)", "sum(i * i)", "corr(i, f)"])
def test_dominance_holds_for_squares(item: str) -> None:
    """One unit of 25 makes 40 of 64 of the sum, but 64 of 65 of the squares."""
    rows = [_row(n, 1, float(n % 3)) for n in range(24)] + [_row(99, 40, 1.0)]
    rule = {"dominance": {"n": 1, "share": 0.9}}

    assert not _is_withheld(rows, "sum(i)", **rule)
    assert _is_withheld(rows, item, **rule)


def test_dominance_holds_for_products() -> None:
    rows = [_row(n, n % 2 + 1, float(n % 3 + 1)) for n in range(24)] + [_row(99, 9, 9.0)]
    rule = {"dominance": {"n": 1, "share": 0.5}}

    assert not _is_withheld(rows, "sum(i)", **rule)
    assert _is_withheld(rows, "covar_samp(i, f)", **rule)


@pytest.mark.parametrize("item", ["skewness(i)", "kurtosis(i)", "kurtosis_pop(i)"])
def test_higher_powers_need_five_times_the_units(item: str) -> None:
    rows = [_row(n, n % 7, None) for n in range(50)]

    assert not _is_withheld(rows, item)
    assert _is_withheld(rows[:49], item)
    assert not _is_withheld(rows[:49], "stddev(i)")


@pytest.mark.parametrize("item", ["stddev(i)", "var_pop(i)", "regr_sxx(f, i)", "sem(i)"])
def test_constant_has_no_deviation_that_is_told(item: str) -> None:
    assert _is_withheld([_row(n, 5, float(n % 7)) for n in range(40)], item)


@pytest.mark.parametrize("item", ["sum(i + f)", "corr(i, f)", "avg(i * f)", "count(i + f)"])
def test_pair_beside_one_tells_no_few(item: str) -> None:
    """sum(i + f) beside sum(f) of all would tell f of the three that lack i."""
    rows = [_row(n, n % 9, float(n % 7)) for n in range(40)]
    rows += [_row(100 + n, None, 4.5) for n in range(3)]
    many = rows + [_row(200 + n, None, float(n % 5)) for n in range(20)]

    assert _is_withheld(rows, item)
    assert not _is_withheld(many, item)


def test_pair_where_each_lacks_few_besides_many_is_withheld() -> None:
    rows = [_row(n, n % 9, float(n % 7)) for n in range(40)]
    rows += [_row(200 + n, None, float(n % 5)) for n in range(20)]
    rows += [_row(300 + n, 7, None) for n in range(3)]

    assert _is_withheld(rows, "sum(i + f)")


def test_pairs_that_differ_by_few_rows_are_not_told_together() -> None:
    """Rows of i and f beside rows of i and d: three have d and no f."""

    def row(number: int, d: int | None, f: float | None) -> tuple[Any, ...]:
        return (number, "a", number % 9, d, f, 0, True)

    rows = [row(n, n % 5, float(n % 7)) for n in range(40)]
    rows += [row(100 + n, None, None) for n in range(20)]
    few = rows + [row(200 + n, n, None) for n in range(3)]
    item = "sum(i + f), sum(i + d)"

    assert _is_withheld(few, item)
    assert not _is_withheld(rows, item)


# --- quantiles and distinct values


def _spread(count: int = 400) -> list[tuple[Any, ...]]:
    return [_row(n, n % 100, None) for n in range(count)]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("median(i)", 50), ("quantile_cont(i, 0.25)", 25), ("quantile(i, 0.9)", 90),
        ("quantile(i, 0.05)", 5), ("approx_quantile(i, 0.99)", 99),
    ],
)  # fmt: skip
def test_quantile_is_interpolated_over_bins(item: str, expected: float) -> None:
    answer = _released(_engine(_spread()), f"SELECT {item} FROM t", _policy(10))

    assert answer.rows[0][0] == pytest.approx(expected)


def test_quantile_tells_no_outer_edge_of_few() -> None:
    """Three lie far above the others: no quantile may reach their bin."""
    rows = [*_spread(60), *(_row(900 + n, 5000 + n, None) for n in range(3))]
    connection, policy = _engine(rows), _policy(10)

    for level in ("0.9", "0.95", "0.99"):
        answer = _released(connection, f"SELECT quantile_cont(i, {level}) FROM t", policy)
        assert answer.rows == ((None,),)
    middle = _released(connection, "SELECT median(i) FROM t", policy)
    assert middle.rows[0][0] is not None


def test_quantile_depends_on_bins_alone() -> None:
    """Values moved inside their bins of the grid change nothing."""
    moved = [(n, g, i // 10 * 10, *rest) for n, g, i, *rest in _spread()]
    asked = "SELECT median(i), quantile_cont(i, 0.2) FROM t"

    assert (
        _released(_engine(_spread()), asked, _policy(10)).rows
        == _released(_engine(moved), asked, _policy(10)).rows
    )


def test_quantile_of_many_rows_of_one_unit_is_withheld() -> None:
    rows = [_row(n, n % 100, None) for n in range(40)] + [_row(7, 55, None)] * 4000
    rule = {"dominance": {"n": 1, "share": 0.5}}

    assert _is_withheld(rows, "median(i)", **rule)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT quantile_cont(i, 0) FROM t", "quantile_extreme"),
        ("SELECT quantile_cont(i, 0.999) FROM t", "quantile_extreme"),
        ("SELECT quantile_cont(i, [0.1, 0.5]) FROM t", "syntax_unavailable"),
        ("SELECT quantile_cont(i, b) FROM t", "quantile_arguments"),
        ("SELECT median(i + d) FROM t", "quantile_arguments"),
        ("SELECT median(big) FROM t", "quantile_without_grid"),
        ("SELECT corr(i, (g = 'a')::INT) FROM t", "aggregate_argument"),
        ("SELECT regr_slope(i, 3) FROM t", "aggregate_argument"),
        ("SELECT stddev(i / 100) FROM t", "aggregate_argument"),
        ("SELECT sum(i * i * i) FROM t", "aggregate_argument"),
        ("SELECT sum(i / d) FROM t", "aggregate_argument"),
        ("SELECT sum(i + 0 * d) FROM t", "aggregate_argument"),
        ("SELECT sum(least(i, 50)) FROM t", "aggregate_argument"),
        ("SELECT sum(abs(i)) FROM t", "aggregate_argument"),
        (
            "SELECT sum(i * CASE WHEN g = 'a' THEN 1 ELSE 0 END) FROM t",
            "aggregate_argument",
        ),
        ("SELECT max(i) FROM t", "value_returning_aggregate"),
        ("SELECT mode(i) FROM t", "value_returning_aggregate"),
        ("SELECT stddev(DISTINCT i) FROM t", "distinct_unavailable"),
        ("SELECT count(DISTINCT i) FROM t", "distinct_of_measure"),
        ("SELECT approx_count_distinct(d) FROM t", "distinct_of_measure"),
        ("SELECT sum(nullif(i, 3)) FROM t", "constant_off_grid"),
        ("SELECT sum(i * id) FROM t", "unit_key_aggregated"),
    ],
)
def test_statistics_that_are_refused_say_why(sql: str, code: str) -> None:
    assert code in _refused(sql)


def test_distinct_values_count_only_those_whose_cells_pass() -> None:
    rows = [_row(n, n % 9, None, g="abc"[n % 3]) for n in range(60)]
    rows += [_row(100 + n, 1, None, g=f"rare {n % 4}") for n in range(36)]

    for item in ("count(DISTINCT g)", "approx_count_distinct(g)"):
        answer = _released(_engine(rows), f"SELECT {item} FROM t", _policy(10))
        assert answer.rows == ((3,),)


def test_distinct_values_count_units_not_rows() -> None:
    rows = [_row(n % 9, 1, None, g="nine") for n in range(90)]
    rows += [_row(100 + n, 1, None, g="ten") for n in range(10)]

    answer = _released(_engine(rows), "SELECT count(DISTINCT g) FROM t", _policy(10))

    assert answer.rows == ((1,),)


def test_distinct_units_of_a_joined_key_are_all_counted() -> None:
    connection = _engine([_row(n, n % 9, None) for n in range(40)])

    for key in ("t.id", "o.id"):
        sql = f"SELECT count(DISTINCT {key}) FROM t JOIN o ON t.id = o.id"
        assert _released(connection, sql, _policy(10)).rows == ((40,),)


def test_zero_added_asks_the_same() -> None:
    policy, connection = _policy(), _engine([])
    prints = {
        analyse(f"SELECT avg({item}) FROM t", policy, SCHEMAS, connection).shape.fingerprint
        for item in ("i", "i + 0", "1 * i", "0 + i * 1", "i::DOUBLE", "i / 1")
    }

    assert len(prints) == 1
    assert "" not in prints
