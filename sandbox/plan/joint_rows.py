"""The rows of two blocks side by side, where both read the same protected rows.

A join with a public table that lacks a key leaves rows out, as a filter does. So public
tables are joined outwards here, and whether a row found its partner is part of whether it
belongs to the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.document import Policy
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import All, Missing, Negate, Predicate, Ref
from sandbox.plan.view_sql import ROW_ID, numbered_sql
from sandbox.quoting import quoted

Join = tuple[Ref, Ref]


@dataclass(frozen=True, slots=True)
class Source:
    """What a block or an earlier release reads: its tables, joins and filter."""

    tables: tuple[str, ...]
    joins: tuple[Join, ...]
    where: Predicate
    optional: tuple[str, ...] = ()  # tables joined outwards whose partner may be missing
    lookups: tuple[str, ...] = ()  # views with at most one row for each row of the others


def is_public(name: str, policy: Policy) -> bool:
    """Whether a table is public."""
    table = policy.table(name)
    return table is not None and table.public


def core_of(source: Source, policy: Policy) -> frozenset[str]:
    """Return the protected tables whose rows a source reads."""
    return frozenset(
        name
        for name in source.tables
        if not is_public(name, policy) and name not in source.lookups
    )


def agree(one: Source, other: Source, policy: Policy) -> bool:
    """Whether the rows of both can stand side by side.

    So they can where both read the same protected rows, or one joins more to the rows of
    the other: what it joins is joined outwards then, and a row may find nothing there.
    Public tables must be joined alike.
    """
    mine, theirs = core_of(one, policy), core_of(other, policy)
    common = mine & theirs
    if not common or common not in (mine, theirs):
        return False
    shared = set(one.tables) & set(other.tables)
    return _inside(one, common) == _inside(other, common) and all(
        _joins_of(one, name) == _joins_of(other, name)
        for name in shared
        if is_public(name, policy)
    )


def _inside(source: Source, tables: frozenset[str]) -> frozenset[Join]:
    return frozenset((a, b) for a, b in source.joins if {a.table, b.table} <= tables)


def joint_from(
    sources: Sequence[Source], policy: Policy, instead: Mapping[str, str] | None = None
) -> str:
    """Return FROM over every table of the sources, public ones joined outwards.

    A table that is named in `instead` is read from the relation there. Requires that every
    two of the sources agree.
    """

    def read(name: str) -> str:
        if name in numbered and name not in lookups:
            return numbered_sql(name)
        return read_sql(name, instead)

    joins = sorted({join for source in sources for join in source.joins}, key=str)
    common = frozenset.intersection(*(core_of(source, policy) for source in sources))
    names = sorted(
        {name for source in sources for name in source.tables},
        key=lambda name: (name not in common, name),
    )
    lookups = {name for source in sources for name in source.lookups}
    numbered = {ref.table for join in joins for ref in join if ref.column == ROW_ID}
    done, pending = [names[0]], names[1:]
    first = names[0]
    text = numbered_sql(first) if first in numbered else read(first)
    while pending:
        for name in pending:
            conditions = [
                f"{term_sql(a)} = {term_sql(b)}"
                for a, b in joins
                if (a.table == name and b.table in done)
                or (b.table == name and a.table in done)
            ]
            if conditions:
                kind = "JOIN" if name in common else "LEFT JOIN"
                text += f" {kind} {read(name)} ON {' AND '.join(conditions)}"
                done.append(name)
                pending.remove(name)
                break
        else:
            raise AssertionError("a table without a join was planned")
    return text


def read_sql(name: str, instead: Mapping[str, str] | None) -> str:
    """Return a table as FROM reads it: from the relation `instead` of it, if any."""
    other = (instead or {}).get(name)
    return quoted(name) if other is None else f"{other} AS {quoted(name)}"


def unit_sql(ref: Ref, sources: Sequence[Source]) -> str:
    """Return who a joint row belongs to, where `ref` or what is joined on it tells."""
    equal = {ref}
    joins = {join for source in sources for join in source.joins}
    while True:
        more = {item for join in joins if equal & {*join} for item in join}
        if more <= equal:
            break
        equal |= more
    listed = ", ".join(term_sql(item) for item in sorted(equal, key=str))
    return listed if len(equal) == 1 else f"coalesce({listed})"


def belonging(source: Source) -> Predicate:
    """Return what IS TRUE of a row of the joint FROM that is one of the source's."""
    keys = {
        ref
        for join in source.joins
        if not {join[0].table, join[1].table} & {*source.optional}
        for ref in join
    }
    found = [Negate(Missing(ref)) for ref in sorted(keys, key=str)]
    return All((source.where, *found)) if found else source.where


def belongs_sql(source: Source) -> str:
    """Return the condition that a row of the joint FROM is one of the source's."""
    return f"(({predicate_sql(belonging(source))}) IS TRUE)"


def _joins_of(source: Source, name: str) -> frozenset[Join]:
    return frozenset(join for join in source.joins if name in {ref.table for ref in join})
