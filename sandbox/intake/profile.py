"""What is known of each column of a staged table, and the roles proposed for it.

Never a sample value: counts, and of numbers and dates a range coarsened outwards to two
significant digits or to the month.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import duckdb

from sandbox.protocol import ColumnProfile
from sandbox.quoting import quoted

_EXACT_DISTINCT_ROWS = 100_000
_FEW_VALUES = 50
_LABEL_VALUES = 20
_LABEL_NAME = re.compile(r"fail|fault|target|label|delay|defect|anomal|class|outcome", re.I)
_IDENTIFIER_NAME = re.compile(
    r"(^|[_ .-])(u?id|uuid|udi|key|no|nr|number|code|index|unit)$", re.I
)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What one pass found of a column."""

    name: str
    type: str
    rows: int
    present: int
    distinct: int
    low: object
    high: object
    is_whole: bool = False  # a number whose every value is whole, whatever its type

    @property
    def is_number(self) -> bool:
        return self.type in ("BIGINT", "DOUBLE") or self.type.startswith("DECIMAL")

    @property
    def is_time(self) -> bool:
        return self.type in ("DATE", "TIMESTAMP")

    @property
    def is_unique(self) -> bool:
        return self.present > 1 and self.distinct >= self.present * 0.98


@dataclass(frozen=True, slots=True)
class _Proposal:
    """Roles, the grid that goes with them, and why."""

    roles: tuple[str, ...]
    reason: str
    grid: str | None = None


def profile_table(
    connection: duckdb.DuckDBPyConnection, table: str
) -> tuple[int, tuple[ColumnProfile, ...]]:
    """Return the number of rows of `table` and the profile of each of its columns."""
    described = connection.execute(f"DESCRIBE {quoted(table)}").fetchall()
    columns = [(str(row[0]), str(row[1])) for row in described]
    counted = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()
    rows = int(counted[0][0])
    return rows, tuple(
        _profile(_facts(connection, table, name, kind, rows)) for name, kind in columns
    )


def _facts(
    connection: duckdb.DuckDBPyConnection, table: str, name: str, kind: str, rows: int
) -> _Facts:
    column = quoted(name)
    count = "approx_count_distinct" if rows > _EXACT_DISTINCT_ROWS else "count"
    distinct = f"{count}({column})" if count != "count" else f"count(DISTINCT {column})"
    ranged = (
        column if kind == "DOUBLE" or kind[:4] in ("BIGI", "DECI", "DATE", "TIME") else "0"
    )
    finite = f" FILTER (isfinite({column}))" if kind == "DOUBLE" else ""
    whole = f"bool_and({column} = floor({column})){finite}" if kind == "DOUBLE" else "NULL"
    present, different, low, high, is_whole = connection.execute(
        f"SELECT count({column}), {distinct}, min({ranged}){finite}, max({ranged}){finite},"
        f" {whole} FROM {quoted(table)}"
    ).fetchall()[0]
    # An estimate above the number of values would read as a contradiction.
    is_whole = kind == "BIGINT" or bool(is_whole)
    return _Facts(name, kind, rows, present, min(different, present), low, high, is_whole)


def _profile(facts: _Facts) -> ColumnProfile:
    proposal = _propose(facts)
    low = high = None
    if facts.present and (facts.is_number or facts.is_time):
        low, high = _coarse(facts.low, ROUND_FLOOR), _coarse(facts.high, ROUND_CEILING)
    return ColumnProfile(
        name=facts.name,
        type=facts.type,
        null_share=round(1 - facts.present / facts.rows, 4) if facts.rows else 0.0,
        distinct=facts.distinct,
        minimum=low,
        maximum=high,
        proposed_roles=proposal.roles,
        proposed_grid=proposal.grid,
        reason=proposal.reason,
    )


