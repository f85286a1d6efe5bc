"""Subqueries: results that re-enter a filter over rows, and values among results."""

from __future__ import annotations

from typing import Protocol

from policies.document import Role
from policies.shape import Usage
from sandbox.binding.cells import CellBinder
from sandbox.binding.context import Context, Environment, Queries
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.items import Item, Reentered, ResultItem, RowsItem
from sandbox.binding.terms import TermBinder
from sandbox.binding.walks import columns_in
from sandbox.plan.result_walks import blocks_in, width_of
from sandbox.plan.results import (
    CellExpression,
    ColumnCell,
    OneRow,
    Relation,
    ScalarOf,
    Selected,
)
from sandbox.plan.terms import CompareResult, Predicate, Ref, WithinResult
from sandbox.sql import syntax

_HALF_OPEN = {"<": "<", "<=": "<", ">": ">=", ">=": ">="}


def scalar_cell(
    node: syntax.Subquery, queries: Queries, environment: Environment, facts: Facts
) -> CellExpression | None:
    """Return a subquery as a value among results; None where it is refused."""
    if node.kind == "exists":
        facts.refuse(
            "subquery_here",
            "EXISTS over results is not part of what may be asked",
            "Compare with count(*) of the inner query.",
            node.place,
        )
        return None
    item = queries.query(node.query, environment)
    relation = _one_column(item, node, facts)
    return None if relation is None else ScalarOf(relation)


def _one_column(item: Item | None, node: syntax.Subquery, facts: Facts) -> Relation | None:
    if item is None:
        return None
    if not isinstance(item, ResultItem) or width_of(item.relation) != 1:
        facts.refuse(
            "subquery_not_a_value",
            "a subquery stands for a value, but gives rows or several columns",
            "Select one aggregate in it.",
            node.place,
        )
        return None
    return item.relation


class UnitQueries(Protocol):
    """How subqueries over rows enter a filter: by the unit keys that they share."""

    def exists(self, beside: ResultsBeside, node: syntax.Subquery) -> Predicate | None:
        """Bind EXISTS."""

    def member(
        self, beside: ResultsBeside, node: syntax.Subquery, item: RowsItem
    ) -> Predicate | None:
        """Bind `unit_key IN (SELECT unit_key FROM ...)`."""


