"""Scalar forms of keys and filters beside a plain engine, and what each must refuse."""

from __future__ import annotations

import datetime
import json
import random
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from policies.codec import load_policy
from policies.decision import Decision, Request, Verdict, decide
from sandbox.analyse import Analysis, analyse
from sandbox.binding.patterns import pattern_problem
from sandbox.protocol import Limits
from sandbox.stages.release import release

LIMITS = Limits(memory_bytes=1024**3)
COLUMNS = {
    "id": ("BIGINT", {"role": "unit_key"}),
    "secret": ("VARCHAR", {"role": "hidden"}),
    "g": ("VARCHAR", {"role": "dimension"}),
    "txt": ("VARCHAR", {"role": "dimension"}),
    "b": ("BOOLEAN", {"role": "dimension"}),
    "age": ("INTEGER", {"role": ["dimension", "measure"], "grid": 5}),
    "stage": ("INTEGER", {"role": ["dimension", "measure"], "grid": 1}),
    "cost": ("DECIMAL(12,2)", {"role": "measure", "grid": 100}),
    "d": ("DATE", {"role": "dimension", "grain": "day"}),
    "m": ("DATE", {"role": "dimension", "grain": "month"}),
    "y": ("DATE", {"role": "dimension", "grain": "year"}),
    "ts": ("TIMESTAMP", {"role": "dimension", "grain": "day"}),
    "x": ("INTEGER", {"role": "dimension"}),
}
SCHEMAS = {"t": [(name, kind) for name, (kind, _) in COLUMNS.items()]}
POLICY = load_policy(
    json.dumps(
        {
            "version": 1,
            "tables": {
                "t": {
                    "units": [{"domain": "person", "column": "id"}],
                    "columns": {name: role for name, (_, role) in COLUMNS.items()},
                }
            },
            "rules": [
                {
                    "kind": "aggregate",
                    "mode": "safe",
                    "min_units": 1,
                    "purposes": ["p"],
                    "aggregates": ["count", "sum", "avg"],
                    "approval": "automatic",
                }
            ],
        }
    )
)
KEYS = (
    "monthname(d)", "dayname(d)", "dayofweek(d)", "weekday(d)", "isodow(d)", "week(d)",
    "datepart('isodow', d)", "extract(week FROM d)", "extract(dow FROM d)", "last_day(d)",
    "last_day(m)", "monthname(m)", "dayofmonth(d)", "dayofyear(d)", "isoyear(d)",
    "yearweek(d)", "decade(y)", "ts::DATE", "date_trunc('quarter', d)::DATE",
    "year(d) * 100 + month(d)", "least(floor(age / 10) * 10, 70)", "greatest(stage, 5)",
    "stage", "stage::VARCHAR", "floor(cost / 100) * 100 + 100", "ceil(stage / 10) * 10",
    "round(stage, -1)", "(stage - 2) // 10", "floor((age - 20) / 10)",
    "floor((age + 20) / 10) * 10", "floor((5 + age) / 10) * 10 - 5", "x % 3", "x * 2 - 1",
    "x - 4", "abs(x - 4)", "age >= 65 AND g = 'Arden'", "if(age >= 65, 'a', 'b')",
    "CASE g WHEN 'Arden' THEN 1 ELSE 2 END", "'G' || quarter(d)", "b::INT", "x::DOUBLE",
    "concat_ws('-', g, year(d))", "split_part(txt, '-', 2)", "strip_accents(lower(g))",
    "regexp_replace(g, '[aeiou]', '', 'g')", "regexp_extract(g, '^([A-Z])', 1)",
    "TRY_CAST(txt AS INTEGER)", "TRY_CAST(txt AS DATE)", "TRY_CAST(txt AS DOUBLE)",
    "position('r' IN g)", "coalesce(g, 'none')", "nullif(g, 'Arden')",
    "replace(replace(g, 'A', 'ae'), 'B', 'be')", "(g, b) IN (('Arden', true))",
)  # fmt: skip
FILTERS = (
    "d >= DATE '2024-01-01' + INTERVAL 6 MONTH", "d < DATE '2024-03-31' - INTERVAL 1 MONTH",
    "d >= DATE '2024-01-31' + INTERVAL '1 month'", "d >= DATE '2024-01-31' + 5",
    "d >= make_date(2024, 2, 3)", "d >= '2024-01-01'", "d < TIMESTAMP '2024-03-01'",
    "date_trunc('month', d) = DATE '2024-03-01'", "year(d) IN (2023, 2024)",
    "m >= date_trunc('month', DATE '2024-02-03')", "month(d) BETWEEN 3 AND 6",
    "regexp_matches(g, '^[AB]')", "regexp_matches(g, '^a', 'i')", "g ~ 'A.*'",
    "g SIMILAR TO '[AB].*'", "TRY_CAST(txt AS DOUBLE) > 5", "b IS TRUE", "b IS NOT FALSE",
    "(age >= 50) IS NOT TRUE", "g IS NOT DISTINCT FROM 'Arden'", "age::DOUBLE < 40",
    "(g, b) IN (('Arden', true), ('Brook', false))", "(g, b) IN (('Arden', NULL))",
    "(g, b) NOT IN (('Arden', true), ('Brook', false))", "x + 1 > 4", "x IN (1, 2)",
)  # fmt: skip
# form -> a reason that must be among those of its refusal
REFUSED = {
    "monthname(y)": "below_grain",
    "last_day(y)": "below_grain",
    "dayofweek(m)": "below_grain",
    "week(m)": "below_grain",
    "dayofmonth(m)": "below_grain",
    "hour(ts)": "below_grain",
    "m::VARCHAR": "group_below_grain",
    "least(age, 70)": "group_by_measure",
    "least(cost, 70)": "group_by_measure",
    "greatest(cost, 70) > 100": "group_by_measure",
    "round(age, -1)": "group_by_measure",
    "age % 10": "group_by_measure",
    "age + 0 < 41": "group_by_measure",
    "age::VARCHAR": "group_by_measure",
    "cost::INTEGER < 41": "group_by_measure",
    "coalesce(age, 0)": "group_by_measure",
    "cast(age / 10 AS INT)": "bin_off_grid",
    "ceil(age / 10) * 10": "bin_off_grid",
    "(age - 20) // 10": "bin_off_grid",
    "floor((age - 21) / 10)": "bin_off_grid",
    "floor((age - 20) / 7)": "bin_off_grid",
    "age::DOUBLE < 41": "constant_off_grid",
    "(g, age) IN (('Arden', 41))": "constant_off_grid",
    "m >= make_date(2024, 2, 3)": "constant_off_grid",
    "m >= DATE '2024-01-01' + INTERVAL 3 DAY": "constant_off_grid",
    "(secret, b) IN (('s1', true))": "column_hidden",
    "(id, b) IN ((17, true))": "unit_key_compared",
    "TRY_CAST(secret AS INTEGER)": "column_hidden",
    "TRY_CAST(id AS DOUBLE)": "unit_key_grouped",
    "regexp_extract(secret, 's1')": "column_hidden",
    "id % 7": "unit_key_grouped",
    "CAST(txt AS INTEGER)": "cast_unavailable",
    "regexp_matches(g, '(((a{1,30}){1,30}){1,30})b')": "function_arguments",
    "regexp_matches(g, '(a')": "function_arguments",
    "regexp_matches(g, g)": "function_arguments",
    "regexp_replace(g, 'a', '\\2')": "function_arguments",
    f"replace(replace(g, 'a', '{'a' * 40}'), 'a', '{'a' * 40}')": "function_arguments",
    "lpad(g, 100, 'x')": "function_not_allowed",
    "repeat(g, 100)": "function_not_allowed",
    "d >= current_date": "function_not_allowed",
    "d >= now()": "function_not_allowed",
    "d >= today() - INTERVAL 30 DAY": "function_not_allowed",
    "g = ANY(['Arden'])": "syntax_unavailable",
}


