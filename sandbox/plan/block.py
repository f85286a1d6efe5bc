"""A protecting aggregation of the staged plan, in canonical form (DESIGN section 5).

Stage 1 groups protected rows by `keys` (visible) and `hidden` (the pieces of conditional
aggregates) and yields atoms per cell. Disclosure control acts on these cells, and
stage 2 (sandbox.plan.results) computes over what was not withheld.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar

from sandbox.plan.atoms import Piece, Product, judged_with, needed_by
from sandbox.plan.canonical import key_of
from sandbox.plan.terms import Kind, Predicate, Ref, Term, members_in, refs_of
from sandbox.plan.views import View, base_tables, by_name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unit:
    """Who is protected: a domain and the column that names them; None: each row."""

    domain: str
    ref: Ref | None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of the query over the pieces of a hidden key.

    `pieces[i]` is what rows of piece i contribute: a column, a number, a combination or a
    pair of columns, or None: nothing. Without a hidden key there is one piece, of all rows.
    """

    function: str  # count, count_distinct, quantile, or one of sandbox.disclosure.moments
    pieces: tuple[Piece, ...]
    hidden: int | None = None  # index of Plan.hidden
    level: Decimal | None = None  # of a quantile: 0.5 is the median

    @property
    def value_type(self) -> str:
        """The engine's type of its value."""
        if self.function in ("count", "count_distinct"):
            return "BIGINT"
        if self.function == "sum" and all(
            piece is None or getattr(piece, "kind", None) is Kind.INTEGER
            for piece in self.pieces
        ):
            return "HUGEINT"
        return "DOUBLE"

    @property
    def is_approximate(self) -> bool:
        """Whether its value is interpolated, not computed."""
        return self.function == "quantile"


@dataclass(frozen=True, slots=True)
class Block:
    """One protecting aggregation: equal for queries that mean the same by it."""

    tables: tuple[str, ...]
    joins: tuple[tuple[Ref, Ref], ...]
    units: tuple[Unit, ...]
    where: Predicate
    keys: tuple[Term, ...]
    hidden: tuple[Term, ...]
    aggregates: tuple[Aggregate, ...]
    views: tuple[View, ...] = ()  # of stage 0, in the order in which they read each other
    optional: tuple[str, ...] = ()  # public tables whose partner may be missing

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the canonical block, in hex."""
        return hashlib.sha256(key_of(self).encode()).hexdigest()

    @property
    def measured(self) -> tuple[Product, ...]:
        """The atoms that stage 1 computes for each cell, in canonical order."""
        return _measured(self.aggregates)

    @property
    def summed(self) -> frozenset[Ref]:
        """The columns whose values are added up, not only their presence."""
        return frozenset(ref for atom in self.measured for ref in atom.factors)

    @property
    def nodes(self) -> tuple[Term | Predicate, ...]:
        """Its filter and keys, visible and hidden."""
        return (self.where, *self.keys, *self.hidden)

    @property
    def base_tables(self) -> tuple[str, ...]:
        """The tables of the policy that it reads, in FROM, views and semi-joins."""
        semi = [member.view for node in self.nodes for member in members_in(node)]
        return base_tables((*self.tables, *semi), by_name(self.views))

    @property
    def grouping_refs(self) -> tuple[frozenset[Ref], ...]:
        """For each key, visible ones first, the base columns that reach it."""
        return tuple(refs_of(term) for term in (*self.keys, *self.hidden))


@lru_cache(maxsize=64)
def _measured(aggregates: tuple[Aggregate, ...]) -> tuple[Product, ...]:
    # Remembered: every cell that is read asks for it, and putting it in order is slow.
    found: set[Product] = set()
    for aggregate in aggregates:
        for piece in aggregate.pieces:
            found |= set(needed_by(aggregate.function, piece))
    for atom in tuple(found):
        found |= set(judged_with(atom))
    return tuple(sorted(found, key=key_of))


def canonical_block(block: Block) -> tuple[Block, dict[int, int], dict[int, int]]:
    """Return the block with its parts in one order, and where keys and aggregates went."""
    keys, key_map = _sorted(block.keys)
    hidden, hidden_map = _sorted(block.hidden)
    renamed = tuple(
        item
        if item.hidden is None
        else dataclasses.replace(item, hidden=hidden_map[item.hidden])
        for item in block.aggregates
    )
    aggregates, aggregate_map = _sorted(renamed)
    found = dataclasses.replace(
        block,
        tables=tuple(sorted(block.tables)),
        joins=tuple(sorted({_sided(join) for join in block.joins}, key=key_of)),
        units=tuple(sorted(set(block.units), key=key_of)),
        keys=keys,
        hidden=hidden,
        aggregates=aggregates,
    )
    return found, key_map, aggregate_map


def _sided(join: tuple[Ref, Ref]) -> tuple[Ref, Ref]:
    first, second = sorted(join, key=key_of)
    return first, second


def _sorted(items: tuple[T, ...]) -> tuple[tuple[T, ...], dict[int, int]]:
    order = sorted(range(len(items)), key=lambda index: key_of(items[index]))
    return tuple(items[index] for index in order), {
        old: new for new, old in enumerate(order)
    }
