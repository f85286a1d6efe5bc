"""What is known of each column of a staged table, and the roles proposed for it.

Never a sample value: counts, and of numbers and dates a range coarsened outwards to two
significant digits or to the month.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import duckdb

from sandbox.protocol import ColumnProfile
from sandbox.quoting import quoted

_EXACT_DISTINCT_ROWS = 100_000
_FACTS, _KEPT = "facts", "kept"
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


class Profiler:
    """Facts of a table that comes in parts; sketches of distinct values are merged.

    While the rows are few, hashes of their values are kept, so that distinct ones are
    counted exactly: 64 bits do not meet by chance among 100,000.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[tuple[str, str]]
    ) -> None:
        self._connection = connection
        self._columns = tuple(columns)
        self._rows = 0
        self._is_exact = True
        typed = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(n)}" for n, kind in columns)
        none = f"(SELECT {typed} WHERE false)"
        for table, selected in ((_KEPT, self._hashes()), (_FACTS, self._parts())):
            connection.execute(
                f"CREATE OR REPLACE TABLE {table} AS SELECT {selected} FROM {none}"
            )

    def measure(self, connection: duckdb.DuckDBPyConnection, part: str) -> None:
        """Take the facts of the SQL relation `part`; from any thread, by its own cursor."""
        connection.execute(f"INSERT INTO {_FACTS} SELECT {self._parts()} FROM {part}")

    def keep(self, part: str, rows: int) -> None:
        """Remember the values of `part` as long as its table is small; from one thread."""
        self._rows += rows
        if not self._is_exact:
            return
        if self._rows <= _EXACT_DISTINCT_ROWS:
            hashes = self._hashes()
            self._connection.execute(f"INSERT INTO {_KEPT} SELECT {hashes} FROM {part}")
        else:
            self._is_exact = False
            self._connection.execute(f"DROP TABLE {_KEPT}")

    def ranges(self) -> list[tuple[object, object]]:
        """Return the least and the greatest value of each column, where it has a range."""
        return [(facts.low, facts.high) for facts in self._facts()]

    def finish(self) -> tuple[int, tuple[ColumnProfile, ...]]:
        """Return the number of rows and the profile of each column."""
        return self._rows, tuple(_profile(facts) for facts in self._facts())

    def _facts(self) -> list[_Facts]:
        columns = range(len(self._columns))
        merged = ", ".join(
            f"sum(p{i}), finalize(combine_aggr(d{i})), min(l{i}), max(h{i}), bool_and(w{i})"
            for i in columns
        )
        found = self._connection.execute(f"SELECT {merged} FROM {_FACTS}").fetchall()[0]
        exact: Sequence[int] | None = None
        if self._is_exact:
            counts = ", ".join(f"count(DISTINCT v{i})" for i in columns)
            exact = self._connection.execute(f"SELECT {counts} FROM {_KEPT}").fetchall()[0]
        facts = []
        for i, (name, kind) in enumerate(self._columns):
            present, distinct, low, high, is_whole = found[5 * i : 5 * i + 5]
            if exact is not None:
                distinct = exact[i]
            # An estimate above the number of values would read as a contradiction.
            different = min(int(distinct or 0), int(present))
            whole = kind == "BIGINT" or bool(is_whole)
            facts.append(
                _Facts(name, kind, self._rows, int(present), different, low, high, whole)
            )
        return facts

    def _hashes(self) -> str:
        names = [quoted(name) for name, _ in self._columns]
        return ", ".join(
            f"CASE WHEN {name} IS NOT NULL THEN hash({name}) END AS v{i}"
            for i, name in enumerate(names)
        )

    def _parts(self) -> str:
        parts = []
        for i, (name, kind) in enumerate(self._columns):
            column = quoted(name)
            is_ranged = kind in ("BIGINT", "DOUBLE") or kind[:4] in ("DECI", "DATE", "TIME")
            ranged = column if is_ranged else "0"
            finite, whole = "", "NULL::BOOLEAN"
            if kind == "DOUBLE":
                finite = f" FILTER (isfinite({column}))"
                whole = f"bool_and({column} = floor({column})){finite}"
            parts += [
                f"count({column}) AS p{i}",
                f"approx_count_distinct({column}) EXPORT_STATE AS d{i}",
                f"min({ranged}){finite} AS l{i}, max({ranged}){finite} AS h{i}",
                f"{whole} AS w{i}",
            ]
        return ", ".join(parts)


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
