"""From the rows of a stage-1 statement to cells: names to fields, engine values to ours."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from sandbox.disclosure.cell import Cell, Contribution
from sandbox.errors import QueryRejected
from sandbox.passes.folds import SumOutOfRange
from sandbox.passes.rows import Answer
from sandbox.plan.block import Block
from sandbox.stages.atom_columns import AtomColumns
from sandbox.stages.atom_totals import AtomTotals, Named, Totals, number_of, whole_of
from sandbox.stages.labels import name_of
from sandbox.stages.stage_one import Statement


def read_cells(
    block: Block, made: Statement, answer: Answer, *, copies: int = 1
) -> tuple[list[Cell], tuple[str, ...]]:
    """Return the cells of a pass of stage 1, not yet judged, and the types of all keys.

    Where the pass kept only the largest contribution, it stands `copies` times: an upper
    bound of what the largest ones make together.

    Raises ResourceExceeded where there are more cells than are controlled in one run.
    """
    try:
        rows = answer.rows
        types = answer.types[: len(block.keys) + len(block.hidden)]
    except (duckdb.OutOfRangeException, SumOutOfRange):
        # Its text names the values: it goes no further.
        raise out_of_range() from None
    reading = _Reading(block, made, copies)
    return [reading.cell(row) for row in rows], types


def out_of_range() -> QueryRejected:
    """Return the refusal of sums that have no exact type."""
    return QueryRejected(
        "a measure holds values so large that their products have no exact sum",
        hint="Use sum and avg of the measure, or ask the provider for coarser units.",
        code="measure_out_of_range",
    )


class _Reading:
    """Reads the cells of one statement, whose columns are found once for all of them."""

    def __init__(self, block: Block, made: Statement, copies: int) -> None:
        atoms = AtomColumns.of(block)
        self._names, self._copies = made.names, copies
        self._keys, self._width = len(block.keys), len(block.keys) + len(block.hidden)
        self._contrasts = [name for name in made.names if name.startswith("x")]
        self._totals = AtomTotals(block, made.scales)
        self._measures = [
            (
                place,
                f"p{atoms.presences.index(atom.present)}_",
                range(len(atoms.beside(atom.present))),
                f"a{atoms.sums.index(atom)}_" if atom.factors else "",
                atom.degree,
            )
            for place, atom in enumerate(block.measured)
        ]

    def cell(self, row: Sequence[object]) -> Cell:
        named = dict(zip(self._names, row, strict=True))
        totals = self._totals.of(named)
        return Cell(
            keys=name_of(row[: self._keys]),
            codes=tuple(map(whole_of, row[self._keys : self._width])),
            units=whole_of(named["units"]),
            n=whole_of(named["n"]),
            outside=whole_of(named["outside"]),
            contrasts=tuple([whole_of(named[name]) for name in self._contrasts]),
            top_n=tuple(map(whole_of, self._items(named["top_n"]))),
            measures=tuple(
                [self._contribution(named, totals, *item) for item in self._measures]
            ),
        )

    def _contribution(
        self, named: Named, totals: Totals, place: int, p: str, lacks: range, a: str,
        degree: int,
    ) -> Contribution:  # fmt: skip
        rows = (
            whole_of(named[p + "n"]),
            whole_of(named[p + "units"]),
            whole_of(named[p + "gaps"]),
            tuple(map(whole_of, self._items(named[p + "top_n"]))),
            tuple([whole_of(named[f"{p}lack{k}"]) for k in lacks]),
        )
        if not degree:
            return Contribution(*rows)
        low = named[a + "low"]
        largest = map(number_of, self._items(named[a + "top"]))
        return Contribution(
            *rows,
            degree=degree,
            total=totals[place],
            absolute=number_of(named[a + "abs"]),
            top=tuple([number for number in largest if number is not None]),
            touching=whole_of(named[a + "touching"]),
            is_constant=low is not None and low == named[a + "high"],
            is_determined=self._totals.is_determined(place, totals),
        )

    def _items(self, value: object) -> list[object]:
        if isinstance(value, list):
            return value
        return [] if value is None else [value] * self._copies
