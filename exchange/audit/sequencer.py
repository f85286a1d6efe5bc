"""Give committed events their place in the tree, and sign its new size.

Events are written by many acts at once; only here do they get an order. One call takes what
is pending, in order of writing, adds it to the tree and signs, in one transaction. Several
callers may try: `previous_size` of a checkpoint is unique, so that one of them commits and
the others leave with nothing done.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from django.db import IntegrityError, transaction

from exchange.audit import news
from exchange.audit.models import AuditEvent, StoredCheckpoint
from exchange.audit.signing import signing_key
from exchange.audit.tree import RowStore, latest_checkpoint
from exchange.errors import Conflict
from ledger import merkle
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import NodeExists

logger = logging.getLogger(__name__)

BATCH: Final = 1000


class _AnotherSequencer(Conflict):
    """An event got its place from somebody else since we read it."""

    code = "sequencer_overtaken"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one call did: the log grew from `previous_size` to `size`."""

    previous_size: int
    size: int

    @property
    def is_whole_batch(self) -> bool:
        """Whether more may be pending than one call takes."""
        return self.size - self.previous_size == BATCH


def seal() -> Sealed | None:
    """Integrate up to 1,000 pending events and sign; None when there was nothing to do.

    Afterwards each has its index and leaf hash, the tree its nodes, and a checkpoint covers
    them. Subscribers of `news` hear of them once this is committed. None also when
    another caller was faster.
    """
    try:
        with transaction.atomic():
            sealed, events = _seal_pending()
    except (IntegrityError, NodeExists, _AnotherSequencer):
        logger.info("another sequencer was faster")
        return None
    for event in events:
        news.announce(event)
    return sealed


def seal_all() -> int:
    """Seal until nothing is pending; returns the size of the log."""
    while seal() is not None:
        pass
    last = latest_checkpoint()
    return last.size if last else 0


def _seal_pending() -> tuple[Sealed | None, list[AuditEvent]]:
    last = latest_checkpoint()
    size = last.size if last else 0
    events: list[AuditEvent] = list(AuditEvent.objects.pending()[:BATCH])
    if not events:
        return None, []
    leaves = [merkle.hash_leaf(bytes(event.entry)) for event in events]
    store = RowStore()
    store.read_edge(size)
    tree = merkle.append(store, size, leaves)
    key = signing_key()
    checkpoint = Checkpoint(origin=key.name, size=tree.size, root=tree.root())
    StoredCheckpoint.objects.create(
        size=tree.size,
        previous_size=size,
        root=checkpoint.root,
        note=sign_checkpoint(checkpoint, key),
    )
    for index, (event, leaf) in enumerate(zip(events, leaves, strict=True), start=size):
        event.index, event.leaf_hash = index, leaf
    placed = AuditEvent.objects.give_places(events)
    if placed != len(events):
        raise _AnotherSequencer(f"{len(events) - placed} events have a place already")
    return Sealed(previous_size=size, size=tree.size), events
