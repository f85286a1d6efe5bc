"""The rows of a block's FROM: how many of one unit there are, and some of all there are."""

from __future__ import annotations

from policies.document import Policy
from sandbox.passes.facts import Facts
from sandbox.plan.block import Block, Unit
from sandbox.plan.joint_rows import is_public
from sandbox.plan.terms import Ref
from sandbox.plan.views import by_name


def most_rows(block: Block, unit: Unit, policy: Policy, facts: Facts) -> int | None:
    """Return a number of joined rows that no unit has more of; None: not known.

    A unit has so many rows in its own table; each of them meets at most as many of a joined
    table as any value of the column that joins has there. Views are not looked into.
    """
    if unit.ref is None:
        return 1
    views = by_name(block.views)
    if any(name in views for name in block.tables):
        return None
    most = _of_column(unit.ref, policy, facts)
    done, pending = {unit.ref.table}, set(block.tables) - {unit.ref.table}
    while pending and most is not None:
        found = _joined(block, done, pending, policy, facts)
        if found is None:
            return None
        name, times = found
        most *= times
        done.add(name)
        pending.remove(name)
    return most


def samples_of(block: Block, policy: Policy, facts: Facts) -> list[dict[str, str]]:
    """Return what may be read instead of tables, so that some of the joined rows come.

    Public tables are read whole: they are joined outwards at times, and a row whose partner
    is not read would look as if it had none.
    """
    return facts.samples([n for n in block.tables if not is_public(n, policy)])


def _joined(
    block: Block, done: set[str], pending: set[str], policy: Policy, facts: Facts
) -> tuple[str, int] | None:
    """Return a table that is joined to those done, and the most rows it adds for one."""
    for name in sorted(pending):
        times = []
        for pair in block.joins:
            for mine, other in (pair, pair[::-1]):
                if other.table != name or mine.table not in done:
                    continue
                if facts.equate_as_stored(_named(mine), _named(other)):
                    found = _of_column(other, policy, facts)
                    times += [] if found is None else [found]
        if times:
            return name, min(times)
    return None


def _of_column(ref: Ref, policy: Policy, facts: Facts) -> int | None:
    table = policy.table(ref.table)
    if table is None or any(item.name == ref.column for item in table.derived):
        return None
    return facts.most_rows(*_named(ref))


def _named(ref: Ref) -> tuple[str, str]:
    return ref.table, ref.column
