"""The queries' handlers and listeners, made known; Celery finds the clock's tasks here."""

from __future__ import annotations

from exchange.audit import news
from exchange.audit.events import EventType
from exchange.operations import registry
from exchange.queries import releases, runs, services, shredding
from exchange.queries.upkeep import open_held, upkeep

__all__ = ["open_held", "register", "upkeep"]


def register() -> None:
    """Operations of the queries' kinds find their handlers, and news their listener."""
    registry.register(
        services.ANALYSE, runs.analyse, failed=runs.failed, lease_seconds=runs.LEASE_SECONDS
    )
    registry.register(
        services.RUN, runs.run, failed=runs.failed, lease_seconds=runs.LEASE_SECONDS
    )
    registry.register(shredding.SHRED, shredding.shred_all, max_attempts=100)
    news.subscribe(EventType.RELEASE_HELD, releases.on_held)
