"""The type of a CSV column, proposed on a sample and decided by counts of every value.

A type is proposed when at least nine in ten values of the first records fit it. All values
fit: the column has it. At most one in a hundred of many does not: those are mistakes, and
the upload is refused with the first one's line, rather than the column silently becoming
text. More than that: the column is text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from sandbox.quoting import text_literal

SAMPLE_ROWS = 20_000
_FIRST_ROWS = 2_500  # more than the share of the sample that may be something else
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
ISO_DATE = "%Y-%m-%d"
_DATE_FORMATS = (ISO_DATE, "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y年%m月%d日")
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

    type: str
    value: str
    mistakes: str = ""  # SQL condition true of values that are mistakes; empty: none


@dataclass(frozen=True, slots=True)
class Counts:
    """What the values of a column are, read in one way; those of two parts add up."""

    something: int = 0
    fits: int = 0
    integers: int = 0
    codes: int = 0
    plain: int = 0
    decimals: int = 0  # the most of any
    whole: int = 0  # the most digits before the point, a sign included

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.something + other.something,
            self.fits + other.fits,
            self.integers + other.integers,
            self.codes + other.codes,
            self.plain + other.plain,
            max(self.decimals, other.decimals),
            max(self.whole, other.whole),
        )

    def without_rows(self) -> Counts:
        """Only what is the most of any value: for values that are counted again."""
        return Counts(decimals=self.decimals, whole=self.whole)


def candidates(v: str) -> list[Candidate]:
    """Every way to read the SQL text expression `v`, the preferred ones first."""
    trimmed = f"trim({v})"
    found = [
        Candidate("NUMBER", matches(v, _NUMBER), f"TRY_CAST({v} AS DOUBLE)"),
        Candidate(
            "BOOLEAN",
            f"lower({trimmed}) IN ('true', 'false')",
            f"lower({trimmed}) = 'true'",
        ),
    ]
    for form in _DATE_FORMATS:
        parsed = f"try_strptime({trimmed}, {text_literal(form)})"
        fits = _parses(v, form, parsed)
        found.append(Candidate("DATE", fits, f"CAST({parsed} AS DATE)"))
    cast = f"TRY_CAST({trimmed} AS TIMESTAMP)"
    iso = f"({matches(v, _ISO_TIME)} AND {cast} IS NOT NULL)"
    found.append(Candidate("TIMESTAMP", iso, cast))
    for form in _DATE_FORMATS:
        for time in _TIME_FORMATS:
            parsed = f"try_strptime({trimmed}, {text_literal(form + time)})"
            found.append(Candidate("TIMESTAMP", _parses(v, form + time, parsed), parsed))
    return found


def _parses(v: str, form: str, parsed: str) -> str:
    """SQL: whether a text was parsed by that format; most have not even its last sign."""
    sign = next(sign for sign in reversed(form) if sign in "-/.:日")
    absent = f"NOT contains({v}, {text_literal(sign)})"
    return f"CASE WHEN {absent} THEN false ELSE {parsed} IS NOT NULL END"


def matches(v: str, pattern: str) -> str:
    """SQL: whether all of a text is of that form."""
    return f"regexp_full_match({v}, {text_literal(pattern)})"


def is_nothing(v: str) -> str:
    """SQL: whether a text stands for no value in a column that is not text."""
    words = ", ".join(text_literal(word) for word in _NOTHING)
    # IN and list_contains become joins, of every row: also where CASE asks for few.
    place = f"coalesce(list_position([{words}], trim({v})), 0)"
    return f"({v} IS NULL OR {place} > 0)"


def propose(
    connection: duckdb.DuckDBPyConnection,
    sample: str,
    columns: Sequence[tuple[str, str]],
    warnings: list[str],
) -> list[Candidate | None]:
    """Return how each column may be read that is more than text.

    `columns` are the names in SQL of the relation `sample`, and those of the upload.
    """
    return [_choose(name, _fitting(connection, sample, v), warnings) for v, name in columns]


def _fitting(connection: duckdb.DuckDBPyConnection, sample: str, v: str) -> list[Candidate]:
    """The ways to read a column that fit nine in ten of its values."""
    ways = candidates(v)
    (something,) = _count_fitting(connection, sample, v, [])
    # Most ways fit nothing: what the first rows rule out is not tried on the others.
    for rows in (_FIRST_ROWS, SAMPLE_ROWS):
        first = f"(SELECT {v} FROM {sample} LIMIT {rows})"
        present, *counts = _count_fitting(connection, first, v, ways)
        ways = [
            candidate
            for candidate, count in zip(ways, counts, strict=True)
            if something and something - (present - count) >= something * _SAMPLE_SHARE
        ]
    return ways


def _count_fitting(
    connection: duckdb.DuckDBPyConnection, source: str, v: str, ways: Sequence[Candidate]
) -> list[int]:
    """How many values a relation has in `v`, then how many fit each way."""
    tests = "".join(f", count(*) FILTER ({candidate.fits})" for candidate in ways)
    return [
        int(count)
        for count in connection.execute(
            f"SELECT count(*){tests} FROM {source} WHERE NOT {is_nothing(v)}"
        ).fetchall()[0]
    ]


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


def count_values(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    wanted: Sequence[tuple[str, Candidate]],
) -> list[Counts]:
    """Return the counts of some columns of the SQL relation `source`, in one pass."""
    if not wanted:
        return []
    tests = ", ".join(test for v, candidate in wanted for test in _tests(v, candidate))
    row = connection.execute(f"SELECT {tests} FROM {source}").fetchall()[0]
    found = [int(count or 0) for count in row]
    return [
        Counts(*found[start : start + _TESTS]) for start in range(0, len(found), _TESTS)
    ]


_TESTS = 7


def _tests(v: str, candidate: Candidate) -> list[str]:
    """SQL aggregates: values, those that fit, and of numbers: integers, codes, those
    without exponent, most decimals, most digits before the point.
    """
    something = f"NOT {is_nothing(v)}"
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
    integer = f"{matches(v, _INTEGER)} AND TRY_CAST({v} AS BIGINT) IS NOT NULL"
    return [
        *counts,
        f"count(*) FILTER ({something} AND {integer})",
        f"count(*) FILTER ({something} AND {matches(v, _CODE)})",
        f"count(*) FILTER ({plain})",
        f"max({decimals}) FILTER ({plain})",
        f"max({whole}) FILTER ({plain})",
    ]


def decide(v: str, candidate: Candidate | None, counts: Counts) -> ColumnType:
    """Return what a column is whose every value is counted in `counts`."""
    mistakes = counts.something - counts.fits
    few = counts.fits < _MANY
    if candidate is None or is_certainly_text(candidate, counts):
        return text(v)
    if mistakes and (mistakes > counts.something * _MISTAKES_SHARE or few):
        return text(v)
    kind, value = candidate.type, candidate.value
    if kind == "NUMBER":
        # As numbers, too long whole numbers would lose digits.
        is_whole = counts.decimals == 0 and counts.plain == counts.fits
        if is_whole and counts.integers < counts.fits:
            return text(v)
        kind = _number_type(counts)
        value = f"TRY_CAST(trim({v}) AS {kind})"
    nothing = is_nothing(v)
    value = f"CASE WHEN {nothing} THEN NULL ELSE {value} END"
    broken = f"NOT {nothing} AND NOT {candidate.fits}" if mistakes else ""
    return ColumnType(kind, value, broken)


def is_certainly_text(candidate: Candidate, counts: Counts) -> bool:
    """Whether no further value can change that: codes would lose their leading zeros."""
    return candidate.type == "NUMBER" and counts.codes > 0


def _number_type(counts: Counts) -> str:
    if counts.integers == counts.fits:
        return "BIGINT"
    is_plain = counts.plain == counts.fits and counts.decimals <= _MOST_DECIMALS
    if is_plain and counts.whole + counts.decimals < _DECIMAL_DIGITS:
        return f"DECIMAL({_DECIMAL_DIGITS},{max(counts.decimals, 1)})"
    return "DOUBLE"


def text(v: str) -> ColumnType:
    """A column that stays what it is."""
    return ColumnType("VARCHAR", v)
