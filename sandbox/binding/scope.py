"""FROM: which tables a query reads, how they are joined, and what a name means there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.shape import JoinUse, Place, Usage
from sandbox.binding.facts import Facts
from sandbox.plan.terms import NUMBERS, Kind, Ref, kind_of_type
from sandbox.sql import syntax

Schemas = Mapping[str, Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Bound:
    """A table in FROM under its alias, with its columns by lower-case name."""

    table: str
    alias: str
    columns: Mapping[str, Ref]


class Scope:
    """Names of one SELECT; unknown and ambiguous ones are findings."""

    def __init__(self, facts: Facts, schemas: Schemas) -> None:
        self._facts = facts
        self._schemas = {name.lower(): (name, columns) for name, columns in schemas.items()}
        self.bound: list[Bound] = []
        self.joins: list[tuple[Ref, Ref]] = []
        self.conditions: list[syntax.Expression] = []

    def add(self, source: syntax.Source | None) -> None:
        """Bind FROM; joins and conditions of ON are in `joins` and `conditions` after."""
        if source is None:
            if not self._facts.findings:
                self._facts.refuse(
                    "no_table",
                    "the query reads no table",
                    "Add FROM with a table of the policy.",
                )
            return
        if isinstance(source, syntax.TableName):
            self._add_table(source)
            return
        self.add(source.left)
        left_aliases = {item.alias.lower() for item in self.bound}
        self.add(source.right)
        self._add_join(source, left_aliases)

    def _add_table(self, node: syntax.TableName) -> None:
        found = self._schemas.get(node.name.lower())
        policy = None if found is None else self._facts.policy.table(found[0])
        if found is None or policy is None:
            known = sorted(name for name, _ in self._schemas.values())
            self._facts.refuse(
                "unknown_table",
                f"`{node.name[:60]}` is no table that this query may read",
                f"The tables are: {', '.join(known)}.",
                node.place,
            )
            return
        name, columns = found
        if any(item.alias.lower() == node.alias.lower() for item in self.bound):
            self._facts.refuse(
                "ambiguous_name",
                "two tables have the same name",
                "Give each an alias.",
                node.place,
            )
            return
        if any(item.table == name for item in self.bound):
            self._facts.refuse(
                "self_join_unavailable",
                f"`{name}` is joined with itself, which could multiply one unit's weight",
                "Ask over the table once.",
                node.place,
            )
            return
        if policy.requester:
            self._facts.refuse(
                "requester_table_unavailable",
                f"`{name}` is a table that you brought; it can be joined only on unit "
                "keys, and this node does not take one yet",
                "Ask with the provider's own tables.",
                node.place,
            )
        self.bound.append(Bound(name, node.alias, _columns(name, columns)))

    def _add_join(self, node: syntax.Join, left_aliases: set[str]) -> None:
        before = len(self.joins)
        for name in node.using:
            left = self._first(name, left_aliases, inside=True, place=node.place)
            right = self._first(name, left_aliases, inside=False, place=node.place)
            if left is not None and right is not None:
                self._equate(left, right, node.place)
        for condition in _conjuncts(node.condition):
            pair = self._key_pair(condition)
            if pair is None:
                self.conditions.append(condition)
            else:
                self._equate(*pair, node.place)
        if len(self.joins) == before:
            self._facts.refuse(
                "join_without_key",
                "two tables are joined without an equality of their columns",
                "Write JOIN ... ON a.key = b.key.",
                node.place,
            )

    def _first(
        self, name: str, aliases: set[str], *, inside: bool, place: Place | None
    ) -> Ref | None:
        for item in self.bound:
            if (item.alias.lower() in aliases) == inside and name.lower() in item.columns:
                return item.columns[name.lower()]
        self._facts.refuse(
            "unknown_column",
            f"`{name[:60]}` is not in both joined tables",
            "Check USING.",
            place,
        )
        return None

    def _key_pair(self, condition: syntax.Expression) -> tuple[Ref, Ref] | None:
        if not isinstance(condition, syntax.Comparison) or condition.operator != "=":
            return None
        sides = [
            self.find(side) if isinstance(side, syntax.Column) else None
            for side in (condition.left, condition.right)
        ]
        left, right = sides
        if left is None or right is None or left.table == right.table:
            return None
        return left, right

    def _equate(self, left: Ref, right: Ref, place: Place | None) -> None:
        comparable = left.kind == right.kind or {left.kind, right.kind} <= NUMBERS
        if not comparable or Kind.OTHER in (left.kind, right.kind):
            # A cast from text would raise on a value and name it.
            self._facts.refuse(
                "types_differ",
                f"`{left.table}.{left.column}` and `{right.table}.{right.column}` have "
                "different types and cannot be joined",
                "Join columns of one type.",
                place,
            )
        self.joins.append((left, right))
        self._facts.joins.append(
            JoinUse(left.table, left.column, right.table, right.column, "inner", place)
        )
        for ref in (left, right):
            self._facts.use(ref, Usage.JOIN_KEY, place)

    def find(self, node: syntax.Column) -> Ref | None:
        """Return what a name means, or None where it means nothing or several things."""
        found = self._candidates(node)
        return found[0] if len(found) == 1 else None

    def resolve(self, node: syntax.Column) -> Ref | None:
        """As `find`, and leave a finding where the name is unknown or ambiguous."""
        found = self._candidates(node)
        shown = ".".join(node.names)[:80]
        if len(found) == 1:
            return found[0]
        if found:
            self._facts.refuse(
                "ambiguous_name",
                f"`{shown}` stands in several tables",
                f"Write the table before it: {self.bound[0].alias}.{node.names[-1][:40]}.",
                node.place,
            )
        else:
            names = sorted(
                ref.column
                for item in self.bound
                for ref in item.columns.values()
                if self._facts.may_name(ref)
            )
            shown_names = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            self._facts.refuse(
                "unknown_column",
                f"`{shown}` is no column of the tables in FROM",
                f"Their columns: {shown_names}." if names else "Name a table in FROM.",
                node.place,
            )
        return None

    def _candidates(self, node: syntax.Column) -> list[Ref]:
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
        found = [item.columns[name] for item in self.bound if name in item.columns]
        if len(found) == 2 and (found[0], found[1]) in self.joins:
            return found[:1]  # equal by USING or ON
        return found


def _columns(table: str, columns: Sequence[tuple[str, str]]) -> dict[str, Ref]:
    found = {}
    for name, engine_type in columns:
        kind, scale = kind_of_type(engine_type)
        found[name.lower()] = Ref(table, name, kind, scale)
    return found


def _conjuncts(condition: syntax.Expression | None) -> list[syntax.Expression]:
    if condition is None:
        return []
    if isinstance(condition, syntax.Logical) and condition.operator == "AND":
        return [part for item in condition.items for part in _conjuncts(item)]
    return [condition]
