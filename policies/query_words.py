"""What one analysed query asks, in sentences for the reviewer who decides on it."""

from __future__ import annotations

from collections.abc import Iterator

from policies.document import Aggregate, Policy
from policies.phrases import listed
from policies.rule_words import aggregate_words, names_of
from policies.shape import ColumnUse, QueryShape, Usage


def explain_query(policy: Policy, shape: QueryShape) -> tuple[str, ...]:
    """Say in words what an analysed query reads, groups by, lets leave and cannot show."""
    found = [
        f"It reads {names_of(shape.tables)}." if shape.tables else "It reads no table."
    ]
    joins = [
        f"`{join.left_table}.{join.left_column}` with "
        f"`{join.right_table}.{join.right_column}`"
        for join in shape.joins
    ]
    if joins:
        found.append(f"It joins {listed(joins)}.")
    found += _parts(shape)
    if shape.outputs:
        found.append(f"What leaves are the columns {names_of(shape.outputs)}.")
    found += _unseen(policy, shape)
    return tuple(found)


_KEYS = (Usage.GROUP_KEY, Usage.GROUP_BIN, Usage.GROUP_TRUNC, Usage.GROUP_EXPRESSION)
_FILTERS = (Usage.EQUALITY, Usage.RANGE, Usage.NULL_TEST)


def _parts(shape: QueryShape) -> Iterator[str]:
    keys = _named(use for use in shape.uses if use.usage in _KEYS)
    yield f"It groups by {listed(keys)}." if keys else "It makes one group of everybody."
    filters = _named(use for use in shape.uses if use.usage in _FILTERS)
    if filters:
        yield f"It chooses rows by {listed(filters)}."
    counted = [use for use in shape.uses if use.usage is Usage.COUNT_DISTINCT]
    summed = [use for use in shape.uses if use.usage is Usage.AGGREGATE]
    known = {str(name) for name in Aggregate}
    for family in sorted({use.aggregate or "" for use in summed} & known):
        names = _named(use for use in summed if use.aggregate == family)
        words = aggregate_words(frozenset({Aggregate(family)}))
        yield f"It takes {words} of {listed(names)}."
    if counted:
        yield f"It counts the different values of {listed(_named(iter(counted)))}."
    rest = sorted(set(shape.aggregates) - {use.aggregate for use in (*summed, *counted)})
    if rest:
        named = frozenset(Aggregate(name) for name in rest if name in known)
        yield f"It takes {aggregate_words(named) if named else listed(rest)} of rows."


def _named(uses: Iterator[ColumnUse]) -> list[str]:
    found = []
    for use in uses:
        detail = {Usage.GROUP_BIN: "in bins", Usage.GROUP_TRUNC: "by period"}.get(use.usage)
        if detail and use.detail:
            detail = f"{detail} of {use.detail}"
        found.append(f"`{use.column}`" + (f" ({detail})" if detail else ""))
    return list(dict.fromkeys(found))


def _unseen(policy: Policy, shape: QueryShape) -> Iterator[str]:
    tables = [policy.table(name) for name in shape.tables]
    protected = [table for table in tables if table is not None and table.is_protected]
    if not protected:
        yield "It reads public tables only; nobody in them is protected."
        return
    domains = sorted({unit.domain for table in protected for unit in table.units})
    whom = " or ".join(f"a single {domain}" for domain in domains) or "a single row"
    yield f"It cannot show {whom}, nor a group of fewer units than the rule asks for."
    used = {(use.table, use.column) for use in shape.uses}
    touched = [
        column.name
        for table in protected
        for column in table.columns
        if column.sensitive and (table.name, column.name) in used
    ]
    if touched:
        yield f"Sensitive in it: {names_of(sorted(set(touched)))}."
