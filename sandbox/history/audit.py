"""A new answer beside all earlier ones over the same rows: what they tell together.

Pairs are compared in `sandbox.history.pair`. This looks at sums and differences of any
number of answers: if with the new cells some combination is about fewer than min_units
units, the smallest of the new cells are withheld until none is. Only totals that are linked
to the new cells by shared rows take part: the rest tell what they told before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.recombine import contributes
from sandbox.disclosure.span import Span
from sandbox.history.atoms import MAX_ATOMS, Atoms
from sandbox.history.entry import Label, Past, label_of
from sandbox.plan.block import Block


class Audit:
    """The combinations of a new answer with all earlier ones over the same rows."""

    def __init__(
        self, block: Block, pasts: Sequence[Past], atoms: Atoms, *, min_units: int
    ) -> None:
        """Audit by `atoms`, in which `pasts` have their numbers."""
        self._block, self._atoms, self._min_units = block, atoms, min_units
        # Of each earlier release, the sets of cells by each of their labels.
        self._sets: list[Mapping[Label, Sequence[int]]] = [_sets(past) for past in pasts]

    def mark(self, cells: Sequence[Cell]) -> None:
        """Withhold cells until no combination of totals tells of too few units."""
        contributing = [cell for cell in cells if contributes(self._block, cell)]
        safe = {label_of(cell): cell for cell in contributing if cell.is_safe}
        found = self._totals() if safe else None
        if found is None:
            return
        units, new, old = found
        known = Span(units, self._min_units)
        own = {atom for label in safe for atom in new.get(label, ())}
        for atoms in _reached(old, own):
            known.add(atoms)
        if known.tells_of_few():
            return  # earlier answers tell it already: withholding this protects nobody
        span = known.copy()
        for label in safe:
            span.add(new.get(label, ()))
        if not span.tells_of_few():
            return
        for label in sorted(safe, key=lambda item: (-safe[item].units, str(item))):
            span = known.copy()
            span.add(new.get(label, ()))
            if span.tells_of_few():
                safe[label].withhold(Ground.HISTORY)
            else:
                known = span

    def _totals(
        self,
    ) -> tuple[dict[int, int], dict[Label, set[int]], list[set[int]]] | None:
        """Return units by atom, and the atoms of each new cell and each earlier total."""
        if self._atoms.are_too_many:
            return None
        # Rows in the same new cell and the same totals are one, whatever else they are in.
        found: dict[tuple[Label | None, tuple[tuple[int, int], ...]], int] = {}
        for atom in self._atoms.each():
            totals = [
                (number, place)
                for number, label in atom.old
                for place in self._sets[number].get(label, ())
            ]
            if atom.new is not None or totals:
                name = (atom.new, tuple(totals))
                found[name] = found.get(name, 0) + atom.units
        if len(found) > MAX_ATOMS:
            return None
        units: dict[int, int] = {}
        new: dict[Label, set[int]] = {}
        old: dict[tuple[int, int], set[int]] = {}
        # In one order, however the engine found them: of equals the first is taken.
        for name in sorted(found, key=lambda item: (str(item[0]), item[1])):
            place = len(units)
            units[place] = found[name]
            label, inside = name
            if label is not None:
                new.setdefault(label, set()).add(place)
            for total in inside:
                old.setdefault(total, set()).add(place)
        return units, new, list(old.values())


def _sets(past: Past) -> dict[Label, list[int]]:
    found: dict[Label, list[int]] = {}
    for place, cells in enumerate(sorted(past.released, key=lambda c: sorted(map(str, c)))):
        for label in cells:
            found.setdefault(label, []).append(place)
    return found


def _reached(old: Iterable[set[int]], atoms: set[int]) -> list[set[int]]:
    """Return the totals that share an atom with `atoms`, or with one that does so."""
    holders: dict[int, list[int]] = {}
    totals = list(old)
    for number, total in enumerate(totals):
        for atom in total:
            holders.setdefault(atom, []).append(number)
    found: set[int] = set()
    waiting, seen = list(atoms), set(atoms)
    while waiting:
        for number in holders.get(waiting.pop(), ()):
            if number not in found:
                found.add(number)
                waiting += totals[number] - seen
                seen |= totals[number]
    return [total for number, total in enumerate(totals) if number in found]
