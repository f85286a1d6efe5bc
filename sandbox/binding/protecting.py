"""A protecting aggregation, bound: rows to a Block, its SELECT list over cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.shape import Usage
from sandbox.binding import stage_zero
from sandbox.binding.aggregates import AggregateBinder
from sandbox.binding.cells import CellBinder
from sandbox.binding.facts import place_of
from sandbox.binding.functions import is_aggregate
from sandbox.binding.grouping import GroupingSets, group_expressions, select_over
from sandbox.binding.items import ResultItem
from sandbox.binding.subqueries import scalar_cell
from sandbox.binding.walks import holds_query
from sandbox.plan.block import Block, Unit, canonical_block
from sandbox.plan.canonical import key_of
from sandbox.plan.result_walks import stack_of
from sandbox.plan.results import (
    CellExpression,
    Cells,
    ColumnCell,
    LiteralCell,
    Relation,
    Selected,
)
from sandbox.plan.terms import Literal, Predicate, Ref, Term, refs_of
from sandbox.sql import syntax

if TYPE_CHECKING:
    from sandbox.binding.rows import Rows

MAX_KEYS = 12


class Protecting:
    """Binds the aggregation of one SELECT; it is the `Leaves` of what stands over it."""

    def __init__(self, rows: Rows, units: tuple[Unit, ...]) -> None:
        self._rows = rows
        self._facts = rows.facts
        self._terms = rows.terms
        self._units = units
        self._aggregates = AggregateBinder(rows.facts, rows.terms)
        self._keys: dict[str, tuple[int, Term]] = {}
        self._written: dict[syntax.Expression, int] = {}  # as GROUP BY has them
        self._sets = GroupingSets(rows.select, rows.facts)

    def bind(self, where: Predicate | None) -> ResultItem | None:
        """Return the result of the SELECT over the cells of a block (or several)."""
        expressions = group_expressions(self._rows.select, self._rows.outputs, self._facts)
        numbers = [self._add_key(expression) for expression in expressions]
        if len(self._keys) > MAX_KEYS:
            self._facts.refuse(
                "query_too_complex",
                f"the query has {len(self._keys)} group keys, at most {MAX_KEYS}",
                "Ask for less in one query.",
            )
        cells = CellBinder(
            self._facts,
            self,
            lambda node: scalar_cell(
                node, self._rows.queries, self._rows.environment, self._facts
            ),
        )
        found = select_over(self._rows.select, self._rows.outputs, cells, self._facts)
        if not self._units:
            self._facts.refuse(
                "no_protected_table",
                "the query reads public tables only, which the dataset page offers whole",
                "Download them there.",
            )
        if not self._keys and not self._aggregates.aggregates:
            self._facts.refuse(
                "row_level_output",
                "the query has neither an aggregate nor GROUP BY",
                "Add an aggregate, for example count(*).",
            )
        if found is None or where is None or self._facts.findings or None in numbers:
            return None
        return self._result(where, found, [n for n in numbers if n is not None])

    def _add_key(self, expression: syntax.Expression) -> int | None:
        term = self._terms.term(expression, Usage.GROUP_KEY)
        if term is None:
            return None
        if isinstance(term, Literal) or not refs_of(term):
            self._facts.refuse(
                "constant_group",
                "a group key is a constant",
                "Group by a column.",
                place_of(expression),
            )
        found = self._keys.setdefault(key_of(term), (len(self._keys), term))[0]
        self._written[expression] = found
        if isinstance(expression, syntax.Column):
            target = self._terms.alias_of(expression)
            if target is not None:
                self._written[target] = found
        return found

    # --- the block and the relation over it

    def _result(
        self, where: Predicate, found: ResultItem, numbers: list[int]
    ) -> ResultItem:
        """Put the blocks' cells under the SELECT list, whose columns are keys, then
        aggregates, then one GROUPING() bit for each key."""
        width = len(self._keys)
        sets = self._sets.over(numbers, width)
        if sets is None:
            source: Relation = self._cells(where, tuple(range(width)))
        else:
            parts = [self._part(where, chosen, width) for chosen in sets]
            source = stack_of(parts)
        return ResultItem(self._sets.settled(found.relation, source, width), found.names)

    def _block(self, where: Predicate, chosen: tuple[int, ...]) -> tuple[int, list[int]]:
        """Return the number of a block and where its keys and aggregates are in it."""
        terms = [term for _, term in self._keys.values()]
        block, keys, aggregates = canonical_block(
            stage_zero.with_views(
                self._facts,
                Block(
                    tables=tuple(self._rows.scope.tables),
                    joins=tuple(self._rows.scope.joins),
                    units=self._units,
                    where=where,
                    keys=tuple(terms[number] for number in chosen),
                    hidden=tuple(self._aggregates.hidden),
                    aggregates=tuple(self._aggregates.aggregates),
                    optional=tuple(sorted(self._rows.scope.optional)),
                ),
            )
        )
        places = [keys[i] for i in range(len(chosen))]
        places += [len(chosen) + aggregates[i] for i in range(len(aggregates))]
        return self._rows.context.block(block), places

    def _cells(self, where: Predicate, chosen: tuple[int, ...]) -> Relation:
        number, places = self._block(where, chosen)
        cells = Cells(number, len(chosen), len(places))
        if places == list(range(len(places))):
            return cells
        return Selected(cells, tuple(ColumnCell(place) for place in places))

    def _part(self, where: Predicate, chosen: tuple[int, ...], width: int) -> Relation:
        """Return one grouping set as rows of all keys (NULL where left out), and bits."""
        number, places = self._block(where, chosen)
        at = {key: places[i] for i, key in enumerate(chosen)}
        outputs: list[CellExpression] = [
            ColumnCell(at[key]) if key in at else LiteralCell("null", "NULL")
            for key in range(width)
        ]
        outputs += [ColumnCell(place) for place in places[len(chosen) :]]
        outputs += [
            LiteralCell("integer", "0" if key in at else "1") for key in range(width)
        ]
        return Selected(Cells(number, len(chosen), len(places)), tuple(outputs))

    # --- leaves

    def key(self, expression: syntax.Expression) -> CellExpression | None:
        """Return the group key that an expression is, tried where nobody reads."""
        if expression in self._written:
            return ColumnCell(self._written[expression])
        if isinstance(expression, syntax.Constant) or holds_query(expression):
            return None
        if isinstance(expression, syntax.Call) and is_aggregate(expression.name):
            return None
        with self._facts.trial():
            term = self._terms.term(expression, Usage.GROUP_KEY)
        found = None if term is None else self._keys.get(key_of(term))
        return None if found is None else ColumnCell(found[0])

    def alias(self, column: syntax.Column) -> syntax.Expression | None:
        """Return what an output alias stands for."""
        return self._terms.alias_of(column)

    def column(self, column: syntax.Column) -> CellExpression | None:
        """Refuse a column that is neither grouped nor aggregated."""
        ref = self._terms.ref(column)
        if ref is None:
            term = self._terms.term(column, Usage.ROW_OUTPUT)
            if term is not None:
                self._facts.refuse(
                    "not_grouped",
                    f"`{column.names[-1][:60]}` is neither grouped nor aggregated",
                    "Add it to GROUP BY.",
                    column.place,
                )
            return None
        self._refuse_ungrouped(ref, column)
        return None

    def _refuse_ungrouped(self, ref: Ref, column: syntax.Column) -> None:
        self._facts.use(ref, Usage.ROW_OUTPUT, column.place)
        if self._facts.is_public(ref):
            self._facts.refuse(
                "not_grouped",
                f"`{ref.table}.{ref.column}` is neither grouped nor aggregated",
                "Add it to GROUP BY.",
                column.place,
            )

    def aggregate(self, call: syntax.Call) -> CellExpression | None:
        """Return the value of an aggregate of the block."""
        index = self._aggregates.index_of(call)
        return None if index is None else ColumnCell(len(self._keys) + index)

    def grouping(self, call: syntax.Call) -> CellExpression | None:
        """Return GROUPING() of keys, of bits whose place is settled at the end."""
        return self._sets.grouping(call, self.key, self.give_up)

    def give_up(
        self, expression: syntax.Expression, code: str, what: str, hint: str = ""
    ) -> None:
        """Refuse an expression and note every column in it."""
        self._terms.give_up(expression, code, what, hint)
