"""The type of a CSV column, found on a sample and proved on every value.

A type is proposed when at least nine in ten values of the first records fit it. All values
fit: the column has it. At most one in a hundred of many does not: those are mistakes, and
the upload is refused with the first one's line, rather than the column silently becoming
text. More than that: the column is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from sandbox.quoting import quoted, text_literal

_SAMPLE_ROWS = 20_000
_SAMPLE_SHARE = 0.9
_MISTAKES_SHARE = 0.01
_MANY = 50
_DECIMAL_DIGITS, _MOST_DECIMALS = 18, 4

# Words for «nothing» in columns that are not text; in text they are text.
_NOTHING = ("", "NA", "N/A", "NULL", "null", "None", "NaN", "nan", "-")
_INTEGER = r"\s*[+-]?\d{1,19}\s*"
_NUMBER = r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*"
_CODE = r"\s*[+-]?0\d.*"  # 007 is a code, not a seven
_ISO_TIME = (
    r"\s*\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?\s*"
)
_DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y年%m月%d日")
_TIME_FORMATS = (" %H:%M", " %H:%M:%S")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to read a column: a SQL test and a SQL value over its raw text."""

    type: str
    fits: str
    value: str


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column became: its engine type and the SQL that reads it."""

    name: str
    type: str
    value: str
    mistakes: str = ""  # SQL condition true of values that are mistakes; empty: none


def _candidates(v: str) -> list[Candidate]:
    """Every way to read the SQL text expression `v`, the preferred ones first."""
    trimmed = f"trim({v})"
    found = [
        Candidate("NUMBER", _matches(v, _NUMBER), f"TRY_CAST({v} AS DOUBLE)"),
        Candidate(
            "BOOLEAN",
            f"lower({trimmed}) IN ('true', 'false')",
            f"lower({trimmed}) = 'true'",
        ),
    ]
    for form in _DATE_FORMATS:
        parsed = f"try_strptime({trimmed}, {text_literal(form)})"
        found.append(Candidate("DATE", f"{parsed} IS NOT NULL", f"CAST({parsed} AS DATE)"))
    cast = f"TRY_CAST({trimmed} AS TIMESTAMP)"
    iso = f"({_matches(v, _ISO_TIME)} AND {cast} IS NOT NULL)"
    found.append(Candidate("TIMESTAMP", iso, cast))
    for form in _DATE_FORMATS:
        for time in _TIME_FORMATS:
            parsed = f"try_strptime({trimmed}, {text_literal(form + time)})"
            found.append(Candidate("TIMESTAMP", f"{parsed} IS NOT NULL", parsed))
    return found


def _matches(v: str, pattern: str) -> str:
    return f"regexp_full_match({v}, {text_literal(pattern)})"


def _is_nothing(v: str) -> str:
    words = ", ".join(text_literal(word) for word in _NOTHING)
    return f"({v} IS NULL OR trim({v}) IN ({words}))"


def infer_types(
    connection: duckdb.DuckDBPyConnection, source: str, names: Sequence[str]
) -> tuple[list[ColumnType], list[str]]:
    """Return the type of each text column of the SQL relation `source`, and warnings."""
    warnings: list[str] = []
    proposed = _propose(connection, source, names, warnings)
    return _prove(connection, source, proposed), warnings


def _propose(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    names: Sequence[str],
    warnings: list[str],
) -> list[tuple[str, Candidate | None]]:
    connection.execute(
        f"CREATE TEMP TABLE sample AS SELECT * FROM {source} LIMIT {_SAMPLE_ROWS}"
    )
    proposed = []
    for name in names:
        candidates = _candidates(quoted(name))
        tests = ", ".join(f"count(*) FILTER ({c.fits})" for c in candidates)
        something, *counts = connection.execute(
            f"SELECT count(*), {tests} FROM sample WHERE NOT {_is_nothing(quoted(name))}"
        ).fetchall()[0]
        fitting = [
            candidate
            for candidate, count in zip(candidates, counts, strict=True)
            if something and count >= something * _SAMPLE_SHARE
        ]
        proposed.append((name, _choose(name, fitting, warnings)))
    connection.execute("DROP TABLE sample")
    return proposed


def _choose(name: str, fitting: list[Candidate], warnings: list[str]) -> Candidate | None:
    """The preferred reading; two that differ in whether the day comes first are none."""
    slashed = [c for c in fitting if "%d/%m/%Y" in c.value or "%m/%d/%Y" in c.value]
    if len({("%d/%m" in candidate.value) for candidate in slashed}) == 2:
        warnings.append(
            f"Column {name} may be day/month or month/day: it stays text. Write dates as"
            " 2026-01-31 to have them as dates."
        )
        return None
    return fitting[0] if fitting else None


def _prove(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    proposed: Sequence[tuple[str, Candidate | None]],
) -> list[ColumnType]:
    """One pass over every value of every column that may be more than text."""
    tests = [
        test
        for name, candidate in proposed
        if candidate is not None
        for test in _tests(quoted(name), candidate)
    ]
    counts: list[int] = []
    if tests:
        row = connection.execute(f"SELECT {', '.join(tests)} FROM {source}").fetchall()[0]
        counts = [int(count or 0) for count in row]
    types = []
    for name, candidate in proposed:
        if candidate is None:
            types.append(_text(name))
            continue
        taken, counts = counts[:_TESTS], counts[_TESTS:]
        types.append(_decide(name, candidate, taken))
    return types


_TESTS = 7


def _tests(v: str, candidate: Candidate) -> list[str]:
    """SQL aggregates: values, those that fit, and of numbers: integers, codes, those
    without exponent, most decimals, most digits before the point.
    """
    something = f"NOT {_is_nothing(v)}"
    counts = [
        f"count(*) FILTER ({something})",
        f"count(*) FILTER ({something} AND {candidate.fits})",
    ]
    if candidate.type != "NUMBER":
        return counts + ["0"] * (_TESTS - len(counts))
    plain = f"({something} AND {candidate.fits} AND NOT contains(lower({v}), 'e'))"
    trimmed = f"trim({v})"
    point = f"instr({trimmed}, '.')"
    decimals = f"CASE WHEN {point} > 0 THEN length({trimmed}) - {point} ELSE 0 END"
    whole = f"CASE WHEN {point} > 0 THEN {point} - 1 ELSE length({trimmed}) END"
    integer = f"{_matches(v, _INTEGER)} AND TRY_CAST({v} AS BIGINT) IS NOT NULL"
    return [
        *counts,
        f"count(*) FILTER ({something} AND {integer})",
        f"count(*) FILTER ({something} AND {_matches(v, _CODE)})",
        f"count(*) FILTER ({plain})",
        f"max({decimals}) FILTER ({plain})",
        f"max({whole}) FILTER ({plain})",
    ]


def _decide(name: str, candidate: Candidate, counts: Sequence[int]) -> ColumnType:
    something, fits, integers, codes, plain, decimals, whole = counts
    mistakes = something - fits
    if mistakes and (mistakes > something * _MISTAKES_SHARE or fits < _MANY):
        return _text(name)
    kind, value = candidate.type, candidate.value
    if kind == "NUMBER":
        # As numbers, codes with leading zeros and too long whole numbers would lose.
        if codes or (decimals == 0 and plain == fits and integers < fits):
            return _text(name)
        kind = _number_type(fits, integers, plain, decimals, whole)
        value = f"TRY_CAST(trim({quoted(name)}) AS {kind})"
    nothing = _is_nothing(quoted(name))
    value = f"CASE WHEN {nothing} THEN NULL ELSE {value} END"
    broken = f"NOT {nothing} AND NOT {candidate.fits}" if mistakes else ""
    return ColumnType(name, kind, value, broken)


def _number_type(fits: int, integers: int, plain: int, decimals: int, whole: int) -> str:
    if integers == fits:
        return "BIGINT"
    if plain == fits and decimals <= _MOST_DECIMALS and whole + decimals < _DECIMAL_DIGITS:
        return f"DECIMAL({_DECIMAL_DIGITS},{max(decimals, 1)})"
    return "DOUBLE"


def _text(name: str) -> ColumnType:
    return ColumnType(name, "VARCHAR", quoted(name))
