"""How closely a column may be looked at, and which of two looks is the closer one.

What `policies.columns` allows of a column follows from few facts: whether it may be
aggregated, whether it is a dimension, and the steps at which its values may be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from policies.document import Column, Grain, Role, Table

# Periods that begin where ones of the other grain begin too: a week lies in no month.
_NESTED: Mapping[Grain, frozenset[Grain]] = {
    Grain.DAY: frozenset({Grain.DAY}),
    Grain.WEEK: frozenset({Grain.WEEK, Grain.DAY}),
    Grain.MONTH: frozenset({Grain.MONTH, Grain.DAY}),
    Grain.QUARTER: frozenset({Grain.QUARTER, Grain.MONTH, Grain.DAY}),
    Grain.YEAR: frozenset({Grain.YEAR, Grain.QUARTER, Grain.MONTH, Grain.DAY}),
}
_KEYS = (Role.UNIT_KEY, Role.ROW_KEY)


@dataclass(frozen=True, slots=True)
class Steps:
    """At which steps values are told apart: all (`is_free`), a grid, a grain, or none."""

    is_free: bool = False
    grid: Decimal | None = None
    grain: Grain | None = None

    @property
    def is_none(self) -> bool:
        """Whether the column can be neither grouped nor compared."""
        return not self.is_free and self.grid is None and self.grain is None


def is_hidden(column: Column | None) -> bool:
    """Whether nothing may refer to the column: by its role, or since no policy names it."""
    return column is None or column.has(Role.HIDDEN)


def is_dimension(column: Column) -> bool:
    """Whether it may be a group key; a label is a dimension too."""
    return column.has(Role.DIMENSION) or column.has(Role.LABEL)


def steps_of(column: Column) -> Steps:
    """The steps at which a column that is no key may be grouped and compared."""
    is_free = is_dimension(column) and column.grid is None and column.grain is None
    return Steps(is_free, column.grid, column.grain)


def steps_cover(a: Steps, b: Steps) -> bool:
    """Whether whatever is told apart by `a` is told apart by `b`."""
    if a.is_none or b.is_free:
        return True
    if a.grid is not None and b.grid is not None:
        # As fractions: the remainder of decimals overflows between 1e30 and 1e-30.
        return (Fraction(a.grid) / Fraction(b.grid)).denominator == 1
    if a.grain is not None and b.grain is not None:
        return b.grain in _NESTED[a.grain]
    return False


def scale_covers(a: int | None, b: int | None) -> bool:
    """Whether sums with `a` decimals tell no more than with `b`; None: as the type has."""
    return a == b or (a is not None and b is not None and a <= b)


def column_covers(a: Column | None, b: Column | None) -> bool:
    """Whether every use of a column that `a` allows, `b` allows too."""
    if a is None or is_hidden(a):
        return True
    if b is None or is_hidden(b):
        return False
    if any(column.has(key) for column in (a, b) for key in _KEYS):
        return a.roles == b.roles
    return (
        a.has(Role.MEASURE) <= b.has(Role.MEASURE)
        and is_dimension(a) <= is_dimension(b)
        and a.sensitive >= b.sensitive
        and a.values_public <= b.values_public
        and scale_covers(a.scale, b.scale)
        and steps_cover(steps_of(a), steps_of(b))
    )


def same_units(a: Table, b: Table) -> bool:
    """Whether two protected tables protect the same units."""
    return a.row_units == b.row_units and set(a.units) == set(b.units)


def derived_cover(a: Table, b: Table) -> bool:
    """Whether every derived measure of `a` is one of `b`, on the same or a finer grid."""
    known = {item.name: item for item in b.derived}
    return all(
        item.name in known
        and item.expr == known[item.name].expr
        and steps_cover(Steps(grid=item.grid), Steps(grid=known[item.name].grid))
        for item in a.derived
    )
