"""Stage 2 as SQL of our own: each column `c` of a relation has a flag `w` beside it.

A flag says *withheld*, which is not NULL: it survives coalesce and every other expression
that the value reaches. What is withheld enters as NULL, so no value can flow anyway; the
flags keep a result from being printed as if it were whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sandbox.plan import result_functions
from sandbox.plan.result_walks import width_of
from sandbox.plan.results import (
    AggregateOf,
    AmongRows,
    CellExpression,
    CellOrder,
    Cells,
    ColumnCell,
    Grouped,
    Joined,
    LiteralCell,
    OneRow,
    PostCall,
    PostCase,
    PostCast,
    PublicRows,
    Relation,
    ScalarOf,
    Selected,
    Stacked,
    WindowOf,
    children_of,
)
from sandbox.quoting import quoted, text_literal

FALSE = "FALSE"
_JOINS = {
    "inner": "JOIN", "left": "LEFT JOIN", "right": "RIGHT JOIN", "full": "FULL JOIN",
    "semi": "SEMI JOIN", "anti": "ANTI JOIN",
}  # fmt: skip
_STACKS = {"union": "UNION", "except": "EXCEPT", "intersect": "INTERSECT"}
# Functions that raise on some numbers: there they give NULL, as a cast that fails does.
_MAY_RAISE = frozenset(
    {
        "ln", "log", "log2", "log10", "sqrt", "power", "pow", "exp", "+", "-", "*", "//",
        "%", "negate", "strftime", "date_trunc", "date_part", "datepart", "date_diff",
        "datediff", "mod", "add", "subtract", "multiply", "divide", "to_days", "to_months",
        "to_years", "round", "abs", "left", "right",
        "format", "printf", "lpad", "rpad", "round_even", "sin", "cos", "tan", "make_date",
        "to_weeks", "week", "isoyear", "weekofyear", "yearweek", "split_part",
    }
)  # fmt: skip
Pair = tuple[str, str]


def ordered_sql(relation: Relation) -> str:
    """Return the statement of a relation: columns and flags in turn, in one order."""
    writer = _Writer()
    if isinstance(relation, Selected):
        # Ties are decided by keys, or by all there is: the digest of one answer is one.
        source = relation.source
        width = source.keys if isinstance(source, Cells) else width_of(source)
        keys = [f"c{i}" for i in range(width)]
        return writer.whole(writer.selected_sql(relation, ties=keys))
    names = ", ".join(f"c{i} NULLS LAST" for i in range(width_of(relation)))
    text = f"SELECT * FROM ({writer.relation_sql(relation)}) ORDER BY {names}"
    return writer.whole(text)


class _Writer:
    """Writes one statement; a subquery that stands for a value is written once.

    Its value and its flag both name it: written out at each, queries in queries would
    grow threefold with every level.
    """

    def __init__(self) -> None:
        self._shared: dict[Relation, str] = {}
        self._written: list[str] = []

    def whole(self, text: str) -> str:
        """Return a statement with what it shares before it."""
        return f"WITH {', '.join(self._written)} {text}" if self._written else text

    def _share(self, relation: Relation) -> str:
        """Return the name of a relation of one column, c0 and w0."""
        if relation not in self._shared:
            text = self.relation_sql(relation)  # what it names comes before it
            name = quoted(f"shared {len(self._written)}")  # with a blank: no table's name
            self._written.append(f"{name} AS ({text})")
            self._shared[relation] = name
        return self._shared[relation]

    def relation_sql(self, relation: Relation) -> str:
        """Return a SELECT with columns c0, w0, c1, w1, ... of a relation."""
        match relation:
            case Cells(block=block, keys=keys, width=width):
                items = [
                    f"k{i} AS c{i}, {FALSE} AS w{i}"
                    if i < keys
                    else f"a{i - keys} AS c{i}, w{i - keys} AS w{i}"
                    for i in range(width)
                ]
                return f"SELECT {', '.join(items) or '1 AS one'} FROM cells_{block}"
            case PublicRows(table=table, columns=columns):
                items = [
                    f"{quoted(name)} AS c{i}, {FALSE} AS w{i}"
                    for i, name in enumerate(columns)
                ]
                return f"SELECT {', '.join(items)} FROM {quoted(table)}"
            case OneRow():
                return "SELECT 1 AS one"
            case Joined():
                return self._joined(relation)
            case Stacked(kind=kind, all=keeps_all, parts=parts):
                word = f" {_STACKS[kind]}{' ALL' if keeps_all else ''} "
                return word.join(f"({self.relation_sql(part)})" for part in parts)
            case Grouped():
                return self._grouped(relation)
            case Selected():
                names = [f"r{i} AS c{i}, q{i} AS w{i}" for i in range(width_of(relation))]
                return f"SELECT {', '.join(names)} FROM ({self.selected_sql(relation)})"

    def _joined(self, relation: Joined) -> str:
        width = width_of(relation.left)
        names = [f"c{i}, w{i}" for i in range(width)]
        right = [
            f"c{i} AS c{width + i}, w{i} AS w{width + i}"
            for i in range(width_of(relation.right))
        ]
        if relation.kind not in ("semi", "anti"):
            # Where an outer join finds no partner, nothing is withheld either.
            names = [
                f"c{i}, coalesce(w{i}, {FALSE}) AS w{i}" for i in range(width_of(relation))
            ]
        left_sql, right_sql = (
            self.relation_sql(relation.left),
            self.relation_sql(relation.right),
        )
        sides = f"({left_sql}) AS l", f"(SELECT {', '.join(right)} FROM ({right_sql})) AS r"
        if relation.kind == "cross" or relation.condition is None:
            return f"SELECT {', '.join(names)} FROM {sides[0]} CROSS JOIN {sides[1]}"
        word = _JOINS[relation.kind]
        condition = self._holds(relation.condition)
        return f"SELECT {', '.join(names)} FROM {sides[0]} {word} {sides[1]} ON {condition}"

    def _grouped(self, relation: Grouped) -> str:
        groups = [self.pair_sql(item) for item in relation.groups]
        inner = [f"{v} AS g{i}, {w} AS gw{i}" for i, (v, w) in enumerate(groups)]
        inner.append("*")
        items = [f"g{i} AS c{i}, gw{i} AS w{i}" for i in range(len(groups))]
        for i, aggregate in enumerate(relation.aggregates, len(groups)):
            value, flag = self._aggregate(aggregate)
            items.append(f"{value} AS c{i}, {flag} AS w{i}")
        by = ", ".join(f"g{i}, gw{i}" for i in range(len(groups)))
        text = (
            f"SELECT {', '.join(items)} FROM (SELECT {', '.join(inner)} "
            f"FROM ({self.relation_sql(relation.source)}))"
        )
        return text + (f" GROUP BY {by}" if by else "")

    def selected_sql(self, relation: Selected, *, ties: Sequence[str] = ()) -> str:
        """Return the SELECT with columns r0, q0, r1, q1, ...: values and flags.

        They are not called as the source's are, or ORDER BY would take one for the other.
        `ties` are columns of the source that decide between equals.
        """
        items = []
        for i, item in enumerate(relation.outputs):
            value, flag = self.pair_sql(item)
            kept = (
                value if flag == FALSE else f"CASE WHEN {flag} THEN NULL ELSE {value} END"
            )
            items.append(f"{kept} AS r{i}, {flag} AS q{i}")
        text = (
            f"SELECT {'DISTINCT ' if relation.distinct else ''}{', '.join(items)} "
            f"FROM ({self.relation_sql(relation.source)})"
        )
        if relation.where is not None:
            text += f" WHERE {self._holds(relation.where)}"
        if relation.qualify is not None:
            text += f" QUALIFY {self._holds(relation.qualify)}"
        orders = self._orders(relation)
        # Ties are decided by what the rows say, never by the place of rows in the data.
        if relation.distinct:
            orders += [f"r{i} NULLS LAST" for i in range(len(relation.outputs))]
        elif relation.orders or relation.limit is not None or ties:
            orders += [f"{name} NULLS LAST" for name in ties or _columns(relation.source)]
        if orders:
            text = f"{text} ORDER BY {', '.join(orders)}"
        if relation.limit is not None:
            text += f" LIMIT {relation.limit}"
        return text + (f" OFFSET {relation.offset}" if relation.offset else "")

    def _orders(self, relation: Selected) -> list[str]:
        found = []
        for order in relation.orders:
            texts = self._order(order)
            if relation.distinct and order.expression in relation.outputs:
                # Of rows that were made one, only what is selected can be ordered by.
                number = relation.outputs.index(order.expression)
                texts = [f"q{number}", _directed(f"r{number}", order)]
            found += texts
        return found

    def _order(self, order: CellOrder) -> list[str]:
        value, flag = self.pair_sql(order.expression)
        if isinstance(order.expression, (LiteralCell, ScalarOf)):
            return []  # a constant orders nothing
        text = _directed(value, order)
        # What is withheld stands last, whatever it would be.
        return [text] if flag == FALSE else [flag, text]

    def _holds(self, condition: CellExpression) -> str:
        value, flag = self.pair_sql(condition)
        return f"({value})" if flag == FALSE else f"(NOT {flag} AND ({value}))"

    def pair_sql(self, node: CellExpression) -> Pair:
        """Return the SQL of a value and of its flag, over columns c0, w0, ..."""
        match node:
            case ColumnCell(index=index):
                return f"c{index}", f"w{index}"
            case LiteralCell(kind=kind, text=text):
                return (text_literal(text) if kind == "string" else text), FALSE
            case PostCast(item=item, type=name):
                value, flag = self.pair_sql(item)
                return f"TRY_CAST({value} AS {name})", flag
            case PostCase(branches=branches, otherwise=otherwise):
                pairs = [(self.pair_sql(a), self.pair_sql(b)) for a, b in branches]
                last = self.pair_sql(otherwise)
                whens = " ".join(f"WHEN {a[0]} THEN {b[0]}" for a, b in pairs)
                flags = [last[1], *(flag for a, b in pairs for flag in (a[1], b[1]))]
                return f"CASE {whens} ELSE {last[0]} END", _any(flags)
            case PostCall(name=name, arguments=arguments):
                pairs_ = [self.pair_sql(argument) for argument in arguments]
                text = _call(name, [value for value, _ in pairs_])
                if name in _MAY_RAISE and not _is_wide(node):
                    text = f"TRY({text})"
                return text, _any(flag for _, flag in pairs_)
            case WindowOf():
                return self._window(node)
            case ScalarOf(relation=relation):
                name = self._share(relation)
                # More than one row is an error of the engine: none is chosen among them.
                return (
                    f"(SELECT c0 FROM {name})",
                    f"coalesce((SELECT w0 FROM {name}), {FALSE})",
                )
            case AmongRows(item=item, relation=relation):
                value, flag = self.pair_sql(item)
                inner = f"SELECT c0 FROM ({self.relation_sql(relation)}) WHERE NOT w0"
                return f"({value} IN ({inner}))", flag

    def _aggregate(self, node: AggregateOf) -> Pair:
        pairs = [self.pair_sql(argument) for argument in node.arguments]
        flags = _any(flag for _, flag in pairs)
        conditions = [] if flags == FALSE else [f"NOT {flags}"]
        condition_flag = FALSE
        if node.condition is not None:
            condition_flag = self.pair_sql(node.condition)[1]
            conditions.append(self._holds(node.condition))
        called = _aggregate_call(
            node.function, [v for v, _ in pairs], distinct=node.distinct
        )
        if conditions:
            called += f" FILTER (WHERE {' AND '.join(conditions)})"
        flag = _any((flags, condition_flag))
        # Of what is left out the result says nothing; where nothing is left, it is
        # withheld.
        return called, FALSE if flag == FALSE else f"coalesce(bool_and({flag}), {FALSE})"

    def _window(self, node: WindowOf) -> Pair:
        over = self._over(node)
        pairs = [self.pair_sql(argument) for argument in node.arguments]
        own = _any(flag for _, flag in pairs)
        if node.function in result_functions.RANKS:
            inside = ", ".join(value for value, _ in pairs)
            orders = _any(self.pair_sql(order.expression)[1] for order in node.orders)
            return f"{node.function}({inside}) OVER ({over})", _any((own, orders))
        if node.function in result_functions.SHIFTS:
            nulls = " IGNORE NULLS" if node.ignore_nulls else ""
            values = [value for value, _ in pairs]
            called = f"{node.function}({', '.join(values)}{nulls}) OVER ({over})"
            if own == FALSE:
                return called, FALSE
            flags = [pairs[0][1], *values[1:2]]
            flag = f"{node.function}({', '.join(flags)}) OVER ({over})"
            return called, f"coalesce({flag}, {FALSE})"
        conditions = [] if own == FALSE else [f"NOT {own}"]
        if node.condition is not None:
            conditions.append(self._holds(node.condition))
        called = _aggregate_call(
            node.function, [v for v, _ in pairs], distinct=node.distinct
        )
        if conditions:
            called += f" FILTER (WHERE {' AND '.join(conditions)})"
        flag = (
            FALSE if own == FALSE else f"coalesce(bool_and({own}) OVER ({over}), {FALSE})"
        )
        return f"{called} OVER ({over})", flag

    def _over(self, node: WindowOf) -> str:
        parts = []
        if node.partitions:
            parts.append(
                "PARTITION BY "
                + ", ".join(self.pair_sql(item)[0] for item in node.partitions)
            )
        orders = [text for order in node.orders for text in self._order(order)]
        if orders:
            parts.append("ORDER BY " + ", ".join(orders))
        if node.frame is not None:
            unit, start, end = node.frame
            parts.append(f"{unit.upper()} BETWEEN {_bound(start)} AND {_bound(end)}")
        return " ".join(parts)


def _columns(source: Relation) -> list[str]:
    return [f"c{i}" for i in range(width_of(source))]


def _directed(value: str, order: CellOrder) -> str:
    direction = "DESC" if order.descending else "ASC"
    return f"{value} {direction} NULLS {'LAST' if order.nulls_last else 'FIRST'}"


def _any(flags: Iterable[str]) -> str:
    kept = list(dict.fromkeys(flag for flag in flags if flag != FALSE))
    if not kept:
        return FALSE
    return kept[0] if len(kept) == 1 else f"({' OR '.join(kept)})"


def _is_wide(node: CellExpression) -> bool:
    """Whether an expression looks at other rows: the engine takes none into TRY."""
    wide = isinstance(node, (WindowOf, ScalarOf, AmongRows))
    return wide or any(map(_is_wide, children_of(node)))


def _call(name: str, rendered: list[str]) -> str:
    if name in result_functions.INFIX:
        return "(" + f" {name} ".join(rendered) + ")"
    if name in ("and", "or"):
        return "(" + f" {name.upper()} ".join(rendered) + ")"
    if name in result_functions.LIKES:
        return f"({rendered[0]} {result_functions.LIKES[name]} {rendered[1]})"
    match name:
        case "not":
            return f"(NOT {rendered[0]})"
        case "negate":
            return f"(- {rendered[0]})"
        case "is_null":
            return f"({rendered[0]} IS NULL)"
        case "is distinct" | "is not distinct":
            return f"({rendered[0]} {name.upper()} FROM {rendered[1]})"
        case "in":
            return f"({rendered[0]} IN ({', '.join(rendered[1:])}))"
        case _ if name in result_functions.FUNCTIONS:
            return f"{name}({', '.join(rendered)})"
    raise AssertionError("a function outside the allow-list was bound")


def _aggregate_call(function: str, values: list[str], *, distinct: bool) -> str:
    if function == "count_star":
        return "count(*)"
    return f"{function}({'DISTINCT ' if distinct else ''}{', '.join(values)})"


def _bound(bound: tuple[str, int | None]) -> str:
    direction, rows = bound
    if direction == "current":
        return "CURRENT ROW"
    return f"{'UNBOUNDED' if rows is None else int(rows)} {direction.upper()}"
