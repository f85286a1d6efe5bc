"""Which earlier releases a new answer can tell something beside, by their texts alone.

Two releases over the same rows tell of a set of rows only by a row that both were about.
So an earlier release is compared with a new answer where their rows may overlap (`near`).
Sums and differences of many releases reach further: a release that shares no row with the
new answer may share one with a third that does, and what the new answer and the third tell
is then taken from or added to what it told. These are the linked ones: near, or overlapping
one that is linked. No linked release shares a row with one that is not. So what is computed
from all of them is a part from the linked, and a part from the others, over other rows:
the new answer adds nothing to the second, and that part nothing to what it tells.

Only rows are kept apart so. Where units are compared, as between answers over different
tables, a row that is not shared says nothing about a unit that is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property

from policies.document import Policy
from sandbox.history.confined import Confined, apart, confined, confined_further
from sandbox.history.entry import Past
from sandbox.plan.block import Block
from sandbox.plan.expanding import Rows, rows_of
from sandbox.plan.joint_rows import Source, agree, core_of
from sandbox.plan.view_columns import extended


class Beside:
    """An earlier release over rows that can stand beside those of a new answer."""

    def __init__(self, past: Past, rows: Rows, *, is_of_same_core: bool) -> None:
        """Requires that something left."""
        self.past, self.rows, self.is_of_same_core = past, rows, is_of_same_core
        self._by_filter = confined(rows.source.where)

    @cached_property
    def confined(self) -> Confined:
        """What confines the rows of the cells that left."""
        labels = [label for cells in self.past.released for label in cells]
        return confined_further(self._by_filter, self.rows.keys, labels)

    def may_overlap(self, limits: Confined) -> bool:
        """Whether a row of what left may pass a filter that confines it so."""
        # The filter alone tells most of them apart, and costs less than all labels.
        return not apart(limits, self._by_filter) and not apart(limits, self.confined)


def shape_of(source: Source) -> Hashable:
    """Return what of a source says how its rows stand beside others: all but its filter."""
    return source.tables, source.joins, source.optional, source.lookups


class Sides:
    """Which rows can stand side by side; found once for every two shapes."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._agree: dict[tuple[Hashable, Hashable], bool] = {}
        self._cores: dict[Hashable, frozenset[str]] = {}

    def agree(self, one: Source, other: Source) -> bool:
        """Whether the rows of two sources can stand side by side."""
        shapes = shape_of(one), shape_of(other)
        if shapes not in self._agree:
            self._agree[shapes] = agree(one, other, self._policy)
        return self._agree[shapes]

    def core(self, source: Source) -> frozenset[str]:
        """Return the protected tables whose rows a source reads."""
        shape = shape_of(source)
        if shape not in self._cores:
            self._cores[shape] = core_of(source, self._policy)
        return self._cores[shape]

    def beside(self, mine: Rows, pasts: Iterable[Past]) -> list[Beside]:
        """Return those of which something left over rows that stand beside `mine`."""
        found = []
        for past in pasts:
            if not past.released:
                continue
            theirs = next(
                (r for r in rows_of(past, past.keys) if self.agree(mine.source, r.source)),
                None,
            )
            if theirs is not None:
                same = self.core(mine.source) == self.core(theirs.source)
                found.append(Beside(past, theirs, is_of_same_core=same))
        return found

    def alike(self, found: Iterable[Beside]) -> list[Beside]:
        """Return those whose rows can stand beside one another, earlier ones first."""
        kept: list[Beside] = []
        shapes: dict[Hashable, Source] = {}
        for item in found:
            if all(self.agree(item.rows.source, other) for other in shapes.values()):
                kept.append(item)
                shapes.setdefault(shape_of(item.rows.source), item.rows.source)
        return kept


def near(mine: Rows, found: Iterable[Beside]) -> list[Beside]:
    """Return those whose rows may overlap those of `mine`."""
    limits = confined(mine.source.where)
    return [item for item in found if item.may_overlap(limits)]


def linked(mine: Rows, found: Sequence[Beside]) -> list[Beside]:
    """Return those that are near or overlap one that is linked, in their order."""
    reached = near(mine, found)
    known = set(reached)
    rest = [item for item in found if item not in known]
    while reached and rest:
        limits = reached.pop().confined
        more = {item for item in rest if item.may_overlap(limits)}
        reached += more
        known |= more
        rest = [item for item in rest if item not in more]
    return [item for item in found if item in known]


def within_reach(block: Block, pasts: Sequence[Past], policy: Policy) -> list[Past]:
    """Return the earlier releases that can matter to a block, in their order.

    Without the others the block is answered as with them: nothing left of them, or they
    are over the same base rows as the block, are not linked to it, and need no comparison
    by units, which is for views and for other tables.
    """
    told = [past for past in pasts if past.released]
    if block.views:
        return told
    views = [view for past in told for view in past.views]
    sides = Sides(extended(policy, views))
    (mine,) = rows_of(block, (*block.keys, *block.hidden))
    found = sides.beside(mine, told)
    reached = {id(item.past) for item in linked(mine, found)}
    beyond = {
        id(item.past)
        for item in found
        if item.is_of_same_core and not item.past.views and id(item.past) not in reached
    }
    return [past for past in told if id(past) not in beyond]
