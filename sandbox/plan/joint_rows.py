"""The rows of two blocks side by side, where both read the same protected rows.

A join with a public table that lacks a key leaves rows out, as a filter does. So public
tables are joined outwards here, and whether a row found its partner is part of whether it
belongs to the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.document import Policy
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import Predicate, Ref
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


def agree(one: Source, other: Source, policy: Policy) -> bool:
    """Whether both read the same protected rows, and join what is public alike."""

    def core(source: Source) -> tuple[frozenset[str], frozenset[Join]]:
        tables = frozenset(
            name
            for name in source.tables
            if not is_public(name, policy) and name not in source.lookups
        )
        return tables, frozenset(
            (a, b) for a, b in source.joins if {a.table, b.table} <= tables
        )

    shared = set(one.tables) & set(other.tables)
    return core(one) == core(other) and all(
        _joins_of(one, name) == _joins_of(other, name)
        for name in shared
        if is_public(name, policy)
    )


def joint_from(sources: Sequence[Source], policy: Policy) -> str:
    """Return FROM over every table of the sources, public ones joined outwards.

    Requires that every two of the sources agree.
    """
    joins = sorted({join for source in sources for join in source.joins}, key=str)
    lookups = {name for source in sources for name in source.lookups}
    names = sorted(
        {name for source in sources for name in source.tables},
        key=lambda name: (is_public(name, policy) or name in lookups, name),
    )
    numbered = {ref.table for join in joins for ref in join if ref.column == ROW_ID}
    done, pending = [names[0]], names[1:]
    first = names[0]
    text = numbered_sql(first) if first in numbered else quoted(first)
    while pending:
        for name in pending:
            conditions = [
                f"{term_sql(a)} = {term_sql(b)}"
                for a, b in joins
                if (a.table == name and b.table in done)
                or (b.table == name and a.table in done)
            ]
            if conditions:
                outwards = is_public(name, policy) or name in lookups
                kind = "LEFT JOIN" if outwards else "JOIN"
                own = name in numbered and name not in lookups
                read = numbered_sql(name) if own else quoted(name)
                text += f" {kind} {read} ON {' AND '.join(conditions)}"
                done.append(name)
                pending.remove(name)
                break
        else:
            raise AssertionError("a table without a join was planned")
    return text


def belongs_sql(source: Source, policy: Policy) -> str:
    """Return the condition that a row of the joint FROM is one of the source's."""
    parts = [f"(({predicate_sql(source.where)}) IS TRUE)"]
    for name in source.tables:
        outwards = is_public(name, policy) or name in source.lookups
        if outwards and name not in source.optional:
            keys = {ref for join in source.joins for ref in join if ref.table == name}
            parts += [f"{term_sql(ref)} IS NOT NULL" for ref in sorted(keys, key=str)]
    return f"({' AND '.join(parts)})"


def _joins_of(source: Source, name: str) -> frozenset[Join]:
    return frozenset(join for join in source.joins if name in {ref.table for ref in join})
