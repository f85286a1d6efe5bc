"""A protecting aggregation of the staged plan, in canonical form (DESIGN section 5).

Stage 1 groups protected rows by `keys` (visible) and `hidden` (the pieces of conditional
aggregates) and yields atoms per cell. Disclosure control acts on these cells, and
stage 2 (sandbox.plan.results) computes over what was not withheld.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TypeVar

from sandbox.plan.canonical import key_of
from sandbox.plan.terms import Literal, Predicate, Ref, Term, refs_of
from sandbox.plan.views import View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unit:
    """Who is protected: a domain and the column that names them; None: each row."""

    domain: str
    ref: Ref | None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of the query over the pieces of a hidden key.

    `pieces[i]` is what rows of piece i contribute: a column, a number, or None: nothing.
    Without a hidden key there is one piece, of all rows.
    """

    function: str  # count, sum, avg, count_distinct
    pieces: tuple[Ref | Literal | None, ...]
    hidden: int | None = None  # index of Plan.hidden


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
    views: tuple[View, ...] = ()  # what it reads of stage 0, each after those it reads
    optional: tuple[str, ...] = ()  # public tables whose partner may be missing

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the canonical block, in hex."""
        return hashlib.sha256(key_of(self).encode()).hexdigest()

    @property
    def measured(self) -> tuple[Ref, ...]:
        """The columns whose values or presence an aggregate takes, in canonical order."""
        found = {
            piece
            for aggregate in self.aggregates
            if aggregate.function != "count_distinct"
            for piece in aggregate.pieces
            if isinstance(piece, Ref)
        }
        return tuple(sorted(found, key=key_of))

    @property
    def summed(self) -> frozenset[Ref]:
        """The measured columns whose sum is an atom, not only their presence."""
        return frozenset(
            piece
            for aggregate in self.aggregates
            if aggregate.function in ("sum", "avg")
            for piece in aggregate.pieces
            if isinstance(piece, Ref)
        )

    @property
    def grouping_refs(self) -> tuple[frozenset[Ref], ...]:
        """For each key, visible ones first, the base columns that reach it."""
        return tuple(refs_of(term) for term in (*self.keys, *self.hidden))


def canonical_block(block: Block) -> tuple[Block, dict[int, int], dict[int, int]]:
    """Return the block with its parts in one order, and where keys and aggregates went."""
    keys, key_map = _sorted(block.keys)
    hidden, hidden_map = _sorted(block.hidden)
    renamed = tuple(
        dataclasses.replace(
            item, hidden=None if item.hidden is None else hidden_map[item.hidden]
        )
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