def _propose(facts: _Facts) -> _Proposal:
    if facts.present == 0:
        return _Proposal(("hidden",), "It holds no value.")
    if facts.is_time:
        return _Proposal(
            ("dimension",),
            "It is a date: it may be grouped and filtered by month or coarser.",
        )
    if facts.is_unique and facts.rows > _FEW_VALUES and not _is_fraction(facts):
        return _unique(facts)
    if _LABEL_NAME.search(facts.name) and facts.distinct <= _LABEL_VALUES:
        return _Proposal(
            ("label",),
            f"Its name speaks of an outcome and it has {facts.distinct} values: a target to"
            " learn, and sensitive.",
        )
    if facts.is_number:
        return _number(facts)
    if facts.type == "BOOLEAN" or facts.distinct <= _FEW_VALUES:
        return _Proposal(
            ("dimension",),
            f"It has {facts.distinct} values: it can be grouped and filtered.",
        )
    if facts.distinct * 20 <= facts.present:
        return _Proposal(
            ("dimension",),
            f"Each of its {facts.distinct} values stands in many rows: it can be grouped;"
            " rare values are withheld by the threshold.",
        )
    return _Proposal(
        ("hidden",), "It is text with nearly as many values as rows, like names or remarks."
    )


def _is_fraction(facts: _Facts) -> bool:
    """Whether it is a measurement: those are often all different."""
    return facts.is_number and not facts.is_whole


def _unique(facts: _Facts) -> _Proposal:
    named = _IDENTIFIER_NAME.search(facts.name) is not None
    dense = (
        facts.is_whole
        and isinstance(facts.low, (int, float))
        and isinstance(facts.high, (int, float))
        and facts.high - facts.low < 2 * facts.rows
    )
    if named or dense:
        return _Proposal(
            ("unit_key",),
            "Its values are all different and it looks like an identifier: take it as unit"
            " key if it names who is protected, else hide it.",
        )
    if facts.type == "BIGINT":
        return _number(facts)
    return _Proposal(
        ("hidden",), "Its values are nearly all different, like names: it would single out."
    )


def _number(facts: _Facts) -> _Proposal:
    if facts.distinct <= 2:
        return _Proposal(
            ("dimension",), "It is a number with two values: a flag to group and filter by."
        )
    grid = proposed_grid(facts.low, facts.high, whole=facts.type == "BIGINT")
    if _IDENTIFIER_NAME.search(facts.name) and facts.distinct * 2 <= facts.present:
        return _Proposal(
            ("unit_key",),
            "It looks like an identifier that comes back in many rows: take it as unit key"
            " if it names who is protected, else hide it.",
        )
    return _Proposal(
        ("measure",),
        f"It is a number with {facts.distinct} values: it can be summed and averaged, and"
        f" compared in steps of {grid}.",
        grid,
    )


def proposed_grid(low: object, high: object, *, whole: bool) -> str | None:
    """Return a step of 1, 2 or 5 times a power of ten, 20 to 50 of which make the range.

    Whole numbers get a whole step; a range of nothing gets 1.
    """
    if low is None or high is None:
        return None
    spread = Decimal(str(high)) - Decimal(str(low))
    if not spread.is_finite() or spread <= 0:
        return "1"
    power = Decimal(10) ** math.floor((spread / 20).log10())
    step = max(
        multiple * power for multiple in (1, 2, 5) if multiple * power * 20 <= spread
    )
    if whole:
        step = max(step, Decimal(1))
    return format(step.normalize(), "f")


def _coarse(value: object, rounding: str) -> str | None:
    """`value` outwards to two significant digits, a date to its month."""
    if isinstance(value, (datetime, date)):
        return f"{value.year:04d}-{value.month:02d}"
    number = Decimal(str(value))
    if value is None or not number.is_finite():
        return None
    if number == 0:
        return "0"
    step = Decimal(1).scaleb(number.adjusted() - 1)
    rounded = (number / step).to_integral_value(rounding=rounding) * step
    return format(rounded.normalize(), "f")
