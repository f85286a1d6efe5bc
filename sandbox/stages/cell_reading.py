"""From the rows of a stage-1 statement to cells: names to fields, engine values to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import duckdb

from sandbox.disclosure.cell import Cell, Contribution, Total
from sandbox.disclosure.moments import is_line
from sandbox.errors import QueryRejected
from sandbox.passes.folds import SumOutOfRange
from sandbox.passes.rows import Answer
from sandbox.plan.atoms import Product, product
from sandbox.plan.block import Block
from sandbox.stages.atom_columns import LIMB, AtomColumns
from sandbox.stages.labels import name_of
from sandbox.stages.stage_one import Statement


def read_cells(
    block: Block, made: Statement, answer: Answer, *, copies: int = 1
) -> tuple[list[Cell], tuple[str, ...]]:
    """Return the cells of a pass of stage 1, not yet judged, and the types of all keys.

    Where the pass kept only the largest contribution, it stands `copies` times: an upper
    bound of what the largest ones make together.

    Raises ResourceExceeded where there are more cells than are controlled in one run.
    """
    atoms = AtomColumns.of(block)
    try:
        rows = answer.rows
        types = answer.types[: len(block.keys) + len(block.hidden)]
    except (duckdb.OutOfRangeException, SumOutOfRange):
        # Its text names the values: it goes no further.
        raise out_of_range() from None
    measured = block.measured
    return [_cell(block, measured, made, atoms, row, copies) for row in rows], types


def out_of_range() -> QueryRejected:
    """Return the refusal of sums that have no exact type."""
    return QueryRejected(
        "a measure holds values so large that their products have no exact sum",
        hint="Use sum and avg of the measure, or ask the provider for coarser units.",
        code="measure_out_of_range",
    )


def _cell(
    block: Block,
    measured: Sequence[Product],
    made: Statement,
    atoms: AtomColumns,
    row: tuple[object, ...],
    copies: int,
) -> Cell:
    named = dict(zip(made.names, row, strict=True))
    width, hidden = len(block.keys), len(block.hidden)
    totals = {
        atom: total_of(named, atoms, atom, scale)
        for atom, scale in zip(measured, made.scales, strict=True)
    }
    return Cell(
        keys=name_of(row[:width]),
        codes=tuple(whole_of(code) for code in row[width : width + hidden]),
        units=whole_of(named["units"]),
        n=whole_of(named["n"]),
        outside=whole_of(named["outside"]),
        contrasts=tuple(whole_of(v) for name, v in named.items() if name.startswith("x")),
        top_n=tuple(map(whole_of, _items(named["top_n"], copies))),
        measures=tuple(
            _contribution(named, atoms, atom, totals, copies) for atom in measured
        ),
    )


def total_of(
    named: Mapping[str, object], atoms: AtomColumns, atom: Product, scale: int
) -> Total | None:
    """Return what an atom sums up to in a cell whose columns are `named`."""
    if not atom.factors:
        return whole_of(named[f"p{atoms.presences.index(atom.present)}_n"])
    j, limbs = atoms.sums.index(atom), len(atoms.limbs(atom))
    parts = [number_of(named[f"a{j}_sum{k}"]) for k in range(limbs)]
    if any(part is None for part in parts):
        return None
    whole = sum(
        (
            Fraction(part or 0) * 2 ** (LIMB * (limbs - 1 - k))
            for k, part in enumerate(parts)
        ),
        Fraction(0),
    )
    return Fraction(whole, 10**scale)


def _contribution(
    named: Mapping[str, object],
    atoms: AtomColumns,
    atom: Product,
    totals: Mapping[Product, Total | None],
    copies: int,
) -> Contribution:
    p = f"p{atoms.presences.index(atom.present)}_"
    beside = atoms.beside(atom.present)
    lacks = tuple(whole_of(named[f"{p}lack{k}"]) for k in range(len(beside)))
    rows = (
        whole_of(named[p + "n"]),
        whole_of(named[p + "units"]),
        whole_of(named[p + "gaps"]),
        tuple(map(whole_of, _items(named[p + "top_n"], copies))),
        lacks,
    )
    if not atom.factors:
        return Contribution(*rows)
    a = f"a{atoms.sums.index(atom)}_"
    low = named[a + "low"]
    return Contribution(
        *rows,
        degree=atom.degree,
        total=totals[atom],
        absolute=number_of(named[a + "abs"]),
        top=tuple(
            number
            for number in map(number_of, _items(named[a + "top"], copies))
            if number is not None
        ),
        touching=whole_of(named[a + "touching"]),
        is_constant=low is not None and low == named[a + "high"],
        is_determined=is_determined(atom, totals),
    )


def is_determined(atom: Product, totals: Mapping[Product, Total | None]) -> bool:
    """Whether one of two measures follows from the other, by their sums."""
    if atom.degree != 2 or atom.factors[0] == atom.factors[1]:
        return False
    a, b = atom.factors
    needed = [
        totals[product(factors, atom.present)]
        for factors in ((), (a,), (b,), (a, a), (b, b), (a, b))
    ]
    known = [Fraction(total) for total in needed if total is not None]
    return len(known) == len(needed) and is_line(*known)


def _items(value: object, copies: int) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value] * copies


def whole_of(value: object) -> int:
    """Return a count, or a sum of counts: 0 where nothing came."""
    return value if isinstance(value, int) else 0


def number_of(value: object) -> Total | None:
    """Return a number of the engine as an exact one; None where it has none."""
    if isinstance(value, float):
        return Fraction(value)  # of a higher power, its largest shares
    if isinstance(value, str):
        return int(value)  # BIGNUM
    return value if isinstance(value, (int, Decimal)) else None
