"""A SELECT over protected rows, bound: to rows that still belong to units, or to cells."""

from __future__ import annotations

from typing import Protocol

from policies.shape import Usage
from sandbox.binding import stage_zero
from sandbox.binding.context import Context, Environment
from sandbox.binding.items import Item, Projected, RowsItem
from sandbox.binding.outputs import has_window, is_grouped, output_name, written_out
from sandbox.binding.predicates import PredicateBinder
from sandbox.binding.protecting import Protecting
from sandbox.binding.scope import Scope, as_ref
from sandbox.binding.subqueries import ResultsBeside
from sandbox.binding.terms import TermBinder, columns_in
from sandbox.binding.units import units_of
from sandbox.plan.block import Unit
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import All, Always, Predicate
from sandbox.sql import syntax

# What speaks against an expression whatever is done with it.
_NEVER_RIGHT = frozenset({"unknown_column", "ambiguous_name", "function_not_allowed"})


class Queries(Protocol):
    """Binds a query inside this one."""

    def query(
        self, query: syntax.Query, environment: Environment, outer: Scope | None = None
    ) -> Item | None:
        """Bind a query; None where it is refused."""


class RowsSelect:
    """Binds one SELECT in the order in which its clauses get their meaning."""

    def __init__(
        self,
        context: Context,
        select: syntax.Select,
        scope: Scope,
        queries: Queries,
        environment: Environment,
    ) -> None:
        self.context = context
        self.facts = context.facts
        self.select = select
        self.scope = scope
        self.queries = queries
        self.environment = environment
        self.outputs = written_out(select, scope.star, context.facts)
        self.aliases = {
            item.alias.lower(): item.expression
            for item in self.outputs
            if item.alias and not _is_itself(item)
        }
        self.terms = TermBinder(self.facts, scope, self.aliases)
        self.predicates = PredicateBinder(self.terms)
        self.terms.results = ResultsBeside(context, self.terms, queries, environment)

    def bind(self) -> Item | None:
        """Return rows or a result; None with the facts that say why."""
        if not self.scope.bound:
            return None
        where = self._where()
        units = self.units()
        if is_grouped(self.select) or self.select.distinct_on == ():
            return self._grouped(where, units)
        if self.select.limit is not None or self.select.offset:
            self.facts.refuse(
                "limit_below_protection",
                "LIMIT or OFFSET chooses among rows before they are aggregated",
                "Use LIMIT in the outermost query, over groups.",
            )
            return None
        if where is None:
            return None
        if (
            self.select.qualify is not None
            or self.select.distinct_on is not None
            or any(has_window(item.expression) for item in self.outputs)
        ):
            return stage_zero.windowed(self, where, units)
        return self.projected(where)

    # --- clauses

    def _where(self) -> Predicate | None:
        parts = list(self.scope.where)
        whole = True
        for column, result in self.scope.among:
            found = ResultsBeside.of(self.terms).among_result(column, result)
            whole = whole and found is not None
            parts += [] if found is None else [found]
        for condition in (*self.scope.conditions, self.select.where):
            if condition is None:
                continue
            predicate = self.predicates.where(condition)
            whole = whole and predicate is not None
            parts += [] if predicate is None else [predicate]
        if not whole:
            return None
        return canonical(All(tuple(parts))) if parts else Always(value=True)

    def units(self) -> tuple[Unit, ...]:
        """Return who is protected in the rows of FROM."""
        self.facts.froms.append(tuple(self.scope.tables))
        return units_of(self.facts, self.scope.tables, self.scope.joins)

    def _grouped(self, where: Predicate | None, units: tuple[Unit, ...]) -> Item | None:
        if stage_zero.keeps_units(self, units):
            return None if where is None else stage_zero.per_unit(self, where, units)
        if where is not None and stage_zero.has_gaps(self):
            found = stage_zero.with_gaps(self, where, units)
            if found is None:
                return None
            return RowsSelect(self.context, *found, self.queries, self.environment).bind()
        return Protecting(self, units).bind(where)

    def projected(self, where: Predicate) -> RowsItem | None:
        """Return the rows with the outputs as their columns, bound where they are used."""
        columns: dict[str, Projected] = {}
        names = []
        for index, item in enumerate(self.outputs):
            name = output_name(item, index)
            self._check_unused(item.expression)
            columns[name.lower()] = Projected(item.expression, self.terms)
            names.append(name)
        return RowsItem(
            tuple(self.scope.tables),
            tuple(self.scope.joins),
            () if where == Always(value=True) else (where,),
            columns,
            tuple(names),
        )

    def _check_unused(self, expression: syntax.Expression) -> None:
        """Refuse now what no use could make right: names, functions, hidden columns."""
        with self.facts.trial() as tried:
            self.terms.term(expression, Usage.NULL_TEST)
        for finding in tried.findings:
            if finding.code in _NEVER_RIGHT and not _is_arithmetic(expression):
                self.facts.findings.append(finding)
        if isinstance(expression, syntax.Column) and expression.place is None:
            return  # out of a star: named by nobody
        for column in columns_in(expression):
            ref = as_ref(self.scope.find(column))
            if ref is not None and not self.facts.may_name(ref):
                self.facts.use(ref, Usage.OTHER, column.place)


def _is_itself(item: syntax.Output) -> bool:
    """Whether an output is a column under its own name: no alias that could shadow it."""
    return (
        isinstance(item.expression, syntax.Column)
        and item.expression.names[-1].lower() == item.alias.lower()
    )


def _is_arithmetic(expression: syntax.Expression) -> bool:
    """Whether sums or products of columns are in it, which an aggregate may expand."""
    if not isinstance(expression, syntax.Call):
        return False
    return expression.name in ("+", "-", "*", "/") or any(
        map(_is_arithmetic, expression.arguments)
    )
