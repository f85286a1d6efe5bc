"""What a name means in one SELECT over rows."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.binding.facts import Facts
from sandbox.binding.items import Bound, Meaning, Projected
from sandbox.plan.terms import Ref, kind_of_type
from sandbox.sql import syntax


class Names:
    """Names of what FROM has bound so far; unknown and ambiguous ones are findings."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.bound: list[Bound] = []
        self.joins: list[tuple[Ref, Ref]] = []
        self._merged: dict[str, str] = {}  # columns of USING, by the alias that has them

    def merge(self, name: str, alias: str) -> None:
        """Let a name that USING joins mean the column of one side."""
        self._merged[name.lower()] = alias

    def find(self, node: syntax.Column) -> Meaning | None:
        """Return what a name means, or None where it means nothing or several things."""
        found = self._candidates(node)
        return found[0] if len(found) == 1 else None

    def resolve(self, node: syntax.Column) -> Meaning | None:
        """As `find`, and leave a finding where the name is unknown or ambiguous."""
        found = self._candidates(node)
        shown = ".".join(node.names)[:80]
        if len(found) == 1:
            return found[0]
        if found:
            self.facts.refuse(
                "ambiguous_name",
                f"`{shown}` stands in several tables",
                f"Write the table before it: {self.bound[0].alias}.{node.names[-1][:40]}.",
                node.place,
            )
        else:
            names = sorted(self._shown_names())
            listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            self.facts.refuse(
                "unknown_column",
                f"`{shown}` is no column of the tables in FROM",
                f"Their columns: {listed}." if names else "Name a table in FROM.",
                node.place,
            )
        return None

    def _shown_names(self) -> set[str]:
        found = set()
        for item in self.bound:
            for name in item.names:
                meaning = item.columns.get(name.lower())
                if not isinstance(meaning, Ref) or self.facts.may_name(meaning):
                    found.add(name)
        return found

    def _candidates(self, node: syntax.Column) -> list[Meaning]:
        # More than table.column would reach schemas, structs or whole rows.
        if len(node.names) > 2:
            return []
        name = node.names[-1].lower()
        if len(node.names) == 2:
            alias = node.names[0].lower()
            return [
                item.columns[name]
                for item in self.bound
                if item.alias.lower() == alias and name in item.columns
            ]
        holders = [item for item in self.bound if name in item.columns]
        found = [item.columns[name] for item in holders]
        if len(found) > 1 and name in self._merged:
            merged = self._merged[name].lower()
            return [i.columns[name] for i in holders if i.alias.lower() == merged]
        if len(found) == 2 and (found[0], found[1]) in self.joins:
            return found[:1]  # equal by ON
        return found

    def star(self, table: str) -> list[tuple[str, syntax.Column]] | None:
        """Return the columns of `*` or `table.*` in order; None where there is no table."""
        items = [i for i in self.bound if not table or i.alias.lower() == table.lower()]
        if not items:
            return None
        found: list[tuple[str, syntax.Column]] = []
        seen: set[str] = set()
        for item in items:
            for name in item.names:
                if name.lower() in self._merged and name.lower() in seen and not table:
                    continue
                seen.add(name.lower())
                found.append((name, syntax.Column((item.alias, name))))
        return found


def as_ref(meaning: Meaning | None) -> Ref | None:
    """Return the column that a meaning plainly is, through derived tables."""
    if isinstance(meaning, Projected):
        return meaning.terms.ref(meaning.expression)
    return meaning if isinstance(meaning, Ref) else None


def table_columns(table: str, columns: Sequence[tuple[str, str]]) -> dict[str, Ref]:
    """Return the columns of a base table by lower-case name."""
    found = {}
    for name, engine_type in columns:
        kind, scale = kind_of_type(engine_type)
        found[name.lower()] = Ref(table, name, kind, scale)
    return found
