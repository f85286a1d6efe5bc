"""Leaves of expressions over results: of single rows, and of groups of them."""

from __future__ import annotations

from sandbox.binding.cells import CellBinder
from sandbox.binding.grouping import (
    GroupingSets,
)
from sandbox.binding.result_scope import ResultScope
from sandbox.binding.walks import holds_query
from sandbox.plan.result_functions import RESULT_AGGREGATES
from sandbox.plan.results import (
    AggregateOf,
    CellExpression,
    ColumnCell,
)
from sandbox.sql import syntax


class RowLeaves:
    """Leaves of expressions over single rows of results."""

    def __init__(self, source: ResultScope, aliases: dict[str, syntax.Expression]) -> None:
        self._source = source
        self._facts = source.facts
        self._aliases = aliases

    def key(self, expression: syntax.Expression) -> CellExpression | None:  # noqa: ARG002 - as Leaves
        """Return None: single rows have no group keys."""
        return None

    def alias(self, column: syntax.Column) -> syntax.Expression | None:
        """Return what an output alias stands for, where no column has that name."""
        if len(column.names) == 1 and not self._source.candidates(column):
            return self._aliases.get(column.names[0].lower())
        return None

    def column(self, column: syntax.Column) -> CellExpression | None:
        """Return a column of the results."""
        found = self._source.candidates(column)
        if len(found) == 1:
            return self._source.value(found[0])
        shown = ".".join(column.names)[:80]
        if found:
            self._facts.refuse(
                "ambiguous_name",
                f"`{shown}` stands in several results",
                "Write the alias of one before it.",
                column.place,
            )
        else:
            names = self._source.known()
            self._facts.refuse(
                "unknown_column",
                f"`{shown}` is no column of the results in FROM",
                f"Their columns: {', '.join(names[:12])}." if names else "Add FROM.",
                column.place,
            )
        return None

    def aggregate(self, call: syntax.Call) -> CellExpression | None:
        """Refuse an aggregate where single rows are meant."""
        self._facts.refuse(
            "aggregate_here",
            f"`{call.name}` stands where single rows are filtered or grouped",
            "Put conditions on aggregates into HAVING.",
            call.place,
        )
        return None

    def grouping(self, call: syntax.Call) -> CellExpression | None:
        """Refuse GROUPING() where nothing is grouped."""
        self.give_up(call, "grouping_of_no_key", "GROUPING() without GROUP BY")
        return None

    def give_up(
        self, expression: syntax.Expression, code: str, what: str, hint: str = ""
    ) -> None:
        """Refuse an expression; columns of results need no note."""
        if code:
            place = getattr(expression, "place", None)
            self._facts.refuse(
                code, f"{what} is not part of what may be asked", hint, place
            )


class GroupLeaves(RowLeaves):
    """Leaves of expressions over groups of results."""

    def __init__(
        self,
        source: ResultScope,
        aliases: dict[str, syntax.Expression],
        rows: CellBinder,
        sets: GroupingSets,
    ) -> None:
        super().__init__(source, aliases)
        self._rows, self._sets = rows, sets
        self.groups: list[CellExpression] = []
        self.aggregates: list[AggregateOf] = []

    def key(self, expression: syntax.Expression) -> CellExpression | None:
        """Return the group key that an expression is, tried where nobody reads."""
        if isinstance(expression, syntax.Constant) or holds_query(expression):
            return None
        with self._facts.trial():
            found = self._rows.cell(expression)
        return ColumnCell(self.groups.index(found)) if found in self.groups else None

    def column(self, column: syntax.Column) -> CellExpression | None:
        """Refuse a column that is neither grouped nor aggregated."""
        if super().column(column) is not None:
            self._facts.refuse(
                "not_grouped",
                f"`{column.names[-1][:60]}` is neither grouped nor aggregated",
                "Add it to GROUP BY.",
                column.place,
            )
        return None

    def aggregate(self, call: syntax.Call) -> CellExpression | None:
        """Return an aggregate of results."""
        if call.name not in RESULT_AGGREGATES:
            self.give_up(
                call,
                "function_not_allowed",
                f"the aggregate `{call.name[:40]}` over results",
                "Use count, sum, avg, min, max and the like.",
            )
            return None
        arguments = [self._rows.cell(item) for item in call.arguments]
        condition = None if call.condition is None else self._rows.cell(call.condition)
        if any(item is None for item in arguments) or (
            call.condition is not None and condition is None
        ):
            return None
        known = tuple(item for item in arguments if item is not None)
        found = AggregateOf(call.name, known, call.distinct, condition)
        if found not in self.aggregates:
            self.aggregates.append(found)
        return ColumnCell(len(self.groups) + self.aggregates.index(found))

    def grouping(self, call: syntax.Call) -> CellExpression | None:
        """Return GROUPING() of keys."""
        return self._sets.grouping(call, self.key, self.give_up)
