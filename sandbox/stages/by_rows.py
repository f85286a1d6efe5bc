"""The cells of a block, proved by counting rows alone: no unit is looked at.

Where no unit has more than M rows in FROM (`unit_rows`), n rows are of n / M units or
more, and nobody contributes more than M times the largest value that a column has: next to
nothing beside a cell of many rows. It costs what the plain aggregate costs. What it proves
safe is safe by units; the rest is judged again by those who look at units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import duckdb

from policies.document import Policy
from sandbox.disclosure.cell import Cell, Contribution, Total
from sandbox.passes.facts import Facts
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.atoms import Product
from sandbox.plan.block import Block, Unit
from sandbox.plan.exact import exact_sql, narrow_sql
from sandbox.plan.terms import Always, Kind, members_in
from sandbox.stages.atom_columns import decimals_of, scales_of
from sandbox.stages.atom_totals import AtomTotals, Named, Totals, number_of, whole_of
from sandbox.stages.cell_reading import out_of_range
from sandbox.stages.inside import Inside
from sandbox.stages.labels import Name, name_groups, name_of
from sandbox.stages.outside import Outside, least_units
from sandbox.stages.row_statements import Counted, RowStatements
from sandbox.stages.unit_rows import most_rows


@dataclass(frozen=True, slots=True)
class Bounded:
    """Cells by unit, not yet judged: as bounds that are on the safe side of the truth."""

    cells: Mapping[Unit, list[Cell]]
    types: tuple[str, ...]  # of all keys


class ByRows:
    """What rows prove of the cells of a block, for each of its units."""

    def __init__(
        self,
        block: Block,
        policy: Policy,
        rows: Rows,
        facts: Facts,
        most: Mapping[Unit, int],
        inside: Inside,
    ) -> None:
        """Requires that no unit has more than `most` rows in FROM; `of` finds these.

        Afterwards `inside` keeps its rows if they are few, and dear to read again.
        """
        self._block, self._policy, self._rows = block, policy, rows
        self._most, self._rows_inside = most, inside
        self._statements = RowStatements(block, policy, facts)
        self._outside = Outside(block, policy, rows, self._statements, most)
        is_dear = len(block.tables) > 1 or bool(members_in(block.where))
        if block.where != Always(value=True) and (
            is_dear or self._outside.cells_look_small(facts)
        ):
            inside.keep()
        self._measured = block.measured
        self._totals = AtomTotals(block, scales_of(block, policy))
        self._width = len(block.keys) + len(block.hidden)

    @staticmethod
    def of(block: Block, policy: Policy, rows: Rows, inside: Inside) -> ByRows | None:
        """Return the proofs of a block; None where rows prove nothing of it."""
        facts = rows.facts
        if facts is None:
            return None
        found = {unit: most_rows(block, unit, policy, facts) for unit in block.units}
        most = {unit: number for unit, number in found.items() if number is not None}
        if len(most) < len(found):
            return None
        return ByRows(block, policy, rows, facts, most, inside)

    def cells(self, copies: int, min_units: int) -> Bounded:
        """Return the cells that have rows inside the filter; none if keys do not name them.

        The largest contribution of one unit stands `copies` times; what is unsafe by having
        less than `min_units` units in any case has no measures. Raises QueryRejected and
        ResourceExceeded as `read_cells` does.
        """
        made, inside = self._inside()
        found = [dict(zip(made.names, row, strict=True)) for row in inside.rows]
        types = inside.types[: self._width]
        labels = [name_of(row[: self._width]) for row in inside.rows]
        if not name_groups(types, labels):
            return Bounded({unit: [] for unit in self._block.units}, types)
        outside = self._outside.units(labels)
        return Bounded(
            {
                unit: [
                    self._cell(number, label, named, units[number], copies, min_units)
                    for label, named, units in zip(labels, found, outside, strict=True)
                ]
                for number, unit in enumerate(self._block.units)
            },
            types,
        )

    def _inside(self) -> tuple[Counted, Answer]:
        """Read the rows inside the filter, by narrow types where these hold all values."""
        kept = self._rows_inside.kept_sql if self._rows_inside.are_few else None
        for exact in (narrow_sql, exact_sql):
            made = self._statements.inside(exact, kept)
            answer = self._rows.ask(made.sql, made.fold)
            try:
                _ = answer.rows
            except (duckdb.ConversionException, duckdb.OutOfRangeException):
                continue  # its text names values: it goes no further
            return made, answer
        raise out_of_range()

    # --- bounds

    def _units(self, unit: Unit, rows: int) -> int:
        """Return of how many units so many rows are, at least."""
        return least_units(rows, self._most[unit])

    def _counted(self, number: int, condition: str, named: Named) -> int:
        """Return of how many units of one kind the rows of a condition are, at least."""
        name = self._statements.count_name(condition, number)
        return self._units(self._block.units[number], whole_of(named.get(name)))

    def _cell(
        self, number: int, label: Name, named: Named, outside: int, copies: int,
        min_units: int,
    ) -> Cell:  # fmt: skip
        unit, width = self._block.units[number], len(self._block.keys)
        n = whole_of(named["n"])
        known = whole_of(named.get(f"w{number}", n))
        units = self._units(unit, known)
        # Of many small groups nothing is proved: then to bound them all would be the cost.
        is_few = 0 < units < min_units
        return Cell(
            keys=label[:width],
            codes=tuple(whole_of(code) for code in label[width:]),
            units=units,
            n=n,
            outside=outside,
            contrasts=tuple(
                self._counted(number, f"x{j}", named)
                for j in range(len(self._statements.contrasts))
            ),
            top_n=(min(self._most[unit], n),) * copies,
            measures=()
            if is_few
            else self._contributions(unit, named, n=n, known=known, copies=copies),
        )

    def _contributions(
        self, unit: Unit, named: Named, *, n: int, known: int, copies: int
    ) -> tuple[Contribution, ...]:
        atoms = self._statements.atoms
        # Of columns that no row lacks nothing was counted.
        named = {f"p{i}_n": n for i in range(len(atoms.presences))} | dict(named)
        totals = self._totals.of(named)
        return tuple(
            self._contribution(
                unit, named, place, totals, nameless=n - known, copies=copies
            )
            for place in range(len(self._measured))
        )

    def _contribution(
        self,
        unit: Unit,
        named: Named,
        place: int,
        totals: Totals,
        *,
        nameless: int,
        copies: int,
    ) -> Contribution:
        atoms, atom = self._statements.atoms, self._measured[place]
        p = f"p{atoms.presences.index(atom.present)}_"
        rows = whole_of(named[p + "n"])
        gaps = whole_of(named["n"]) - rows
        lacks = [
            whole_of(named.get(f"{p}lack{k}"))
            for k, _ in enumerate(atoms.beside(atom.present))
        ]

        def some(count: int) -> int:
            # Rows without such a unit may be among them; none are none in any case.
            return self._units(unit, count - nameless) if count else 0

        counted = Contribution(
            rows,
            some(rows),
            some(gaps) or min(gaps, 1),
            (min(self._most[unit], rows),) * copies,
            tuple(some(lack) or min(lack, 1) for lack in lacks),
        )
        total, most = totals[place], self._largest(atom, named)
        if not atom.factors:
            return counted
        if total is None or most is None:
            # Nobody is seen to touch it: so it is safe by no sum.
            return replace(counted, degree=atom.degree, total=total)
        whole, one = abs(Fraction(total)), most * self._most[unit]
        return replace(
            counted,
            degree=atom.degree,
            total=total,
            absolute=whole,  # of values of both signs it is more
            top=(one,) * copies,
            touching=_units_touching(whole - nameless * most, one),
            is_constant=self._may_be_constant(atom, total, rows),
            is_determined=self._totals.is_determined(place, totals),
        )

    def _largest(self, atom: Product, named: Named) -> Fraction | None:
        """Return how large one row's part of an atom can be."""
        sizes = []
        for ref in atom.factors:
            number = self._statements.atoms.refs.index(ref)
            if number in self._statements.unbounded:
                extremes = [number_of(named[f"{end}{number}"]) for end in ("lo", "hi")]
                if None in extremes:
                    return None
                sizes.append(max(abs(Fraction(value or 0)) for value in extremes))
                continue
            largest = self._statements.bounds[ref].largest
            assert largest is not None
            # Rounded to the decimals that sums keep, it may be larger by one of the last.
            rounding = (
                10 ** decimals_of(ref, self._policy) if ref.kind is Kind.DOUBLE else 0
            )
            sizes.append(largest + (Fraction(1, rounding) if rounding else 0))
        return math.prod(sizes, start=Fraction(1))

    def _may_be_constant(self, atom: Product, total: Total, rows: int) -> bool:
        """Whether all rows could have one value: it would have to add up to the total."""
        decimals = sum(decimals_of(ref, self._policy) for ref in atom.factors)
        last = Fraction(total) * 10**decimals
        return rows == 0 or last.denominator != 1 or last.numerator % rows == 0


def _units_touching(whole: Fraction, one: Fraction) -> int:
    """Return how many units it takes at least to add up so much, none above `one`."""
    return math.ceil(whole / one) if one and whole > 0 else 0
