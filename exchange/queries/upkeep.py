"""What is due by the clock: open, shred, end what nobody decided, give up what was left."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from exchange.agreements.services import terminate_overdue
from exchange.catalogue.uploads import give_up_stale
from exchange.queries.releases import open_covered, shred_expired

STALE_UPLOAD = timedelta(hours=6)


@shared_task(name="queries.open", expires=30)  # type: ignore[untyped-decorator]  # Celery has no types
def open_held() -> None:
    open_covered()


@shared_task(name="queries.upkeep", expires=300)  # type: ignore[untyped-decorator]  # Celery has no types
def upkeep() -> None:
    now = timezone.now()
    shred_expired(now=now)
    terminate_overdue(now=now)
    give_up_stale(before=now - STALE_UPLOAD)
