"""What the atoms of a cell add up to, exactly, from the columns of a statement of stage 1.

There may be thousands of cells: what does not depend on one is found once for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from sandbox.disclosure.cell import Total
from sandbox.disclosure.moments import is_line
from sandbox.plan.atoms import Product, product
from sandbox.plan.block import Block
from sandbox.stages.atom_columns import LIMB, AtomColumns

Named = Mapping[str, object]
Totals = tuple[Total | None, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """Where n, x, y, xx, yy and xy stand, and the units that make each a whole number."""

    places: tuple[int, ...]
    units: tuple[int, ...]


class AtomTotals:
    """The totals of `block.measured`, in its order."""

    def __init__(self, block: Block, scales: tuple[int, ...]) -> None:
        """`scales` are the decimals that each atom's whole sums carry (`scales_of`)."""
        atoms, measured = AtomColumns.of(block), block.measured
        places = {atom: place for place, atom in enumerate(measured)}
        self._rows = [f"p{atoms.presences.index(atom.present)}_n" for atom in measured]
        self._sums = [_sums_of(atoms, atom) for atom in measured]
        self._units = [10**scale for scale in scales]
        self._lines = [_line(atom, places, scales) for atom in measured]

    def of(self, named: Named) -> Totals:
        """Return the totals of a cell whose columns are `named`; None: it has no value."""
        return tuple(
            _sum(named, sums, unit) if sums else whole_of(named[rows])
            for rows, sums, unit in zip(self._rows, self._sums, self._units, strict=True)
        )

    def is_determined(self, place: int, totals: Totals) -> bool:
        """Whether of the two measures of atom `place` one follows from the other."""
        line = self._lines[place]
        if line is None:
            return False
        known = [totals[number] for number in line.places]
        if any(total is None for total in known):
            return False
        exact = [Fraction(total or 0) for total in known]
        if any(u % total.denominator for u, total in zip(line.units, exact, strict=True)):
            return is_line(*exact)
        return is_line(
            *(
                total.numerator * (unit // total.denominator)
                for unit, total in zip(line.units, exact, strict=True)
            )
        )


def _sums_of(atoms: AtomColumns, atom: Product) -> tuple[str, ...]:
    if not atom.factors:
        return ()
    j = atoms.sums.index(atom)
    return tuple(f"a{j}_sum{k}" for k in range(len(atoms.limbs(atom))))


def _line(
    atom: Product, places: Mapping[Product, int], scales: tuple[int, ...]
) -> _Line | None:
    if atom.degree != 2 or atom.factors[0] == atom.factors[1]:
        return None
    a, b = atom.factors
    needed = [
        places[product(factors, atom.present)]
        for factors in ((), (a,), (b,), (a, a), (b, b), (a, b))
    ]
    # A square carries twice the decimals of its measure.
    first, second = scales[needed[3]] // 2, scales[needed[4]] // 2
    decimals = (0, first, second, 2 * first, 2 * second, first + second)
    return _Line(tuple(needed), tuple(10**number for number in decimals))


def _sum(named: Named, sums: tuple[str, ...], unit: int) -> Total | None:
    whole: Total = 0
    for name in sums:
        part = number_of(named[name])
        if part is None:
            return None
        whole = part if name is sums[0] else Fraction(whole) * 2**LIMB + Fraction(part)
    if unit == 1:
        return Fraction(whole)
    return Fraction(whole, unit) if isinstance(whole, int) else Fraction(whole) / unit


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
