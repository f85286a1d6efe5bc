"""Which small groups a set of released totals determines, by exact linear algebra.

Rows fall into atoms: sets of rows that every released total takes as a whole or not at
all. A total is then a 0/1 vector over atoms, and what can be computed from totals by adding
and subtracting is their span. `Panama + Liberia + ... ` beside the total of all gives the
two ships of the one flag that was withheld; A or B, A without B, B without A give A and B.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Arithmetic modulo a large prime: exact, bounded, and for 0/1 vectors of these sizes the
# rank differs from that over the rationals only if the prime divides a minor.
PRIME = 2**61 - 1
Vector = dict[int, int]


class Span:
    """The totals released so far, as a reduced basis over atoms with `units` each."""

    def __init__(self, units: Mapping[int, int], min_units: int) -> None:
        # Large atoms first: what is left without them speaks about small ones alone.
        self._order = sorted(units, key=lambda atom: (-units[atom], atom))
        self._rank = {atom: place for place, atom in enumerate(self._order)}
        self._units = units
        self._min_units = min_units
        self._basis: dict[int, Vector] = {}  # by pivot place

    def copy(self) -> Span:
        """Return a span that can grow apart from this one."""
        other = Span(self._units, self._min_units)
        other._basis = {pivot: dict(row) for pivot, row in self._basis.items()}
        return other

    def add(self, atoms: Iterable[int]) -> None:
        """Add the total over `atoms`."""
        row = {self._rank[atom]: 1 for atom in atoms}
        # A basis row has no pivot but its own: taking it away brings no other one in.
        for pivot in [place for place in row if place in self._basis]:
            _subtract(row, self._basis[pivot], row[pivot])
        if not row:
            return
        pivot = min(row)
        inverse = pow(row[pivot], -1, PRIME)
        row = {place: value * inverse % PRIME for place, value in row.items()}
        for other in self._basis.values():
            if pivot in other:
                _subtract(other, row, other[pivot])
        self._basis[pivot] = row

    def tells_of_few(self) -> bool:
        """Whether some combination of totals is about fewer than min_units units alone."""
        for row in self._basis.values():
            total = 0
            for place in row:
                total += self._units[self._order[place]]
                if total >= self._min_units:
                    break
            if 0 < total < self._min_units:
                return True
        return False


def _subtract(row: Vector, other: Vector, factor: int) -> None:
    for place, value in other.items():
        left = (row.get(place, 0) - factor * value) % PRIME
        if left:
            row[place] = left
        else:
            row.pop(place, None)
