"""The engine's parse tree, read into our nodes: each construct, and each refusal."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from sandbox.sql import syntax as s
from sandbox.sql.parse import parse, parse_query

A, B, X = (s.Column((name,)) for name in "abx")
ONE, TWO = (s.Constant("integer", text) for text in "12")
T, U = s.TableName("t", "t"), s.TableName("u", "u")
STAR = s.Output(s.Star(), "")


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def select(*expressions: s.Expression) -> s.Select:
    return s.Select(tuple(s.Output(item, "") for item in expressions), None)


def without_places(node: object) -> object:
    """A tree with every place taken out: `place` of a table or join is compared."""
    if isinstance(node, tuple):
        return tuple(without_places(item) for item in node)
    names = getattr(node, "__dataclass_fields__", None)
    if names is None:
        return node
    return (
        type(node).__name__,
        tuple((n, without_places(getattr(node, n))) for n in names if n != "place"),
    )


EXPRESSIONS: dict[str, s.Expression] = {
    "(SELECT 1)": s.Subquery("scalar", select(ONE)),
    "EXISTS (SELECT 1)": s.Subquery("exists", select(ONE)),
    "NOT EXISTS (SELECT 1)": s.Not(s.Subquery("exists", select(ONE))),
    "a IN (SELECT 1)": s.Subquery("in", select(ONE), A),
    "a NOT IN (SELECT 1)": s.Not(s.Subquery("in", select(ONE), A)),
    "a = ANY (SELECT 1)": s.Subquery("in", select(ONE), A),
    "a <> ALL (SELECT 1)": s.Not(s.Subquery("in", select(ONE), A)),
    "a IS DISTINCT FROM b": s.Comparison("is distinct", A, B),
    "a IS NOT DISTINCT FROM b": s.Comparison("is not distinct", A, B),
    "a BETWEEN 1 AND 2": s.Logical(
        "AND", (s.Comparison(">=", A, ONE), s.Comparison("<=", A, TWO))
    ),
    "a NOT BETWEEN 1 AND 2": s.Not(
        s.Logical("AND", (s.Comparison(">=", A, ONE), s.Comparison("<=", A, TWO)))
    ),
    "a LIKE b": s.Call("~~", (A, B)),
    "a NOT ILIKE b": s.Call("!~~*", (A, B)),
    "TRY_CAST(a AS DATE)": s.Cast(A, "DATE", lenient=True),
    "a::DECIMAL(10,2)": s.Cast(A, "DECIMAL(10,2)", lenient=False),
    "a::NUMERIC(4,1)": s.Cast(A, "DECIMAL(4,1)", lenient=False),
    "INTERVAL '3 days'": s.Cast(s.Constant("string", "3 days"), "INTERVAL", lenient=False),
    "INTERVAL 1 DAY": s.Call(
        "to_days",
        (
            s.Cast(
                s.Call("trunc", (s.Cast(ONE, "DOUBLE", lenient=False),)),
                "INTEGER",
                lenient=False,
            ),
        ),
    ),
    "GROUPING(a)": s.Call("grouping", (A,)),
    "GROUPING_ID(a, b)": s.Call("grouping", (A, B)),
    "quantile_cont(x, 1)": s.Call("quantile_cont", (X, ONE)),
    "percentile_cont(1) WITHIN GROUP (ORDER BY x)": s.Call("quantile_cont", (X, ONE)),
    "percentile_disc(1) WITHIN GROUP (ORDER BY x)": s.Call("quantile_disc", (X, ONE)),
    "*": s.Star(),
    "t.*": s.Star("t"),
    "* EXCLUDE (a, b)": s.Star(exclude=("a", "b")),
    "t.* REPLACE (b AS a)": s.Star("t", replace=(("a", B),)),
    "sum(x) OVER ()": s.Window(s.Call("sum", (X,))),
    "sum(DISTINCT x) FILTER (WHERE a) OVER (PARTITION BY a ORDER BY b DESC NULLS FIRST)": (
        s.Window(
            s.Call("sum", (X,), distinct=True, condition=A),
            (A,),
            (s.Order(B, descending=True, nulls_last=False),),
        )
    ),
    "last_value(x IGNORE NULLS) OVER ()": s.Window(
        s.Call("last_value", (X,)), ignore_nulls=True
    ),
    "sum(x) OVER (ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)": s.Window(
        s.Call("sum", (X,)), frame=s.Frame("rows", ("preceding", 1), ("current", 0))
    ),
    "sum(x) OVER (GROUPS BETWEEN UNBOUNDED PRECEDING AND 2 FOLLOWING)": s.Window(
        s.Call("sum", (X,)), frame=s.Frame("groups", ("preceding", None), ("following", 2))
    ),
    "sum(x) OVER (RANGE BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING)": s.Window(
        s.Call("sum", (X,)), frame=s.Frame("range", ("preceding", 1), ("following", None))
    ),
    "sum(x) OVER (RANGE UNBOUNDED PRECEDING)": s.Window(s.Call("sum", (X,))),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_parse_expression_gives_nodes(
    text: str, connection: duckdb.DuckDBPyConnection
) -> None:
    found, findings = parse(f"SELECT {text}", connection)

    assert findings == []
    assert found is not None
    assert without_places(found) == without_places(select(EXPRESSIONS[text]))


def join(kind: str, condition: s.Expression | None = None, **more: bool) -> s.Select:
    asof, natural = more.get("asof", False), more.get("natural", False)
    found = s.Join(T, U, condition, (), kind=kind, asof=asof, natural=natural)
    return s.Select((STAR,), found)


COLUMNS = (s.Output(ONE, ""), s.Output(TWO, ""))
SAME = s.Comparison("=", A, B)
BOTH = (s.Output(A, ""),)
QUERIES: dict[str, s.Query] = {
    "FROM t": s.Select((STAR,), T),
    "FROM t SELECT a,": s.Select(BOTH, T),
    "SELECT b: a FROM t": s.Select((s.Output(A, "b"),), T),
    "FROM (SELECT 1, 2) AS d(a, b)": s.Select(
        (STAR,), s.Derived(s.Select(COLUMNS, None), "d", ("a", "b"))
    ),
    "FROM t, u": join("cross"),
    "FROM t CROSS JOIN u": join("cross"),
    "FROM t LEFT JOIN u ON a = b": join("left", SAME),
    "FROM t RIGHT JOIN u ON a = b": join("right", SAME),
    "FROM t FULL JOIN u ON a = b": join("full", SAME),
    "FROM t SEMI JOIN u ON a = b": join("semi", SAME),
    "FROM t ANTI JOIN u ON a = b": join("anti", SAME),
    "FROM t NATURAL LEFT JOIN u": join("left", natural=True),
    "FROM t ASOF JOIN u ON a >= b": join("inner", s.Comparison(">=", A, B), asof=True),
    "FROM t ASOF LEFT JOIN u ON a >= b": join("left", s.Comparison(">=", A, B), asof=True),
    "FROM t JOIN u USING (a)": s.Select((STAR,), s.Join(T, U, None, ("a",))),
    "WITH w AS MATERIALIZED (SELECT 1), v AS (FROM w) FROM v": s.Select(
        (STAR,),
        s.TableName("v", "v"),
        with_=(("w", select(ONE)), ("v", s.Select((STAR,), s.TableName("w", "w")))),
    ),
    "WITH w(a, b) AS (SELECT 1, 2) FROM w": s.Select(
        (STAR,),
        s.TableName("w", "w"),
        with_=(
            (
                "w",
                s.Select((STAR,), s.Derived(s.Select(COLUMNS, None), "w", ("a", "b"))),
            ),
        ),
    ),
    "SELECT a FROM t GROUP BY a, ROLLUP(b, x)": s.Select(
        BOTH, T, groups=(A, B, X), grouping_sets=((0,), (0, 1), (0, 1, 2))
    ),
    "SELECT a FROM t GROUP BY GROUPING SETS ((a), (b, a), ())": s.Select(
        BOTH, T, groups=(A, B), grouping_sets=((0,), (0, 1), ())
    ),
    "SELECT a FROM t GROUP BY a, b": s.Select(BOTH, T, groups=(A, B)),
    "SELECT a FROM t GROUP BY ALL ORDER BY ALL DESC": s.Select(
        BOTH,
        T,
        group_all=True,
        orders=(s.Order(s.Star(), descending=True, nulls_last=None),),
        order_all=True,
    ),
    "SELECT a FROM t QUALIFY b": s.Select(BOTH, T, qualify=B),
    "SELECT DISTINCT a FROM t": s.Select(BOTH, T, distinct_on=()),
    "SELECT DISTINCT ON (b) a FROM t LIMIT 3 OFFSET 1": s.Select(
        BOTH, T, distinct_on=(B,), limit=3, offset=1
    ),
    "SELECT 1 UNION ALL BY NAME SELECT 2 ORDER BY 1 LIMIT 2": s.SetOperation(
        "union",
        all=True,
        left=select(ONE),
        right=select(TWO),
        orders=(s.Order(ONE, descending=False, nulls_last=None),),
        limit=2,
        by_name=True,
    ),
    "SELECT 1 UNION SELECT 2 UNION SELECT 1": s.SetOperation(
        "union",
        all=False,
        left=s.SetOperation("union", all=False, left=select(ONE), right=select(TWO)),
        right=select(ONE),
    ),
    "SELECT 1 EXCEPT SELECT 2 INTERSECT ALL SELECT 1": s.SetOperation(
        "except",
        all=False,
        left=select(ONE),
        right=s.SetOperation("intersect", all=True, left=select(TWO), right=select(ONE)),
    ),
    "WITH w AS (SELECT 1) SELECT 1 EXCEPT SELECT 2": s.SetOperation(
        "except",
        all=False,
        left=select(ONE),
        right=select(TWO),
        with_=(("w", select(ONE)),),
    ),
    "VALUES (1), (2)": s.Select(
        (STAR,),
        s.Derived(
            s.SetOperation(
                "union",
                all=True,
                left=s.Select((s.Output(ONE, "col0"),), None),
                right=s.Select((s.Output(TWO, "col0"),), None),
            ),
            "valueslist",
        ),
    ),
}


@pytest.mark.parametrize("text", QUERIES)
def test_parse_query_gives_nodes(text: str, connection: duckdb.DuckDBPyConnection) -> None:
    found, findings = parse_query(text, connection)

    assert findings == []
    assert without_places(found) == without_places(QUERIES[text])


REFUSED = {
    "SELECT sum(x) OVER (ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES)": "EXCLUDE",
    "SELECT sum(x) OVER (ROWS BETWEEN 1+1 PRECEDING AND CURRENT ROW)": "frame bound",
    "SELECT sum(x) OVER (RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW)": (
        "frame bound"
    ),
    "SELECT sum(x ORDER BY a) OVER ()": "ORDER BY inside",
    "SELECT s.sum(x) OVER ()": "schema",
    "SELECT s.f(x)": "schema",
    "SELECT COLUMNS('a')": "COLUMNS()",
    "SELECT sum(COLUMNS(*)) FROM t": "COLUMNS()",
    "SELECT * RENAME (a AS b) FROM t": "RENAME",
    "SELECT * LIKE 'a%' FROM t": "`*` inside",
    "SELECT * EXCLUDE (t.a) FROM t": "EXCLUDE",
    "SELECT *COLUMNS(*) FROM t": "`*` before",
    "SELECT a FROM t ORDER BY COLUMNS('a')": "COLUMNS()",
    "SELECT a FROM t ORDER BY *": "`*` inside",
    "FROM t AS x(a, b)": "column aliases",
    "FROM t POSITIONAL JOIN u": "positional",
    "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 2 FROM r) FROM r": "WITH RECURSIVE",
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) FROM x": "no SELECT",
    "(SELECT a FROM t LIMIT 3) LIMIT 2": "around a SELECT",
    "(SELECT a FROM t LIMIT 3) ORDER BY a": "around a SELECT",
    "SELECT a > ANY (SELECT 1)": "ANY or ALL",
    "SELECT a = ALL (SELECT 1)": "ANY or ALL",
    "SELECT ARRAY(SELECT 1)": "a list",
    "SELECT [1]": "a list",
    "SELECT ARRAY[1]": "a list",
    "SELECT {'a': 1}": "a struct",
    "SELECT (1, 2)": "a row",
    "SELECT MAP {1: 2}": "a map",
    "SELECT a[1]": "an element",
    "SELECT (a).b": "a field",
    "SELECT f(x := 1)": "function call",
    "SELECT list_filter(a, x -> x)": "a lambda",
    "SELECT TRY(a)": "TRY()",
    "SELECT #1 FROM t": "its position",
    "SELECT a COLLATE nocase": "a collation",
    "SELECT x'00'": "constant",
    "SELECT a::VARCHAR(3)": "parameters",
    "SELECT a::DECIMAL(5)": "parameters",
    "SELECT a::DECIMAL(1000,2)": "parameters",
    "SELECT a::INT[]": "parameters",
    "SELECT a::s.t": "parameters",
    "FROM (PIVOT t ON a IN (1) USING sum(b))": "PIVOT",
    "UNPIVOT t ON a INTO NAME n VALUE v": "PIVOT",
    "DESCRIBE t": "DESCRIBE",
    "FROM range(3)": "a table function",
    "FROM t TABLESAMPLE 10%": "a sample",
    "FROM t USING SAMPLE 3": "a sample",
    "FROM (SELECT 1) TABLESAMPLE 10%": "a sample",
    "FROM t AT (VERSION => 3)": "past state",
    "SELECT list(x ORDER BY a)": "ORDER BY inside",
    "SELECT mode() WITHIN GROUP (ORDER BY x)": "ORDER BY inside",
    "SELECT percentile_cont(1) WITHIN GROUP (ORDER BY x DESC)": "WITHIN GROUP",
    "SELECT 1 LIMIT 10%": "percent",
    "SELECT 1 LIMIT (SELECT 1)": "plain number",
    "VALUES (a)": "VALUES",
}


@pytest.mark.parametrize("text", REFUSED)
def test_parse_query_without_branch_is_named(
    text: str, connection: duckdb.DuckDBPyConnection
) -> None:
    _, findings = parse_query(text, connection)

    assert "syntax_unavailable" in {item.code for item in findings}
    assert any(REFUSED[text] in item.message for item in findings)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT ?", "parameter"),
        ("FROM s.t", "unknown_table"),
        (" UNION ALL ".join(["SELECT 1"] * 60), "query_too_complex"),
        ("VALUES " + "(1)," * 200 + "(1)", "query_too_complex"),
        ("SELECT " + "(SELECT " * 70 + "1" + ")" * 70, "query_too_complex"),
        ("SELECT 1 FROM t" + ", t" * 70, "query_too_complex"),
        ("SELECT " + "a + " * 2_000 + "a", "query_too_complex"),
        ("PIVOT t ON a USING sum(b)", "select_only"),
        ("SELECT 1; SELECT 2", "one_statement"),
    ],
)
def test_parse_query_other_refusal(
    sql: str, code: str, connection: duckdb.DuckDBPyConnection
) -> None:
    _, findings = parse_query(sql, connection)

    assert code in {item.code for item in findings}


def test_parse_set_operation_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    found, findings = parse("SELECT 1 UNION SELECT 2", connection)

    assert found is None
    assert [item.code for item in findings] == ["syntax_unavailable"]
