"""FROM over rows: which tables a SELECT reads, how they are joined, what a name means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from policies.shape import JoinUse, Place, Usage
from sandbox.binding.facts import Facts
from sandbox.binding.items import (
    Bound,
    Item,
    Meaning,
    Projected,
    Reentered,
    ResultItem,
    RowsItem,
)
from sandbox.plan.result_walks import is_single_row
from sandbox.plan.terms import NUMBERS, Kind, Predicate, Ref, kind_of_type
from sandbox.sql import syntax

Leaf = syntax.TableName | syntax.Derived
MAX_COPIES = 8


class ItemOf(Protocol):
    """Binds what stands in FROM; a copy reads the same tables under other names."""

    def __call__(self, leaf: Leaf, copy: int = 0) -> Item | None:
        """Return the item; None where it is refused."""


class OuterJoins(Protocol):
    """Binds outer and ASOF joins."""

    def __call__(self, scope: Scope, node: syntax.Join) -> None:
        """Add the join to a scope, or a finding."""


class Scope:
    """Names of one SELECT over rows; unknown and ambiguous ones are findings."""

    def __init__(
        self,
        facts: Facts,
        item_of: ItemOf,
        outer_joins: OuterJoins | None = None,
        taken: frozenset[str] = frozenset(),
    ) -> None:
        self.facts = facts
        self._outer_joins = outer_joins
        self._taken = taken
        self._item_of = item_of
        self.bound: list[Bound] = []
        self.tables: list[str] = []
        self.joins: list[tuple[Ref, Ref]] = []
        self.where: list[Predicate] = []  # filters of derived tables
        self.conditions: list[syntax.Expression] = []  # of ON
        self.among: list[tuple[syntax.Column, Reentered]] = []  # joins with results
        self.optional: list[str] = []  # public tables joined outwards
        self._merged: dict[str, str] = {}  # columns of USING, by the alias that has them

    def add(self, source: syntax.Source | None) -> None:
        """Bind FROM; joins and conditions of ON are in `joins` and `conditions` after."""
        if source is None:
            return
        if not isinstance(source, syntax.Join):
            self._add_leaf(source)
            return
        if source.asof or source.kind in ("left", "right", "full"):
            if self._outer_joins is None:
                self._refuse_join(source)
            else:
                self._outer_joins(self, source)
            return
        self.add(source.left)
        left_aliases = {item.alias.lower() for item in self.bound}
        self.add(source.right)
        self.equate(source, left_aliases)

    # --- sides of outer joins

    def side(self, source: syntax.Source, taken: frozenset[str] = frozenset()) -> Scope:
        """Return the scope of one side; it reads `taken` tables under other names."""
        names = self._taken | taken | frozenset(self.tables)
        found = Scope(self.facts, self._item_of, self._outer_joins, names)
        found.add(source)
        return found

    def over(self, bound: Sequence[Bound]) -> Scope:
        """Return a scope in which these names can be found."""
        found = Scope(self.facts, self._item_of, self._outer_joins)
        found.bound = list(bound)
        return found

    @property
    def has_results(self) -> bool:
        """Whether a result stands among its items."""
        return any(
            isinstance(meaning, Reentered)
            for item in self.bound
            for meaning in item.columns.values()
        )

    def adopt(self, side: Scope) -> None:
        """Take over everything that a side has bound."""
        self.tables += side.tables
        self.joins += side.joins
        self.where += side.where
        self.conditions += side.conditions
        self.among += side.among
        self.optional += side.optional
        self._merged.update(side._merged)
        self._add_bound(side.bound)

    def take(self, table: str, bound: Sequence[Bound]) -> None:
        """Read a view, in which the names of `bound` mean its columns."""
        self.tables.append(table)
        self._add_bound(bound)

    def merge(self, name: str, alias: str) -> None:
        """Let a name that USING joins mean the column of one side."""
        self._merged[name.lower()] = alias

    def _add_bound(self, bound: Sequence[Bound]) -> None:
        known = {item.alias.lower() for item in self.bound}
        if any(item.alias.lower() in known for item in bound):
            self.facts.refuse(
                "ambiguous_name", "two tables have the same name", "Give each an alias."
            )
        self.bound += bound

    # --- items

    def _add_leaf(self, node: Leaf) -> None:
        item = self._item_of(node)
        if item is None:
            return
        if any(found.alias.lower() == node.alias.lower() for found in self.bound):
            self.facts.refuse(
                "ambiguous_name",
                "two tables have the same name",
                "Give each an alias.",
                node.place,
            )
            return
        if isinstance(item, ResultItem):
            columns: dict[str, Meaning] = {
                name.lower(): Reentered(item.relation, index)
                for index, name in enumerate(item.names)
            }
            self.bound.append(Bound(node.alias, columns, item.names))
            return
        taken = self._taken | frozenset(self.tables)
        copy = 0
        while isinstance(item, RowsItem) and taken & {*item.tables} and copy < MAX_COPIES:
            # A table that is joined with itself stands there twice, under two names.
            copy += 1
            item = self._item_of(node, copy)
        if not isinstance(item, RowsItem):
            return
        for name in item.tables:
            if name in taken:
                self.facts.refuse(
                    "self_join_unavailable",
                    f"`{name}` is joined with itself, which could multiply one unit's "
                    "weight",
                    "Ask over the table once.",
                    node.place,
                )
                return
        self.tables += item.tables
        self.joins += item.joins
        self.where += item.where
        self.bound.append(Bound(node.alias, item.columns, item.names))

    # --- joins

    def equate(
        self, node: syntax.Join, left_aliases: set[str], *, merge_right: bool = False
    ) -> None:
        """Add the equalities and conditions of a join of what is bound already."""
        if node.kind in ("semi", "anti", "positional"):
            self._refuse_join(node)
            return
        before = len(self.joins) + len(self.among)
        using = self._common(left_aliases) if node.natural else list(node.using)
        for name in using:
            self._equate_by_name(name, left_aliases, node.place, merge_right=merge_right)
        for condition in conjuncts(node.condition):
            if not self._equate_by_condition(condition, node.place):
                self.conditions.append(condition)
        if len(self.joins) + len(self.among) == before and not self._is_one_row(
            left_aliases
        ):
            self.facts.refuse(
                "join_without_key",
                "two tables are joined without an equality of their columns",
                "Write JOIN ... ON a.key = b.key.",
                node.place,
            )

    def _refuse_join(self, node: syntax.Join) -> None:
        self.facts.refuse(
            "join_unavailable",
            f"a {node.kind} join of rows is not part of what may be asked",
            "Use JOIN ... ON a.key = b.key.",
            node.place,
        )

    def _common(self, left_aliases: set[str]) -> list[str]:
        sides: list[set[str]] = [set(), set()]
        for item in self.bound:
            sides[item.alias.lower() in left_aliases] |= set(item.columns)
        return sorted(sides[0] & sides[1])

    def _is_one_row(self, left_aliases: set[str]) -> bool:
        """Whether the right side is a result of one row, which multiplies none."""
        right = [item for item in self.bound if item.alias.lower() not in left_aliases]
        return bool(right) and all(
            isinstance(meaning, Reentered) and is_single_row(meaning.relation)
            for item in right
            for meaning in item.columns.values()
        )

    def _equate_by_name(
        self, name: str, aliases: set[str], place: Place | None, *, merge_right: bool
    ) -> None:
        left = self._first(name, aliases, inside=True)
        right = self._first(name, aliases, inside=False)
        if left is None or right is None:
            self.facts.refuse(
                "unknown_column",
                f"`{name[:60]}` is not in both joined tables",
                "Check USING.",
                place,
            )
            return
        self._merged[name.lower()] = right[0] if merge_right else left[0]
        self._equate(
            (syntax.Column((left[0], name), place), left[1]),
            (syntax.Column((right[0], name), place), right[1]),
            place,
        )

    def _first(
        self, name: str, aliases: set[str], *, inside: bool
    ) -> tuple[str, Meaning] | None:
        for item in self.bound:
            if (item.alias.lower() in aliases) == inside and name.lower() in item.columns:
                return item.alias, item.columns[name.lower()]
        return None

    def _equate_by_condition(
        self, condition: syntax.Expression, place: Place | None
    ) -> bool:
        if not isinstance(condition, syntax.Comparison) or condition.operator != "=":
            return False
        left, right = condition.left, condition.right
        if not isinstance(left, syntax.Column) or not isinstance(right, syntax.Column):
            return False
        meanings = self.find(left), self.find(right)
        if meanings[0] is None or meanings[1] is None:
            return False
        return self._equate((left, meanings[0]), (right, meanings[1]), place)

    def _equate(
        self,
        left: tuple[syntax.Column, Meaning],
        right: tuple[syntax.Column, Meaning],
        place: Place | None,
    ) -> bool:
        for (name, _), (_, other) in ((left, right), (right, left)):
            if isinstance(other, Reentered):
                self.among.append((name, other))
                return True
        refs = as_ref(left[1]), as_ref(right[1])
        return self._join_refs(*refs, place)

    def _join_refs(self, one: Ref | None, other: Ref | None, place: Place | None) -> bool:
        if one is None or other is None or one.table == other.table:
            return False
        comparable = one.kind == other.kind or {one.kind, other.kind} <= NUMBERS
        if not comparable or Kind.OTHER in (one.kind, other.kind):
            # A cast from text would raise on a value and name it.
            self.facts.refuse(
                "types_differ",
                f"`{one.table}.{one.column}` and `{other.table}.{other.column}` have "
                "different types and cannot be joined",
                "Join columns of one type.",
                place,
            )
        self.joins.append((one, other))
        self.facts.joins.append(
            JoinUse(one.table, one.column, other.table, other.column, "inner", place)
        )
        for ref in (one, other):
            self.facts.use(ref, Usage.JOIN_KEY, place)
        return True

    # --- names

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


def conjuncts(condition: syntax.Expression | None) -> list[syntax.Expression]:
    """Return the conditions that all must hold."""
    if condition is None:
        return []
    if isinstance(condition, syntax.Logical) and condition.operator == "AND":
        return [part for item in condition.items for part in conjuncts(item)]
    return [condition]


def leaves_of(source: syntax.Source | None) -> list[Leaf]:
    """Return what stands in FROM, from left to right."""
    if source is None:
        return []
    if isinstance(source, syntax.Join):
        return [*leaves_of(source.left), *leaves_of(source.right)]
    return [source]
