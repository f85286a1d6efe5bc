"""Relations over controlled cells: what stage 2 computes, as nodes (DESIGN section 5).

`Cells` and `Grouped` have the same form: the columns of the keys, then of the aggregates.
Every relation here holds only what was released, and what public tables say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.plan.cells import (
    AmongRows,
    CellExpression,
    CellOrder,
    ColumnCell,
    ScalarOf,
    WindowOf,
    children_of,
)


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
            and not any(_has_window(item) for item in self.outputs)
        )


Relation = Cells | PublicRows | OneRow | Joined | Stacked | Grouped | Selected


def width_of(relation: Relation) -> int:
    """Return the number of columns."""
    match relation:
        case Cells(width=width):
            return width
        case PublicRows(columns=columns):
            return len(columns)
        case OneRow():
            return 0
        case Joined(kind=kind, left=left, right=right):
            return width_of(left) + (0 if kind in ("semi", "anti") else width_of(right))
        case Stacked(parts=parts):
            return width_of(parts[0])
        case Grouped(groups=groups, aggregates=aggregates):
            return len(groups) + len(aggregates)
        case Selected(outputs=outputs):
            return len(outputs)


def inner_relations(relation: Relation) -> tuple[Relation, ...]:
    """Return the relations that one is made of, those inside expressions too."""
    match relation:
        case Cells() | PublicRows() | OneRow():
            return ()
        case Joined(left=left, right=right, condition=condition):
            return (left, right, *_within(() if condition is None else (condition,)))
        case Stacked(parts=parts):
            return parts
        case Grouped(source=source, groups=groups, aggregates=aggregates):
            inside = [*groups]
            for item in aggregates:
                inside += [*item.arguments, *([item.condition] if item.condition else [])]
            return (source, *_within(tuple(inside)))
        case Selected(source=source, outputs=outputs):
            inside = [*outputs, *(order.expression for order in relation.orders)]
            inside += [part for part in (relation.where, relation.qualify) if part]
            return (source, *_within(tuple(inside)))


def _within(nodes: tuple[CellExpression, ...]) -> tuple[Relation, ...]:
    found: list[Relation] = []
    for node in nodes:
        if isinstance(node, (ScalarOf, AmongRows)):
            found.append(node.relation)
        found += _within(children_of(node))
    return tuple(found)


def blocks_in(relation: Relation) -> frozenset[int]:
    """Return the blocks whose cells reach a relation."""
    if isinstance(relation, Cells):
        return frozenset({relation.block})
    return frozenset().union(*map(blocks_in, inner_relations(relation)))


def _has_window(node: CellExpression) -> bool:
    return isinstance(node, WindowOf) or any(
        _has_window(part) for part in children_of(node)
    )


def simplified(relation: Selected) -> Relation:
    """Return the relation without a layer that changes nothing."""
    same = tuple(ColumnCell(i) for i in range(width_of(relation.source)))
    if relation.only_projects and not relation.orders and relation.outputs == same:
        return relation.source
    return relation


def stack_of(parts: Sequence[Relation]) -> Relation:
    """Return the rows of all parts, one below the other."""
    return parts[0] if len(parts) == 1 else Stacked("union", all=True, parts=tuple(parts))


def is_single_row(relation: Relation) -> bool:
    """Whether a relation has one row whatever the data: an aggregate without groups."""
    match relation:
        case Cells(keys=keys):
            return keys == 0
        case Grouped(groups=groups):
            return not groups
        case OneRow():
            return True
        case Selected(source=source):
            return relation.only_projects and is_single_row(source)
        case Joined(kind="cross", left=left, right=right):
            return is_single_row(left) and is_single_row(right)
        case _:
            return False
