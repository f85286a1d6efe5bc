"""The rows of one SELECT: what FROM, WHERE and the SELECT list mean over them."""

from __future__ import annotations

from policies.shape import Usage
from sandbox.binding.context import Context, Environment, Queries
from sandbox.binding.items import Projected, RowsItem
from sandbox.binding.names import as_ref
from sandbox.binding.outputs import output_name, written_out
from sandbox.binding.predicates import PredicateBinder
from sandbox.binding.scope import Scope
from sandbox.binding.subqueries import ResultsBeside, UnitQueries
from sandbox.binding.terms import TermBinder
from sandbox.binding.units import units_of
from sandbox.binding.walks import columns_in
from sandbox.plan.block import Unit
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import All, Always, Predicate
from sandbox.sql import syntax

# What speaks against an expression whatever is done with it.
_NEVER_RIGHT = frozenset({"unknown_column", "ambiguous_name", "function_not_allowed"})


class Rows:
    """One SELECT over rows: its names, filters and units, as its clauses are read."""

    def __init__(
        self,
        context: Context,
        select: syntax.Select,
        scope: Scope,
        queries: Queries,
        environment: Environment,
        unit_queries: UnitQueries,
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
        self.terms.results = ResultsBeside(
            context, self.terms, queries, environment, unit_queries
        )

    # --- clauses

    def where(self) -> Predicate | None:
        """Return the whole filter; None with findings where a part is refused."""
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