class ResultsBeside:
    """How subqueries and results enter predicates over the rows of one SELECT."""

    def __init__(
        self,
        context: Context,
        terms: TermBinder,
        queries: Queries,
        environment: Environment,
        unit_queries: UnitQueries,
    ) -> None:
        self._context = context
        self._facts = context.facts
        self.terms = terms
        self.queries = queries
        self.environment = environment
        self._unit_queries = unit_queries

    @staticmethod
    def of(terms: TermBinder) -> ResultsBeside:
        """Return the one that a term binder was given."""
        assert isinstance(terms.results, ResultsBeside)
        return terms.results

    def is_result(self, expression: syntax.Expression) -> bool:
        """Whether an expression is computed from results and constants alone."""
        scalars = list(_scalars_in(expression))
        columns = columns_in(expression)
        meanings = [self.terms.scope.find(column) for column in columns]
        only = all(isinstance(meaning, Reentered) for meaning in meanings)
        return only and bool(columns or scalars)

    def compare(
        self, side: syntax.Expression, operator: str, result: syntax.Expression
    ) -> Predicate | None:
        """Compare a column of the rows with a result, snapped to the column's grid."""
        relation = self._relation(result)
        ref = self.terms.ref(side)
        term = ref if ref is not None else self.terms.term(side, Usage.EQUALITY)
        if relation is None or term is None:
            return None
        number = self._context.parameter(relation)
        if not isinstance(term, Ref):
            return CompareResult(operator, term, number)
        column = self._facts.column(term)
        gridded = column is not None and (
            column.grid is not None or column.grain is not None or column.has(Role.MEASURE)
        )
        if not gridded or column is None:
            usage = Usage.EQUALITY if operator in ("=", "<>") else Usage.RANGE
            self._facts.use(term, usage, place_of(side))
            return CompareResult(operator, term, number)
        # A result is snapped to the grid, so that it lies on it; equality would not.
        self._facts.use(term, Usage.RANGE, place_of(side), on_grid=operator in _HALF_OPEN)
        return CompareResult(
            _HALF_OPEN.get(operator, operator),
            term,
            number,
            column.grid,
            None if column.grain is None else column.grain.value,
        )

    def _relation(self, expression: syntax.Expression) -> Relation | None:
        cells = CellBinder(self._facts, _ResultLeaves(self), self._scalar)
        cell = cells.cell(expression)
        if cell is None:
            return None
        relation = Selected(OneRow(), (cell,))
        if not blocks_in(relation):
            # `income > (SELECT 51234)`: a literal in disguise, off every grid.
            self._refuse_constants(expression)
            return None
        return relation

    def _refuse_constants(self, expression: syntax.Expression) -> None:
        self.terms.give_up(
            expression,
            "subquery_of_constants",
            "a subquery without a protected table, compared with rows,",
            "Write the constant itself, on the grid of the column.",
        )

    def _scalar(self, node: syntax.Subquery) -> CellExpression | None:
        return scalar_cell(node, self.queries, self.environment, self._facts)

    def subquery(self, node: syntax.Subquery) -> Predicate | None:
        """Bind EXISTS, or IN over units or over a result."""
        if node.kind == "exists":
            return self._unit_queries.exists(self, node)
        assert node.item is not None
        item = self.queries.query(node.query, self.environment)
        if isinstance(item, RowsItem) and all(map(self._is_public, item.tables)):
            # What a public table says is a list of constants that everybody knows.
            item = self.queries.query(node.query, self.environment, as_result=True)
        if item is None:
            return None
        if not isinstance(item, ResultItem):
            return self._unit_queries.member(self, node, item)
        relation = _one_column(item, node, self._facts)
        if relation is None:
            return None
        return self._within(node.item, relation)

    def _is_public(self, name: str) -> bool:
        table = self._facts.policy.table(name)
        return table is not None and table.public

    def among_result(self, column: syntax.Column, result: Reentered) -> Predicate | None:
        """Bind a join of a column of the rows with one of a result as IN."""
        outputs = (ColumnCell(result.column),)
        return self._within(column, Selected(result.relation, outputs))

    def _within(self, side: syntax.Expression, relation: Relation) -> Predicate | None:
        term = self.terms.term(side, Usage.EQUALITY)
        if term is None:
            return None
        column = self._facts.column(term) if isinstance(term, Ref) else None
        if column is not None and (column.grid is not None or column.grain is not None):
            assert isinstance(term, Ref)
            self._facts.use(term, Usage.EQUALITY, place_of(side), on_grid=False)
        return WithinResult(term, self._context.parameter(relation))


class _ResultLeaves:
    """Leaves of an expression of results that stands in a filter over rows."""

    def __init__(self, beside: ResultsBeside) -> None:
        self._terms = beside.terms

    def key(self, expression: syntax.Expression) -> CellExpression | None:  # noqa: ARG002 - as Leaves
        """Return None: there are no keys."""
        return None

    def alias(self, column: syntax.Column) -> syntax.Expression | None:  # noqa: ARG002 - as Leaves
        """Return None: aliases mean expressions over rows."""
        return None

    def column(self, column: syntax.Column) -> CellExpression | None:
        """Return a column of a result as the value of its only row."""
        found = self._terms.scope.find(column)
        if not isinstance(found, Reentered):
            self.give_up(column, "columns_compared", "a column beside a result")
            return None
        return ScalarOf(Selected(found.relation, (ColumnCell(found.column),)))

    def aggregate(self, call: syntax.Call) -> CellExpression | None:
        """Refuse an aggregate: rows are filtered here."""
        self.give_up(call, "aggregate_here", "an aggregate in a filter over rows")
        return None

    grouping = aggregate

    def give_up(
        self, expression: syntax.Expression, code: str, what: str, hint: str = ""
    ) -> None:
        """Refuse an expression and note every column in it."""
        self._terms.give_up(expression, code, what, hint)


def _scalars_in(expression: object) -> list[syntax.Subquery]:
    if isinstance(expression, syntax.Subquery):
        return [expression] if expression.kind == "scalar" else []
    if isinstance(expression, tuple):
        return [found for item in expression for found in _scalars_in(item)]
    if isinstance(expression, (syntax.Select, syntax.SetOperation)):
        return []
    names = getattr(expression, "__dataclass_fields__", {})
    return [found for name in names for found in _scalars_in(getattr(expression, name))]
