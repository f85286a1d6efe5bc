"""A cell of stage 1: one group of a protecting aggregation, with what judges it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

Number = int | Decimal
Total = Number | Fraction


class Ground(StrEnum):
    """Why something is withheld; consumers see one word for all of them: withheld."""

    THRESHOLD = "threshold"  # fewer than min_units units
    DOMINANCE = "dominance"  # a few units make most of it
    UNANIMITY = "unanimity"  # all hold one sensitive value
    COMPLEMENT = "complement"  # too few units are left outside the filter
    GAPS = "gaps"  # too few units lack a value
    HISTORY = "history"  # too close to what was released before
    EMPTY = "empty"  # nobody: told apart from few, it would be an answer


@dataclass(frozen=True, slots=True)
class Contribution:
    """What the units of a cell contribute to one atom."""

    n: int  # rows with a value
    units: int
    gaps: int  # units with a row that has no value
    top_n: tuple[int, ...]  # most rows of one unit, descending
    lacks: tuple[int, ...] = ()  # of several columns: units with a row of some without all
    degree: int = 0  # factors of the atom; 0: its rows are counted only
    total: Total | None = None
    # Sums of absolute values, of all and of the largest units, in one unit of measure.
    absolute: Total | None = None
    top: tuple[Total, ...] = ()
    touching: int = 0  # units whose part is not zero
    is_constant: bool = False
    is_determined: bool = False  # of two measures: each one follows from the other


@dataclass(slots=True)
class Cell:
    """One cell; `unsafe` collects grounds, empty means its rows may be counted."""

    keys: tuple[object, ...]
    codes: tuple[int, ...]
    units: int
    n: int
    outside: int  # units outside the filter
    contrasts: tuple[int, ...]  # units that only one alternative of the filter lets in
    top_n: tuple[int, ...]
    measures: tuple[Contribution, ...]  # one for each atom of the block
    unsafe: set[Ground] = field(default_factory=set)  # the cell as such
    unsafe_rows: set[Ground] = field(default_factory=set)  # its number of rows
    unsafe_counts: list[set[Ground]] = field(default_factory=list)  # rows with a value
    unsafe_sums: list[set[Ground]] = field(default_factory=list)  # sum of a measure

    def withhold(self, ground: Ground) -> None:
        """Add a ground against the cell and everything in it."""
        grounds = (self.unsafe, self.unsafe_rows, *self.unsafe_counts, *self.unsafe_sums)
        for found in grounds:
            found.add(ground)

    @property
    def is_safe(self) -> bool:
        """Whether the cell may be shown to exist."""
        return not self.unsafe
