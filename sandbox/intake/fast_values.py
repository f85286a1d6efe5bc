"""Reading most values of a CSV column cheaply, and knowing which ones were not.

Casting a text and printing it again is far cheaper than matching a pattern, and where both
texts are the same nothing was altered: no leading zero lost, no digit rounded, no exponent
taken for a whole number. Only what does not come back the same is looked at closely; what
then is neither surely of the column's type nor «nothing» makes the chunk an odd one, whose
values are counted and read by the exact rules of `column_types`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.intake.column_types import (
    ISO_DATE,
    Candidate,
    ColumnType,
    Counts,
    is_nothing,
    matches,
)
from sandbox.quoting import text_literal

_DOUBLE = r"-?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?"
# As `column_types` has it, without blanks around it.
_ISO_TIME = (
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?"
)


@dataclass(frozen=True, slots=True)
class FastValue:
    """SQL over a text `v`: its value, and whether that is surely what the exact rule gives.

    Each names `v`, and `same` and `slower` the value as `{f}`: they are computed one level
    above it, so that it is computed once. Of «nothing» the value is NULL.
    """

    value: str
    same: str
    slower: str = "false"  # another test, for where `same` is not true


def fast_value(v: str, candidate: Candidate, column: ColumnType) -> FastValue:
    """Return how to read a column that is of the type `column`, read as `candidate`."""
    same = f"CAST({{f}} AS VARCHAR) = {v}"
    cast = f"TRY_CAST({v} AS {column.type})"
    if column.type == "BIGINT":
        return FastValue(cast, same)
    if column.type.startswith("DECIMAL"):
        # '1.5' comes back as '1.50'; more decimals than the type has would be rounded.
        decimals = column.type.removesuffix(")").rpartition(",")[2]
        pattern = rf"-?(0|[1-9]\d*)(\.\d{{1,{decimals}}})?"
        return FastValue(cast, same, _read_as(v, pattern))
    if column.type == "DOUBLE":
        # Printing a double costs more than the pattern does. «nan» is nothing.
        value = f"CASE WHEN isnan({cast}) THEN NULL ELSE {cast} END"
        return FastValue(value, matches(v, _DOUBLE))
    if column.type == "TIMESTAMP" and candidate.value.startswith("TRY_CAST"):
        return FastValue(cast, _in_era("TIMESTAMP", same), _read_as(v, _ISO_TIME))
    if column.type == "DATE" and text_literal(ISO_DATE) in candidate.value:
        # Where the cast takes ten ASCII characters of that form for a day of our era, the
        # exact rule has the same one, and to look is cheaper than to print.
        form = f"strlen({v}) = 10 AND {v} LIKE '____-__-__'"
        return FastValue(cast, _in_era("DATE", form), f"({{f}} = {candidate.value})")
    if column.type == "BOOLEAN":
        value = f"CASE WHEN {candidate.fits} THEN {candidate.value} END"
        return FastValue(value, "{f} IS NOT NULL")
    # Dates of other forms: the exact rule is as cheap.
    return FastValue(candidate.value, "{f} IS NOT NULL")


def _in_era(kind: str, same: str) -> str:
    """SQL: the same, and of a year that is written with four digits."""
    return f"({{f}} >= {kind} '0001-01-01' AND {{f}} < {kind} '10000-01-01' AND {same})"


def _read_as(v: str, pattern: str) -> str:
    return f"({matches(v, pattern)} AND {{f}} IS NOT NULL)"


def is_right(v: str, fast: FastValue, *, value: str, same: str) -> str:
    """SQL: whether the column's type holds this value; of what was computed, the names."""
    slower = fast.slower.replace("{f}", value)
    return (
        f"CASE WHEN {same} THEN true WHEN {v} IS NULL THEN true"
        f" WHEN {slower} THEN true ELSE {is_nothing(v)} END"
    )


def counts_of(column: ColumnType, present: int, known: Counts) -> Counts:
    """Return the counts of a chunk in which every value was right.

    `known` are counts of earlier values, for which `column` was decided: whether there is a
    fraction or an exponent among all of them is known from those.
    """
    if column.type == "BIGINT":
        return Counts(present, present, integers=present, plain=present)
    if column.type.startswith("DECIMAL"):
        return Counts(present, present, plain=present, decimals=known.decimals)
    return Counts(present, present)


def whole_digits(low: object, high: object) -> int:
    """Return the most characters before the point of numbers between two."""
    ends = [str(end).partition(".")[0] for end in (low, high) if end is not None]
    return max((len(end) for end in ends), default=0)
