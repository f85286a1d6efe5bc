"""Windows within one unit, bound to columns of a view."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from policies.shape import Usage
from sandbox.binding.constants import constant_of
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.terms import TermBinder
from sandbox.binding.units import Equalities
from sandbox.plan.block import Unit
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import Predicate, Ref, Term
from sandbox.plan.views import ALL, Sorting, Span, UnitWindow
from sandbox.sql import syntax

_WINDOWS = {
    "row_number": 0, "rank": 0, "dense_rank": 0, "lag": 1, "lead": 1, "first_value": 1,
    "first": 1, "last_value": 1, "last": 1, "count": 1, "count_star": 0, "sum": 1,
    "avg": 1, "mean": 1, "min": 1, "max": 1,
}  # fmt: skip
_NAMED = {
    "count_star": "count",
    "mean": "avg",
    "first": "first_value",
    "last": "last_value",
}
MAX_OFFSET = 1_000
_OFFSETS = frozenset({"lag", "lead"})


class UnitWindowBinder:
    """Binds windows over rows; `same` says which columns joins make equal."""

    def __init__(
        self, facts: Facts, terms: TermBinder, units: tuple[Unit, ...], same: Equalities
    ) -> None:
        self._facts, self._terms = facts, terms
        self._units, self._same = units, same

    def window(self, node: syntax.Window) -> UnitWindow | None:
        """Return what a window computes within each unit; None where it is refused."""
        call = node.call
        takes = _WINDOWS.get(call.name)
        if takes is None or call.distinct:
            self._give_up(node, f"the window function `{call.name[:40]}`")
            return None
        partition = [self._terms.term(item, Usage.PER_UNIT) for item in node.partitions]
        orders = self._sortings(node.orders)
        arguments = [
            self._window_argument(item, i) for i, item in enumerate(call.arguments)
        ]
        span = _span(node)
        if span == "":
            self._give_up(node, "this frame of a window", "Use ROWS BETWEEN.")
            return None
        if None in partition or orders is None or None in arguments:
            return None
        if not self._holds_units([item for item in partition if item is not None]):
            self._facts.refuse(
                "window_not_within_unit",
                "a window over rows is not partitioned by every unit key",
                "Add the unit keys to PARTITION BY, or put the window around groups.",
                node.place or place_of(call),
            )
            return None
        if len(arguments) < takes or len(arguments) > (3 if call.name in _OFFSETS else 1):
            self._give_up(node, f"`{call.name}` with these arguments")
            return None
        condition: Predicate = ALL
        if call.condition is not None:
            found = self._terms.predicate(call.condition)
            if found is None:
                return None
            condition = canonical(found)
        return UnitWindow(
            _NAMED.get(call.name, call.name),
            tuple(item for item in arguments if item is not None),
            tuple(item for item in partition if item is not None),
            orders,
            span if isinstance(span, Span) else None,
            condition,
            node.ignore_nulls,
        )

    def _window_argument(self, node: syntax.Expression, index: int) -> Term | None:
        if index:
            constant = constant_of(node)
            small = (
                constant is not None
                and isinstance(constant.value, Decimal)
                and 0 <= constant.value <= MAX_OFFSET
            )
            if index > 1 or not small:
                self._give_up(node, "an offset that is no small number, or a default")
                return None
            return constant
        gap = self._terms.gap(node)
        return gap if gap is not None else self._terms.term(node, Usage.PER_UNIT)

    def _holds_units(self, partition: Sequence[Term]) -> bool:
        refs = {item for item in partition if isinstance(item, Ref)}
        roots = {self._same.root(ref) for ref in refs}
        return all(
            unit.ref is not None and self._same.root(unit.ref) in roots
            for unit in self._units
        )

    def _sortings(self, orders: Sequence[syntax.Order]) -> tuple[Sorting, ...] | None:
        found = []
        for item in orders:
            term = self._terms.term(item.expression, Usage.PER_UNIT)
            if term is None:
                return None
            nulls_last = True if item.nulls_last is None else item.nulls_last
            found.append(Sorting(term, item.descending, nulls_last))
        return tuple(found)

    def _give_up(self, node: syntax.Expression, what: str, hint: str = "") -> None:
        self._terms.give_up(node, "not_per_unit", what, hint)


def _span(node: syntax.Window) -> Span | str | None:
    """Return the frame, None for the engine's default, "" where it is none we take."""
    frame = node.frame
    if frame is None:
        return None
    offsets = [rows for _, rows in (frame.start, frame.end)]
    if frame.unit == "rows" and all(rows is None or rows <= MAX_OFFSET for rows in offsets):
        return Span("rows", frame.start, frame.end)
    unbounded = all(
        rows is None or way == "current" for way, rows in (frame.start, frame.end)
    )
    return (
        Span("range", frame.start, frame.end) if frame.unit == "range" and unbounded else ""
    )
