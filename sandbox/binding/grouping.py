"""GROUP BY and what stands over it, alike for protected rows and for results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sandbox.binding.cells import CellBinder
from sandbox.binding.facts import Facts
from sandbox.binding.items import ResultItem
from sandbox.binding.outputs import output_name
from sandbox.binding.walks import has_aggregate
from sandbox.plan.result_walks import moved, simplified, width_of
from sandbox.plan.results import (
    CellExpression,
    CellOrder,
    ColumnCell,
    LiteralCell,
    OneRow,
    PostCall,
    Relation,
    Selected,
)
from sandbox.sql import syntax

MAX_SETS = 64
_NOTHING = syntax.Constant("null", "")
_KeyOf = Callable[[syntax.Expression], CellExpression | None]
_GiveUp = Callable[[syntax.Expression, str, str], None]


def group_expressions(
    select: syntax.Select, outputs: Sequence[syntax.Output], facts: Facts
) -> list[syntax.Expression]:
    """Return what a SELECT groups by: GROUP BY, every plain output for GROUP BY ALL and
    for SELECT DISTINCT."""
    if select.group_all or (
        select.distinct_on == ()
        and not select.groups
        and select.grouping_sets is None
        and not any(has_aggregate(item.expression) for item in outputs)
    ):
        return [
            item.expression
            for item in outputs
            if not has_aggregate(item.expression)
            and not isinstance(item.expression, syntax.Constant)
        ]
    return [ordinal(item, outputs, facts, "GROUP BY") for item in select.groups]


def ordinal(
    expression: syntax.Expression,
    outputs: Sequence[syntax.Output],
    facts: Facts,
    clause: str,
) -> syntax.Expression:
    """Return the output that a number stands for; other expressions are themselves."""
    if not isinstance(expression, syntax.Constant) or expression.kind != "integer":
        return expression
    number = int(expression.text.replace("_", "")[:9] or "0")
    if 1 <= number <= len(outputs):
        return outputs[number - 1].expression
    facts.refuse(
        "ordinal_out_of_range",
        f"{clause} names output {number}, there are {len(outputs)}",
        "Count the outputs from 1.",
        expression.place,
    )
    return expression


def select_over(
    select: syntax.Select,
    outputs: Sequence[syntax.Output],
    cells: CellBinder,
    facts: Facts,
) -> ResultItem | None:
    """Bind the SELECT list, HAVING, QUALIFY, ORDER BY and LIMIT over keys and aggregates.

    The relation stands over OneRow, in place of the source that is known only when all
    aggregates were met.
    """
    found = [cells.cell(item.expression) for item in outputs]
    having = None if select.having is None else cells.cell(select.having)
    qualify = None if select.qualify is None else cells.cell(select.qualify)
    orders = _orders(select, outputs, cells, facts)
    known = tuple(item for item in found if item is not None)
    if (
        len(known) < len(found)
        or (select.having is not None and having is None)
        or (select.qualify is not None and qualify is None)
        or orders is None
    ):
        return None
    distinct = select.distinct_on == ()
    if select.distinct_on:
        facts.refuse(
            "distinct_on_unavailable",
            "DISTINCT ON over groups is not part of what may be asked",
            "Use QUALIFY row_number() OVER (...) = 1.",
        )
        return None
    if distinct and any(order.expression not in known for order in orders):
        facts.refuse(
            "order_not_selected",
            "SELECT DISTINCT is ordered by something that it does not select",
            "Add it to the outputs.",
        )
        return None
    relation = Selected(
        OneRow(), known, having, qualify, distinct, orders, select.limit, select.offset
    )
    names = tuple(output_name(item, index) for index, item in enumerate(outputs))
    return ResultItem(relation, names)


def _orders(
    select: syntax.Select,
    outputs: Sequence[syntax.Output],
    cells: CellBinder,
    facts: Facts,
) -> tuple[CellOrder, ...] | None:
    items = list(select.orders)
    if select.order_all:
        last = (
            items[0] if items else syntax.Order(_NOTHING, descending=False, nulls_last=None)
        )
        items = [
            syntax.Order(item.expression, last.descending, last.nulls_last)
            for item in outputs
        ]
    by_alias = {item.alias.lower(): item.expression for item in outputs if item.alias}
    found: list[CellOrder] = []
    for item in items:
        expression = ordinal(item.expression, outputs, facts, "ORDER BY")
        if isinstance(expression, syntax.Column) and len(expression.names) == 1:
            # In ORDER BY an output's alias comes before a column of that name.
            expression = by_alias.get(expression.names[0].lower(), expression)
        order = cells.order(syntax.Order(expression, item.descending, item.nulls_last))
        if order is None:
            return None
        found.append(order)
    return tuple(found)


class GroupingSets:
    """ROLLUP, CUBE and GROUPING SETS: several groupings whose rows stand together."""

    def __init__(self, select: syntax.Select, facts: Facts) -> None:
        self._sets = select.grouping_sets
        self._facts = facts

    def over(self, numbers: Sequence[int], width: int) -> list[tuple[int, ...]] | None:
        """Return the keys of each set by number, or None for a plain GROUP BY.

        `numbers[i]` is the key that the i-th group expression is: two may be one key.
        """
        if self._sets is None:
            return None
        if len(self._sets) > MAX_SETS:
            self._facts.refuse(
                "query_too_complex",
                f"the query has {len(self._sets)} grouping sets, at most {MAX_SETS}",
                "Ask for less at once.",
            )
        return [
            tuple(sorted({numbers[i] for i in chosen} & set(range(width))))
            for chosen in self._sets[:MAX_SETS]
        ]

    def grouping(
        self, call: syntax.Call, key_of: _KeyOf, give_up: _GiveUp
    ) -> CellExpression | None:
        """Return GROUPING(a, b) as arithmetic on bits: bit of key i is column -1 - i."""
        found: CellExpression | None = None
        for argument in call.arguments:
            key = key_of(argument)
            if not isinstance(key, ColumnCell):
                give_up(
                    call, "grouping_of_no_key", "GROUPING() of anything but a group key"
                )
                return None
            bit: CellExpression = ColumnCell(-1 - key.index)
            if self._sets is None:
                bit = LiteralCell("integer", "0")
            two = LiteralCell("integer", "2")
            found = bit if found is None else PostCall(
                "+", (PostCall("*", (found, two)), bit)
            )  # fmt: skip
        if found is None:
            give_up(call, "grouping_of_no_key", "GROUPING() of nothing")
        return found

    def settled(self, relation: Relation, source: Relation, keys: int) -> Relation:
        """Return the SELECT list over its source, the bits of GROUPING() in their place."""
        assert isinstance(relation, Selected)
        first_bit = width_of(source) - keys

        def move(index: int) -> int:
            return index if index >= 0 else first_bit + (-1 - index)

        return over_source(relation, source, move)


def over_source(
    relation: Selected, source: Relation, move: Callable[[int], int]
) -> Relation:
    """Return a SELECT list over another source, its columns renumbered.

    A source that only renames columns leaves no layer of its own.
    """
    if isinstance(source, Selected) and source.only_projects and not source.orders:
        places = [c.index if isinstance(c, ColumnCell) else None for c in source.outputs]
        if None not in places:
            inner = source.source

            def through(index: int) -> int:
                place = places[move(index)]
                assert place is not None
                return place

            return over_source(relation, inner, through)

    def again(node: CellExpression | None) -> CellExpression | None:
        return None if node is None else moved(node, move)

    return simplified(
        Selected(
            source,
            tuple(moved(item, move) for item in relation.outputs),
            again(relation.where),
            again(relation.qualify),
            relation.distinct,
            tuple(
                CellOrder(moved(o.expression, move), o.descending, o.nulls_last)
                for o in relation.orders
            ),
            relation.limit,
            relation.offset,
        )
    )
