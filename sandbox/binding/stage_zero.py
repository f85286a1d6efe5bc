"""Stage 0, bound: what is computed for each unit before protection (DESIGN section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.binding.facts import Facts
from sandbox.binding.items import RowsItem
from sandbox.binding.scope import Scope
from sandbox.plan.block import Unit
from sandbox.plan.terms import Predicate
from sandbox.sql import syntax

if TYPE_CHECKING:
    from sandbox.binding.rows_select import RowsSelect
    from sandbox.binding.subqueries import ResultsBeside


def keeps_units(select: RowsSelect, units: tuple[Unit, ...]) -> bool:
    """Whether every unit key is among the group keys, so that groups belong to units."""
    return False


def per_unit(
    select: RowsSelect, where: Predicate, units: tuple[Unit, ...]
) -> RowsItem | None:
    """Bind a sub-aggregation whose groups belong to units."""
    return _unavailable(select.facts, "GROUP BY of unit keys")


def windowed(
    select: RowsSelect, where: Predicate, units: tuple[Unit, ...]
) -> RowsItem | None:
    """Bind windows, QUALIFY and DISTINCT ON over the rows of each unit."""
    return _unavailable(select.facts, "a window function over rows")


def exists(beside: ResultsBeside, node: syntax.Subquery) -> Predicate | None:
    """Bind EXISTS of a subquery that is correlated on a unit key."""
    _unavailable(beside.terms.facts, "EXISTS")
    return None


def member(
    beside: ResultsBeside, node: syntax.Subquery, item: RowsItem
) -> Predicate | None:
    """Bind `unit_key IN (SELECT unit_key FROM ...)`."""
    _unavailable(beside.terms.facts, "IN over rows")
    return None


def is_correlated(node: syntax.Subquery, scope: Scope) -> bool:
    """Whether a subquery names a column of the rows around it."""
    return False


def _unavailable(facts: Facts, what: str) -> RowsItem | None:
    facts.refuse(
        "syntax_unavailable",
        f"{what} is not part of what may be asked",
        "Write the query over the table itself.",
    )
    return None
