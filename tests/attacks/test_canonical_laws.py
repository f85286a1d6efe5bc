"""Laws of the canonical form: meaning is kept under NULL, equal meaning is one value."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.plan.canonical import canonical, from_data, key_of, to_data
from sandbox.plan.render import predicate_sql
from sandbox.plan.terms import (
    All,
    Always,
    AnyOf,
    Compare,
    Equal,
    Holds,
    Kind,
    Like,
    Literal,
    Missing,
    Negate,
    Predicate,
    Ref,
    Within,
)
from sandbox.protocol import Limits
from tests.attacks import world

_N = Ref("t", "n", Kind.INTEGER)
_X = Ref("t", "x", Kind.DOUBLE)
_S = Ref("t", "s", Kind.TEXT)
_Z = Ref("t", "z", Kind.TEXT)
_B = Ref("t", "b", Kind.BOOLEAN)

_numbers = st.integers(-2, 2).map(lambda n: Literal(Decimal(n), Kind.INTEGER))
_texts = st.sampled_from(["", "a", "ab", "b'"]).map(lambda s: Literal(s, Kind.TEXT))
_operators = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
_leaves: st.SearchStrategy[Predicate] = st.one_of(
    st.builds(Compare, _operators, st.sampled_from([_N, _X]), _numbers),
    st.builds(Compare, _operators, st.just(_S), _texts),
    st.builds(Equal, st.sampled_from(["=", "<>"]), st.just(_S), st.just(_Z)),
    st.builds(Within, st.just(_N), st.lists(_numbers, min_size=1, max_size=3).map(tuple)),
    st.builds(Within, st.just(_S), st.lists(_texts, min_size=1, max_size=3).map(tuple)),
    st.builds(Like, st.just(_S), st.sampled_from(["a%", "_", "%b%"]), st.booleans()),
    st.builds(Missing, st.sampled_from([_N, _X, _S, _B])),
    st.just(Holds(_B)),
    st.builds(Always, st.sampled_from([True, False, None])),
)
_predicates: st.SearchStrategy[Predicate] = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Negate, inner),
    ),
    max_leaves=8,
)
_rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-3, 3)),
        st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, float("nan"), float("inf")])),
        st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b'", "c"])),
        st.one_of(st.none(), st.sampled_from(["", "a", "ab"])),
        st.one_of(st.none(), st.booleans()),
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module")
def engine() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE t (n INTEGER, x DOUBLE, s VARCHAR, z VARCHAR, b BOOLEAN)"
    )
    return connection


@given(predicate=_predicates, rows=_rows)
def test_canonical_means_the_same_on_every_row(
    engine: duckdb.DuckDBPyConnection, predicate: Predicate, rows: list[tuple[object, ...]]
) -> None:
    engine.execute("DELETE FROM t")
    engine.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)

    before, after = predicate_sql(predicate), predicate_sql(canonical(predicate))
    answers = engine.execute(f"SELECT ({before}), ({after}) FROM t").fetchall()

    assert all(one is other for one, other in answers)


@given(predicate=_predicates)
def test_canonical_is_stable_and_survives_storing(predicate: Predicate) -> None:
    once = canonical(predicate)

    assert canonical(once) == once
    assert from_data(to_data(once)) == once
    assert key_of(from_data(to_data(once))) == key_of(once)


@given(parts=st.lists(_predicates, min_size=2, max_size=4), data=st.data())
def test_canonical_forgets_order_and_doubles(
    parts: list[Predicate], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(parts))

    for kind in (All, AnyOf):
        assert canonical(kind(tuple(parts))) == canonical(kind((*shuffled, parts[0])))


# --- fingerprints

EQUAL = [
    ("SELECT count(*) FROM ships WHERE {}", pair)
    for pair in [
        ("flag = 'Malta' AND built >= 1990", "built >= 1990 AND flag = 'Malta'"),
        ("flag = 'Malta'", "'Malta' = flag"),
        ("flag = 'Malta'", "FLAG = 'Malta'"),
        ("flag = 'Malta'", "\"flag\" = 'Malta'"),
        ("flag = 'Malta'", "ships.flag = 'Malta'"),
        ("flag = 'Malta'", "flag IN ('Malta')"),
        ("flag = 'Malta'", "flag IN ('Malta', 'Malta')"),
        ("flag = 'Malta'", "flag = 'Malta' AND TRUE"),
        ("flag = 'Malta'", "flag = 'Malta' OR FALSE"),
        ("flag = 'Malta'", "NOT NOT flag = 'Malta'"),
        ("flag = 'Malta'", "NOT flag <> 'Malta'"),
        ("flag = 'Malta'", "flag = 'Malta' AND flag = 'Malta'"),
        ("flag = 'Malta' OR flag = 'Norway'", "flag IN ('Norway', 'Malta')"),
        ("NOT (flag = 'Malta' OR built < 1990)", "built >= 1990 AND flag <> 'Malta'"),
        ("NOT (flag = 'Malta' AND built < 1990)", "built >= 1990 OR flag <> 'Malta'"),
        ("built >= 1980 AND built < 2000", "built BETWEEN 1980 AND 1999"),
        ("built >= 1980", "built > 1979"),
        ("built >= 1980", "NOT built < 1980"),
        ("built >= 1980", "built >= 1900 + 80"),
        ("built >= 1980", "1980 <= built"),
        ("built >= 1980", "built >= 1980.0"),
        ("built >= 1980", "built >= 1_980"),
        ("built >= -(-1980)", "built >= 1980"),
        ("flag IS NOT NULL", "NOT flag IS NULL"),
        ("flag NOT IN ('Malta')", "flag <> 'Malta'"),
        ("flag LIKE 'M%'", "NOT flag NOT LIKE 'M%'"),
    ]
]
EQUAL += [
    ("{}", pair)
    for pair in [
        ("SELECT count(*) FROM ships", "SELECT count(*) AS n FROM ships AS s"),
        ("SELECT count(*) FROM ships", "select COUNT( * )\n-- hello\nfrom Ships"),
        ("SELECT count(*) FROM ships", "SELECT count(1) FROM ships"),
        (
            "SELECT flag, count(*) FROM ships GROUP BY flag",
            "SELECT flag AS f, count(*) FROM ships GROUP BY f",
        ),
        (
            "SELECT flag, count(*) FROM ships GROUP BY flag",
            "SELECT flag, count(*) FROM ships GROUP BY 1",
        ),
        (
            "SELECT flag, count(*) FROM ships GROUP BY flag",
            "SELECT flag, count(*) FROM ships GROUP BY ALL",
        ),
        (
            "SELECT flag, insurer, count(*) FROM ships GROUP BY flag, insurer",
            "SELECT flag, insurer, count(*) FROM ships GROUP BY insurer, flag",
        ),
        (
            "SELECT floor(built / 5) * 5 AS b, count(*) FROM ships GROUP BY b",
            "SELECT 5 * floor(built / 5.0) AS b, count(*) FROM ships GROUP BY b",
        ),
        (
            "SELECT count(*) FROM ships s JOIN surveys v ON s.imo = v.imo",
            "SELECT count(*) FROM surveys JOIN ships USING (imo)",
        ),
        (
            "SELECT sum(tonnage) FILTER (WHERE flag = 'Malta') FROM ships",
            "SELECT sum(CASE WHEN flag = 'Malta' THEN tonnage END) FROM ships",
        ),
        ("SELECT avg(wage) FROM ships", "SELECT mean(wage) FROM ships"),
        (
            "SELECT NOT built < 1990 AND flag = 'a' AS k, count(*) FROM ships GROUP BY k",
            "SELECT flag IN ('a') AND built >= 1990 AS k, count(*) FROM ships GROUP BY k",
        ),
        (
            "SELECT flag IN ('a', 'b') AS k, count(*) FROM ships GROUP BY k",
            "SELECT flag = 'b' OR flag = 'a' AS k, count(*) FROM ships GROUP BY k",
        ),
    ]
]
DIFFERENT = [
    "SELECT count(*) FROM ships",
    "SELECT count(*) FROM surveys",
    "SELECT count(*) + 0 FROM ships",
    "SELECT count(DISTINCT imo) FROM ships",
    "SELECT count(wage) FROM ships",
    "SELECT sum(wage) FROM ships",
    "SELECT avg(wage) FROM ships",
    "SELECT avg(tonnage) FROM ships",
    "SELECT avg(tonnage) FROM ships JOIN surveys USING (imo)",
    "SELECT count(*) FROM ships WHERE flag = 'Malta'",
    "SELECT count(*) FROM ships WHERE flag <> 'Malta'",
    "SELECT count(*) FROM ships WHERE flag = 'malta'",
    "SELECT count(*) FROM ships WHERE flag = 'Malta '",
    "SELECT count(*) FROM ships WHERE flag LIKE 'Malta'",
    "SELECT count(*) FROM ships WHERE flag ILIKE 'Malta'",
    "SELECT count(*) FROM ships WHERE insurer = 'Malta'",
    "SELECT count(*) FROM ships WHERE flag IS NULL",
    "SELECT count(*) FROM ships WHERE flag IS NULL OR flag IS NOT NULL",
    "SELECT count(*) FROM ships WHERE flag = 'Malta' OR built >= 1980",
    "SELECT count(*) FROM ships WHERE flag = 'Malta' AND built >= 1980",
    "SELECT count(*) FROM ships WHERE built >= 1980",
    "SELECT count(*) FROM ships WHERE built < 1980",
    "SELECT count(*) FROM ships WHERE built >= 1985",
    "SELECT count(*) FROM ships WHERE tonnage >= 0",
    "SELECT count(*) FILTER (WHERE built >= 1980) FROM ships",
    "SELECT flag, count(*) FROM ships GROUP BY flag",
    "SELECT count(*) FROM ships GROUP BY flag",
    "SELECT count(*), flag FROM ships GROUP BY flag",
    "SELECT flag, count(*) FROM ships GROUP BY flag HAVING count(*) > 10",
    "SELECT flag, count(*) FROM ships GROUP BY flag ORDER BY flag",
    "SELECT flag, count(*) FROM ships GROUP BY flag ORDER BY flag DESC",
    "SELECT flag, count(*) FROM ships GROUP BY flag LIMIT 2",
    "SELECT flag, count(*) FROM ships GROUP BY flag LIMIT 2 OFFSET 1",
    "SELECT floor(built / 5) * 5 AS b, count(*) FROM ships GROUP BY b",
    "SELECT floor(built / 5) AS b, count(*) FROM ships GROUP BY b",
    "SELECT floor(built / 10) * 10 AS b, count(*) FROM ships GROUP BY b",
]

Fingerprint = Callable[[str], str]


@pytest.fixture(scope="module")
def fingerprint(tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    files = world.write_tables(tmp_path_factory.mktemp("world"))
    connection = open_engine(
        {name: [str(path)] for name, path in files.items()},
        Limits(memory_bytes=2 * 1024**3),
    )
    schemas = {
        name: [
            (row[0], row[1]) for row in connection.execute(f"DESCRIBE {name}").fetchall()
        ]
        for name in files
    }
    policy = world.policy()

    def of(sql: str) -> str:
        found = analyse(sql, policy, schemas, connection)
        assert found.plan is not None, (sql, found.shape.findings)
        return found.plan.fingerprint

    return of


@pytest.mark.parametrize(("frame", "pair"), EQUAL)
def test_fingerprint_equal_meaning_has_one(
    fingerprint: Fingerprint, frame: str, pair: tuple[str, str]
) -> None:
    first, second = (fingerprint(frame.format(text)) for text in pair)

    assert first == second


def test_fingerprint_different_queries_differ(fingerprint: Fingerprint) -> None:
    found = {sql: fingerprint(sql) for sql in DIFFERENT}

    assert len(set(found.values())) == len(DIFFERENT), found


def test_fingerprint_tautology_under_null_is_none(fingerprint: Fingerprint) -> None:
    """`x >= 0` is not TRUE where x is NULL, so it is never dropped."""
    everyone = fingerprint("SELECT count(*) FROM ships")

    assert fingerprint("SELECT count(*) FROM ships WHERE tonnage >= 0") != everyone
