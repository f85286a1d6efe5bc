"""What is counted of the cells of a block where no unit is looked at, as SQL of our own.

One statement reads the rows inside the filter, as the plain aggregate does. Another counts
those outside; the more units they are seen to be of, the fewer of them have to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.document import Policy
from sandbox.passes.facts import Bounds, Facts
from sandbox.passes.folds import Fold, Merge
from sandbox.plan.block import Block
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import Kind, Predicate, Ref
from sandbox.stages.atom_columns import AtomColumns, Exact
from sandbox.stages.contrasts import contrast_inside_sql, tracks_outside
from sandbox.stages.stage_one import MAX_CELLS, joined_sql
from sandbox.stages.units_counted import seen_sql

OUTSIDE, INSIDE = "o", "inside"
Column = tuple[str, str, Merge]  # name, expression, how parts of it merge


@dataclass(frozen=True, slots=True)
class Counted:
    """A statement, and the names of its columns."""

    sql: str
    names: tuple[str, ...]
    fold: Fold


class RowStatements:
    """The statements over the rows of one block.

    `partly` are the numbers of units that some rows lack, which have another unit then;
    `unbounded` those of columns that are summed, of whose size nothing is known ahead.
    """

    def __init__(self, block: Block, policy: Policy, facts: Facts) -> None:
        self._block, self._policy = block, policy
        self.atoms = AtomColumns.of(block)
        self.contrasts = contrast_inside_sql(block.where)
        self.tracks_outside = tracks_outside(block, policy)
        self.bounds = _bounds(block, policy, facts, self.atoms.refs)
        named = [unit.ref for unit in block.units if unit.ref is not None]
        self.partly = [
            number
            for number, unit in enumerate(block.units)
            if unit.ref is not None and len(named) > 1 and self._may_miss(unit.ref)
        ]
        self.unbounded = [
            number
            for number, ref in enumerate(self.atoms.refs)
            if ref in self.atoms.summed
            and (ref not in self.bounds or self.bounds[ref].largest is None)
        ]

    def inside(self, exact: Exact, kept: str | None = None) -> Counted:
        """Return what reads the rows inside the filter; `exact` writes each measure.

        Those of `kept` where it is given: a statement that has all their columns.
        """
        given = [*self._units(), *self.atoms.base(self._policy, exact)]
        given += [f"{text} AS x{j}" for j, text in enumerate(self.contrasts)]
        columns: list[Column] = [("n", "count(*)", Merge.SUM)]
        columns += [(f"w{i}", f"count(u{i})", Merge.SUM) for i in self.partly]
        columns += self._counts([f"x{j}" for j in range(len(self.contrasts))])
        columns += [*self._presences(), *self._sums()]
        for number in self.unbounded:
            columns.append((f"lo{number}", f"min(m{number})", Merge.MIN))
            columns.append((f"hi{number}", f"max(m{number})", Merge.MAX))
        return self._statement(given, columns, is_filtered=True, base=kept)

    def outside(
        self, instead: Mapping[str, str], where: Predicate, values: Sequence[int | None]
    ) -> Counted:
        """Return what counts rows on which `where` does not hold, tables read `instead`.

        Beside them stand the buckets of each kind of unit that were seen.
        `values` says of each key how many values, given with the statement, it is to have;
        None: any.
        """
        conditions = [f"({predicate_sql(where)}) IS NOT TRUE"]
        terms = (*self._block.keys, *self._block.hidden)
        conditions += [
            f"{term_sql(term)} IN ({', '.join('?' * count)})"
            for term, count in zip(terms, values, strict=True)
            if count is not None
        ]
        given, columns = self._outside("TRUE")
        return self._statement(given, columns, conditions=conditions, instead=instead)

    def both_sides(self, instead: Mapping[str, str]) -> Counted:
        """Return what counts some rows outside the filter and, as INSIDE, those inside."""
        given, columns = self._outside(f"({predicate_sql(self._block.where)}) IS NOT TRUE")
        columns.append((INSIDE, f"count(*) FILTER (NOT {OUTSIDE})", Merge.SUM))
        return self._statement(given, columns, instead=instead)

    def _outside(self, condition: str) -> tuple[list[str], list[Column]]:
        units = enumerate(self._block.units)
        named = [(i, term_sql(unit.ref)) for i, unit in units if unit.ref is not None]
        given = [f"{condition} AS {OUTSIDE}", *self._units()]
        given += [f"{name} AS s{i}" for i, name in named]
        columns = self._counts([OUTSIDE])
        columns += [
            (f"{OUTSIDE}{i}_seen", seen_sql(f"s{i}", f" FILTER ({OUTSIDE})"), Merge.MAX)
            for i, _ in named
        ]
        return given, columns

    def count_name(self, condition: str, number: int) -> str:
        """Return the name under which a condition's rows are counted for one unit."""
        return f"{condition}_{number}" if number in self.partly else condition

    def _counts(self, conditions: Sequence[str]) -> list[Column]:
        """Return the rows of each condition: all, and those that have each other unit."""
        found: list[Column] = []
        for condition in conditions:
            found.append((condition, f"count(*) FILTER ({condition})", Merge.SUM))
            for i in self.partly:
                known = f"count(*) FILTER ({condition} AND u{i} IS NOT NULL)"
                found.append((self.count_name(condition, i), known, Merge.SUM))
        return found

    # --- columns

    def _may_miss(self, ref: Ref) -> bool:
        known = self.bounds.get(ref)
        # That a DOUBLE is no number is no fact of its column.
        return known is None or known.may_miss or ref.kind is Kind.DOUBLE

    def _is_whole(self, present: Sequence[Ref]) -> bool:
        return not any(map(self._may_miss, present))

    def _presences(self) -> list[Column]:
        found: list[Column] = []
        for i, present in enumerate(self.atoms.presences):
            if self._is_whole(present):
                continue
            there = self.atoms.all_sql(present)
            rows = f"count(*) FILTER ({there})"
            if len(present) == 1 and present[0] in self.atoms.summed:
                rows = f"count(m{self.atoms.refs.index(present[0])})"
            found.append((f"p{i}_n", rows, Merge.SUM))
            for k, other in enumerate(self.atoms.beside(present)):
                lacks = f"{self.atoms.all_sql(other)} AND NOT {there}"
                found.append((f"p{i}_lack{k}", f"count(*) FILTER ({lacks})", Merge.SUM))
        return found

    def _sums(self) -> list[Column]:
        found: list[Column] = []
        for j, atom in enumerate(self.atoms.sums):
            # Of one column its sum leaves out the rows without it.
            by_itself = atom.present == atom.factors or self._is_whole(atom.present)
            rows = "" if by_itself else f" FILTER ({self.atoms.all_sql(atom.present)})"
            found += [
                (f"a{j}_sum{k}", f"sum({text}){rows}", Merge.SUM)
                for k, text in enumerate(self.atoms.limbs(atom))
            ]
        return found

    # --- SQL

    def _units(self) -> list[str]:
        refs = [(number, self._block.units[number].ref) for number in self.partly]
        return [f"{term_sql(ref)} AS u{number}" for number, ref in refs if ref is not None]

    def _statement(
        self,
        given: Sequence[str],
        columns: Sequence[Column],
        *,
        is_filtered: bool = False,
        conditions: Sequence[str] = (),
        instead: Mapping[str, str] | None = None,
        base: str | None = None,
    ) -> Counted:
        block = self._block
        keys = [f"k{i}" for i in range(len(block.keys))]
        keys += [f"h{i}" for i in range(len(block.hidden))]
        terms = zip((*block.keys, *block.hidden), keys, strict=True)
        rows = [*(f"{term_sql(term)} AS {key}" for term, key in terms), *given]
        base = base or joined_sql(
            block, rows or ["1"], is_filtered=is_filtered, more=conditions, instead=instead
        )
        shown = ", ".join([*keys, *(f"{text} AS {name}" for name, text, _ in columns)])
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        return Counted(
            f"SELECT {shown} FROM ({base}) AS base{grouped}",
            (*keys, *(name for name, *_ in columns)),
            Fold(len(keys), tuple(merge for *_, merge in columns), limit=MAX_CELLS),
        )


def _bounds(
    block: Block, policy: Policy, facts: Facts, measures: Sequence[Ref]
) -> dict[Ref, Bounds]:
    """Return the bounds of stored columns; of computed ones nothing is known."""
    units = [unit.ref for unit in block.units if unit.ref is not None]
    found: dict[Ref, Bounds] = {}
    for name in sorted({ref.table for ref in (*measures, *units)} - {*block.optional}):
        table = policy.table(name)
        derived = {item.name for item in table.derived} if table else set()
        stored = dict.fromkeys(
            ref
            for ref in (*measures, *units)
            if ref.table == name and ref.column not in derived
        )
        if stored:
            known = facts.bounds(name, [ref.column for ref in stored])
            found |= {ref: known[ref.column] for ref in stored}
    return found