@pytest.fixture(scope="module")
def engine() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    listed = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    connection.execute(f"CREATE TABLE t ({listed})")
    chance = random.Random(3)

    def value(made: Any) -> Any:
        return None if chance.random() < 0.1 else made

    rows = []
    for number in range(300):
        day = datetime.date(2023, 1, 1) + datetime.timedelta(days=chance.randint(0, 800))
        moment = datetime.datetime(day.year, day.month, day.day, chance.randint(0, 23))  # noqa: DTZ001 - the column has no zone
        rows.append(
            (
                number,
                f"s{number}",
                value(chance.choice(["Arden", "Brook", "Crane", "Émile", "2147483647"])),
                value(chance.choice(["1", "22", "x9", "2024-03-01", "a-b-c", ""])),
                value(chance.random() < 0.5),
                value(chance.randint(0, 99)),
                value(chance.randint(0, 20)),
                value(Decimal(chance.randint(0, 99999)) / 100),
                *(value(day) for _ in range(3)),
                value(moment),
                value(chance.randint(0, 9)),
            )
        )
    marks = ", ".join("?" * len(COLUMNS))
    connection.executemany(f"INSERT INTO t VALUES ({marks})", rows)
    return connection


def _judged(sql: str, engine: duckdb.DuckDBPyConnection) -> tuple[Analysis, Decision]:
    found = analyse(sql, POLICY, SCHEMAS, engine)
    return found, decide(POLICY, Request("p"), found.shape)


