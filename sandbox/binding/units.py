"""Who is protected in joined rows: each unit key once, by domain."""

from __future__ import annotations

from collections.abc import Sequence

from policies.document import Table
from sandbox.binding.facts import Facts
from sandbox.plan.block import Unit
from sandbox.plan.canonical import key_of
from sandbox.plan.terms import Ref


def units_of(
    facts: Facts, tables: Sequence[str], joins: Sequence[tuple[Ref, Ref]]
) -> tuple[Unit, ...]:
    """Return who is protected in the joined rows; a joined key stands once.

    Public tables alone have nobody. Tables whose rows are their own units join no other
    protected table: that is a finding.
    """
    same: dict[Ref, Ref] = {}

    def root(ref: Ref) -> Ref:
        while ref in same:
            ref = same[ref]
        return ref

    for left, right in joins:
        a, b = sorted((root(left), root(right)), key=key_of)
        if a != b:
            same[b] = a
    units: dict[str, Unit] = {}
    protected = [t for name in tables if (t := _protected(facts, name)) is not None]
    for table in protected:
        for unit in table.units:
            ref = facts.refs.get((table.name, unit.column.lower()))
            if ref is None:
                facts.refuse(
                    "unit_column_missing",
                    f"`{table.name}` has no column `{unit.column}`, its unit key",
                    "Ask the provider to publish the dataset again.",
                )
                continue
            found = Unit(unit.domain, root(ref))
            units[key_of(found)] = found
    by_row = [table for table in protected if table.row_units]
    if by_row:
        units["row"] = Unit("row", None)
        if len(protected) > 1:
            facts.refuse(
                "join_not_on_units",
                f"each row of `{by_row[0].name}` is its own unit, so it joins no other "
                "protected table",
                "Ask over it alone, or with public tables.",
            )
    return tuple(units.values())


def _protected(facts: Facts, name: str) -> Table | None:
    table = facts.policy.table(name)
    return table if table is not None and table.is_protected else None
