"""The catalogue's handlers, made known to the operations registry."""

from __future__ import annotations

from exchange.catalogue import forgetting, ingest, keywork, rekeying, uploads
from exchange.operations import registry


def register() -> None:
    """Operations of the catalogue's kinds find their handlers."""
    for kind, run in (
        (uploads.PROFILE, ingest.profile),
        (uploads.PARTITION, ingest.partition),
    ):
        registry.register(
            kind, run, failed=ingest.failed, lease_seconds=ingest.LEASE_SECONDS
        )
    registry.register(forgetting.FORGET, forgetting.forget, max_attempts=100)
    registry.register(
        rekeying.REKEY,
        rekeying.rekey,
        lease_seconds=rekeying.LEASE_SECONDS,
        max_attempts=10,
    )
    registry.register(keywork.ROTATE, keywork.rotate, max_attempts=100)
