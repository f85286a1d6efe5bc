"""The atoms of a block as SQL: what is added up per unit, and per cell.

Sums of measures are exact, in types that no real column overflows. A product is one of
whole numbers (a measure times a power of ten); a third or fourth power is added up in limbs
of forty bits, whose sums have no limit. Where a value is too large even for these, the
engine raises and nothing leaves (`measure_out_of_range`). What only judges a higher power
(its largest shares) may be a DOUBLE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from policies.document import Policy
from sandbox.passes.folds import Merge
from sandbox.plan.atoms import Product
from sandbox.plan.block import Block
from sandbox.plan.exact import exact_sql, scale_of
from sandbox.plan.render import term_sql
from sandbox.plan.terms import Kind, Ref

Exact = Callable[[Ref, Policy], str]
LIMB = 40
_MASK = f"{2**LIMB - 1}::HUGEINT"


@dataclass(frozen=True, slots=True)
class AtomColumns:
    """The atoms of a block, numbered: columns, which of them are present together, sums."""

    refs: tuple[Ref, ...]
    presences: tuple[tuple[Ref, ...], ...]
    sums: tuple[Product, ...]
    summed: frozenset[Ref]
    multiplied: frozenset[Ref]

    @staticmethod
    def of(block: Block) -> AtomColumns:
        """Number the atoms of a block."""
        sums = tuple(atom for atom in block.measured if atom.factors)
        presences = tuple(dict.fromkeys(atom.present for atom in block.measured))
        refs = tuple(dict.fromkeys(ref for present in presences for ref in present))
        multiplied = frozenset(r for atom in sums if atom.degree > 1 for r in atom.factors)
        return AtomColumns(refs, presences, sums, block.summed, multiplied)

    def base(self, policy: Policy, exact_of: Exact = exact_sql) -> list[str]:
        """Return the columns of single rows: m, and v where products are formed."""
        found = []
        for number, ref in enumerate(self.refs):
            exact = exact_of(ref, policy)
            if ref not in self.summed:
                # What a sum leaves out (NaN, infinity) is no value for a count either, or
                # the two counts of one column would tell how many such values there are.
                present = f"({exact})" if ref.kind is Kind.DOUBLE else term_sql(ref)
                found.append(f"{present} IS NOT NULL AS m{number}")
                continue
            found.append(f"{_summed(ref, exact)} AS m{number}")
            if ref in self.multiplied:
                scale = decimals_of(ref, policy)
                whole = f"({exact}) * {10**scale}" if scale else exact
                found.append(f"CAST({whole} AS HUGEINT) AS v{number}")
        return found

    def per_unit(self, *, tracked: bool) -> list[str]:
        """Return what one unit adds to each atom, over its rows where i holds.

        Where rows outside the filter are not `tracked` i holds of every row.
        """
        inside = "i AND " if tracked else ""
        found = []
        for i, present in enumerate(self.presences):
            found.append(f"count(*) FILTER ({inside}{self.all_sql(present)}) AS n{i}")
            found += [
                f"count(*) FILTER ({inside}{self.all_sql(other)}"
                f" AND NOT {self.all_sql(present)}) AS l{i}_{k}"
                for k, other in enumerate(self.beside(present))
            ]
        for j, atom in enumerate(self.sums):
            rows = f" FILTER ({inside}{self.all_sql(atom.present)})"
            if atom.present == atom.factors:
                # Of one column its sums and extremes leave out the rows without it.
                rows = " FILTER (i)" if tracked else ""
            found += [
                f"sum({text}){rows} AS s{j}_{k}" for k, text in enumerate(self.limbs(atom))
            ]
            value = self._value(atom)
            found += [
                f"sum({self._absolute(atom)}){rows} AS a{j}",
                f"min({value}){rows} AS lo{j}",
                f"max({value}){rows} AS hi{j}",
            ]
        return found

    def per_row(self) -> list[str]:
        """Return the same where each row is its own unit: no grouping is needed."""
        found = []
        for i, present in enumerate(self.presences):
            found.append(f"(i AND {self.all_sql(present)})::INTEGER AS n{i}")
            found += [
                f"(i AND {self.all_sql(other)} AND NOT {self.all_sql(present)})::INTEGER "
                f"AS l{i}_{k}"
                for k, other in enumerate(self.beside(present))
            ]
        for j, atom in enumerate(self.sums):
            rows = f"CASE WHEN i AND {self.all_sql(atom.present)} THEN"
            found += [
                f"{rows} {text} END AS s{j}_{k}" for k, text in enumerate(self.limbs(atom))
            ]
            value = self._value(atom)
            found += [
                f"{rows} {self._absolute(atom)} END AS a{j}",
                f"{rows} {value} END AS lo{j}",
                f"{rows} {value} END AS hi{j}",
            ]
        return found

    def per_cell(self, largest: str) -> list[tuple[str, str, Merge]]:
        """Return of each column of a cell its name, its expression and how it merges.

        `largest` is a template of the aggregate that keeps the largest contributions.
        """
        add, most = Merge.SUM, Merge.LARGEST
        found = []
        for i, present in enumerate(self.presences):
            some = f"FILTER (n{i} > 0 AND known)"
            found += [
                (f"p{i}_n", f"coalesce(sum(n{i}), 0)", add),
                (f"p{i}_units", f"count(*) {some}", add),
                (f"p{i}_gaps", f"count(*) FILTER (r > n{i} AND known)", add),
                (f"p{i}_top_n", f"{largest.format(f'n{i}')} {some}", most),
            ]
            found += [
                (f"p{i}_lack{k}", f"count(*) FILTER (l{i}_{k} > 0 AND known)", add)
                for k, _ in enumerate(self.beside(present))
            ]
        for j, atom in enumerate(self.sums):
            some = f"FILTER (n{self.presences.index(atom.present)} > 0 AND known)"
            found += [
                (f"a{j}_sum{k}", f"sum(s{j}_{k})", add)
                for k, _ in enumerate(self.limbs(atom))
            ]
            found += [
                (f"a{j}_abs", f"sum(a{j})", add),
                (f"a{j}_top", f"{largest.format(f'a{j}')} {some}", most),
                (f"a{j}_touching", f"count(*) FILTER (a{j} > 0 AND known)", add),
                (f"a{j}_low", f"min(lo{j})", Merge.MIN),
                (f"a{j}_high", f"max(hi{j})", Merge.MAX),
            ]
        return found

    def beside(self, present: tuple[Ref, ...]) -> tuple[tuple[Ref, ...], ...]:
        """Return what else may be present where not all of several columns are.

        A sum over the rows of a and b, taken from one over those of a, or of a and c, is
        about the rows between. Of one column alone its gaps tell all.
        """
        if len(present) < 2:
            return ()
        alone = [(ref,) for ref in present]
        others = [other for other in self.presences if other != present]
        return tuple(dict.fromkeys([*alone, *others]))

    # --- one atom

    def limbs(self, atom: Product) -> list[str]:
        """Return whole numbers that make the product, each added up by itself.

        The sum of the product is that of limb k times 2 ** (LIMB * (limbs - 1 - k)).
        """
        if atom.degree == 1:
            return [f"m{self.refs.index(atom.factors[0])}"]
        names = [f"v{self.refs.index(ref)}" for ref in atom.factors]
        if atom.degree == 2:
            return [f"{names[0]} * {names[1]}"]
        square = f"({names[0]} * {names[0]})"
        high, low = f"({square} >> {LIMB})", f"({square} & {_MASK})"
        if atom.degree == 3:
            parts = [f"{names[0]} * {high}", f"{names[0]} * {low}"]
        else:
            parts = [f"{high} * {high}", f"2 * {high} * {low}", f"{low} * {low}"]
        return [f"CAST({part} AS BIGNUM)" for part in parts]

    def _value(self, atom: Product) -> str:
        if atom.degree <= 2:
            return self.limbs(atom)[0]
        name = f"v{self.refs.index(atom.factors[0])}"
        return f"CAST({name} AS DOUBLE) ** {atom.degree}"

    def _absolute(self, atom: Product) -> str:
        value = self._value(atom)
        if atom.degree == 1 and atom.factors[0].kind is Kind.INTEGER:
            # The least number of a type has no absolute value in it.
            value = f"CAST({value} AS HUGEINT)"
        return f"abs({value})"

    def _one(self, ref: Ref) -> str:
        name = f"m{self.refs.index(ref)}"
        return f"{name} IS NOT NULL" if ref in self.summed else name

    def all_sql(self, present: tuple[Ref, ...]) -> str:
        """Return the condition that a row has all of these columns."""
        return "(" + " AND ".join(self._one(ref) for ref in present) + ")"


def _summed(ref: Ref, exact: str) -> str:
    """Return a measure as it is added up: the engine's sums of these are exact and wide."""
    if ref.kind is Kind.INTEGER or (ref.kind is Kind.DECIMAL and ref.scale is not None):
        return term_sql(ref)
    return exact


def scales_of(block: Block, policy: Policy) -> tuple[int, ...]:
    """Return for each atom of `block.measured` the decimals that its whole sums carry."""
    return tuple(
        sum(decimals_of(ref, policy) for ref in atom.factors) if atom.degree > 1 else 0
        for atom in block.measured
    )


def decimals_of(ref: Ref, policy: Policy) -> int:
    """Return how many decimals the exact form of a measure has."""
    if ref.kind is Kind.INTEGER:
        return 0
    return (ref.scale or 0) if ref.kind is Kind.DECIMAL else scale_of(ref, policy)
