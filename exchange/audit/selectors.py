"""Read the log: the story of a case, the receipt of an event, an export to verify."""

from __future__ import annotations

from collections.abc import Iterator

from exchange.audit.models import AuditEvent, StoredCheckpoint
from exchange.audit.tree import RowStore, latest_checkpoint
from exchange.errors import NotFound
from ledger import merkle
from ledger.log import LogHeader, dump_log
from ledger.receipt import RESULT_KEY, Receipt

__all__ = ["covering", "export_log", "latest_checkpoint", "receipt", "timeline"]


def timeline(case_id: str) -> list[AuditEvent]:
    """Return the events of one exchange, in the order they were written."""
    return list(AuditEvent.objects.of_case(case_id))


def covering(event: AuditEvent) -> StoredCheckpoint | None:
    """Return the first checkpoint that covers `event`, or None while it is pending."""
    if event.index is None:
        return None
    found: StoredCheckpoint | None = (
        StoredCheckpoint.objects.filter(size__gt=event.index).order_by("size").first()
    )
    return found


def receipt(event: AuditEvent) -> Receipt | None:
    """Return the proof bundle of `event`, or None while no checkpoint covers it.

    It is built over the first covering checkpoint, so that it is the same whenever asked.
    """
    place = AuditEvent.objects.filter(pk=event.pk).values_list("index", flat=True).first()
    event.index = place if event.index is None else event.index
    checkpoint = covering(event)
    if event.index is None or checkpoint is None:
        return None
    return Receipt(
        entry=bytes(event.entry),
        index=event.index,
        proof=merkle.prove_inclusion(RowStore(), event.index, checkpoint.size),
        checkpoint=checkpoint.note,
        content_sha256=event.payload.get(RESULT_KEY),
    )


def export_log(start: int = 0, size: int | None = None) -> Iterator[bytes]:
    """Yield the lines of an export of the entries from `start` to a checkpoint's `size`.

    `size` is that of a signed checkpoint, the latest by default. Raises NotFound
    (`log_empty`, `checkpoint_unknown`, `log_range`).
    """
    latest = latest_checkpoint()
    if latest is None:
        raise NotFound("Nothing is sealed in the log yet.", code="log_empty")
    checkpoint: StoredCheckpoint | None = (
        latest if size is None else StoredCheckpoint.objects.filter(size=size).first()
    )
    if checkpoint is None:
        raise NotFound(
            f"No checkpoint was signed at size {size}.",
            code="checkpoint_unknown",
            hint=f"The latest is of size {latest.size}.",
        )
    if not 0 <= start <= checkpoint.size:
        raise NotFound(
            f"An export begins at 0 to {checkpoint.size}, {start} was asked for.",
            code="log_range",
        )
    left = merkle.frontier(RowStore(), start).hashes
    entries = (
        AuditEvent.objects.sealed()
        .filter(index__gte=start, index__lt=checkpoint.size)
        .values_list("entry", flat=True)
        .iterator(chunk_size=500)
    )
    header = LogHeader(checkpoint=checkpoint.note, start=start, left=left)
    return dump_log(header, (bytes(entry) for entry in entries))
