"""Atoms: the sums of products of bare measures that an aggregate is made of.

`sum(a + 2*b - 3)` is Σa + 2Σb - 3n over the rows that have both; a variance is made of n,
Σx and Σx². Each atom is judged by itself, so whatever coefficients a query writes, nothing
enters its answer that could not leave alone (DESIGN section 5, stage 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sandbox.plan.terms import Kind, Literal, Ref


@dataclass(frozen=True, slots=True)
class Product:
    """Σ of the product of `factors` over rows that have all of `present`.

    Both are sorted; factors may repeat and stand in `present` too. Without factors it is
    the number of these rows.
    """

    factors: tuple[Ref, ...]
    present: tuple[Ref, ...]

    @property
    def degree(self) -> int:
        """How many factors it has: 3 and more need more units."""
        return len(self.factors)


@dataclass(frozen=True, slots=True)
class Weighted:
    """A product with its coefficient, an exact fraction."""

    numerator: int
    denominator: int
    factors: tuple[Ref, ...]

    @property
    def coefficient(self) -> Fraction:
        """The coefficient as one number."""
        return Fraction(self.numerator, self.denominator)


@dataclass(frozen=True, slots=True)
class Combination:
    """A polynomial in measures, of degree 2 at most, on rows that have all of `present`."""

    present: tuple[Ref, ...]
    terms: tuple[Weighted, ...]

    @property
    def kind(self) -> Kind:
        """Whether its sums are whole numbers."""
        whole = all(ref.kind is Kind.INTEGER for term in self.terms for ref in term.factors)
        plain = all(term.denominator == 1 for term in self.terms)
        return Kind.INTEGER if whole and plain else Kind.DOUBLE


@dataclass(frozen=True, slots=True)
class Pair:
    """Two measures of one row, y and x in the engine's order, on rows that have both."""

    y: Ref
    x: Ref

    @property
    def present(self) -> tuple[Ref, ...]:
        """The two columns, sorted; one where they are the same."""
        return ordered({self.y, self.x})


Piece = Ref | Literal | Combination | Pair | None

# function -> the highest power of a measure that its value is made of
POWERS = {
    "count": 0, "count_distinct": 0, "sum": 1, "avg": 1, "var_samp": 2, "var_pop": 2,
    "stddev_samp": 2, "stddev_pop": 2, "sem": 2, "skewness": 3, "kurtosis": 4,
    "kurtosis_pop": 4, "quantile": 0,
}  # fmt: skip

# function of a pair -> the products that its value is made of, besides the rows
PAIRED = {
    "covar_samp": ("x", "y", "xy"), "covar_pop": ("x", "y", "xy"),
    "corr": ("x", "y", "xx", "yy", "xy"), "regr_r2": ("x", "y", "xx", "yy", "xy"),
    "regr_slope": ("x", "y", "xx", "xy"), "regr_intercept": ("x", "y", "xx", "xy"),
    "regr_sxx": ("x", "xx"), "regr_syy": ("y", "yy"), "regr_sxy": ("x", "y", "xy"),
}  # fmt: skip


def ordered(refs: set[Ref]) -> tuple[Ref, ...]:
    """Return columns in the order in which atoms name them."""
    return tuple(sorted(refs, key=_order))


def _order(ref: Ref) -> tuple[str, str]:
    return ref.table, ref.column


def product(factors: tuple[Ref, ...], present: tuple[Ref, ...]) -> Product:
    """Return the atom of these factors, in canonical order."""
    return Product(tuple(sorted(factors, key=_order)), present)


def presence_of(piece: Piece) -> Product | None:
    """Return the atom that counts the rows of a piece; None: it takes every row."""
    match piece:
        case Ref():
            return Product((), (piece,))
        case Combination() | Pair():
            return Product((), piece.present)
    return None


def paired(piece: Pair, name: str) -> Product:
    """Return the atom of a pair by its name: `x`, `y`, `xx`, `yy` or `xy`."""
    factors = {"x": piece.x, "y": piece.y}
    return product(tuple(factors[letter] for letter in name), piece.present)


def needed_by(function: str, piece: Piece) -> tuple[Product, ...]:
    """Return every atom that `function` of a piece is computed from."""
    count = presence_of(piece)
    if count is None or function == "count_distinct":
        return ()
    match piece:
        case Pair() if function in PAIRED:
            return (count, *(paired(piece, name) for name in PAIRED[function]))
        case Combination(terms=terms):
            found = [product(term.factors, count.present) for term in terms]
            return (count, *found)
        case Ref():
            powers = range(1, POWERS[function] + 1)
            return (count, *(product((piece,) * k, count.present) for k in powers))
    return (count,)


def judged_with(atom: Product) -> tuple[Product, ...]:
    """Return the atoms beside which one is judged: a product of two measures stands beside
    their squares, which show whether one of the two determines the other."""
    if atom.degree != 2 or atom.factors[0] == atom.factors[1]:
        return ()
    a, b = atom.factors
    return tuple(product(f, atom.present) for f in ((a,), (b,), (a, a), (b, b)))
