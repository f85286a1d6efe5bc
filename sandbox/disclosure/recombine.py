"""From cells to the values of aggregates: pieces are added up, one withheld piece
withholds the whole (DESIGN section 5, stage 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from sandbox.disclosure.cell import Cell, Ground, Number
from sandbox.disclosure.overlap import condition_of, excludes
from sandbox.plan.block import Aggregate, Block
from sandbox.plan.terms import Literal, Predicate, Ref


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one aggregate in one visible cell; grounds say that it is withheld."""

    value: Number | float | None
    grounds: frozenset[Ground] = frozenset()


def values_of(
    block: Block,
    pieces: Sequence[Cell],
    distinct: Mapping[int, int],
    *,
    tracked: frozenset[int] = frozenset(),
    min_units: int = 1,
) -> tuple[Value, ...]:
    """Return the value of each aggregate of the block over the cells of one visible group.

    `distinct` holds, by aggregate number, distinct units counted over several pieces;
    `tracked` the hidden keys whose few remaining units would be told by a difference.
    """
    position = {ref: index for index, ref in enumerate(block.measured)}
    found = []
    for index, item in enumerate(block.aggregates):
        value = _value(item, pieces, position, distinct.get(index))
        grounds = set(value.grounds)
        if _asks_for_nobody(block, item, pieces):
            grounds.add(Ground.EMPTY)
        if item.hidden in tracked:
            taken = {id(cell) for cell, _ in _contributing(item, pieces)}
            rest = sum(cell.units for cell in pieces if id(cell) not in taken)
            if 0 < rest < min_units:
                grounds.add(Ground.COMPLEMENT)
        if item.function == "avg" and _has_sum_beside(block, item):
            # sum / avg is the count of values, and with count(*) that of the gaps.
            for cell, piece in _contributing(item, pieces):
                if isinstance(piece, Ref):
                    grounds |= cell.unsafe_counts[position[piece]]
        found.append(Value(None, frozenset(grounds)) if grounds else value)
    return tuple(found)


def _has_sum_beside(block: Block, item: Aggregate) -> bool:
    return any(
        other.function == "sum"
        and (other.pieces, other.hidden) == (item.pieces, item.hidden)
        for other in block.aggregates
    )


def _asks_for_nobody(block: Block, item: Aggregate, pieces: Sequence[Cell]) -> bool:
    """Whether an asked-for piece that may lie inside this aggregate has nobody in it.

    One small piece withholds the aggregate; so must an empty one, or `count(*)` beside
    `count(*) FILTER (...)` would tell whether anybody satisfies the condition.
    """
    present = [cell.codes for cell in pieces if cell.units]
    own = [code for code, piece in enumerate(item.pieces) if piece is not None]
    for number, term in enumerate(block.hidden):
        for code in _asked(block, number):
            there = [codes for codes in present if codes[number] == code]
            if item.hidden is None:
                if not there:
                    return True
            elif item.hidden == number:
                if code in own and not there:
                    return True
            elif _misses_overlap(
                [condition_of(block.hidden[item.hidden], mine) for mine in own],
                [{codes[item.hidden] for codes in there} & {mine} for mine in own],
                condition_of(term, code),
            ):
                return True
    return False


def _misses_overlap(
    mine: Sequence[Predicate | None], there: Sequence[set[int]], other: Predicate | None
) -> bool:
    return any(
        not found and not excludes(condition, other)
        for condition, found in zip(mine, there, strict=True)
    )


def _asked(block: Block, hidden: int) -> set[int]:
    return {
        code
        for aggregate in block.aggregates
        if aggregate.hidden == hidden
        for code, piece in enumerate(aggregate.pieces)
        if piece is not None
    }


def sets_of(
    block: Block, pieces: Sequence[Cell], values: Sequence[Value]
) -> list[list[Cell]]:
    """Return the sets of cells whose totals are told by the values that are released."""
    found = []
    for aggregate, value in zip(block.aggregates, values, strict=True):
        if not value.grounds:
            members = [cell for cell, _ in _contributing(aggregate, pieces)]
            if members and members not in found:
                found.append(members)
    return found


def contributes(block: Block, cell: Cell) -> bool:
    """Whether any aggregate takes something from the rows of a cell."""
    return any(_piece(aggregate, cell) is not None for aggregate in block.aggregates)


def _piece(aggregate: Aggregate, cell: Cell) -> Ref | Literal | None:
    return aggregate.pieces[0 if aggregate.hidden is None else cell.codes[aggregate.hidden]]


def _contributing(
    aggregate: Aggregate, pieces: Sequence[Cell]
) -> list[tuple[Cell, Ref | Literal]]:
    return [
        (cell, piece)
        for cell in pieces
        if cell.units and (piece := _piece(aggregate, cell)) is not None
    ]


def _value(
    aggregate: Aggregate,
    pieces: Sequence[Cell],
    position: Mapping[Ref, int],
    distinct: int | None,
) -> Value:
    contributing = _contributing(aggregate, pieces)
    grounds: set[Ground] = set()
    rows, total = 0, Fraction(0)
    for cell, piece in contributing:
        if aggregate.function == "count_distinct":
            grounds |= cell.unsafe
            continue
        if isinstance(piece, Literal):
            grounds |= cell.unsafe_rows
            rows += cell.n
            assert isinstance(piece.value, Decimal)
            total += Fraction(piece.value) * cell.n
            continue
        index = position[piece]
        contribution = cell.measures[index]
        rows += contribution.n
        if aggregate.function == "count":
            grounds |= cell.unsafe_counts[index]
        else:
            grounds |= cell.unsafe_sums[index]
            total += Fraction(contribution.total or 0)
    if aggregate.function == "count_distinct":
        if not contributing:
            return Value(None, frozenset({Ground.EMPTY}))
        return Value(None if grounds else distinct, frozenset(grounds))
    if rows == 0:
        # Zero and few must look alike.
        grounds.add(Ground.EMPTY)
    if grounds:
        return Value(None, frozenset(grounds))
    match aggregate.function:
        case "count":
            return Value(rows)
        case "sum":
            return Value(_number(total))
        case _:
            return Value(float(total / rows))


def _number(total: Fraction) -> Number | float:
    # Whole sums stay whole; others leave as the nearest double, as the engine's would.
    return total.numerator if total.denominator == 1 else float(total)
