"""From cells to the values of aggregates: pieces are added up, one withheld piece
withholds the whole (DESIGN section 5, stage 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from sandbox.disclosure.cell import Cell, Ground, Number
from sandbox.disclosure.moments import Moments, computed, is_line
from sandbox.disclosure.overlap import condition_of, excludes
from sandbox.plan.atoms import (
    PAIRED,
    POWERS,
    Combination,
    Pair,
    Piece,
    Product,
    needed_by,
    paired,
    presence_of,
    product,
)
from sandbox.plan.block import Aggregate, Block
from sandbox.plan.terms import Literal, Missing, Predicate, Ref

_SQUARES = ("x", "y", "xx", "yy", "xy")


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one aggregate in one visible cell; grounds say that it is withheld."""

    value: Number | float | None
    grounds: frozenset[Ground] = frozenset()


def values_of(
    block: Block,
    pieces: Sequence[Cell],
    distinct: Mapping[int, int | float],
    *,
    position: Mapping[Product, int],
    tracked: frozenset[int] = frozenset(),
    min_units: int = 1,
) -> tuple[Value, ...]:
    """Return the value of each aggregate of the block over the cells of one visible group.

    `distinct` holds, by aggregate number, what was counted beside the cells: distinct units
    over several pieces, distinct values, quantiles; what is missing there is withheld.
    `position` is that of each atom among those of a cell; `tracked` are the hidden keys
    whose few remaining units would be told by a difference.
    """
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
        found.append(Value(None, frozenset(grounds)) if grounds else value)
    return tuple(found)


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
        if piece is not None and not _fills_gaps(block, aggregate, code)
    }


def _fills_gaps(block: Block, aggregate: Aggregate, code: int) -> bool:
    """Whether a piece is what `coalesce(x, 0)` takes where x is missing.

    That nobody lacks x is told by count(x) beside count(*) too; few are withheld in both.
    """
    assert aggregate.hidden is not None
    condition = condition_of(block.hidden[aggregate.hidden], code)
    return isinstance(condition, Missing) and condition.term in aggregate.pieces


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


def _piece(aggregate: Aggregate, cell: Cell) -> Piece:
    return aggregate.pieces[0 if aggregate.hidden is None else cell.codes[aggregate.hidden]]


def _contributing(
    aggregate: Aggregate, pieces: Sequence[Cell]
) -> list[tuple[Cell, Ref | Literal | Combination | Pair]]:
    return [
        (cell, piece)
        for cell in pieces
        if cell.units and (piece := _piece(aggregate, cell)) is not None
    ]


def _value(
    aggregate: Aggregate,
    pieces: Sequence[Cell],
    position: Mapping[Product, int],
    apart: Number | float | None,
) -> Value:
    contributing = _contributing(aggregate, pieces)
    grounds: set[Ground] = set()
    for cell, piece in contributing:
        grounds |= _grounds(aggregate.function, piece, cell, position)
    if aggregate.function == "count_distinct":
        if not contributing:
            grounds.add(Ground.EMPTY)
        if apart is None:
            grounds.add(Ground.THRESHOLD)
        return Value(None if grounds else apart, frozenset(grounds))
    moments = Moments()
    for cell, piece in contributing:
        _add(moments, aggregate.function, piece, cell, position)
    if moments.n == 0:
        # Zero and few must look alike.
        grounds.add(Ground.EMPTY)
    if aggregate.function == "quantile":
        if apart is None:
            grounds.add(Ground.THRESHOLD)
        return Value(None if grounds else apart, frozenset(grounds))
    if "xy" in PAIRED.get(aggregate.function, ()) and is_line(*moments.of_pair()):
        grounds.add(Ground.UNANIMITY)
    if grounds:
        return Value(None, frozenset(grounds))
    return Value(computed(aggregate.function, moments))


def _grounds(
    function: str,
    piece: Ref | Literal | Combination | Pair,
    cell: Cell,
    position: Mapping[Product, int],
) -> set[Ground]:
    """Return the grounds of a cell against what `function` takes from it."""
    if function == "count_distinct":
        return set(cell.unsafe)
    if isinstance(piece, Literal):
        return set(cell.unsafe_rows)
    found: set[Ground] = set()
    for atom in needed_by(function, piece):
        if atom.factors:
            found |= cell.unsafe_sums[position[atom]]
        elif function != "sum" or _names_rows(piece):
            # sum / avg is the count of values, and with count(*) that of the gaps: what
            # divides by the count of values tells it, now or beside an earlier answer.
            found |= cell.unsafe_counts[position[atom]]
    return found


def _names_rows(piece: Ref | Literal | Combination | Pair) -> bool:
    """Whether a sum holds a multiple of its number of rows, or nothing else."""
    return isinstance(piece, Combination) and (
        not piece.terms or any(not term.factors for term in piece.terms)
    )


def _add(
    moments: Moments,
    function: str,
    piece: Ref | Literal | Combination | Pair,
    cell: Cell,
    position: Mapping[Product, int],
) -> None:
    """Add what a cell contributes to the moments that `function` is computed from."""

    def total(atom: Product) -> Fraction:
        return Fraction(cell.measures[position[atom]].total or 0)

    count = presence_of(piece)
    rows = cell.n if count is None else cell.measures[position[count]].n
    moments.n += rows
    powers = range(1, POWERS.get(function, 0) + 1)
    match piece:
        case Literal(value=value):
            assert isinstance(value, Decimal)
            for power in powers:
                moments.add("x" * power, Fraction(value) ** power * rows)
        case Ref():
            for power in powers:
                moments.add("x" * power, total(product((piece,) * power, (piece,))))
        case Combination(terms=terms, present=present) if powers:
            for term in terms:
                atom = product(term.factors, present)
                amount = total(atom) if term.factors else Fraction(rows)
                moments.add("x", term.coefficient * amount)
        case Pair() if function in PAIRED:
            # With a product of both come their squares: see `judged_with`.
            names = _SQUARES if "xy" in PAIRED[function] else PAIRED[function]
            for name in names:
                moments.add(name, total(paired(piece, name)))
