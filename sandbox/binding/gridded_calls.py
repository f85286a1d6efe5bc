"""Calls that cut a column on its grid or grain: bins, parts of dates, bounded counts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from policies.shape import Usage
from sandbox.binding.constants import constant_of, cut_is_coarser
from sandbox.binding.facts import Facts
from sandbox.binding.readings import read_bin, read_date, read_steps
from sandbox.plan.terms import Apply, Bin, Choose, Compare, Kind, Ref, Term
from sandbox.sql import syntax


class GriddedCalls:
    """Reads calls over columns that `ref` finds; what is cut how is noted."""

    def __init__(
        self, facts: Facts, ref: Callable[[syntax.Expression], Ref | None]
    ) -> None:
        self.facts = facts
        self.ref = ref

    def read(self, call: syntax.Call) -> Term | None:
        """Return the term that a call cuts, or None: then nothing is noted."""
        for reading in (self._bin, self.date, self._capped, self._last_day, self._steps):
            found = reading(call)
            if found is not None:
                return found
        return None

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

    def date(self, call: syntax.Call) -> Term | None:
        """Return the date that a call cuts to a grain, or None."""
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
        month = self.date(
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
            if not is_counted(self.facts, ref):
                continue
            self.facts.use(ref, Usage.GROUP_BIN, call.place)
            kept = Compare("<" if call.name == "least" else ">=", ref, bound)
            # Without a number the bound is given, as the engine's least and greatest do.
            shown = Bin(ref, Decimal(1), index_only=False, truncating=True)
            return Choose(((kept, shown),), bound, Kind.INTEGER)
        return None


def is_counted(facts: Facts, ref: Ref) -> bool:
    """Whether a column is a number of rows of one unit: each is its own bin."""

    column = facts.column(ref) if ref.table in facts.views else None
    return column is not None and column.grid == 1 and ref.kind is Kind.INTEGER
