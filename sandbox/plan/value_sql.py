"""Columns of views as SQL of our own: aggregates and windows within units.

Nothing here can fail on a row: sums are in exact wide types, NaN and infinity are no
values. Orders within a unit are total: where the query leaves rows tied, every column that
the view reads decides, so that what is still tied afterwards is equal in all that anyone
can see.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.document import Policy
from sandbox.plan.canonical import key_of
from sandbox.plan.exact import exact_sql
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import Apply, Kind, Ref, Term, kind_of
from sandbox.plan.views import (
    ALL,
    PerUnit,
    Sorting,
    Span,
    UnitWindow,
    Value,
    View,
    refs_of_view,
)

_NUMBERED = frozenset({"row_number", "lag", "lead"})
_TAKES_ONE = frozenset({"first_value", "last_value"})
_RANKS = frozenset({"rank", "dense_rank"})


class ValueSql:
    """The values of one view as text."""

    def __init__(self, view: View, policy: Policy) -> None:
        self._policy = policy
        self._ties = [Sorting(ref) for ref in sorted(refs_of_view(view), key=key_of)]

    def of(self, value: Value) -> str:
        """Return one value."""
        match value:
            case PerUnit():
                return self._per_unit(value)
            case UnitWindow():
                return self._window(value)
            case _:
                return term_sql(value)

    def _per_unit(self, item: PerUnit) -> str:
        text = self._aggregate(item)
        return f"coalesce({text}, 0)" if item.or_zero else text

    def _aggregate(self, item: PerUnit) -> str:
        keep = (
            ""
            if item.condition == ALL
            else f" FILTER (WHERE {predicate_sql(item.condition)})"
        )
        match item.function, item.argument:
            case "count", None:
                return f"count(*){keep}"
            case _, None:
                raise AssertionError("an aggregate without an argument was planned")
            case "count", argument:
                return f"count({self._present(argument)}){keep}"
            case "count_distinct", argument:
                return f"count(DISTINCT {term_sql(argument)}){keep}"
            case "sum", argument:
                return f"sum({self._exact(argument)}){keep}"
            case "avg", argument:
                exact = self._exact(argument)
                return f"(CAST(sum({exact}){keep} AS DOUBLE) / count({exact}){keep})"
            case ("min" | "max") as function, argument:
                return f"{function}({self._present(argument)}){keep}"
            case "any", argument:
                return f"bool_or({term_sql(argument)}){keep}"
            case ("first" | "last") as function, argument:
                order = _ordered([*item.orders, *self._ties])
                return f"{function}({term_sql(argument)} ORDER BY {order}){keep}"
        raise AssertionError("a per-unit function outside the allow-list was planned")

    def _window(self, item: UnitWindow) -> str:
        is_by_rows = item.frame is not None and item.frame.unit == "rows"
        orders = list(item.orders)
        total = [*orders, *self._ties]
        name, arguments = item.function, [term_sql(term) for term in item.arguments]
        keep = (
            ""
            if item.condition == ALL
            else f" FILTER (WHERE {predicate_sql(item.condition)})"
        )
        nulls = " IGNORE NULLS" if item.ignore_nulls else ""
        if name in _NUMBERED or (is_by_rows and name not in _RANKS):
            orders = total
        over = self._over(item, orders)
        if name in _TAKES_ONE:
            order = "" if is_by_rows else f" ORDER BY {_ordered(total)}"
            return f"{name}({arguments[0]}{order}{nulls}) OVER {over}"
        if name in _NUMBERED or name in _RANKS:
            return f"{name}({', '.join(arguments)}{nulls}) OVER {over}"
        if name == "count":
            shown = self._present(item.arguments[0]) if arguments else "*"
            return f"count({shown}){keep} OVER {over}"
        if name in ("min", "max"):
            return f"{name}({self._present(item.arguments[0])}){keep} OVER {over}"
        exact = self._exact(item.arguments[0])
        if name == "sum":
            return f"sum({exact}){keep} OVER {over}"
        if name == "avg":
            return (
                f"(CAST(sum({exact}){keep} OVER {over} AS DOUBLE) / "
                f"count({exact}){keep} OVER {over})"
            )
        raise AssertionError("a window function outside the allow-list was planned")

    def _over(self, item: UnitWindow, orders: Sequence[Sorting]) -> str:
        parts = [f"PARTITION BY {', '.join(term_sql(term) for term in item.partition)}"]
        if orders:
            parts.append(f"ORDER BY {_ordered(orders)}")
        if item.frame is not None:
            parts.append(_frame(item.frame))
        return f"({' '.join(parts)})"

    def _present(self, argument: Term) -> str:
        """Return a value that is NULL where a sum would leave it out."""
        text = term_sql(argument)
        if kind_of(argument) is Kind.DOUBLE:
            return f"CASE WHEN isfinite({text}) THEN {text} END"
        return text

    def _exact(self, argument: Term) -> str:
        if isinstance(argument, Ref):
            return exact_sql(argument, self._policy)
        if isinstance(argument, Apply) and argument.function == "coalesce":
            refs = [item for item in argument.arguments if isinstance(item, Ref)]
            if len(refs) == 1:
                return f"coalesce({exact_sql(refs[0], self._policy)}, 0)"
        return f"TRY_CAST({term_sql(argument)} AS HUGEINT)"


def _ordered(orders: Sequence[Sorting]) -> str:
    found: dict[str, str] = {}
    for item in orders:
        text = term_sql(item.term)
        # A term that stands in the order already decides nothing more.
        found.setdefault(
            text,
            f"{text} {'DESC' if item.descending else 'ASC'} "
            f"NULLS {'LAST' if item.nulls_last else 'FIRST'}",
        )
    return ", ".join(found.values())


def _frame(span: Span) -> str:
    def bound(way: tuple[str, int | None]) -> str:
        word, rows = way
        if word == "current":
            return "CURRENT ROW"
        return f"{'UNBOUNDED' if rows is None else int(rows)} {word.upper()}"

    return f"{span.unit.upper()} BETWEEN {bound(span.start)} AND {bound(span.end)}"
