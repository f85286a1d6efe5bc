"""Aggregates within one unit, bound to columns of a view."""

from __future__ import annotations

from policies.shape import Usage
from sandbox.binding.facts import Facts
from sandbox.binding.terms import TermBinder
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import All, Literal, Missing, Negate, Predicate, Term
from sandbox.plan.views import ALL, PerUnit, Sorting
from sandbox.sql import syntax

_PER_UNIT = {
    "count": "count", "count_star": "count", "sum": "sum", "avg": "avg", "mean": "avg",
    "min": "min", "max": "max", "first": "first", "last": "last", "any_value": "first",
    "arbitrary": "first", "bool_or": "any",
}  # fmt: skip
_BY_ORDER = {
    "arg_min": False, "argmin": False, "min_by": False,
    "arg_max": True, "argmax": True, "max_by": True,
}  # fmt: skip


class UnitAggregateBinder:
    """Binds aggregates over the rows of one unit each."""

    def __init__(self, facts: Facts, terms: TermBinder) -> None:
        self._facts, self._terms = facts, terms

    def aggregate(self, call: syntax.Call) -> PerUnit | None:
        """Return what a call computes of each unit's rows; None where it is refused."""
        condition: Predicate = ALL
        if call.condition is not None:
            found = self._terms.predicate(call.condition)
            if found is None:
                return None
            condition = canonical(found)
        if call.name == "count_star":
            return PerUnit("count", None, condition)
        if call.name in _BY_ORDER and len(call.arguments) == 2 and not call.distinct:
            value, by = (self._argument(item, call) for item in call.arguments)
            if value is None or by is None:
                return None
            order = (Sorting(by, descending=_BY_ORDER[call.name]),)
            return PerUnit("first", value, _present(condition, value, by), order)
        function = _PER_UNIT.get(call.name)
        if function is None or len(call.arguments) != 1:
            self._give_up(call, f"`{call.name[:40]}` within one unit")
            return None
        if function in ("sum", "avg", "count"):
            self._facts.families.add(function)
        if call.distinct and function != "count":
            self._give_up(call, "DISTINCT in this aggregate")
            return None
        argument = self._argument(call.arguments[0], call)
        if argument is None:
            return None
        if isinstance(argument, Literal):
            return PerUnit("count", None, condition) if function == "count" else None
        return PerUnit("count_distinct" if call.distinct else function, argument, condition)

    def _argument(self, node: syntax.Expression, call: syntax.Call) -> Term | None:
        gap = self._terms.gap(node)
        if gap is not None:
            return gap
        term = self._terms.term(node, Usage.PER_UNIT)
        if term is not None and isinstance(term, Literal) and call.name != "count":
            self._give_up(call, "an aggregate of a constant")
            return None
        return term

    def _give_up(self, node: syntax.Expression, what: str, hint: str = "") -> None:
        self._terms.give_up(node, "not_per_unit", what, hint)


def _present(condition: Predicate, *terms: Term) -> Predicate:
    return canonical(All((condition, *(Negate(Missing(term)) for term in terms))))
