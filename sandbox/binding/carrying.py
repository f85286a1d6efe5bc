"""From a SELECT over rows to a view: what it computes within units, and what it carries.

Windows, per-unit aggregates, differences of dates and bare columns become columns of the
view; the expressions around them are rewritten to name these, and are bound over the view.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from policies.document import Role
from policies.shape import Usage
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import place_of
from sandbox.binding.functions import is_aggregate
from sandbox.binding.items import Bound
from sandbox.binding.row_views import chained, check_no_result
from sandbox.binding.scope import Scope
from sandbox.binding.unit_aggregates import UnitAggregateBinder
from sandbox.binding.unit_windows import UnitWindowBinder
from sandbox.binding.units import Equalities
from sandbox.binding.walks import has_aggregate, has_window
from sandbox.plan.block import Unit
from sandbox.plan.canonical import key_of
from sandbox.plan.terms import Literal, Predicate, Ref, Term
from sandbox.plan.view_columns import typed
from sandbox.plan.views import (
    Value,
    make_view,
    refs_of_value,
)
from sandbox.sql import syntax

if TYPE_CHECKING:
    from sandbox.binding.rows import Rows

_ALIAS = ""


def values_of_keys(
    select: Rows, expressions: Sequence[syntax.Expression]
) -> dict[str, Term] | None:
    """Return the terms of GROUP BY by their canonical text; None where one is refused."""
    found: dict[str, Term] = {}
    for expression in expressions:
        term = select.terms.term(expression, Usage.PER_UNIT)
        if term is None:
            return None
        if not isinstance(term, Literal):
            found[key_of(term)] = term
    return found


class Carrier:
    """Collects the columns of one view while the expressions over it are rewritten."""

    def __init__(
        self, select: Rows, units: tuple[Unit, ...], *, keys: dict[str, Term] | None
    ) -> None:
        self._select, self._units, self._keys = select, units, keys
        self._facts, self._terms = select.facts, select.terms
        self._values: dict[str, tuple[Value, str]] = {}
        self._same = Equalities(select.scope.joins, select.scope.optional)
        self._aggregates = UnitAggregateBinder(self._facts, self._terms)
        self._windows = UnitWindowBinder(self._facts, self._terms, units, self._same)

    def _named(self, value: Value, shown: str = "") -> syntax.Column:
        self._values.setdefault(key_of(value), (value, shown or "a computed value"))
        index = list(self._values).index(key_of(value))
        return syntax.Column((f"{_ALIAS}{index}",))

    # --- rewriting

    def rewritten(self, node: syntax.Expression) -> syntax.Expression:
        """Return an expression over the view; what cannot stand there is a finding."""
        if isinstance(node, (syntax.Constant, syntax.Subquery)):
            return node
        if self._keys is not None:
            key = self._key(node)
            if key is not None:
                return key
            if isinstance(node, syntax.Call) and is_aggregate(node.name):
                return self._aggregate(node)
            zero = self._or_zero(node)
            if zero is not None:
                return zero
        elif isinstance(node, syntax.Window):
            return self._window(node)
        gap = None if self._keys is not None else self._terms.gap(node)
        if gap is not None:
            return self._named(gap)
        if isinstance(node, syntax.Column):
            return self._column(node)
        found: syntax.Expression = self._parts(node)
        return found

    def _parts(self, node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(self._rewritten_part(item) for item in node)
        if not dataclasses.is_dataclass(node) or isinstance(node, type):
            return node
        changed: dict[str, Any] = {}
        for field in dataclasses.fields(node):
            if field.name == "place":
                continue
            before = getattr(node, field.name)
            after = self._rewritten_part(before)
            if after is not before:
                changed[field.name] = after
        return dataclasses.replace(node, **changed) if changed else node

    def _rewritten_part(self, node: Any) -> Any:
        return self.rewritten(node) if _is_expression(node) else self._parts(node)

    def _column(self, node: syntax.Column) -> syntax.Expression:
        target = self._terms.alias_of(node)
        if target is not None:
            with self._terms.unfolding(node) as found:
                return node if found is None else self.rewritten(found)
        if self._keys is not None:
            self._facts.refuse(
                "not_grouped",
                f"`{node.names[-1][:60]}` is neither grouped nor aggregated",
                "Add it to GROUP BY.",
                node.place,
            )
            return node
        ref = self._terms.ref(node)
        if ref is not None:
            ref = self._same.root(ref)
            return self._named(ref, node.names[-1]) if self._may_carry(ref) else node
        term = self._terms.term(node, Usage.PER_UNIT)
        return node if term is None else self._named(term, node.names[-1])

    def _may_carry(self, ref: Ref) -> bool:
        column = self._facts.column(ref)
        hidden = column is None or column.has(Role.HIDDEN)
        return self._facts.is_public(ref) or not hidden

    def _key(self, node: syntax.Expression) -> syntax.Expression | None:
        assert self._keys is not None
        if has_window(node) or has_aggregate(node):
            return None
        with self._facts.trial():
            term = self._terms.term(node, Usage.PER_UNIT)
        if term is None:
            return None
        found = self._keys.get(key_of(term))
        if found is None and isinstance(term, Ref):
            # The other side of a join is the same key.
            root = self._same.root(term)
            found = next(
                (
                    key
                    for key in self._keys.values()
                    if isinstance(key, Ref) and self._same.root(key) == root
                ),
                None,
            )
        return None if found is None else self._named(found, _shown(node))

    def _or_zero(self, node: syntax.Expression) -> syntax.Expression | None:
        """Read coalesce(sum(x), 0): nothing counts as nothing."""
        if not isinstance(node, syntax.Call) or node.name not in ("coalesce", "ifnull"):
            return None
        if len(node.arguments) != 2:
            return None
        first, second = node.arguments
        zero = constant_of(second)
        if not isinstance(first, syntax.Call) or zero is None or zero.value != 0:
            return None
        if first.name not in ("sum", "count", "count_star"):
            return None
        value = self._aggregates.aggregate(first)
        if value is None:
            return node
        return self._named(dataclasses.replace(value, or_zero=True), first.name)

    # --- aggregates within a unit

    def _aggregate(self, call: syntax.Call) -> syntax.Expression:
        value = self._aggregates.aggregate(call)
        return call if value is None else self._checked(value, call)

    def _window(self, node: syntax.Window) -> syntax.Expression:
        value = self._windows.window(node)
        return node if value is None else self._checked(value, node)

    def first_of(
        self, keys: Sequence[syntax.Expression], orders: Sequence[syntax.Order]
    ) -> syntax.Expression:
        """Return the condition that DISTINCT ON sets: the first row of each."""
        call = syntax.Call("row_number", ())
        window = syntax.Window(call, tuple(keys), tuple(orders))
        one = syntax.Constant("integer", "1")
        return syntax.Comparison("=", self._window(window), one)

    # --- the view

    def _checked(self, value: Value, node: syntax.Expression) -> syntax.Expression:
        for ref in refs_of_value(value):
            column = self._facts.column(ref)
            if column is not None and column.has(Role.ROW_KEY):
                self._facts.use(ref, Usage.GROUP_EXPRESSION, place_of(node))
        return self._named(value, _shown(node))

    def view(self, where: Predicate, keys: tuple[Term, ...] | None) -> Scope | None:
        """Make the view, and return the scope in which its columns are found."""
        facts, scope = self._facts, self._select.scope
        check_no_result(facts, where)
        tables = sorted(scope.tables, key=lambda name: name in scope.optional)
        outputs = [typed(value, facts.policy) for value, _ in self._values.values()]
        view, refs = make_view(
            table=tables[0],
            joins=chained(tables, scope.joins, scope.optional),
            where=where,
            outputs=outputs,
            units=[(unit.domain, unit.ref) for unit in self._units if unit.ref is not None],
            keys=keys,
        )
        facts.add_view(view)
        columns: dict[str, Any] = {}
        for index, ((value, shown), ref) in enumerate(
            zip(self._values.values(), refs, strict=True)
        ):
            columns[f"{_ALIAS}{index}"] = ref
            facts.names.setdefault(ref, shown)
            column = facts.column(ref)
            if not isinstance(value, Ref) and (column is None or column.has(Role.HIDDEN)):
                facts.refuse(
                    "not_per_unit",
                    "something is computed within units of a column that is no measure, or "
                    "of single values that may not be seen",
                    "Compute counts, and sums of measures, within units.",
                )
        found = scope.over([Bound("", columns, tuple(columns))])
        found.tables = [view.name]
        return found


def _is_expression(node: object) -> bool:
    return isinstance(
        node,
        (
            syntax.Column, syntax.Constant, syntax.Call, syntax.Comparison, syntax.Logical,
            syntax.Not, syntax.NullTest, syntax.Among, syntax.Cast, syntax.Case,
            syntax.Subquery, syntax.Window, syntax.Star, syntax.Opaque,
        ),
    )  # fmt: skip


def _shown(node: syntax.Expression) -> str:
    if isinstance(node, syntax.Column):
        return node.names[-1]
    if isinstance(node, syntax.Window):
        return node.call.name
    return node.name if isinstance(node, syntax.Call) else "a computed value"
