"""Expressions after aggregation, bound: outputs, HAVING, windows, ORDER BY over results.

What a name or an aggregate means differs between a protecting aggregation and a SELECT
over results; `Leaves` says it. Everything above the leaves is post-processing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sandbox.binding.facts import Facts, place_of
from sandbox.binding.functions import is_aggregate
from sandbox.binding.text_shapes import shape_problem
from sandbox.plan.result_functions import (
    CAST_TYPES,
    FUNCTIONS,
    INFIX,
    LIKES,
    RANKS,
    RESULT_AGGREGATES,
    SHIFTS,
)
from sandbox.plan.results import (
    CellExpression,
    CellOrder,
    LiteralCell,
    PostCall,
    PostCase,
    PostCast,
    WindowOf,
)
from sandbox.sql import syntax

_BINARY = frozenset({"-", "+", "*", "/", "//", "%", "||"})
_NAMES = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "//",
    "mod": "%",
    "^": "power",
    "**": "power",
}
Subqueries = Callable[[syntax.Subquery], CellExpression | None]


class Leaves(Protocol):
    """What the leaves of an expression mean; each leaves findings where it gives None."""

    def key(self, expression: syntax.Expression) -> CellExpression | None:
        """Return the group key that an expression is, or None: nothing is noted."""

    def alias(self, column: syntax.Column) -> syntax.Expression | None:
        """Return what an output alias stands for, where no column has that name."""

    def column(self, column: syntax.Column) -> CellExpression | None:
        """Return what a column means."""

    def aggregate(self, call: syntax.Call) -> CellExpression | None:
        """Return the value of an aggregate."""

    def grouping(self, call: syntax.Call) -> CellExpression | None:
        """Return GROUPING() of keys."""

    def give_up(
        self, expression: syntax.Expression, code: str, what: str, hint: str = ""
    ) -> None:
        """Refuse an expression and note every column in it."""


class CellBinder:
    """Binds expressions over keys, aggregates and columns of results."""

    def __init__(self, facts: Facts, leaves: Leaves, subqueries: Subqueries) -> None:
        self._facts = facts
        self._leaves = leaves
        self._subqueries = subqueries
        self._unfolding: set[str] = set()

    def cell(self, expression: syntax.Expression) -> CellExpression | None:
        """Bind an expression; what is no key, aggregate or result is refused by name."""
        self._facts.step()
        key = self._leaves.key(expression)
        if key is not None:
            return key
        match expression:
            case syntax.Constant():
                return _literal(expression)
            case syntax.Column():
                return self._column(expression)
            case syntax.Call():
                return self._call(expression)
            case syntax.Window():
                return self._window(expression)
            case syntax.Subquery():
                return self._subqueries(expression)
            case syntax.Cast(item=item, type=name):
                return self._cast(expression, item, name)
            case syntax.Case():
                return self._case(expression)
            case syntax.Star() | syntax.Opaque():
                self._leaves.give_up(expression, "", "")
                return None
            case _:
                return self._logic(expression)

    def _logic(self, expression: syntax.Expression) -> CellExpression | None:
        match expression:
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
        self._leaves.give_up(expression, "expression_unavailable", "this expression")
        return None

    def order(self, item: syntax.Order) -> CellOrder | None:
        """Bind one criterion of an order."""
        found = self.cell(item.expression)
        if found is None:
            return None
        nulls_last = True if item.nulls_last is None else item.nulls_last
        return CellOrder(found, item.descending, nulls_last)

    def _column(self, column: syntax.Column) -> CellExpression | None:
        target = self._leaves.alias(column)
        if target is None:
            return self._leaves.column(column)
        name = column.names[0].lower()
        if name in self._unfolding:
            self._facts.refuse(
                "alias_in_itself",
                "an alias is defined by itself",
                "Rename it.",
                column.place,
            )
            return None
        self._unfolding.add(name)
        try:
            return self.cell(target)
        finally:
            self._unfolding.discard(name)

    def _call(self, call: syntax.Call) -> CellExpression | None:
        if call.name in ("grouping", "grouping_id"):
            return self._leaves.grouping(call)
        if is_aggregate(call.name):
            return self._leaves.aggregate(call)
        plain = not call.distinct and call.condition is None
        name = _NAMES.get(call.name, call.name) if len(call.arguments) == 2 else call.name
        if plain and name in ("-", "+") and len(call.arguments) == 1:
            if name == "+":
                return self.cell(call.arguments[0])
            return self._post("negate", call.arguments)
        if plain and name in (*_BINARY, *LIKES) and len(call.arguments) == 2:
            return self._post(name, call.arguments)
        problem = shape_problem(call) if plain and name in FUNCTIONS else None
        if problem is not None:
            self._leaves.give_up(
                call,
                "function_arguments",
                f"`{name}` with these arguments ({problem})",
                "Give a constant format or length, of a width of at most 100.",
            )
            return None
        if plain and name in FUNCTIONS and name not in INFIX:
            return self._post(name, call.arguments)
        self._leaves.give_up(
            call,
            "function_not_allowed",
            f"the function `{call.name[:40]}`",
            "Use arithmetic, round, coalesce and the like over aggregates.",
        )
        return None

    def _post(
        self, name: str, parts: tuple[syntax.Expression, ...]
    ) -> CellExpression | None:
        bound = self._all(parts)
        return None if bound is None else PostCall(name, bound)

    def _all(
        self, parts: tuple[syntax.Expression, ...]
    ) -> tuple[CellExpression, ...] | None:
        bound = [self.cell(part) for part in parts]
        found = tuple(part for part in bound if part is not None)
        return found if len(found) == len(parts) else None

    def _cast(
        self, cast: syntax.Expression, item: syntax.Expression, name: str
    ) -> CellExpression | None:
        inner = self.cell(item)
        if name.split("(")[0] not in CAST_TYPES:
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

    def _window(self, window: syntax.Window) -> CellExpression | None:
        call = window.call
        if call.name not in (*RANKS, *SHIFTS, *RESULT_AGGREGATES):
            self._leaves.give_up(
                window,
                "function_not_allowed",
                f"the function `{call.name[:40]}` over a window",
                "Use rank, lag, sum, avg and the like over results.",
            )
            return None
        arguments, partitions = self._all(call.arguments), self._all(window.partitions)
        orders = [self.order(item) for item in window.orders]
        condition = None if call.condition is None else self.cell(call.condition)
        if (
            arguments is None
            or partitions is None
            or any(order is None for order in orders)
            or (call.condition is not None and condition is None)
        ):
            return None
        frame = window.frame
        return WindowOf(
            call.name,
            arguments,
            partitions,
            tuple(order for order in orders if order is not None),
            None if frame is None else (frame.unit, frame.start, frame.end),
            condition,
            call.distinct,
            window.ignore_nulls,
        )


def _literal(constant: syntax.Constant) -> CellExpression:
    text = constant.text
    if constant.kind == "null":
        text = "NULL"
    elif constant.kind in ("integer", "numeric"):
        text = text.replace("_", "")
    return LiteralCell(constant.kind, text)
