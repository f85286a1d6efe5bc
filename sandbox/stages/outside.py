"""The rows outside a block's filter: of how many units they are, at least, in each cell.

They are counted among few rows first, and by conditions that read no other table: those
found are outside, and more than enough are not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policies.document import Policy
from sandbox.passes.facts import Facts
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.terms import Predicate
from sandbox.stages.atom_totals import Named, whole_of
from sandbox.stages.contrasts import without_members
from sandbox.stages.inside import FEW_ROWS
from sandbox.stages.labels import Name, name_of
from sandbox.stages.row_statements import INSIDE, OUTSIDE, Counted, RowStatements
from sandbox.stages.unit_rows import samples_of
from sandbox.stages.units_counted import buckets_seen

_MOST_VALUES = 50  # of a key, to be looked for by name
Found = dict[Name, Named]
Units = tuple[int, ...]  # in the order of the block's units


class Outside:
    """The units outside the filter of one block, of whose units most rows are known."""

    def __init__(
        self,
        block: Block,
        policy: Policy,
        rows: Rows,
        statements: RowStatements,
        most: Mapping[Unit, int],
    ) -> None:
        """Requires that no unit has more than `most` rows in FROM."""
        self._block, self._rows, self._most = block, rows, most
        self._statements = statements
        self._least = max(rule.min_units for rule in policy.aggregate_rules)
        facts = rows.facts if statements.tracks_outside else None
        self._samples = [] if facts is None else samples_of(block, policy, facts)
        self._first: Found | None = None  # what the first sample showed
        self._width = len(block.keys) + len(block.hidden)

    def cells_look_small(self, facts: Facts) -> bool:
        """Whether, by a look at some rows, the cells have too few each to prove anything.

        Then their rows will be read again, unit by unit. False where nothing is known. It
        is a guess: it decides in which order things are done, and about no cell. Requires
        a FROM of one table.
        """
        if not self._samples:
            return False
        made = self._statements.both_sides(self._samples.pop(0))
        self._first = self._by_name(made, self._rows.ask(made.sql, made.fold))
        found = [whole_of(named[INSIDE]) for named in self._first.values()]
        seen = sum(whole_of(named[OUTSIDE]) for named in self._first.values())
        (table,) = self._block.tables
        rows = sum(found) * facts.rows(table) // max(1, sum(found) + seen)
        cells = max(1, sum(1 for number in found if number))
        return rows <= FEW_ROWS and rows < cells * self._least * max(self._most.values())

    def units(self, names: Sequence[Name]) -> list[Units]:
        """Return of each cell the units outside: all of them, or at least enough."""
        if not self._statements.tracks_outside:
            return [tuple(0 for _ in self._block.units)] * len(names)
        if self._first is not None and self._are_enough(self._first, names):
            return self._units_of(self._first, names)
        plain = without_members(self._block.where)
        for instead in [*self._samples, *([{}] if plain != self._block.where else [])]:
            found = self._counted(instead, plain, names)
            if self._are_enough(found, names):
                return self._units_of(found, names)
        return self._units_of(self._counted({}, self._block.where, names), names)

    def _are_enough(self, found: Found, names: Sequence[Name]) -> bool:
        return all(
            name in found and all(u >= self._least for u in self._units_in(found[name]))
            for name in names
        )

    def _units_of(self, found: Found, names: Sequence[Name]) -> list[Units]:
        return [self._units_in(found.get(name, {})) for name in names]

    def _units_in(self, named: Named) -> Units:
        """Return how many units of each kind have rows outside, at least."""
        units = []
        for number, unit in enumerate(self._block.units):
            rows = whole_of(named.get(self._statements.count_name(OUTSIDE, number)))
            seen = buckets_seen(named.get(f"{OUTSIDE}{number}_seen"))
            units.append(max(seen, least_units(rows, self._most[unit])))
        return tuple(units)

    def _counted(
        self, instead: Mapping[str, str], where: Predicate, names: Sequence[Name]
    ) -> Found:
        # Nothing but the cells that have rows inside is looked for.
        values = [
            list(dict.fromkeys(name[place] for name in names))
            for place in range(self._width)
        ]
        few = [v if len(v) <= _MOST_VALUES and None not in v else None for v in values]
        made = self._statements.outside(
            instead, where, [None if v is None else len(v) for v in few]
        )
        given = [value for v in few for value in v or ()]
        return self._by_name(made, self._rows.ask(made.sql, made.fold, given))

    def _by_name(self, made: Counted, answer: Answer) -> Found:
        return {
            name_of(row[: self._width]): dict(zip(made.names, row, strict=True))
            for row in answer.rows
        }


def least_units(rows: int, most: int) -> int:
    """Return of how many units rows are at least, of which none has more than `most`."""
    return -(-max(0, rows) // most)
