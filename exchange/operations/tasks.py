"""Celery's shells: load by id, call one function."""

from __future__ import annotations

from celery import shared_task

from exchange.operations import work


@shared_task(name="operations.ring")  # type: ignore[untyped-decorator]  # Celery has no types
def ring(public_id: str) -> None:
    work.perform(public_id)


@shared_task(name="operations.sweep", expires=30)  # type: ignore[untyped-decorator]  # Celery has no types
def sweep() -> None:
    work.sweep()
