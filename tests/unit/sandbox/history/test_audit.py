"""What earlier answers tell of other people does not end the audit of a new one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import cast

import pytest

from sandbox.disclosure.cell import Cell, Ground
from sandbox.history.atoms import Atom, Atoms
from sandbox.history.audit import Audit
from sandbox.history.entry import Past
from sandbox.plan.block import Aggregate, Block
from sandbox.plan.terms import Always, Kind, Literal, Ref

G = Ref("t", "g", Kind.TEXT)
ALL = Always(value=True)
COUNT = Aggregate("count", (Literal(Decimal(1), Kind.INTEGER),))
BLOCK = Block(("t",), (), (), ALL, (G,), (), (COUNT,))
NEW, WIDE, SMALL = ("new",), ("wide",), ("small",)


class Known:
    """A double of `Atoms` whose atoms are given."""

    are_too_many = False

    def __init__(self, *atoms: Atom) -> None:
        self._atoms = atoms

    def each(self) -> Iterator[Atom]:
        """Yield every atom."""
        yield from self._atoms


def _grounds(pasts: Sequence[tuple[object, ...]], *atoms: Atom) -> set[Ground]:
    cell = Cell(NEW, (), 40, 40, 0, (), (), ())
    told = [
        Past("", ("t",), (), ALL, (G,), frozenset({frozenset({label})})) for label in pasts
    ]
    audit = Audit(BLOCK, told, cast("Atoms", Known(*atoms)), min_units=10)
    audit.mark([cell])
    return cell.unsafe


INSIDE = Atom(NEW, ((0, WIDE),), 40)
LEFT = Atom(None, ((0, WIDE),), 3)


def test_audit_withholds_what_leaves_few_of_a_total() -> None:
    assert _grounds([WIDE], INSIDE, LEFT) == {Ground.HISTORY}


def test_audit_goes_on_where_few_of_other_rows_are_told() -> None:
    apart = Atom(None, ((1, SMALL),), 3)

    assert _grounds([WIDE, SMALL], INSIDE, LEFT, apart) == {Ground.HISTORY}


@pytest.mark.parametrize("few", [3, 30])
def test_audit_withholds_nothing_where_linked_answers_tell_it_already(few: int) -> None:
    told = Atom(None, ((0, WIDE), (1, SMALL)), few)

    expected = set() if few < 10 else {Ground.HISTORY}
    assert _grounds([WIDE, SMALL], INSIDE, LEFT, told) == expected
