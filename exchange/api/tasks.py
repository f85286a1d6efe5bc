"""What is due by the clock for the API itself."""

from __future__ import annotations

from celery import shared_task

from exchange.api.idempotency import forget_old_answers


@shared_task(name="api.forget", expires=300)  # type: ignore[untyped-decorator]  # Celery has no types
def forget() -> None:
    forget_old_answers()
