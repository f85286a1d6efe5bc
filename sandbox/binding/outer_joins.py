"""Outer and ASOF joins of rows: of two protected sides, or outwards to a public table.

A public table that is joined outwards stays a table of the block: a row that finds no
partner there stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sandbox.binding.facts import Facts
from sandbox.binding.unit_joins import UnitJoining, refuse_join
from sandbox.sql import syntax

if TYPE_CHECKING:
    from sandbox.binding.scope import Scope


def add_outer(scope: Scope, node: syntax.Join) -> None:
    """Add an outer or ASOF join to a scope; what it cannot be is a finding."""
    facts = scope.facts
    left, right = scope.side(node.left), scope.side(node.right)
    if not left.bound or not right.bound:
        return
    if left.has_results or right.has_results:
        refuse_join(facts, node, "an outer join with a result")
        return
    protected = _is_protected(facts, left.tables), _is_protected(facts, right.tables)
    if protected == (True, True):
        right = scope.side(node.right, taken=frozenset(left.tables))
        UnitJoining(scope, node, left, right).add()
    elif node.asof or protected == (False, False):
        refuse_join(
            facts, node, "an ASOF join with a public table, or an outer join of two"
        )
    else:
        _add_public(scope, node, left, right, left_is_public=not protected[0])


def _is_protected(facts: Facts, tables: Iterable[str]) -> bool:
    """Whether any of the tables is protected."""
    found = [facts.policy.table(name) for name in tables]
    return any(table is not None and table.is_protected for table in found)


def _add_public(
    scope: Scope, node: syntax.Join, left: Scope, right: Scope, *, left_is_public: bool
) -> None:
    scope.adopt(left)
    aliases = {item.alias.lower() for item in scope.bound}
    scope.adopt(right)
    public = left if left_is_public else right
    # Rows of nobody are left out: where the public side is the preserved one, what it
    # would keep without a partner is nobody's.
    stays = node.kind in ("full", "right" if left_is_public else "left")
    before = len(scope.conditions)
    scope.equate(node, aliases, merge_right=left_is_public)
    if not stays:
        return
    scope.optional += public.tables
    if len(scope.conditions) > before or len(public.tables) > 1 or public.where:
        facts = scope.facts
        facts.refuse(
            "outer_join_condition",
            "an outer join with a public table has a condition beside equal columns",
            "Join ON equal columns alone, and put conditions on it into WHERE.",
            node.place,
        )
