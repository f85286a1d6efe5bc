"""Views as SQL of our own, and their rows in the engine that a block is run in.

Nothing here can fail on a row: infinite dates have no difference, and what is computed of
values is in `sandbox.plan.value_sql`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from policies.document import Policy
from sandbox.plan.canonical import key_of
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import Ref
from sandbox.plan.value_sql import ValueSql
from sandbox.plan.view_columns import extended
from sandbox.plan.views import (
    ALL,
    UnitJoin,
    UnitWindow,
    View,
    refs_of_view,
)
from sandbox.quoting import quoted

_JOINS = {
    "inner": "JOIN",
    "left": "LEFT JOIN",
    "right": "RIGHT JOIN",
    "full": "FULL JOIN",
    "asof": "ASOF JOIN",
    "asof_left": "ASOF LEFT JOIN",
}
ROW_ID = "row id"  # of the base table's row; no column of a policy is ever asked by it


@dataclass(frozen=True, slots=True)
class Created:
    """The statement that makes a view readable under its name."""

    name: str
    kind: str  # TABLE, or VIEW: what only passes rows on is not kept twice
    sql: str


def created_by(
    views: Iterable[View], policy: Policy, *, held: Collection[str] = ()
) -> list[Created]:
    """Return the statements that make views, but for those that are `held` already.

    They can be run in their order.
    """
    views = tuple(views)
    policy = extended(policy, views)
    numbered = {view.name for view in views if has_row_id(view)}
    found = []
    for view in views:
        if view.name in held:
            continue
        kind = "TABLE" if _computes(view) else "VIEW"
        text = view_sql(view, policy, numbered)
        sql = f"CREATE {kind} {quoted(view.name)} AS {text}"
        found.append(Created(view.name, kind, sql))
    return found


def _computes(view: View) -> bool:
    return (
        view.keys is not None
        or bool(view.joins)
        or any(isinstance(column.value, UnitWindow) for column in view.columns)
    )


def has_row_id(view: View) -> bool:
    """Whether the rows of a view are rows of one relation, and keep their number."""
    return view.keys is None and not view.joins and not view.more


def numbered_sql(table: str) -> str:
    """Return a base table whose rows carry their number, under its own name.

    The number is that of the row in its files, which are read in their order.
    """
    number = f"row_number() OVER () AS {quoted(ROW_ID)}"
    return f"(SELECT *, {number} FROM {quoted(table)}) AS {quoted(table)}"


def view_sql(view: View, policy: Policy, numbered: Collection[str] = ()) -> str:
    """Return the SELECT of a view over tables that carry their names in the policy.

    The policy must know what the view reads. Rows that belong to no unit are left out.
    """
    text = _Rendering(view, policy, numbered).select()
    known = " OR ".join(f"{quoted(name)} IS NOT NULL" for _, name in view.units)
    return f"SELECT * FROM ({text}) AS v WHERE {known}" if known else text


def source_sql(view: View, policy: Policy, *, inner_only: bool = False) -> str:
    """Return FROM of a view.

    With `inner_only`, conditions of joins are left out and no row without a partner comes:
    all the pairs that a condition could have chosen among.
    """
    return _Rendering(view, policy).source(inner_only=inner_only)


def without_partner_sql(view: View, policy: Policy, number: int) -> str:
    """Return FROM of the rows that the join of that number leaves out: no partner."""
    return _Rendering(view, policy).without_partner(number)


class _Rendering:
    """One view as text."""

    def __init__(self, view: View, policy: Policy, numbered: Collection[str] = ()) -> None:
        self._view = view
        self._numbered = numbered  # the views it may read whose rows have their number
        self._values = ValueSql(view, policy)

    def select(self) -> str:
        view = self._view
        columns = [
            f"{self._values.of(column.value)} AS {quoted(column.name)}"
            for column in view.columns
        ]
        source = self.source()
        if has_row_id(view):
            columns.append(f"{quoted(view.table)}.{quoted(ROW_ID)} AS {quoted(ROW_ID)}")
            if not self._carries_row_id(view.table):
                source = numbered_sql(view.table)
        text = f"SELECT {', '.join(columns)} FROM {source}"
        if view.where != ALL:
            text += f" WHERE {predicate_sql(view.where)}"
        if view.keys is not None:
            text += f" GROUP BY {', '.join(term_sql(term) for term in view.keys)}"
        for refs in view.more:
            below = ", ".join(term_sql(ref) for ref in refs)
            text += f" UNION ALL SELECT {below} FROM {quoted(refs[0].table)}"
        return text

    def _carries_row_id(self, table: str) -> bool:
        return table in self._numbered

    def source(self, *, inner_only: bool = False) -> str:
        text = quoted(self._view.table)
        for join in self._view.joins:
            text += self._join(join, inner_only=inner_only)
        return text

    def without_partner(self, number: int) -> str:
        text = quoted(self._view.table)
        for join in self._view.joins[:number]:
            text += self._join(join, inner_only=False)
        last = self._view.joins[number]
        equal = " AND ".join(f"{term_sql(a)} = {term_sql(b)}" for a, b in last.on)
        return f"{text} ANTI JOIN {quoted(last.table)} ON {equal}"

    def _join(self, join: UnitJoin, *, inner_only: bool) -> str:
        conditions = [f"{term_sql(a)} = {term_sql(b)}" for a, b in join.on]
        way, table = join.way, quoted(join.table)
        if join.nearest is not None:
            operator, left, right = join.nearest
            conditions.append(f"{term_sql(left)} {operator} {term_sql(right)}")
            if not inner_only:
                table = self._without_ties(join, right)
        if inner_only:
            way = "inner"
        elif join.condition != ALL:
            conditions.append(f"({predicate_sql(join.condition)})")
        return f" {_JOINS[way]} {table} ON {' AND '.join(conditions)}"

    def _without_ties(self, join: UnitJoin, nearest: Ref) -> str:
        """Return the right side of an asof join with one row for each key and moment."""
        used = sorted(
            {ref for ref in refs_of_view(self._view) if ref.table == join.table},
            key=key_of,
        )
        columns = ", ".join(quoted(ref.column) for ref in used)
        keys = [*(right for _, right in join.on), nearest]
        partition = ", ".join(quoted(ref.column) for ref in keys)
        numbered = (
            f"SELECT {columns}, row_number() OVER (PARTITION BY {partition} "
            f"ORDER BY {columns}) AS place FROM {quoted(join.table)}"
        )
        return (
            f"(SELECT {columns} FROM ({numbered}) AS n WHERE place = 1) "
            f"AS {quoted(join.table)}"
        )
