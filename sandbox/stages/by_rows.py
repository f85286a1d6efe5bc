"""The cells of a block, proved by counting rows alone: no unit is looked at.

Where no unit has more than M rows in FROM (`unit_rows`), n rows are of n / M units or
more, and nobody contributes more than M times the largest value that a column has: next to
nothing beside a cell of many rows. It costs what the plain aggregate costs. What it proves
safe is safe by units; the rest is judged again by those who look at units.

Rows outside the filter are counted among few rows first, and by conditions that read no
other table: those found are outside, and more than enough are not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from sandbox.plan.terms import Always, Kind, Predicate, members_in
from sandbox.stages.atom_columns import decimals_of, scales_of
from sandbox.stages.atom_totals import AtomTotals, Totals, number_of, whole_of
from sandbox.stages.cell_reading import out_of_range
from sandbox.stages.contrasts import without_members
from sandbox.stages.inside import FEW_ROWS, Inside
from sandbox.stages.labels import Name, name_groups, name_of
from sandbox.stages.row_statements import INSIDE, OUTSIDE, Counted, RowStatements
from sandbox.stages.unit_rows import most_rows, samples_of
from sandbox.stages.units_counted import buckets_seen

_MOST_VALUES = 50  # of a key, to be looked for by name
Named = Mapping[str, object]


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
        """Requires that no unit has more than `most` rows in FROM; `of` finds these."""
        self._block, self._policy, self._rows, self._facts = block, policy, rows, facts
        self._most, self._rows_inside = most, inside
        self._statements = RowStatements(block, policy, facts)
        self._sampled: dict[Name, Named] | None = None  # a first look at some rows
        self._measured = block.measured
        self._totals = AtomTotals(block, scales_of(block, policy))
        self._width = len(block.keys) + len(block.hidden)

    @staticmethod
    def of(block: Block, policy: Policy, rows: Rows, inside: Inside) -> ByRows | None:
        """Return the proofs of a block; None where rows prove nothing of it.

        Afterwards `inside` keeps its rows if they are few, and dear to join again.
        """
        facts = rows.facts
        if facts is None:
            return None
        found = {unit: most_rows(block, unit, policy, facts) for unit in block.units}
        most = {unit: number for unit, number in found.items() if number is not None}
        if len(most) < len(found):
            return None
        made = ByRows(block, policy, rows, facts, most, inside)
        is_dear = len(block.tables) > 1 or bool(members_in(block.where))
        if block.where != Always(value=True) and (is_dear or made.looks_unprovable()):
            inside.keep()
        return made

    def looks_unprovable(self) -> bool:
        """Whether, by a look at some rows, the cells have too few each to prove anything.

        Then their rows will be read again, unit by unit. False where nothing is known. It
        is a guess: it decides in which order things are done, and about no cell.
        """
        samples = samples_of(self._block, self._policy, self._facts)[:1]
        if not samples or not self._statements.tracks_outside:
            return False
        made = self._statements.both_sides(samples[0])
        self._sampled = self._by_label(made, self._rows.ask(made.sql, made.fold))
        found = [whole_of(named[INSIDE]) for named in self._sampled.values()]
        seen = sum(whole_of(named[OUTSIDE]) for named in self._sampled.values())
        (table,) = self._block.tables
        rows = sum(found) * self._facts.rows(table) // max(1, sum(found) + seen)
        cells = max(1, sum(1 for number in found if number))
        least = max(rule.min_units for rule in self._policy.aggregate_rules)
        return rows <= FEW_ROWS and rows < cells * least * max(self._most.values())

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
        outside = self._outside(labels)
        return Bounded(
            {
                unit: [
                    self._cell(
                        number, label, named, outside.get(label, {}), copies, min_units
                    )
                    for label, named in zip(labels, found, strict=True)
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

    def _outside(self, labels: Sequence[Name]) -> Mapping[Name, Named]:
        """Count the rows outside the filter, by cell: all of them, or enough in each."""
        if not self._statements.tracks_outside:
            return {}
        plain = without_members(self._block.where)
        samples = samples_of(self._block, self._policy, self._facts)
        if self._sampled is not None:
            if all(self._is_enough(self._sampled.get(label)) for label in labels):
                return self._sampled
            samples = samples[1:]
        for instead in [*samples, *([{}] if plain != self._block.where else [])]:
            found = self._counted_outside(instead, plain, labels)
            if all(self._is_enough(found.get(label)) for label in labels):
                return found
        return self._counted_outside({}, self._block.where, labels)

    def _is_enough(self, named: Named | None) -> bool:
        least = max(rule.min_units for rule in self._policy.aggregate_rules)
        return named is not None and all(
            self._units_outside(number, named) >= least
            for number in range(len(self._block.units))
        )

    def _units_outside(self, number: int, named: Named) -> int:
        """Return how many units of one kind have rows outside, at least."""
        seen = buckets_seen(named.get(f"{OUTSIDE}{number}_seen"))
        return max(seen, self._counted(number, OUTSIDE, named))

    def _counted_outside(
        self, instead: Mapping[str, str], where: Predicate, labels: Sequence[Name]
    ) -> dict[Name, Named]:
        # Nothing but the cells that have rows inside is looked for.
        values = [
            list(dict.fromkeys(label[place] for label in labels))
            for place in range(self._width)
        ]
        few = [v if len(v) <= _MOST_VALUES and None not in v else None for v in values]
        made = self._statements.outside(
            instead, where, [None if v is None else len(v) for v in few]
        )
        given = [value for v in few for value in v or ()]
        return self._by_label(made, self._rows.ask(made.sql, made.fold, given))

    def _by_label(self, made: Counted, answer: Answer) -> dict[Name, Named]:
        return {
            name_of(row[: self._width]): dict(zip(made.names, row, strict=True))
            for row in answer.rows
        }

    # --- bounds

    def _units(self, unit: Unit, rows: int) -> int:
        """Return of how many units so many rows are, at least."""
        return -(-max(0, rows) // self._most[unit])

    def _counted(self, number: int, condition: str, named: Named) -> int:
        """Return of how many units of one kind the rows of a condition are, at least."""
        name = self._statements.count_name(condition, number)
        return self._units(self._block.units[number], whole_of(named.get(name)))

    def _cell(
        self, number: int, label: Name, named: Named, outside: Named, copies: int,
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
            outside=self._units_outside(number, outside),
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
