"""What is refused before the engine's parser sees a text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.sql import limits
from sandbox.sql.limits import check_text

LARGE = {
    "text": "SELECT '" + "a" * 1_000_000 + "'",
    "brackets": "SELECT " + "(" * 10_000 + "1" + ")" * 10_000,
    "open brackets": "SELECT " + "(" * 10_000,
    "case": "SELECT " + "CASE WHEN a THEN " * 2_000 + "1" + " END" * 2_000,
    "not": "SELECT " + "NOT " * 20_000 + "a",
    "and": "SELECT " + "1=1 AND " * 10_000 + "1=1",
    "plus": "SELECT " + "1+" * 30_000 + "1",
    "in": "SELECT a IN (" + "1," * 20_000 + "1)",
    "columns": "SELECT " + ",".join(f"c{i}" for i in range(5_000)) + " FROM t",
    "union": " UNION ALL ".join(["SELECT 1"] * 5_000),
    "subqueries": "SELECT (" * 1_000 + "SELECT 1" + ")" * 1_000,
    "statements": "SELECT 1;" * 10_000,
    "name": "SELECT " + "a" * 90_000 + " FROM t",
    "number": "SELECT " + "1" * 90_000,
    "windows": "SELECT "
    + "sum(a) OVER w," * 200
    + " 1 FROM t WINDOW w AS (PARTITION BY b)",
    "cube": "SELECT 1 FROM t GROUP BY CUBE(a,b,c,d,e,f,g,h,i)",
    "rollups": "SELECT 1 FROM t GROUP BY " + ", ".join(["ROLLUP(a,b,c,d)"] * 4),
    "sets": "SELECT 1 GROUP BY GROUPING SETS (" + "(a)," * 300 + "b)",
    "with": "WITH a AS (" * 3 + "SELECT 1" + ") FROM a" * 3,
}


@pytest.mark.parametrize("what", LARGE)
def test_check_text_large_is_too_complex(what: str) -> None:
    found = check_text(LARGE[what])

    assert found is not None
    assert found.code == "query_too_complex"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 'a", "a string is opened and not closed at line 1, column 8"),
        ("SELECT e'a\\'", "a string is opened"),
        ("SELECT $x$ a $$", "a string is opened"),
        ("SELECT\n /* a", "a comment is opened and not closed at line 2, column 2"),
        ("SELECT /* /* */ 1", "a comment is opened"),
        ("SELECT /* /* */ */ 1", "a comment stands inside a comment"),
        ('SELECT "a', "a quoted name is opened"),
        ("SELECT (1", "a bracket is not closed"),
        ("SELECT 1)", "a bracket is closed that is not open"),
        ("SELECT 0xFF", "a number runs into a name"),
        ("SELECT 1\0", "the query contains a NUL"),
        ("SELECT '\ud800'", "the query contains half of a surrogate pair"),
    ],
)
def test_check_text_broken_says_what(sql: str, message: str) -> None:
    found = check_text(sql)

    assert found is not None
    assert found.code == "sql_syntax"
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a\u200b FROM t",
        'SELECT "a\u200b" FROM t',
        "SELECT a /* \u00ad */ FROM t",
        "SELECT 1 -- \u202e",
        "SELECT '\u202e'",
        "SELECT $$\u2066$$",
        "\ufeffSELECT 1",
        "SELECT 1 --x\r, 2",
        "SELECT 1 --x\u2028, 2",
        "SELECT 1 --x\x0b, 2",
        "SELECT a\u3164 FROM t",
        "SELECT a\ufe0f FROM t",
        "SELECT\u1680a",
        "SELECT a\x07",
        "SELECT 1\x85",
    ],
)
def test_check_text_unseen_character_is_refused(sql: str) -> None:
    found = check_text(sql)

    assert found is not None
    assert found.code == "invisible_character"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM t -- (\r\n",
        "SELECT '\u200d\u00ad', \"naïve\", 'it''s', e'it\\'s', $$it's ($$, $t$ $$ $t$",
        "SELECT\u00a0a FROM t",
        "SELECT \uff41 FROM t",
        "SELECT \u0430ge FROM t",
        "SELECT 1e5, 1_000, 1.5e-3, 1., .5, x'00', a$b FROM t /* a\n\tb */",
        "SELECT a, count(*) FROM t GROUP BY GROUPING SETS ((a, b), (a), ())",
        "SELECT a FROM t GROUP BY CUBE(a, b, c), ROLLUP(d, e)",
        "SELECT a IN (" + "1," * 2_000 + "1) FROM t",
        "WITH " + ", ".join(["a AS (WITH b AS (SELECT 1) FROM b)"] * 9) + " FROM a",
    ],
)
def test_check_text_plain_passes(sql: str) -> None:
    assert check_text(sql) is None


def test_check_text_long_string_is_one_token() -> None:
    assert check_text("SELECT '" + "(" * (limits.MAX_SQL_CHARACTERS - 100) + "'") is None


HOSTILE = {
    **LARGE,
    "quotes": "SELECT '" + "''" * 49_000 + "'",
    "escapes": "SELECT e'" + "\\'" * 49_000 + "'",
    "word": "SELECT " + "\u0430" * 99_000,
    "comments": "/* a */" * 14_000 + "SELECT 1",
    "open with": "WITH a AS " + "(" * 49,
    "bad with": "WITH a AS (" * 2 + "SELECT 1 1 1" + ") FROM a" * 2,
    "long": "SELECT " + "a + " * 2_400 + "a",
    "long list": "SELECT a IN (" + "1," * 2_400 + "1) FROM t",
}
_MEASURE = """
import resource, sys, time
import duckdb
from sandbox.sql.parse import parse_query

connection = duckdb.connect()
connection.execute("SET threads = 1")
parse_query("SELECT 1 FROM t", connection)
text = sys.stdin.buffer.read().decode()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
parse_query(text, connection)
seconds = time.process_time() - started
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, seconds)
"""


@pytest.mark.parametrize("what", HOSTILE)
def test_parse_query_hostile_text_stays_small_and_quick(what: str) -> None:
    """In a process of its own: below 200 MB; the time has room for a busy machine."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        input=HOSTILE[what].encode(),
        capture_output=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )

    kilobytes, seconds = done.stdout.split()
    assert int(kilobytes) < 200 * 1024
    assert float(seconds) < 1.0
