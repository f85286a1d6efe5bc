"""Who is protected in joined rows: each unit key once, by domain."""

from __future__ import annotations

from collections.abc import Sequence

from policies.document import Table
from sandbox.binding.facts import Facts
from sandbox.plan.block import Unit
from sandbox.plan.canonical import key_of
from sandbox.plan.terms import Ref


class Equalities:
    """Which columns are equal by joins; in outer ones they may be missing instead."""

    def __init__(
        self, joins: Sequence[tuple[Ref, Ref]], optional: Sequence[str] = ()
    ) -> None:
        self._same: dict[Ref, Ref] = {}
        for left, right in joins:
            a, b = sorted((self.root(left), self.root(right)), key=key_of)
            if a != b and not {left.table, right.table} & {*optional}:
                self._same[b] = a

    def root(self, ref: Ref) -> Ref:
        """Return one of the columns that are equal to this one, the same for all."""
        while ref in self._same:
            ref = self._same[ref]
        return ref


def units_of(
    facts: Facts, tables: Sequence[str], joins: Sequence[tuple[Ref, Ref]]
) -> tuple[Unit, ...]:
    """Return who is protected in the joined rows; a joined key stands once.

    Public tables alone have nobody. Tables whose rows are their own units join no other
    protected table: that is a finding.
    """
    same = Equalities(joins)
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
            found = Unit(unit.domain, same.root(ref))
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
