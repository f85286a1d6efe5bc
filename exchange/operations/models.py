"""Long work as rows. The row is the truth; the broker only rings."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class OperationState(models.TextChoices):
    PENDING = "pending", _("waiting")
    LEASED = "leased", _("running")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


UNFINISHED = (OperationState.PENDING, OperationState.LEASED)


class OperationQuerySet(models.QuerySet["Operation"]):
    def of(self, kind: str, target_id: str) -> OperationQuerySet:
        return self.filter(kind=kind, target_id=target_id)

    def unfinished(self) -> OperationQuerySet:
        return self.filter(state__in=UNFINISHED)

    def claimable(self, now: dt.datetime) -> OperationQuerySet:
        return self.filter(
            Q(state=OperationState.PENDING)
            | Q(state=OperationState.LEASED, lease_until__lt=now)
        )


class Operation(models.Model):
    """One piece of work: `kind` names its handler, `target_id` what it is about.

    `lease` is a fresh token at each pick-up; who still holds it may finish the work, so a
    worker that was believed dead cannot finish what another took over.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=60)
    target_id = models.CharField(max_length=64)
    state = models.CharField(
        max_length=12, choices=OperationState, default=OperationState.PENDING
    )
    attempt = models.PositiveIntegerField(default=0)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    lease_owner = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    progress = models.CharField(max_length=200, blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    error_hint = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    rung_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # The target, where whoever enqueued the work does it too and has it at hand.
    loaded: models.Model | None = None
    # Whether this very object was leased to this process when it was enqueued.
    is_begun: bool = False

    objects = OperationQuerySet.as_manager()

    class Meta:
        verbose_name = _("operation")
        ordering = ["created_at"]
        indexes = [
            models.Index(fields=["state", "lease_until"], name="operation_due"),
            models.Index(fields=["kind", "target_id"], name="operation_target"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "target_id"],
                condition=Q(state__in=["pending", "leased"]),
                name="operation_one_unfinished",
            ),
            models.CheckConstraint(
                name="operation_leased_has_lease",
                condition=~Q(state="leased")
                | Q(lease__isnull=False, lease_until__isnull=False),
            ),
            models.CheckConstraint(
                name="operation_failed_has_code",
                condition=~Q(state="failed") | ~Q(error_code=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.public_id}"

    @property
    def is_finished(self) -> bool:
        return self.state not in UNFINISHED
