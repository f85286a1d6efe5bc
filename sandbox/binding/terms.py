"""Expressions over one row, bound: group keys and the terms inside predicates.

Every column met is noted with what is done to it; whether that is allowed is for
`policies.decision`. What has no branch here is a finding, and its columns are noted as
used in an unknown way, so that a hidden column is named as such wherever it stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Protocol

from policies.shape import Place, Usage
from sandbox.binding.casts import cast_term
from sandbox.binding.constants import constant_of, cut_is_coarser
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.functions import SCALARS, is_aggregate
from sandbox.binding.gaps import read_gap
from sandbox.binding.items import Projected, Reentered, RowTerms
from sandbox.binding.readings import is_whole, read_bin, read_date, read_steps
from sandbox.binding.scalar_calls import (
    ARITHMETIC,
    CLOCK_HINT,
    CLOCKS,
    HINTS,
    applied,
    arithmetic,
)
from sandbox.binding.scope import Scope
from sandbox.binding.walks import columns_in
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import (
    NUMBERS,
    Apply,
    Bin,
    Choose,
    Compare,
    Gap,
    Kind,
    Literal,
    Predicate,
    Ref,
    Term,
    Truth,
    kind_of,
)
from sandbox.sql import syntax

MAX_PATTERN = 200
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


class TermBinder:
    """Binds terms in one scope; `predicate` comes from `bind_predicates`."""

    def __init__(
        self, facts: Facts, scope: Scope, aliases: Mapping[str, syntax.Expression]
    ) -> None:
        self.facts = facts
        self.scope = scope
        self.aliases = aliases
        self._unfolding: set[str] = set()
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

    def alias_of(self, column: syntax.Column) -> syntax.Expression | None:
        """Return what an output alias stands for, where no column has that name."""
        if len(column.names) == 1 and self.scope.find(column) is None:
            return self.aliases.get(column.names[0].lower())
        return None

    @contextlib.contextmanager
    def unfolding(self, column: syntax.Column) -> Iterator[syntax.Expression | None]:
        """Give what an alias stands for, or None (with a finding) inside itself."""
        name = column.names[0].lower()
        if name in self._unfolding:
            self.facts.refuse(
                "alias_in_itself",
                "an alias is defined by itself",
                "Rename it.",
                column.place,
            )
            yield None
            return
        self._unfolding.add(name)
        try:
            yield self.aliases[name]
        finally:
            self._unfolding.discard(name)

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
        if usage in (Usage.GROUP_KEY, Usage.GROUP_EXPRESSION) and self._is_counted(ref):
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

    def _is_counted(self, ref: Ref) -> bool:
        column = self.facts.column(ref) if ref.table in self.facts.views else None
        return column is not None and column.grid == 1 and ref.kind is Kind.INTEGER

    def gap(self, expression: syntax.Expression) -> Gap | None:
        """Return the difference of dates that this is, or None; nothing is noted."""
        if isinstance(expression, syntax.Column):
            target = self.alias_of(expression)
            if target is not None:
                return None if isinstance(target, syntax.Column) else self.gap(target)
            found = self.scope.find(expression)
            return (
                found.terms.gap(found.expression) if isinstance(found, Projected) else None
            )
        return read_gap(expression, self.ref)

    def ref(self, expression: syntax.Expression) -> Ref | None:
        """Return the column that an expression plainly is, or None; nothing is noted."""
        if not isinstance(expression, syntax.Column) or self.alias_of(expression):
            return None
        found = self.scope.find(expression)
        if isinstance(found, Projected):
            return found.terms.ref(found.expression)
        return found if isinstance(found, Ref) else None

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
        for reading in (self._bin, self._date, self._capped, self._last_day, self._steps):
            found = reading(call)
            if found is not None:
                return found
        if call.name in ("if", "iff") and len(call.arguments) == 3:
            condition, then, otherwise = call.arguments
            return self._case(syntax.Case(((condition, then),), otherwise, call.place))
        if call.name in _LIKES:
            predicate = self.predicate(call)
            return None if predicate is None else Truth(canonical(predicate))
        return self._scalar(call)

    def _bin(self, call: syntax.Call) -> Term | None:
        found = read_bin(call, self.ref)
        if found is None:
            return None
        column = self.facts.column(found.ref)
        on_grid = column is None or column.grid is None or found.width % column.grid == 0
        self.facts.use(
            found.ref,
            Usage.GROUP_BIN,
            call.place,
            on_grid=on_grid,
            detail=f"{found.width:f}",
        )
        return found

    def _date(self, call: syntax.Call) -> Term | None:
        found = read_date(call, self.ref)
        if found is None:
            return None
        term, grain = found
        column = self.facts.column(term.ref)
        on_grid = column is None or cut_is_coarser(grain, column)
        self.facts.use(
            term.ref, Usage.GROUP_TRUNC, call.place, on_grid=on_grid, detail=grain
        )
        return term

    def _last_day(self, call: syntax.Call) -> Term | None:
        if call.name != "last_day" or len(call.arguments) != 1:
            return None
        word = syntax.Constant("string", "month")
        month = self._date(
            syntax.Call("date_trunc", (word, *call.arguments), place=call.place)
        )
        return None if month is None else Apply("last_day", (month,), Kind.DATE)

    def _steps(self, call: syntax.Call) -> Term | None:
        found = read_steps(call, self.ref)
        column = None if found is None else self.facts.column(found.ref)
        if found is None or column is None or column.grid is None:
            return None
        self.facts.use(
            found.ref,
            Usage.GROUP_BIN,
            call.place,
            on_grid=all(edge % column.grid == 0 for edge in found.edges),
            detail=f"{found.edges[0]:f} from {found.edges[1]:f}",
        )
        return found.term

    def _capped(self, call: syntax.Call) -> Term | None:
        """Read least(n, 6) and greatest(n, 1) of a number of rows of one unit."""
        if call.name not in ("least", "greatest") or len(call.arguments) != 2:
            return None
        for side, other in (call.arguments, call.arguments[::-1]):
            ref, bound = self.ref(side), constant_of(other)
            if ref is None or bound is None or bound.kind is not Kind.INTEGER:
                continue
            if not self._is_counted(ref):
                continue
            self.facts.use(ref, Usage.GROUP_BIN, call.place)
            kept = Compare("<" if call.name == "least" else ">=", ref, bound)
            # Without a number the bound is given, as the engine's least and greatest do.
            shown = Bin(ref, Decimal(1), index_only=False, truncating=True)
            return Choose(((kept, shown),), bound, Kind.INTEGER)
        return None

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
            return self._date(
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

    # --- what has no branch

    def give_up(
        self, expression: syntax.Expression, code: str, what: str, hint: str = ""
    ) -> None:
        """Leave a finding (unless the parser left one) and note every column inside."""
        if code:
            self.facts.refuse(
                code, f"{what} is not part of what may be asked", hint, place_of(expression)
            )
        self.blame(expression)

    def blame(self, expression: syntax.Expression) -> None:
        """Note every column in an expression as used in an unknown way."""
        for column in columns_in(expression):
            found = self.scope.find(column)
            if isinstance(found, Projected):
                found.terms.blame(found.expression)
            elif isinstance(found, Ref):
                self.facts.use(found, Usage.OTHER, column.place)


def _is_null(term: Term) -> bool:
    return isinstance(term, Literal) and term.value is None
