"""Expressions over one row, bound: group keys and the terms inside predicates.

Every column met is noted with what is done to it; whether that is allowed is for
`policies.decision`. What has no branch here is a finding, and its columns are noted as
used in an unknown way, so that a hidden column is named as such wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Protocol

from policies.shape import Place, Usage
from sandbox.binding.casts import cast_term
from sandbox.binding.column_reader import ColumnReader
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import Facts
from sandbox.binding.functions import SCALARS, is_aggregate
from sandbox.binding.gridded_calls import GriddedCalls, is_counted
from sandbox.binding.items import Projected, Reentered, RowTerms
from sandbox.binding.readings import is_whole
from sandbox.binding.scalar_calls import (
    ARITHMETIC,
    CLOCK_HINT,
    CLOCKS,
    HINTS,
    applied,
    arithmetic,
)
from sandbox.binding.scope import Scope
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    NUMBERS,
    Bin,
    Choose,
    Kind,
    Literal,
    Predicate,
    Ref,
    Term,
    Truth,
    kind_of,
)
from sandbox.sql import syntax

_PREDICATES = (
    syntax.Comparison,
    syntax.Logical,
    syntax.Not,
    syntax.NullTest,
    syntax.Among,
    syntax.Subquery,
)
_LIKES = frozenset({"~~", "!~~", "~~*", "!~~*"})
_KEYS = (Usage.GROUP_KEY, Usage.GROUP_EXPRESSION)


class ResultsBesideRows(Protocol):
    """How subqueries and results enter predicates over rows."""

    def is_result(self, expression: syntax.Expression) -> bool:
        """Whether an expression is computed from results and constants alone."""

    def compare(
        self, side: syntax.Expression, operator: str, result: syntax.Expression
    ) -> Predicate | None:
        """Bind a comparison of something of a row with a result."""

    def subquery(self, node: syntax.Subquery) -> Predicate | None:
        """Bind EXISTS or IN."""


class TermBinder(ColumnReader):
    """Binds terms in one scope; `predicate` comes from `bind_predicates`."""

    def __init__(
        self, facts: Facts, scope: Scope, aliases: Mapping[str, syntax.Expression]
    ) -> None:
        super().__init__(facts, scope, aliases)
        self._gridded = GriddedCalls(facts, self.ref)
        self.predicate: Callable[[syntax.Expression], Predicate | None]
        self.results: ResultsBesideRows | None = None

    def term(self, expression: syntax.Expression, usage: Usage) -> Term | None:
        """Bind an expression; a bare column in it is noted with `usage`."""
        self.facts.step()
        constant = constant_of(expression)
        if constant is not None:
            return constant
        match expression:
            case syntax.Column():
                return self._column(expression, usage)
            case syntax.Call():
                return self._call(expression)
            case syntax.Cast():
                return self._cast(expression, usage)
            case syntax.Case():
                return self._case(expression)
            case _ if isinstance(expression, _PREDICATES):
                predicate = self.predicate(expression)
                return None if predicate is None else Truth(canonical(predicate))
            case syntax.Constant():
                self.give_up(expression, "constant_not_understood", "this constant")
                return None
        self.give_up(expression, "", "")
        return None

    # --- columns

    def _column(self, expression: syntax.Column, usage: Usage) -> Term | None:
        if self.alias_of(expression) is not None:
            with self.unfolding(expression) as target:
                return None if target is None else self.term(target, usage)
        name = expression.names[-1].lower()
        if (
            len(expression.names) == 1
            and name in CLOCKS
            and not self.scope.find(expression)
        ):
            self._unknown(syntax.Call(name, (), place=expression.place))
            return None
        ref = self.scope.resolve(expression)
        if isinstance(ref, Projected):
            return ref.terms.term(ref.expression, usage)
        if isinstance(ref, Reentered):
            self._refuse_result(expression)
            return None
        if ref is None:
            return None
        if usage in _KEYS and is_counted(self.facts, ref):
            # A number of rows of one unit is its own bin.
            self.facts.use(ref, Usage.GROUP_BIN, expression.place)
            return Bin(ref, Decimal(1), index_only=False, truncating=True)
        self._note(ref, usage, expression.place)
        if ref.kind is Kind.OTHER and usage is not Usage.NULL_TEST:
            self.facts.refuse(
                "type_unavailable",
                f"`{ref.table}.{ref.column}` has a type that cannot be grouped or compared",
                "Ask the provider to publish it as text, number or date.",
                expression.place,
            )
        return ref

    def _note(self, ref: Ref, usage: Usage, place: Place | None) -> None:
        column = self.facts.column(ref)
        if usage in _KEYS and column is not None and is_whole(ref, column):
            # Each number is a bin of its own on this grid, whatever is computed from it.
            self.facts.use(ref, Usage.GROUP_BIN, place, detail="1")
            return
        self.facts.use(ref, usage, place)

    def expanded(self, column: syntax.Column) -> tuple[syntax.Expression, RowTerms] | None:
        """Return what an alias or a column of a derived table stands for, and where."""
        target = self.alias_of(column)
        if target is not None:
            return None if target == column else (target, self)
        found = self.scope.find(column)
        if isinstance(found, Projected):
            return found.expression, found.terms
        return None

    def _refuse_result(self, column: syntax.Column) -> None:
        self.facts.refuse(
            "reentry_column",
            "a column of a result stands among rows: there it can only be compared with",
            "Use it in WHERE, as in `x IN (SELECT ...)` or `x > (SELECT avg(x) ...)`.",
            column.place,
        )

    # --- calls

    def _call(self, call: syntax.Call) -> Term | None:
        if is_aggregate(call.name):
            self.facts.refuse(
                "aggregate_here",
                f"`{call.name}` stands where single rows are filtered or grouped",
                "Put conditions on aggregates into HAVING.",
                call.place,
            )
            self.blame(call)
            return None
        if call.distinct or call.condition is not None:
            self.give_up(call, "function_form", "DISTINCT or FILTER on a plain function")
            return None
        found = self._gridded.read(call)
        if found is not None:
            return found
        if call.name in ("if", "iff") and len(call.arguments) == 3:
            condition, then, otherwise = call.arguments
            return self._case(syntax.Case(((condition, then),), otherwise, call.place))
        if call.name in _LIKES:
            predicate = self.predicate(call)
            return None if predicate is None else Truth(canonical(predicate))
        return self._scalar(call)

    def _scalar(self, call: syntax.Call) -> Term | None:
        if call.name not in SCALARS and call.name not in ARITHMETIC:
            self._unknown(call)
            return None
        arguments = [
            self.term(argument, Usage.GROUP_EXPRESSION) for argument in call.arguments
        ]
        bound = [argument for argument in arguments if argument is not None]
        if len(bound) < len(arguments):
            return None
        found: Term | str | None
        if call.name in SCALARS:
            found = applied(call.name, bound)
        else:
            found = arithmetic(call.name, bound)
        if isinstance(found, str) or found is None:
            self.give_up(
                call,
                "function_arguments",
                f"`{call.name}` with these arguments"
                + (f" ({found})" if found is not None else ""),
                HINTS.get(
                    call.name, "Give it columns and constants of the types it takes."
                ),
            )
            return None
        return found

    def _unknown(self, call: syntax.Call) -> None:
        if call.name in CLOCKS:
            what, hint = f"the clock (`{call.name}`)", CLOCK_HINT
        else:
            what = f"the function `{call.name[:40]}`"
            hint = HINTS.get(
                call.name, "Use a function of the allow-list, a bin or date_trunc."
            )
        self.give_up(call, "function_not_allowed", what, hint)

    # --- cast and case

    def _cast(self, cast: syntax.Cast, usage: Usage) -> Term | None:
        inner = self.ref(cast.item)
        if cast.type == "DATE" and inner is not None and inner.kind is Kind.TIMESTAMP:
            return self._gridded.date(
                syntax.Call(
                    "date_trunc",
                    (syntax.Constant("string", "day"), cast.item),
                    place=cast.place,
                )
            )
        term = self.term(cast.item, usage)
        if term is None:
            return None
        found = cast_term(
            term, cast.type, lenient=cast.lenient, compared=usage is Usage.EQUALITY
        )
        if found is None:
            self.give_up(
                cast,
                "cast_unavailable",
                f"a cast to {cast.type[:20]} that could fail on a value",
                "Compare the column in its own type, or use TRY_CAST.",
            )
        elif found is not term and isinstance(term, Ref):
            # What is cast is no longer the bare column that `usage` was noted for.
            self._note(term, Usage.GROUP_EXPRESSION, cast.place)
        return found

    def _case(self, case: syntax.Case) -> Term | None:
        branches = []
        for condition, result in case.branches:
            predicate = self.predicate(condition)
            term = self.term(result, Usage.GROUP_EXPRESSION)
            if predicate is None or term is None:
                return None
            branches.append((canonical(predicate), term))
        otherwise = self.term(case.otherwise, Usage.GROUP_EXPRESSION)
        if otherwise is None:
            return None
        results = [*(term for _, term in branches), otherwise]
        kinds = {kind_of(term) for term in results if not _is_null(term)}
        if len(kinds) > 1 and not kinds <= NUMBERS:
            self.give_up(
                case, "case_types", "CASE with results of different types",
                "Give every branch one type.",
            )  # fmt: skip
            return None
        kind = (
            next(iter(kinds)) if len(kinds) == 1 else Kind.DOUBLE if kinds else Kind.OTHER
        )
        return Choose(tuple(branches), otherwise, kind)


def _is_null(term: Term) -> bool:
    return isinstance(term, Literal) and term.value is None
