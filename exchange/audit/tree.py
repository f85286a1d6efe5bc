"""The log's tree, kept as rows: a `ledger.merkle.Store` over `TreeNode`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

from django.db import IntegrityError, transaction
from django.db.models import Q

from exchange.audit.models import StoredCheckpoint, TreeNode
from ledger.errors import NodeExists
from ledger.merkle import Node, covering


class RowStore:
    """As durable as the caller's transaction; a constraint refuses a second writer.

    A node is never altered, so what was read once is not asked for again.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bytes] = {}

    def read_edge(self, size: int) -> None:
        """Read all that covers the first `size` entries, in one statement."""
        places = [Q(level=level, index=index) for level, index in covering(0, size)]
        if places:
            found = TreeNode.objects.filter(reduce(or_, places))
            for level, index, value in found.values_list("level", "index", "hash"):
                self._known[level, index] = bytes(value)

    def node(self, level: int, index: int) -> bytes | None:
        if (level, index) in self._known:
            return self._known[level, index]
        found = TreeNode.objects.filter(level=level, index=index).values_list(
            "hash", flat=True
        )
        value = found.first()
        return None if value is None else bytes(value)

    def put_nodes(self, nodes: Sequence[Node]) -> None:
        rows = [TreeNode(level=n.level, index=n.index, hash=n.hash) for n in nodes]
        try:
            with transaction.atomic():
                TreeNode.objects.bulk_create(rows, batch_size=500)
        except IntegrityError as error:
            raise NodeExists(
                f"{len(nodes)} new nodes were to be kept, one was there already"
            ) from error


def latest_checkpoint() -> StoredCheckpoint | None:
    """Return the largest signed size of the log, or None while nothing is sealed."""
    found: StoredCheckpoint | None = StoredCheckpoint.objects.order_by("-size").first()
    return found
