"""Stage 2 as nodes: expressions and relations over controlled cells (DESIGN section 5).

Expressions name columns of controlled relations, never a column of a protected table; so
whatever they compute is post-processing of what was released anyway. `Cells` and `Grouped`
have the same form: the columns of the keys, then of the aggregates.
"""

from __future__ import annotations

from dataclasses import dataclass

# --- expressions


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


# --- relations


@dataclass(frozen=True, slots=True)
class Cells:
    """The controlled cells of a block: its keys, then its aggregates."""

    block: int
    keys: int
    width: int


@dataclass(frozen=True, slots=True)
class PublicRows:
    """A public table, whole."""

    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OneRow:
    """A relation of one row without columns: SELECT without FROM."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Two relations side by side; its columns are those of `left`, then of `right`.

    `kind` is inner, left, right, full, semi, anti or cross. A condition that a withheld
    value decides does not hold.
    """

    kind: str
    left: Relation
    right: Relation
    condition: CellExpression | None


@dataclass(frozen=True, slots=True)
class Stacked:
    """The rows of several relations of one width: union, except or intersect."""

    kind: str
    all: bool
    parts: tuple[Relation, ...]


@dataclass(frozen=True, slots=True)
class AggregateOf:
    """An allow-listed aggregate over controlled rows; withheld values are left out."""

    function: str
    arguments: tuple[CellExpression, ...]
    distinct: bool = False
    condition: CellExpression | None = None


@dataclass(frozen=True, slots=True)
class Grouped:
    """A further aggregation of controlled rows."""

    source: Relation
    groups: tuple[CellExpression, ...]
    aggregates: tuple[AggregateOf, ...]


@dataclass(frozen=True, slots=True)
class Selected:
    """Filter, windows, QUALIFY, DISTINCT, ORDER BY and LIMIT over a relation."""

    source: Relation
    outputs: tuple[CellExpression, ...]
    where: CellExpression | None = None
    qualify: CellExpression | None = None
    distinct: bool = False
    orders: tuple[CellOrder, ...] = ()
    limit: int | None = None
    offset: int = 0

    @property
    def only_projects(self) -> bool:
        """Whether each row of the source gives one row, and none depends on another."""
        return (
            self.where is None
            and self.qualify is None
            and not self.distinct
            and self.limit is None
            and not self.offset
            and not any(has_window(item) for item in self.outputs)
        )


Relation = Cells | PublicRows | OneRow | Joined | Stacked | Grouped | Selected


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


def has_window(node: CellExpression) -> bool:
    """Whether an expression depends on other rows than its own."""
    return isinstance(node, WindowOf) or any(has_window(part) for part in children_of(node))
