"""Contrasts of a filter: sets of rows whose few units would be told by a difference.

`count(*) WHERE NOT (city = 'Tiny')` beside the count of all tells about Tiny; `WHERE city =
'Tiny' OR flu` beside `WHERE flu` does too. So the units outside a filter, and those that
only one of its alternatives lets in, must be none or at least min_units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policies.document import Policy, Role
from sandbox.plan.block import Block
from sandbox.plan.render import predicate_sql
from sandbox.plan.terms import (
    All,
    Always,
    AnyOf,
    Compare,
    Predicate,
    Ref,
    Within,
    members_in,
    refs_of,
)

MAX_ALTERNATIVES = 60


def tracks_outside(block: Block, policy: Policy) -> bool:
    """Whether units outside the filter are counted.

    They are where a dimension is filtered: its margins are asked and published everywhere,
    so a filter that leaves out three units tells about these three. Over views they always
    are, whatever is filtered: their rows cannot be compared with those of other answers.
    So they are outside a semi-join: who is in the other table may be asked of that one.
    """
    if isinstance(block.where, Always):
        return False
    if block.views or members_in(block.where):
        return True
    return any(is_dimension(ref, policy) for ref in refs_of(block.where))


def is_dimension(ref: Ref, policy: Policy) -> bool:
    """Whether a column's margins may be asked; those of a public table are known anyway."""
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    return column is None or column.has(Role.DIMENSION) or column.has(Role.LABEL)


def alternatives(where: Predicate) -> list[Predicate]:
    """Return, for each alternative in a filter, the filter without it.

    An alternative is a branch of an OR, or a constant of an IN, that stands at the top or
    as one of the conjuncts.
    """
    conjuncts = _conjuncts(where)
    found: list[Predicate] = []
    for index, weaker in _weaker_conjuncts(conjuncts):
        rest = (*conjuncts[:index], weaker, *conjuncts[index + 1 :])
        found.append(All(rest) if len(rest) > 1 else rest[0])
    return found


def _conjuncts(where: Predicate) -> tuple[Predicate, ...]:
    return where.items if isinstance(where, All) else (where,)


def _weaker_conjuncts(conjuncts: Sequence[Predicate]) -> Iterator[tuple[int, Predicate]]:
    for index, conjunct in enumerate(conjuncts):
        for weaker in _without_one(conjunct):
            yield index, weaker


def _without_one(predicate: Predicate) -> list[Predicate]:
    if isinstance(predicate, AnyOf):
        found: list[Predicate] = []
        for index, item in enumerate(predicate.items):
            others = (*predicate.items[:index], *predicate.items[index + 1 :])
            if isinstance(item, Within):
                found += [AnyOf((*others, less)) for less in _without_one(item)]
            else:
                found.append(AnyOf(others) if len(others) > 1 else others[0])
        return found
    if isinstance(predicate, Within):
        values = predicate.constants
        return [
            _within(predicate, (*values[:index], *values[index + 1 :]))
            for index in range(len(values))
        ]
    return []


def _within(predicate: Within, values: tuple[object, ...]) -> Predicate:
    kept = tuple(value for value in predicate.constants if value in values)
    return (
        Compare("=", predicate.term, kept[0])
        if len(kept) == 1
        else Within(predicate.term, kept)
    )


def without_members(where: Predicate) -> Predicate:
    """Return a filter without its conjuncts that look into other tables.

    Where it does not hold the filter does not either. The filter itself if none is left.
    """
    kept = tuple(item for item in _conjuncts(where) if not members_in(item))
    if not kept:
        return where
    return kept[0] if len(kept) == 1 else All(kept)


def contrast_sql(where: Predicate) -> list[str]:
    """Return conditions for the rows that only one alternative of the filter lets in."""
    whole = predicate_sql(where)
    return [f"(({whole}) IS TRUE AND {text})" for text in contrast_inside_sql(where)]


def contrast_inside_sql(where: Predicate) -> list[str]:
    """Return the same conditions for rows that satisfy the filter.

    All its conjuncts hold there: only the one that has the alternative can fail without.
    """
    return [
        f"({predicate_sql(weaker)}) IS NOT TRUE"
        for _, weaker in _weaker_conjuncts(_conjuncts(where))
    ]
