"""Expressions over controlled cells: what stage 2 computes, after protection.

They can name columns of controlled relations, never a column of a protected table; so
whatever they compute is post-processing of what was released anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.plan.results import Relation


@dataclass(frozen=True, slots=True)
class ColumnCell:
    """A column of the relation that the expression stands over."""

    index: int


@dataclass(frozen=True, slots=True)
class LiteralCell:
    """A constant; `kind` is integer, numeric, string, boolean or null."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class PostCall:
    """An allow-listed function or operator over cell expressions."""

    name: str
    arguments: tuple[CellExpression, ...]


@dataclass(frozen=True, slots=True)
class PostCase:
    """CASE over cell expressions."""

    branches: tuple[tuple[CellExpression, CellExpression], ...]
    otherwise: CellExpression


@dataclass(frozen=True, slots=True)
class PostCast:
    """TRY_CAST of a cell expression: a cast that fails is NULL, never an error."""

    item: CellExpression
    type: str


@dataclass(frozen=True, slots=True)
class CellOrder:
    """One criterion of an order over controlled cells; what is withheld stands last."""

    expression: CellExpression
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class WindowOf:
    """An allow-listed function over a window of controlled rows.

    `frame` is (unit, start, end) with bounds such as ("preceding", 2); None: the default.
    """

    function: str
    arguments: tuple[CellExpression, ...]
    partitions: tuple[CellExpression, ...]
    orders: tuple[CellOrder, ...]
    frame: tuple[str, tuple[str, int | None], tuple[str, int | None]] | None = None
    condition: CellExpression | None = None
    distinct: bool = False
    ignore_nulls: bool = False


@dataclass(frozen=True, slots=True)
class ScalarOf:
    """The only value of a relation of one column, NULL where it has no row."""

    relation: Relation


@dataclass(frozen=True, slots=True)
class AmongRows:
    """item IN (the only column of a relation)."""

    item: CellExpression
    relation: Relation


CellExpression = (
    ColumnCell
    | LiteralCell
    | PostCall
    | PostCase
    | PostCast
    | WindowOf
    | ScalarOf
    | AmongRows
)

INFIX = frozenset({"+", "-", "*", "/", "//", "%", "||", "=", "<>", "<", "<=", ">", ">="})
FUNCTIONS = frozenset(
    {
        "round", "floor", "ceil", "ceiling", "abs", "sign", "sqrt", "ln", "log", "log10",
        "log2", "exp", "power", "pow", "coalesce", "ifnull", "nullif", "greatest", "least",
        "upper", "lower", "trim", "left", "right", "length", "concat", "if", "isnan",
        "year", "quarter", "month", "day", "date_trunc", "date_part", "datepart",
        "date_diff", "datediff", "strftime", "substr", "substring", "replace",
        "trunc", "mod", "isfinite", "isinf", "cbrt", "monthname", "dayname", "starts_with",
        "contains", "ends_with", "suffix", "prefix", "concat_ws", "divide", "multiply",
        "add", "subtract", "to_days", "to_months", "to_years", "last_day", "week",
        "ucase", "lcase", "ltrim", "rtrim", "even", "pi", "dayofweek", "isodow",
        "dayofyear", "weekday",
    }
)  # fmt: skip
LOGIC = frozenset({"and", "or", "not", "is_null", "in", "negate"})
LIKES = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}
CAST_TYPES = frozenset(
    {
        "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DOUBLE", "FLOAT", "VARCHAR",
        "BOOLEAN", "DATE", "DECIMAL", "TIMESTAMP", "UTINYINT", "USMALLINT", "UINTEGER",
        "UBIGINT",
    }
)  # fmt: skip
# Over controlled rows every aggregate is post-processing; these are known to need no state,
# order or memory beyond their input.
RESULT_AGGREGATES = frozenset(
    {
        "count", "count_star", "sum", "avg", "mean", "min", "max", "stddev", "stddev_samp",
        "stddev_pop", "variance", "var_samp", "var_pop", "median", "quantile_cont",
        "quantile_disc", "quantile", "covar_samp", "covar_pop", "corr", "regr_slope",
        "regr_intercept", "regr_r2", "regr_count", "skewness", "kurtosis", "bool_and",
        "bool_or", "mode", "any_value", "arg_max", "arg_min", "max_by", "min_by",
        "count_if", "product", "geomean", "entropy", "mad", "approx_count_distinct",
        "regr_avgx",
        "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy", "first", "last", "arbitrary",
    }
)  # fmt: skip
RANKS = frozenset(
    {"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile"}
)
SHIFTS = frozenset(
    {"lag", "lead", "first_value", "last_value", "nth_value", "first", "last"}
)


def children_of(node: CellExpression) -> tuple[CellExpression, ...]:
    """Return the direct parts of an expression, over the same relation."""
    match node:
        case PostCall(arguments=arguments):
            return arguments
        case PostCase(branches=branches, otherwise=otherwise):
            return (*(part for branch in branches for part in branch), otherwise)
        case PostCast(item=item) | AmongRows(item=item):
            return (item,)
        case WindowOf():
            parts = (*node.arguments, *node.partitions)
            parts += tuple(order.expression for order in node.orders)
            return parts if node.condition is None else (*parts, node.condition)
        case _:
            return ()


def columns_in(node: CellExpression) -> frozenset[int]:
    """Return the columns that reach an expression."""
    if isinstance(node, ColumnCell):
        return frozenset({node.index})
    found: frozenset[int] = frozenset()
    for child in children_of(node):
        found |= columns_in(child)
    return found


def moved(node: CellExpression, move: Callable[[int], int]) -> CellExpression:
    """Return the expression with its column numbers replaced."""

    def again(item: CellExpression) -> CellExpression:
        return moved(item, move)

    match node:
        case ColumnCell(index=index):
            return ColumnCell(move(index))
        case LiteralCell() | ScalarOf():
            return node
        case PostCall(name=name, arguments=arguments):
            return PostCall(name, tuple(map(again, arguments)))
        case PostCase(branches=branches, otherwise=otherwise):
            pairs = tuple((again(a), again(b)) for a, b in branches)
            return PostCase(pairs, again(otherwise))
        case PostCast(item=item, type=name):
            return PostCast(again(item), name)
        case AmongRows(item=item, relation=relation):
            return AmongRows(again(item), relation)
        case WindowOf():
            return WindowOf(
                node.function,
                tuple(map(again, node.arguments)),
                tuple(map(again, node.partitions)),
                tuple(
                    CellOrder(again(o.expression), o.descending, o.nulls_last)
                    for o in node.orders
                ),
                node.frame,
                None if node.condition is None else again(node.condition),
                node.distinct,
                node.ignore_nulls,
            )
