"""The log's tree, kept as rows: a `ledger.merkle.Store` over `TreeNode`."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from exchange.audit.models import StoredCheckpoint, TreeNode
from ledger.errors import NodeExists
from ledger.merkle import Node


class RowStore:
    """As durable as the caller's transaction; a constraint refuses a second writer."""

    def node(self, level: int, index: int) -> bytes | None:
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
