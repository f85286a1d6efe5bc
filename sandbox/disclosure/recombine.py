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


class Recombining:
    """The aggregates of a block over the cells of its visible groups.

    There may be thousands of groups: what is taken from a cell is found once for all.
    """

    def __init__(
        self, block: Block, *, tracked: frozenset[int] = frozenset(), min_units: int = 1
    ) -> None:
        """`tracked` are hidden keys whose few remaining units a difference would tell."""
        self._block, self._tracked, self._min_units = block, tracked, min_units
        position = {atom: index for index, atom in enumerate(block.measured)}
        self._taken = [
            [_taken(item.function, piece, position) for piece in item.pieces]
            for item in block.aggregates
        ]

    def values_of(
        self, pieces: Sequence[Cell], distinct: Mapping[int, int | float]
    ) -> tuple[Value, ...]:
        """Return the value of each aggregate of the block over one visible group.

        `distinct` holds, by aggregate number, what was counted beside the cells: distinct
        units over several pieces, distinct values, quantiles; what is missing there is
        withheld.
        """
        found = []
        for index, item in enumerate(self._block.aggregates):
            value = _value(item, pieces, self._taken[index], distinct.get(index))
            grounds = set(value.grounds)
            if _asks_for_nobody(self._block, item, pieces):
                grounds.add(Ground.EMPTY)
            if item.hidden in self._tracked:
                taken = {id(cell) for cell, _ in _contributing(item, pieces)}
                rest = sum(cell.units for cell in pieces if id(cell) not in taken)
                if 0 < rest < self._min_units:
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
    return any(item.pieces[_code(item, cell)] is not None for item in block.aggregates)


def _code(aggregate: Aggregate, cell: Cell) -> int:
    """Return the number of the piece that an aggregate takes from a cell."""
    return 0 if aggregate.hidden is None else cell.codes[aggregate.hidden]


def _contributing(aggregate: Aggregate, pieces: Sequence[Cell]) -> list[tuple[Cell, int]]:
    """Return the cells that something is taken from, with the number of the piece."""
    found = [(cell, _code(aggregate, cell)) for cell in pieces if cell.units]
    return [(cell, code) for cell, code in found if aggregate.pieces[code] is not None]


def _value(
    aggregate: Aggregate,
    pieces: Sequence[Cell],
    taken: Sequence[_Taken],
    apart: Number | float | None,
) -> Value:
    contributing = _contributing(aggregate, pieces)
    grounds: set[Ground] = set()
    for cell, code in contributing:
        grounds |= taken[code].grounds(cell)
    if aggregate.function == "count_distinct":
        if not contributing:
            grounds.add(Ground.EMPTY)
        if apart is None:
            grounds.add(Ground.THRESHOLD)
        return Value(None if grounds else apart, frozenset(grounds))
    moments = Moments()
    for cell, code in contributing:
        taken[code].add_to(moments, cell)
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


@dataclass(frozen=True, slots=True)
class _Taken:
    """What an aggregate takes from a cell by one of its pieces; atoms by their position.

    `rows` is the atom that counts the rows with a value (None: all of the cell are taken);
    `amounts` are added to a moment: so many times an atom's total, or the rows (None).
    """

    function: str
    rows: int | None
    by_rows: bool = False  # a piece that is the same on every row
    sums: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    amounts: tuple[tuple[str, Fraction, int | None], ...] = ()

    def grounds(self, cell: Cell) -> set[Ground]:
        """Return the grounds of a cell against what is taken from it."""
        if self.function == "count_distinct":
            return set(cell.unsafe)
        if self.by_rows:
            return set(cell.unsafe_rows)
        found: set[Ground] = set()
        for place in self.sums:
            found |= cell.unsafe_sums[place]
        for place in self.counts:
            found |= cell.unsafe_counts[place]
        return found

    def add_to(self, moments: Moments, cell: Cell) -> None:
        """Add what a cell contributes to the moments that the value is computed from."""
        rows = cell.n if self.rows is None else cell.measures[self.rows].n
        moments.n += rows
        for name, times, place in self.amounts:
            whole = rows if place is None else cell.measures[place].total or 0
            amount = Fraction(whole)
            moments.add(name, amount if times == 1 else times * amount)


def _taken(function: str, piece: Piece, position: Mapping[Product, int]) -> _Taken:
    if piece is None or function == "count_distinct":
        return _Taken(function, None)
    count = presence_of(piece)
    if isinstance(piece, Literal):
        return _Taken(
            function, None, by_rows=True, amounts=_amounts(function, piece, position)
        )
    sums, counts = [], []
    for atom in needed_by(function, piece):
        if atom.factors:
            sums.append(position[atom])
        elif function != "sum" or _names_rows(piece):
            # sum / avg is the count of values, and with count(*) that of the gaps: what
            # divides by the count of values tells it, now or beside an earlier answer.
            counts.append(position[atom])
    return _Taken(
        function,
        None if count is None else position[count],
        sums=tuple(sums),
        counts=tuple(counts),
        amounts=_amounts(function, piece, position),
    )


def _names_rows(piece: Piece) -> bool:
    """Whether a sum holds a multiple of its number of rows, or nothing else."""
    return isinstance(piece, Combination) and (
        not piece.terms or any(not term.factors for term in piece.terms)
    )


def _amounts(
    function: str, piece: Piece, position: Mapping[Product, int]
) -> tuple[tuple[str, Fraction, int | None], ...]:
    """Return what makes the moments: name, factor, and the atom (None: the rows)."""
    powers = range(1, POWERS.get(function, 0) + 1)
    found: list[tuple[str, Fraction, int | None]] = []
    match piece:
        case Literal(value=value) if powers:
            assert isinstance(value, Decimal)
            found = [("x" * power, Fraction(value) ** power, None) for power in powers]
        case Ref():
            atoms = [product((piece,) * power, (piece,)) for power in powers]
            found = [("x" * len(a.factors), Fraction(1), position[a]) for a in atoms]
        case Combination(terms=terms, present=present) if powers:
            for term in terms:
                atom = product(term.factors, present)
                place = position[atom] if term.factors else None
                found.append(("x", term.coefficient, place))
        case Pair() if function in PAIRED:
            # With a product of both come their squares: see `judged_with`.
            names = _SQUARES if "xy" in PAIRED[function] else PAIRED[function]
            found = [(name, Fraction(1), position[paired(piece, name)]) for name in names]
    return tuple(found)
