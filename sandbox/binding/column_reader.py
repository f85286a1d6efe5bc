"""Names in one SELECT over rows: what an expression plainly is, and what is blamed for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from policies.shape import Usage
from sandbox.binding.facts import Facts, place_of
from sandbox.binding.gaps import read_gap
from sandbox.binding.items import Projected
from sandbox.binding.scope import Scope
from sandbox.binding.walks import columns_in
from sandbox.plan.terms import Gap, Ref
from sandbox.sql import syntax


class ColumnReader:
    """Reads names in one scope, with the output aliases of its SELECT."""

    def __init__(
        self, facts: Facts, scope: Scope, aliases: Mapping[str, syntax.Expression]
    ) -> None:
        self.facts = facts
        self.scope = scope
        self.aliases = aliases
        self._unfolding: set[str] = set()

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
