"""What a later job needs to know of a release: which cells left, and no value of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sandbox.disclosure.cell import Cell
from sandbox.errors import QueryRejected
from sandbox.plan.block import Block
from sandbox.plan.canonical import from_data, to_data
from sandbox.plan.rebuilding import members_within
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Predicate, Ref, Term
from sandbox.plan.views import View, base_tables, by_name

ALONE = "bonded-history/1"  # one block, from before there were views
JOINED = "bonded-history/2"  # the blocks of one plan
BLOCK = "bonded-history/2#block"
_MOST_READ = 2_000  # texts that are kept as what they were read as
Label = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier release: which rows its cells were about, and which cells left."""

    fingerprint: str = field(compare=False)  # equal ones told of the same rows
    tables: tuple[str, ...]
    joins: tuple[tuple[Ref, Ref], ...]
    where: Predicate
    keys: tuple[Term, ...]  # visible and hidden
    released: frozenset[frozenset[Label]]  # sets of cells whose totals left
    views: tuple[View, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[Term | Predicate, ...]:
        """Its filter and keys."""
        return (self.where, *self.keys)

    @property
    def base_tables(self) -> tuple[str, ...]:
        """The tables of the policy that it read, in FROM, views and semi-joins."""
        if not self.views:  # semi-joins are with views
            return base_tables(self.tables, {})
        semi = [member.view for member in members_within((self.where, self.keys))]
        return base_tables((*self.tables, *semi), by_name(self.views))


def entry(block: Block, sets: Iterable[Iterable[Cell]]) -> str:
    """Return the text that a later job needs to know of this release: no value of it.

    `sets` are the sets of cells whose totals were released.
    """
    released = sorted(
        (sorted((list(label_of(cell)) for cell in cells), key=_text) for cells in sets),
        key=_text,
    )
    data = [
        BLOCK,
        block.fingerprint,
        to_data(block.tables),
        to_data(block.joins),
        to_data(block.where),
        to_data((*block.keys, *block.hidden)),
        released,
        to_data(block.views),
        to_data(block.optional),
    ]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _text(item: object) -> str:
    return json.dumps(item, ensure_ascii=False)


def join_entries(fingerprint: str, entries: Sequence[str]) -> str:
    """Return one text for the entries of the blocks of one plan."""
    data = [JOINED, fingerprint, [json.loads(text) for text in entries]]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=_MOST_READ)
def read_all(text: str) -> tuple[Past, ...]:
    """Read what `join_entries` or `entry` wrote, in any version of the format.

    The same text is read once: each block of a plan is compared with the same releases.
    Raises QueryRejected (`history_unreadable`) on anything else.
    """
    try:
        data = json.loads(text)
        if data[0] != JOINED:
            return (_past(data),)
        _, _, entries = data
        return tuple(_past(item) for item in entries)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _unreadable() from error


def _past(data: Any) -> Past:
    tag, fingerprint, tables, joins, where, keys, released, *more = data
    if tag not in (ALONE, BLOCK) or len(more) != (2 if tag == BLOCK else 0):
        raise ValueError("a history entry of an unknown form")
    return Past(
        str(fingerprint),
        from_data(tables),
        from_data(joins),
        from_data(where),
        from_data(keys),
        frozenset(frozenset(map(tuple, cells)) for cells in released),
        *(from_data(item) for item in more),
    )


def _unreadable() -> QueryRejected:
    # Without the history a differencing pair would pass: nothing is answered.
    return QueryRejected(
        "an earlier release on record cannot be read, so this answer cannot be "
        "compared with it",
        hint="Have the node's operator check the stored history.",
        code="history_unreadable",
    )


def label_of(cell: Cell) -> Label:
    """Return what names a cell among those of its block."""
    return (*map(scalar, cell.keys), *cell.codes)
