"""Views as SQL of our own, and their rows in the engine that a block is run in.

Nothing here can fail on a row: sums are in exact wide types, NaN and infinity are no
values, infinite dates have no difference. Orders within a unit are total: where the query
leaves rows tied, every column that the view reads decides, so that what is still tied
afterwards is equal in all that anyone can see.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from policies.document import Policy
from sandbox.plan.canonical import key_of
from sandbox.plan.exact import exact_sql
from sandbox.plan.render import predicate_sql, term_sql
from sandbox.plan.terms import Apply, Kind, Ref, Term, kind_of
from sandbox.plan.view_columns import extended
from sandbox.plan.views import (
    ALL,
    PerUnit,
    Sorting,
    Span,
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
_NUMBERED = frozenset({"row_number", "lag", "lead"})
_TAKES_ONE = frozenset({"first_value", "last_value"})
_RANKS = frozenset({"rank", "dense_rank"})


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
        self._policy = policy
        self._ties = [Sorting(ref) for ref in sorted(refs_of_view(view), key=key_of)]

    def select(self) -> str:
        view = self._view
        columns = [
            f"{self._value(column.value)} AS {quoted(column.name)}"
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

    # --- values

    def _value(self, value: Term | PerUnit | UnitWindow) -> str:
        match value:
            case PerUnit():
                return self._per_unit(value)
            case UnitWindow():
                return self._window(value)
            case _:
                return term_sql(value)

    def _per_unit(self, item: PerUnit) -> str:
        text = self._aggregate(item)
        return f"coalesce({text}, 0)" if item.or_zero else text

    def _aggregate(self, item: PerUnit) -> str:
        keep = (
            ""
            if item.condition == ALL
            else f" FILTER (WHERE {predicate_sql(item.condition)})"
        )
        match item.function, item.argument:
            case "count", None:
                return f"count(*){keep}"
            case _, None:
                raise AssertionError("an aggregate without an argument was planned")
            case "count", argument:
                return f"count({self._present(argument)}){keep}"
            case "count_distinct", argument:
                return f"count(DISTINCT {term_sql(argument)}){keep}"
            case "sum", argument:
                return f"sum({self._exact(argument)}){keep}"
            case "avg", argument:
                exact = self._exact(argument)
                return f"(CAST(sum({exact}){keep} AS DOUBLE) / count({exact}){keep})"
            case ("min" | "max") as function, argument:
                return f"{function}({self._present(argument)}){keep}"
            case "any", argument:
                return f"bool_or({term_sql(argument)}){keep}"
            case ("first" | "last") as function, argument:
                order = _ordered([*item.orders, *self._ties])
                return f"{function}({term_sql(argument)} ORDER BY {order}){keep}"
        raise AssertionError("a per-unit function outside the allow-list was planned")

    def _window(self, item: UnitWindow) -> str:
        is_by_rows = item.frame is not None and item.frame.unit == "rows"
        orders = list(item.orders)
        total = [*orders, *self._ties]
        name, arguments = item.function, [term_sql(term) for term in item.arguments]
        keep = (
            ""
            if item.condition == ALL
            else f" FILTER (WHERE {predicate_sql(item.condition)})"
        )
        nulls = " IGNORE NULLS" if item.ignore_nulls else ""
        if name in _NUMBERED or (is_by_rows and name not in _RANKS):
            orders = total
        over = self._over(item, orders)
        if name in _TAKES_ONE:
            order = "" if is_by_rows else f" ORDER BY {_ordered(total)}"
            return f"{name}({arguments[0]}{order}{nulls}) OVER {over}"
        if name in _NUMBERED or name in _RANKS:
            return f"{name}({', '.join(arguments)}{nulls}) OVER {over}"
        if name == "count":
            shown = self._present(item.arguments[0]) if arguments else "*"
            return f"count({shown}){keep} OVER {over}"
        if name in ("min", "max"):
            return f"{name}({self._present(item.arguments[0])}){keep} OVER {over}"
        exact = self._exact(item.arguments[0])
        if name == "sum":
            return f"sum({exact}){keep} OVER {over}"
        if name == "avg":
            return (
                f"(CAST(sum({exact}){keep} OVER {over} AS DOUBLE) / "
                f"count({exact}){keep} OVER {over})"
            )
        raise AssertionError("a window function outside the allow-list was planned")

    def _over(self, item: UnitWindow, orders: Sequence[Sorting]) -> str:
        parts = [f"PARTITION BY {', '.join(term_sql(term) for term in item.partition)}"]
        if orders:
            parts.append(f"ORDER BY {_ordered(orders)}")
        if item.frame is not None:
            parts.append(_frame(item.frame))
        return f"({' '.join(parts)})"

    def _present(self, argument: Term) -> str:
        """Return a value that is NULL where a sum would leave it out."""
        text = term_sql(argument)
        if kind_of(argument) is Kind.DOUBLE:
            return f"CASE WHEN isfinite({text}) THEN {text} END"
        return text

    def _exact(self, argument: Term) -> str:
        if isinstance(argument, Ref):
            return exact_sql(argument, self._policy)
        if isinstance(argument, Apply) and argument.function == "coalesce":
            refs = [item for item in argument.arguments if isinstance(item, Ref)]
            if len(refs) == 1:
                return f"coalesce({exact_sql(refs[0], self._policy)}, 0)"
        return f"TRY_CAST({term_sql(argument)} AS HUGEINT)"


def _ordered(orders: Sequence[Sorting]) -> str:
    found: dict[str, str] = {}
    for item in orders:
        text = term_sql(item.term)
        # A term that stands in the order already decides nothing more.
        found.setdefault(
            text,
            f"{text} {'DESC' if item.descending else 'ASC'} "
            f"NULLS {'LAST' if item.nulls_last else 'FIRST'}",
        )
    return ", ".join(found.values())


def _frame(span: Span) -> str:
    def bound(way: tuple[str, int | None]) -> str:
        word, rows = way
        if word == "current":
            return "CURRENT ROW"
        return f"{'UNBOUNDED' if rows is None else int(rows)} {word.upper()}"

    return f"{span.unit.upper()} BETWEEN {bound(span.start)} AND {bound(span.end)}"
