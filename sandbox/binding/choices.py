"""Arguments of aggregates that choose among pieces, read as the CASE that they mean.

`if`, `coalesce`, `nullif`, a condition cast to a number, a boolean that is added up.
"""

from __future__ import annotations

from sandbox.binding.constants import constant_of
from sandbox.binding.functions import SCALARS
from sandbox.binding.terms import TermBinder
from sandbox.plan.terms import Kind
from sandbox.sql import syntax

_LIKES = frozenset({"~~", "!~~", "~~*", "!~~*"})
_ZERO_OR_ONE = frozenset({"INTEGER", "BIGINT", "TINYINT", "SMALLINT", "DOUBLE"})
_CONDITIONS = (
    syntax.Comparison,
    syntax.Logical,
    syntax.Not,
    syntax.NullTest,
    syntax.Among,
)
_ONE = syntax.Constant("integer", "1")
_ZERO = syntax.Constant("integer", "0")
_NULL = syntax.Constant("null", "")


def case_in(
    terms: TermBinder, call: syntax.Call, function: str, argument: syntax.Expression
) -> syntax.Case | None:
    """Return an argument that chooses among pieces as the CASE that it means."""
    if isinstance(argument, syntax.Case):
        return argument
    if isinstance(argument, syntax.Call) and argument.name == "if":
        if len(argument.arguments) == 3:
            when, then, otherwise = argument.arguments
            return syntax.Case(((when, then),), otherwise, call.place)
        return None
    if isinstance(argument, syntax.Call) and len(argument.arguments) == 2:
        item, other = argument.arguments
        if terms.ref(item) is not None and constant_of(other) is not None:
            if argument.name in ("coalesce", "ifnull"):
                return syntax.Case(
                    ((syntax.NullTest(item, call.place), other),), item, call.place
                )
            if argument.name == "nullif":
                equal = syntax.Comparison("=", item, other, call.place)
                return syntax.Case(((equal, _NULL),), item, call.place)
    condition = _condition_in(argument) or _boolean_in(terms, argument)
    if condition is None and function == "sum":
        condition = _summed_condition(terms, argument)
    if condition is None:
        return None
    branches = ((condition, _ONE), (syntax.Not(condition), _ZERO))
    return syntax.Case(branches, _NULL, call.place)


def _summed_condition(
    terms: TermBinder, argument: syntax.Expression
) -> syntax.Expression | None:
    """Return the condition or boolean column that `sum` counts, as the engine's."""
    ref = terms.ref(argument)
    if _is_condition(argument) or (ref and ref.kind is Kind.BOOLEAN):
        return argument
    return None


def _boolean_in(terms: TermBinder, argument: syntax.Expression) -> syntax.Expression | None:
    """Return the column in `failure::INT`, where it is a boolean."""
    if not isinstance(argument, syntax.Cast) or argument.type not in _ZERO_OR_ONE:
        return None
    ref = terms.ref(argument.item)
    return argument.item if ref is not None and ref.kind is Kind.BOOLEAN else None


def _condition_in(argument: syntax.Expression) -> syntax.Expression | None:
    """Return the condition in `(city = 'x')::INT`, or None: nothing else is a 0/1 value."""
    if not isinstance(argument, syntax.Cast) or argument.type not in _ZERO_OR_ONE:
        return None
    return argument.item if _is_condition(argument.item) else None


def _is_condition(expression: syntax.Expression) -> bool:
    """Whether an expression is a condition by its form, whatever it is about."""
    if not isinstance(expression, syntax.Call):
        return isinstance(expression, _CONDITIONS)
    known = SCALARS.get(expression.name)
    return expression.name in _LIKES or (known is not None and known[2] is Kind.BOOLEAN)
