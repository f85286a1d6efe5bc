"""Semi-joins of rows: IN and EXISTS over the unit keys of one domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.document import Role
from policies.shape import Usage
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.items import Bound, RowsItem
from sandbox.binding.row_views import rows_as_view
from sandbox.binding.terms import TermBinder
from sandbox.plan.terms import Predicate, Ref
from sandbox.plan.views import member as member_of
from sandbox.sql import syntax

if TYPE_CHECKING:
    from sandbox.binding.subqueries import ResultsBeside


def member(
    beside: ResultsBeside, node: syntax.Subquery, item: RowsItem
) -> Predicate | None:
    """Bind `unit_key IN (SELECT unit_key FROM ...)`."""
    facts, terms = beside.terms.facts, beside.terms
    assert node.item is not None
    ours = terms.ref(node.item)
    scope = terms.scope.over(())
    scope.tables, scope.joins = list(item.tables), list(item.joins)
    scope.where = list(item.where)
    scope.bound = [Bound("", item.columns, item.names)]
    theirs = None
    if len(item.names) == 1:
        theirs = TermBinder(facts, scope, {}).ref(syntax.Column((item.names[0],)))
    domains = _domains(facts, ours) & _domains(facts, theirs)
    if ours is None or theirs is None or not domains:
        facts.refuse(
            "semi_join_not_on_units",
            "IN or EXISTS over rows compares something else than unit keys of one domain",
            "Write `unit_key IN (SELECT unit_key FROM ... WHERE ...)`.",
            node.place or place_of(node.item),
        )
        return None
    facts.use(ours, Usage.JOIN_KEY, node.place)
    facts.use(theirs, Usage.JOIN_KEY, node.place)
    made = rows_as_view(facts, scope)
    if made is None:
        return None
    view, _ = made
    for domain, name in view.units:
        column = view.column(name)
        if domain in domains and column is not None and column.value == theirs:
            return member_of(ours, view, name)
    facts.refuse(
        "semi_join_not_on_units",
        "IN or EXISTS selects a key that does not tell whose the rows are",
        "Select the unit key of the table itself.",
        node.place,
    )
    return None


def _domains(facts: Facts, ref: Ref | None) -> set[str]:
    table = None if ref is None else facts.policy.table(ref.table)
    if ref is None or table is None or not table.is_protected:
        return set()
    column = table.column(ref.column)
    if column is None or not column.has(Role.UNIT_KEY):
        return set()
    return {unit.domain for unit in table.units if unit.column == ref.column}


def exists(beside: ResultsBeside, node: syntax.Subquery) -> Predicate | None:
    """Refuse EXISTS that is not correlated on one unit key: all others are IN by now."""
    beside.terms.facts.refuse(
        "semi_join_not_on_units",
        "EXISTS is not tied to the rows around it by one pair of unit keys",
        "Write `unit_key IN (SELECT unit_key FROM ... WHERE ...)`.",
        node.place,
    )
    return None
