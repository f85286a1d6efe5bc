"""Outer and ASOF joins of two protected sides, bound to views of rows with their units.

The preserved side keeps its rows, so who a row belongs to is known from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.shape import JoinUse, Usage
from sandbox.binding.facts import Facts
from sandbox.binding.items import Bound
from sandbox.binding.joined_names import conjuncts
from sandbox.binding.predicates import PredicateBinder
from sandbox.binding.row_views import rows_as_view, view_over
from sandbox.binding.terms import TermBinder
from sandbox.binding.units import units_of
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    All,
    Apply,
    Kind,
    Predicate,
    Ref,
    Term,
)
from sandbox.plan.views import ALL, UnitJoin, View
from sandbox.sql import syntax

if TYPE_CHECKING:
    from sandbox.binding.scope import Scope

_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_WAYS = {"left": "left", "right": "right", "full": "full", "inner": "inner"}


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a join as one relation, with what its names mean there."""

    table: str
    bound: tuple[Bound, ...]
    units: tuple[tuple[str, Ref], ...]


class UnitJoining:
    """One outer or ASOF join of two protected sides."""

    def __init__(self, scope: Scope, node: syntax.Join, left: Scope, right: Scope) -> None:
        self._scope, self._node = scope, node
        self._facts = scope.facts
        self._left, self._right = self._side(left), self._side(right)

    def _side(self, sub: Scope) -> _Side | None:
        facts = self._facts
        units = units_of(facts, sub.tables, sub.joins)
        if any(unit.ref is None for unit in units):
            refuse_join(facts, self._node, "a join of rows that are each their own unit")
            return None
        plain = (
            len(sub.tables) == 1
            and not sub.where
            and not sub.conditions
            and all(isinstance(m, Ref) for item in sub.bound for m in item.columns.values())
        )
        if plain:
            found = tuple((u.domain, u.ref) for u in units if u.ref is not None)
            return _Side(sub.tables[0], tuple(sub.bound), found)
        made = rows_as_view(facts, sub)
        if made is None:
            return None
        view, bound = made
        return _Side(view.name, bound, tuple((d, view.ref(name)) for d, name in view.units))

    def add(self) -> None:
        """Bind the join, and let the scope read its view."""
        if self._left is None or self._right is None:
            return
        join = self._join(self._left, self._right)
        if join is None:
            return
        units = self._units(self._left, self._right, join)
        bound = (*self._left.bound, *self._right.bound)
        view, columns = view_over(
            self._facts,
            table=self._left.table,
            joins=(join,),
            where=ALL,
            bound=bound,
            units=units,
        )
        self._note_found(view, join, units)
        if self._node.kind == "full" and self._using():
            # It would give the key of whichever side is there, not that of one side.
            refuse_join(self._facts, self._node, "a FULL JOIN with USING")
        self._scope.take(view.name, columns)
        for name in self._using():
            side = self._right if self._node.kind == "right" else self._left
            alias = next(i.alias for i in side.bound if name.lower() in i.columns)
            self._scope.merge(name, alias)

    def _note_found(
        self, view: View, join: UnitJoin, units: Sequence[tuple[str, Term]]
    ) -> None:
        made = {column.value: view.ref(column.name) for column in view.columns}
        for one, other in join.on:
            for _, term in units:
                if term in (one, other) or term == Apply(
                    "coalesce", (one, other), one.kind
                ):
                    for ref in {one, other} - {term}:
                        self._facts.found[made[ref]] = made[term]

    def _using(self) -> tuple[str, ...]:
        if not self._node.natural:
            return self._node.using
        assert self._left is not None
        assert self._right is not None
        names = [{n for i in s.bound for n in i.columns} for s in (self._left, self._right)]
        return tuple(sorted(names[0] & names[1]))

    # --- ON

    def _join(self, left: _Side, right: _Side) -> UnitJoin | None:
        facts, node = self._facts, self._node
        joint = self._scope.over((*left.bound, *right.bound))
        terms = TermBinder(facts, joint, {})
        predicates = PredicateBinder(terms)
        on: list[tuple[Ref, Ref]] = []
        conditions: list[Predicate] = []
        nearest: tuple[str, Ref, Ref] | None = None
        for one, other in self._equalities(left, right):
            on.append((one, other))
        for condition in conjuncts(node.condition):
            sides = self._sides(condition, terms, left, right)
            if (
                sides is not None
                and sides[0] == "="
                and self._same_unit(left, right, sides)
            ):
                on.append(sides[1:])
            elif node.asof and sides is not None and sides[0] in _MIRRORED:
                if nearest is not None:
                    refuse_join(facts, node, "an ASOF join with two inequalities")
                nearest = sides
            else:
                found = predicates.where(condition)
                if found is None:
                    return None
                conditions.append(found)
        if not self._is_sound(on, nearest, conditions):
            return None
        for one, other in on:
            facts.joins.append(
                JoinUse(
                    one.table, one.column, other.table, other.column, "outer", node.place
                )
            )
            facts.use(one, Usage.JOIN_KEY, node.place)
            facts.use(other, Usage.JOIN_KEY, node.place)
        way = _WAYS[node.kind]
        if node.asof:
            way = "asof_left" if node.kind == "left" else "asof"
        where = canonical(All(tuple(conditions))) if conditions else ALL
        return UnitJoin(way, right.table, tuple(on), where, nearest)

    def _equalities(self, left: _Side, right: _Side) -> Iterable[tuple[Ref, Ref]]:
        for name in self._using():
            found = [_column(side.bound, name) for side in (left, right)]
            if found[0] is None or found[1] is None:
                self._facts.refuse(
                    "unknown_column",
                    f"`{name[:60]}` is not in both joined tables",
                    "Check USING.",
                    self._node.place,
                )
            elif self._same_unit(left, right, ("=", found[0], found[1])):
                yield found[0], found[1]
            else:
                _not_on_units(self._facts, self._node)

    def _sides(
        self, condition: syntax.Expression, terms: TermBinder, left: _Side, right: _Side
    ) -> tuple[str, Ref, Ref] | None:
        if not isinstance(condition, syntax.Comparison):
            return None
        one, other = terms.ref(condition.left), terms.ref(condition.right)
        if one is None or other is None:
            return None
        if (one.table, other.table) == (left.table, right.table):
            return condition.operator, one, other
        if (one.table, other.table) == (right.table, left.table):
            operator = _MIRRORED.get(condition.operator, condition.operator)
            return operator, other, one
        return None

    def _same_unit(self, left: _Side, right: _Side, sides: tuple[str, Ref, Ref]) -> bool:
        domains = {domain for domain, ref in left.units if ref == sides[1]}
        return any(d in domains for d, ref in right.units if ref == sides[2])

    def _is_sound(
        self,
        on: Sequence[tuple[Ref, Ref]],
        nearest: tuple[str, Ref, Ref] | None,
        conditions: Sequence[Predicate],
    ) -> bool:
        if not on:
            _not_on_units(self._facts, self._node)
            return False
        if not self._node.asof:
            return True
        if nearest is None or conditions:
            refuse_join(
                self._facts, self._node, "an ASOF join without exactly one inequality"
            )
            return False
        kinds = {nearest[1].kind, nearest[2].kind}
        if not kinds <= {Kind.DATE, Kind.TIMESTAMP} or len(kinds) > 1:
            refuse_join(self._facts, self._node, "an ASOF join by anything but dates")
            return False
        return True

    def _units(self, left: _Side, right: _Side, join: UnitJoin) -> list[tuple[str, Term]]:
        """Return who a joined row belongs to: by the preserved side where both know."""
        found: list[tuple[str, Term]] = []
        equal = set(join.on)
        for domain, ref in left.units:
            partners = [r for d, r in right.units if d == domain and (ref, r) in equal]
            if not partners or join.way not in ("right", "full"):
                found.append((domain, ref))
            elif join.way == "right":
                found.append((domain, partners[0]))
            else:
                found.append((domain, Apply("coalesce", (ref, partners[0]), ref.kind)))
        for domain, ref in right.units:
            known = [r for d, r in left.units if d == domain and (r, ref) in equal]
            if not known:
                found.append((domain, ref))
        return found


def refuse_join(facts: Facts, node: syntax.Join, what: str) -> None:
    """Leave the finding that a join of this form is not available."""
    facts.refuse(
        "join_unavailable",
        f"{what} is not part of what may be asked",
        "Use JOIN ... ON a.key = b.key.",
        node.place,
    )


def _not_on_units(facts: Facts, node: syntax.Join) -> None:
    facts.refuse(
        "join_not_on_units",
        "two protected tables are joined on something else than unit keys of one domain",
        "Join them ON their unit keys, and add other conditions with AND.",
        node.place,
    )


def _column(bound: Sequence[Bound], name: str) -> Ref | None:
    for item in bound:
        found = item.columns.get(name.lower())
        if isinstance(found, Ref):
            return found
    return None