def _answer(sql: str, engine: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    found, decision = _judged(sql, engine)
    assert decision.verdict is Verdict.ALLOW, (sql, decision.reasons)
    assert found.plan is not None
    assert decision.rule is not None
    released = release(found.plan, POLICY, decision.rule, engine, history=(), limits=LIMITS)
    return [tuple(row) for row in released.rows]


def _shown(rows: list[tuple[Any, ...]]) -> list[tuple[str, ...]]:
    def text(value: Any) -> str:
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            return str(float(value))
        return str(value).removesuffix(" 00:00:00").removesuffix("T00:00:00")

    return sorted(tuple(map(text, row)) for row in rows)


@pytest.mark.parametrize("key", KEYS)
def test_key_equals_a_plain_engine(key: str, engine: duckdb.DuckDBPyConnection) -> None:
    sql = f"SELECT {key} AS k, count(*) FROM t GROUP BY 1"

    answer = _shown(_answer(sql, engine))

    # Where the text names values of its own, a row of withheld groups may stand below.
    withheld = ("None", "None")
    kept = [row for row in answer if row != withheld]
    assert kept == _shown(engine.execute(sql).fetchall())


@pytest.mark.parametrize("condition", FILTERS)
def test_filter_equals_a_plain_engine(
    condition: str, engine: duckdb.DuckDBPyConnection
) -> None:
    sql = f"SELECT count(*) FROM t WHERE {condition}"

    assert _answer(sql, engine) == engine.execute(sql).fetchall()


@pytest.mark.parametrize("form", REFUSED)
def test_form_is_refused_by_name_with_a_hint(
    form: str, engine: duckdb.DuckDBPyConnection
) -> None:
    is_filter = form.startswith(
        ("d >=", "m >=", "age", "cost", "g =", "greatest", "(secret")
    )
    sql = f"SELECT count(*) FROM t WHERE {form}"
    if not is_filter and not form.startswith(("(g,", "(id,")):
        sql = f"SELECT {form} AS k, count(*) FROM t GROUP BY 1"

    _, decision = _judged(sql, engine)

    assert decision.verdict is Verdict.REFUSE
    found = [reason for reason in decision.reasons if reason.code == REFUSED[form]]
    assert found, decision.reasons
    assert all(reason.hint for reason in found)


@pytest.mark.parametrize(
    "pattern",
    [
        "^[A-C]r", r"\d{4}-\d{2}", "(?i)flu|asthma", "a|b", "(ab)+?", "[^aeiou]*", "",
        r"\bx\.y$", "(?:ab){2,5}", "é+", r"[\d\-]+", "a?b?", ".{0,100}",
    ],
)  # fmt: skip
def test_plain_pattern_is_read_by_the_engine(
    pattern: str, engine: duckdb.DuckDBPyConnection
) -> None:
    assert pattern_problem(pattern) is None

    engine.execute("SELECT regexp_matches('abc', ?)", [pattern]).fetchall()


@pytest.mark.parametrize(
    "pattern",
    [
        "(((a{1,30}){1,30}){1,30})b", "a{201}", "a{100}b{100}", "(a", "a)", "a**", "a*+",
        "*a", "^*", "a{,5}", "[z-a]", "[[:alpha:]]", r"(a)\1", "(?=a)", "(?P<n>a)",
        "a{2,1}", "x" * 101, r"\pL", r"\x41", "|*",
    ],
)  # fmt: skip
def test_other_pattern_is_refused(pattern: str) -> None:
    assert pattern_problem(pattern)


def test_pattern_without_problem_never_fails_in_the_engine(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    chance = random.Random(5)
    parts = ["a", "b", "(", ")", "[", "]", "{", "}", "1", ",", "*", "+", "?", "|", "^", "$",
             ".", "\\", "d", "-", "(?:", "(?i)", "é"]  # fmt: skip
    read = 0
    for _ in range(4000):
        pattern = "".join(chance.choices(parts, k=chance.randint(1, 8)))
        if pattern_problem(pattern) is None:
            read += 1
            engine.execute("SELECT regexp_replace('ab1', ?, 'x', 'g')", [pattern])
    assert read > 500


OVER_RESULTS = (
    "format('{:.1f}', avg(stage))", "format('{:>12} / {}', g, count(*))",
    "printf('%.2f', avg(stage))", "lpad(g, 9, '.')", "rpad(g, 100, '-')",
    "degrees(avg(stage))", "round_even(avg(stage), 1)", "avg(stage)::DECIMAL(10,2)",
    "avg(stage) ^ 2",
    "count(*) ** 2",
    "make_date(2024, 1, count(*)::INT % 28 + 1)", "split_part(g, 'r', 1)",
    "format('{:d}', g)",
    "DATE '2024-01-01' + INTERVAL '1 month'", "DATE '2024-01-01' + INTERVAL 3 DAY",
)  # fmt: skip
TOO_WIDE = (
    "format('{:200000}', g)", "format('{:{}}', g, count(*))", "format(g, count(*))",
    "printf('%100000d', count(*))", "printf('%*d', count(*), 1)", "lpad(g, 1000000, 'x')",
    "lpad(g, count(*)::INT, 'x')", "rpad(g, 101, 'x')", "format('{:.999f}', avg(stage))",
)  # fmt: skip


@pytest.mark.parametrize("form", OVER_RESULTS)
def test_form_over_results_equals_a_plain_engine(
    form: str, engine: duckdb.DuckDBPyConnection
) -> None:
    answer = _answer(f"SELECT g, {form} AS v FROM t GROUP BY g", engine)

    inner = "SELECT g, avg(stage) AS a, count(*) AS n FROM t GROUP BY g"
    plain = form.replace("avg(stage)", "a").replace("count(*)", "n")
    expected = engine.execute(f"SELECT g, TRY({plain}) FROM ({inner})").fetchall()
    assert _shown(answer) == _shown(expected)


@pytest.mark.parametrize("form", TOO_WIDE)
def test_text_of_any_width_is_refused(form: str, engine: duckdb.DuckDBPyConnection) -> None:
    _, decision = _judged(f"SELECT g, {form} AS v FROM t GROUP BY g", engine)

    assert decision.verdict is Verdict.REFUSE
    assert "function_arguments" in {reason.code for reason in decision.reasons}
