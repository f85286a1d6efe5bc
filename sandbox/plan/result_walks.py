"""Walks over expressions and relations of stage 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sandbox.plan.results import (
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
