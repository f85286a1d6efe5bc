"""Expressions after aggregation, bound: outputs, HAVING and ORDER BY over cells."""

from __future__ import annotations

from collections.abc import Mapping

from policies.shape import Usage
from sandbox.binding.aggregates import AggregateBinder
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.functions import is_aggregate
from sandbox.binding.terms import TermBinder
from sandbox.plan.canonical import key_of
from sandbox.plan.cells import (
    CAST_TYPES,
    FUNCTIONS,
    INFIX,
    AggregateCell,
    CellExpression,
    KeyCell,
    LiteralCell,
    PostCall,
    PostCase,
    PostCast,
)
from sandbox.plan.terms import Term
from sandbox.sql import syntax

_ARITY = {
    "-": (1, 2),
    "+": (1, 2),
    "*": (2, 2),
    "/": (2, 2),
    "//": (2, 2),
    "%": (2, 2),
    "||": (2, 2),
}


class CellBinder:
    """Binds expressions over the keys and aggregates of one query."""

    def __init__(
        self,
        facts: Facts,
        terms: TermBinder,
        aggregates: AggregateBinder,
        keys: tuple[Term, ...],
        scratch: TermBinder,
    ) -> None:
        self._facts = facts
        self._terms = terms
        self._aggregates = aggregates
        self._keys: Mapping[str, int] = {
            key_of(key): index for index, key in enumerate(keys)
        }
        self._scratch = scratch

    def cell(self, expression: syntax.Expression) -> CellExpression | None:
        """Bind an expression; columns that are no group key are refused by name."""
        key = self._key(expression)
        if key is not None:
            return key
        match expression:
            case syntax.Constant(kind=kind, text=text):
                return LiteralCell(
                    kind,
                    "NULL"
                    if kind == "null"
                    else text.replace("_", "")
                    if kind in ("integer", "numeric")
                    else text,
                )
            case syntax.Column():
                return self._column(expression)
            case syntax.Call():
                return self._call(expression)
            case syntax.Comparison(operator=operator, left=left, right=right):
                return self._post(operator, (left, right))
            case syntax.Logical(operator=operator, items=items):
                return self._post(operator.lower(), items)
            case syntax.Not(item=item):
                return self._post("not", (item,))
            case syntax.NullTest(item=item):
                return self._post("is_null", (item,))
            case syntax.Among(item=item, options=options):
                return self._post("in", (item, *options))
            case syntax.Cast(item=item, type=name):
                return self._cast(expression, item, name)
            case syntax.Case():
                return self._case(expression)
        self._terms.give_up(expression, "", "")
        return None

    def _key(self, expression: syntax.Expression) -> KeyCell | None:
        # Tried on a collector that nobody reads: what is no key leaves no trace.
        if isinstance(expression, syntax.Constant):
            return None
        term = self._scratch.term(expression, Usage.GROUP_KEY)
        index = None if term is None else self._keys.get(key_of(term))
        return None if index is None else KeyCell(index)

    def _column(self, expression: syntax.Column) -> CellExpression | None:
        if self._terms.alias_of(expression) is not None:
            with self._terms.unfolding(expression) as target:
                return None if target is None else self.cell(target)
        ref = self._terms.scope.resolve(expression)
        if ref is not None:
            self._facts.use(ref, Usage.ROW_OUTPUT, expression.place)
            if self._facts.is_public(ref):
                self._facts.refuse(
                    "not_grouped",
                    f"`{ref.table}.{ref.column}` is neither grouped nor aggregated",
                    "Add it to GROUP BY.",
                    expression.place,
                )
        return None

    def _call(self, call: syntax.Call) -> CellExpression | None:
        if is_aggregate(call.name):
            index = self._aggregates.index_of(call)
            return None if index is None else AggregateCell(index)
        plain = not call.distinct and call.condition is None
        if plain and call.name in ("-", "+") and len(call.arguments) == 1:
            if call.name == "+":
                return self.cell(call.arguments[0])
            return self._post("negate", call.arguments)
        if plain and call.name in _ARITY and len(call.arguments) == 2:
            return self._post(call.name, call.arguments)
        if plain and call.name in FUNCTIONS and call.name not in INFIX and call.arguments:
            return self._post(call.name, call.arguments)
        self._terms.give_up(
            call,
            "function_not_allowed",
            f"the function `{call.name[:40]}`",
            "Use arithmetic, round, coalesce and the like over aggregates.",
        )
        return None

    def _post(
        self, name: str, parts: tuple[syntax.Expression, ...]
    ) -> CellExpression | None:
        bound = [self.cell(part) for part in parts]
        if any(part is None for part in bound):
            return None
        return PostCall(name, tuple(part for part in bound if part is not None))

    def _cast(
        self, cast: syntax.Expression, item: syntax.Expression, name: str
    ) -> CellExpression | None:
        inner = self.cell(item)
        if name not in CAST_TYPES:
            self._facts.refuse(
                "cast_unavailable",
                f"a cast to {name[:20]} is not part of what may be asked",
                f"Cast to one of: {', '.join(sorted(CAST_TYPES))}.",
                place_of(cast),
            )
            return None
        return None if inner is None else PostCast(inner, name)

    def _case(self, case: syntax.Case) -> CellExpression | None:
        branches = []
        for condition, result in case.branches:
            a, b = self.cell(condition), self.cell(result)
            if a is None or b is None:
                return None
            branches.append((a, b))
        otherwise = self.cell(case.otherwise)
        return None if otherwise is None else PostCase(tuple(branches), otherwise)
