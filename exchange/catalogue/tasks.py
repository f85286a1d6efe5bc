"""The catalogue's handlers, made known to the operations registry."""

from __future__ import annotations

from exchange.catalogue import ingest, uploads
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
