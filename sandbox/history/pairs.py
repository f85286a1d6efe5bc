"""What was released before, and the cells of a new answer that come too close to it.

Which releases that can be at all is seen from their texts (`sandbox.history.reach`). The
rest are compared one by one (`pair`), all together (`audit`), and by their units where they
are over other tables (`units`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import cache

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell
from sandbox.errors import QueryRejected
from sandbox.history.atoms import Atoms
from sandbox.history.audit import Audit
from sandbox.history.entry import Past, read_all
from sandbox.history.pair import Pair
from sandbox.history.reach import Beside, Sides, linked, near, shape_of, within_reach
from sandbox.history.units import UnitsCompared
from sandbox.passes.holding import Holding
from sandbox.passes.rows import Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.expanding import Rows as BaseRows
from sandbox.plan.expanding import rows_of
from sandbox.plan.joint_rows import is_public
from sandbox.plan.view_columns import extended
from sandbox.plan.views import base_tables, by_name


class Comparing:
    """A new answer beside the earlier releases that it must not come too close to."""

    def __init__(
        self,
        block: Block,
        policy: Policy,
        rule: AggregateRule,
        pasts: Sequence[Past],
        rows: Rows,
    ) -> None:
        """Ask; `rows` must reach what the block and all of `pasts` read."""
        views = by_name(view for past in pasts for view in past.views)
        if views:
            rows.materialise(views.values(), policy)
        self._block, self._rows = block, rows
        self._policy = extended(policy, views.values())
        self._min_units = rule.min_units
        self._steps: list[Pair | Audit | UnitsCompared] = []
        sides = Sides(self._policy)
        compared: set[int] = set()
        for mine in rows_of(block, (*block.keys, *block.hidden)):
            found = sides.beside(mine, pasts)
            compared |= {id(item.past) for item in found if item.is_of_same_core}
            self._compare_rows(mine, found, sides)
        for past in pasts:
            if id(past) in compared and not (block.views or past.views):
                continue
            self._steps += [
                UnitsCompared(
                    block,
                    past,
                    unit,
                    rows,
                    policy=self._policy,
                    min_units=rule.min_units,
                )
                for unit in block.units
            ]

    def _compare_rows(self, mine: BaseRows, found: Sequence[Beside], sides: Sides) -> None:
        close, reached = near(mine, found), linked(mine, found)
        alike = sides.alike(reached)
        groups = [items for items in _by_shape(reached) if not set(close).isdisjoint(items)]
        # A cell over a view is audited even alone: not all of its rows may be found.
        is_audited = bool(alike or (found and self._block.views))
        pairs: dict[tuple[Beside, Unit], Pair] = {}
        audits = []
        for unit in self._block.units:
            for items in groups:
                atoms = self._atoms(mine, items, unit)
                for number, item in enumerate(items):
                    pairs[item, unit] = self._pair(mine, item, unit, atoms, number)
            if is_audited:
                atoms = atoms if groups == [alike] else self._atoms(mine, alike, unit)
                pasts = [item.past for item in alike]
                audits.append(Audit(self._block, pasts, atoms, min_units=self._min_units))
        self._steps += [pairs[item, unit] for item in close for unit in self._block.units]
        self._steps += audits

    def _atoms(self, mine: BaseRows, items: Sequence[Beside], unit: Unit) -> Atoms:
        others = [item.rows for item in items]
        return Atoms(mine, others, unit, self._rows, policy=self._policy)

    def _pair(
        self, mine: BaseRows, item: Beside, unit: Unit, atoms: Atoms, number: int
    ) -> Pair:
        return Pair(
            self._block,
            mine,
            item,
            unit,
            atoms,
            number,
            self._rows,
            policy=self._policy,
            min_units=self._min_units,
        )

    def mark(self, cells: Sequence[Cell]) -> None:
        """Mark the cells that would, beside earlier releases, tell about too few units."""
        for step in self._steps:
            step.mark(cells)


def _by_shape(found: Iterable[Beside]) -> list[list[Beside]]:
    groups: dict[Hashable, list[Beside]] = {}
    for item in found:
        groups.setdefault(shape_of(item.rows.source), []).append(item)
    return list(groups.values())


def earlier(
    block: Block, policy: Policy, history: Sequence[str], holding: Holding
) -> list[Past]:
    """Return the releases that a block is compared with, each once.

    Raises QueryRejected where one cannot be read, or read tables that the job lacks.
    """
    own_fingerprint = block.fingerprint
    # What was aggregated does not matter: the same rows were told of.
    found = dict.fromkeys(
        past
        for text in dict.fromkeys(history)
        for past in read_all(text)
        if past.fingerprint != own_fingerprint
    )
    own = _tables(block)
    protected = {name for name in own if _is_protected(name, policy)}
    shared = {name for name in own if not is_public(name, policy)}
    domains = {unit.domain for unit in block.units}

    @cache
    def is_beside(read: frozenset[str]) -> bool:
        if not holding.holds(read):
            if read & protected:
                raise _not_held()
            return False
        return bool(read & shared or domains & _domains_of(read, policy))

    kept = [past for past in found if is_beside(frozenset(past.base_tables))]
    return within_reach(block, kept, policy)


def _tables(block: Block) -> set[str]:
    views = by_name(block.views)
    return set(base_tables((*block.tables, *views), views))


def _is_protected(name: str, policy: Policy) -> bool:
    table = policy.table(name)
    return table is None or table.is_protected


def _domains_of(tables: Iterable[str], policy: Policy) -> set[str]:
    found = [policy.table(name) for name in tables]
    return {unit.domain for table in found if table is not None for unit in table.units}


def _not_held() -> QueryRejected:
    # Answering without the comparison would let a differencing pair through.
    return QueryRejected(
        "an earlier release joined this table with one that this grant does not hold, so "
        "the answer cannot be compared with it",
        hint="Ask under a grant whose policy names both tables, or ask the provider.",
        code="history_not_held",
    )
