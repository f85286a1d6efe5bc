"""Answers kept for a day, so that a request sent twice is acted upon once."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class IdempotentAnswer(models.Model):
    """What was answered to one key of one user; written in the act's own transaction."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    key = models.CharField(max_length=200)
    # Of method, path and body: the same key for another request is a mistake to be told.
    request_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user", "key"), name="idempotent_answer_once_per_key"
            ),
        )
        indexes = (models.Index(fields=("created_at",), name="idempotent_answer_by_age"),)

    def __str__(self) -> str:
        return f"answer {self.status} kept since {self.created_at:%Y-%m-%d %H:%M}"
