"""Hidden group keys: which rows of a conditional aggregate contribute which piece."""

from __future__ import annotations

from decimal import Decimal

from sandbox.binding.facts import Facts
from sandbox.binding.terms import TermBinder
from sandbox.plan.atoms import Piece
from sandbox.plan.block import Aggregate
from sandbox.plan.canonical import canonical
from sandbox.plan.terms import All, Choose, Kind, Literal, Predicate, Term
from sandbox.sql import syntax

MAX_PIECES = 40
ONE = Literal(Decimal(1), Kind.INTEGER)
Cases = tuple[tuple[Predicate, ...], tuple[Piece, ...]]


class PieceBinder:
    """Collects the hidden keys of one query and makes aggregates over their pieces."""

    def __init__(self, facts: Facts, terms: TermBinder) -> None:
        self._facts = facts
        self._terms = terms
        self.hidden: list[Term] = []

    def aggregate(
        self,
        call: syntax.Call,
        function: str,
        cases: Cases | None,
        otherwise: Piece,
        *,
        level: Decimal | None = None,
    ) -> Aggregate | None:
        """Make the aggregate; piece 0 is ELSE (or what FILTER leaves out)."""
        conditions, pieces = cases or ((), ())
        if call.condition is not None:
            keep = self._terms.predicate(call.condition)
            if keep is None:
                return None
            kept = canonical(keep)
            branches = tuple(
                (_both(kept, item), piece)
                for item, piece in zip(conditions, pieces, strict=True)
            )
            branches = (*branches, (kept, otherwise))
            return self._with_hidden(function, branches, None, level)
        if not conditions:
            return Aggregate(function, (otherwise,), level=level)
        branches = tuple(zip(conditions, pieces, strict=True))
        return self._with_hidden(function, branches, otherwise, level)

    def _with_hidden(
        self,
        function: str,
        branches: tuple[tuple[Predicate, Piece], ...],
        otherwise: Piece,
        level: Decimal | None,
    ) -> Aggregate | None:
        if len(branches) >= MAX_PIECES:
            self._facts.refuse(
                "too_many_pieces",
                f"a conditional aggregate has {len(branches) + 1} branches, at most "
                f"{MAX_PIECES}",
                "Use GROUP BY.",
            )
            return None
        numbered = tuple(
            (condition, number(index + 1)) for index, (condition, _) in enumerate(branches)
        )
        key = Choose(numbered, number(0), Kind.INTEGER)
        if key not in self.hidden:
            self.hidden.append(key)
        pieces = (otherwise, *(piece for _, piece in branches))
        return Aggregate(function, pieces, self.hidden.index(key), level)


def number(value: int) -> Literal:
    """Return a whole number as a constant."""
    return Literal(Decimal(value), Kind.INTEGER)


def _both(left: Predicate, right: Predicate) -> Predicate:
    return canonical(All((left, right)))
