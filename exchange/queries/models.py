"""Queries under a grant, the reviewers' words on them, releases and their history."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from exchange.queries.states import (
    LIVE_STATES,
    QUERY_MOVES,
    RELEASE_MOVES,
    UNDER_WAY,
    QueryState,
    ReleaseState,
    Verdict,
)


class QueryQuerySet(models.QuerySet["Query"]):
    def live(self) -> QueryQuerySet:
        """Queries that stand for their fingerprint: decided for, and not shredded."""
        return self.filter(state__in=LIVE_STATES).exclude(fingerprint="")


class Query(models.Model):
    """One submission under a grant: SQL for aggregates, or the delivery of a subset."""

    MOVES = QUERY_MOVES

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    grant = models.ForeignKey(
        "agreements.Grant", on_delete=models.PROTECT, related_name="queries"
    )
    state = models.CharField(
        max_length=16, choices=QueryState.choices, default=QueryState.DRAFTED
    )
    sql = models.TextField(blank=True)  # blank for a subset
    purpose = models.CharField(max_length=100)
    columns = models.JSONField(default=list, blank=True)  # of a subset, in output order
    idempotency_key = models.CharField(max_length=200)
    # Of all that its analysis depends on; equal ones are analysed alike (queries.repeats).
    question = models.CharField(max_length=64, blank=True, editable=False)
    submitted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="queries"
    )
    submitted_at = models.DateTimeField(auto_now_add=True)

    verdict = models.CharField(max_length=8, choices=Verdict.choices, blank=True)
    # [{"code", "message", "hint", "line", "column", "policy_path"}], every ground.
    reasons = models.JSONField(default=list, blank=True)
    shape = models.TextField(blank=True)  # JSON of policies.shape_codec
    executed_sql = models.TextField(blank=True)
    fingerprint = models.CharField(max_length=64, blank=True)
    analysed_at = models.DateTimeField(null=True, blank=True)
    # An earlier query of this grant with this fingerprint: its answer is this one's.
    same_as = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="repeats"
    )
    result_key = models.ForeignKey(
        "keys.DataKey", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    run_started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    error_hint = models.TextField(blank=True)

    objects = QueryQuerySet.as_manager()

    class Meta:
        ordering = ("-submitted_at", "id")
        verbose_name_plural = "queries"
        indexes = (
            models.Index(fields=("grant", "question"), name="query_by_question"),
            models.Index(
                fields=("state",), condition=Q(state__in=UNDER_WAY), name="query_under_way"
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("grant", "idempotency_key"), name="query_idempotency_key_unique"
            ),
            models.UniqueConstraint(
                fields=("grant", "fingerprint"),
                condition=Q(same_as__isnull=True, state__in=LIVE_STATES)
                & ~Q(fingerprint=""),
                name="query_one_live_per_fingerprint",
            ),
            models.CheckConstraint(
                condition=Q(state__in=QueryState.values), name="query_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(state=QueryState.FAILED) | ~Q(error_code=""),
                name="query_failed_says_why",
            ),
        )

    def __str__(self) -> str:
        return f"{self.grant} · {self.state}"

    @property
    def case_id(self) -> str:
        return self.grant.case_id


class QueryReview(models.Model):
    """One named reviewer's word on one query. Four eyes is held by constraint."""

    query = models.ForeignKey(Query, on_delete=models.PROTECT, related_name="reviews")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    reviewer_organisation = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="+"
    )
    submitter = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    consumer = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="+"
    )
    approves = models.BooleanField()
    note = models.TextField(blank=True)
    # What was approved; a plan with another fingerprint is another question.
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("query", "reviewer"), name="query_review_once_per_reviewer"
            ),
            models.CheckConstraint(
                condition=~Q(reviewer=F("submitter")), name="query_review_not_by_submitter"
            ),
            models.CheckConstraint(
                condition=~Q(reviewer_organisation=F("consumer")),
                name="query_review_not_by_consumer",
            ),
        )

    def __str__(self) -> str:
        return f"{self.reviewer}: {'approves' if self.approves else 'rejects'}"


class FailedRun(models.Model):
    """What a run used that ended without an answer: the provider's machine bore it."""

    query = models.ForeignKey(Query, on_delete=models.PROTECT, related_name="failed_runs")
    error_code = models.CharField(max_length=64)
    metering = models.JSONField()
    failed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("failed_at", "id")

    def __str__(self) -> str:
        return self.error_code


class Release(models.Model):
    """What left, or is about to: a sealed file, its digest and the event that states it."""

    MOVES = RELEASE_MOVES

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    query = models.OneToOneField(Query, on_delete=models.PROTECT, related_name="release")
    state = models.CharField(
        max_length=16, choices=ReleaseState.choices, default=ReleaseState.HELD
    )
    media_type = models.CharField(max_length=100)
    filename = models.CharField(max_length=255)
    content_sha256 = models.CharField(max_length=64)  # of the clear bytes
    content_bytes = models.BigIntegerField()
    stored_name = models.CharField(max_length=255, blank=True)  # in the vault; blank: gone
    data_key = models.ForeignKey("keys.DataKey", on_delete=models.PROTECT, related_name="+")
    event_id = models.UUIDField(unique=True)  # of its release:held

    rows = models.BigIntegerField()
    columns = models.JSONField(default=list)  # [[name, type], ...]
    suppressed = models.BigIntegerField(default=0)
    partial = models.BooleanField(default=False)
    report = models.JSONField(default=list, blank=True)  # [[reason, cells]]: provider only
    metering = models.JSONField(default=dict, blank=True)

    held_at = models.DateTimeField(auto_now_add=True)
    available_at = models.DateTimeField(null=True, blank=True)
    shred_after = models.DateTimeField()
    shredded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-held_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=ReleaseState.values), name="release_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(state=ReleaseState.AVAILABLE) | Q(available_at__isnull=False),
                name="release_available_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state=ReleaseState.SHREDDED, shredded_at__isnull=False)
                | (~Q(state=ReleaseState.SHREDDED) & Q(shredded_at__isnull=True)),
                name="release_shredded_has_time",
            ),
        )

    def __str__(self) -> str:
        return self.filename


class HistoryEntry(models.Model):
    """What one aggregate release told of one dataset, sealed; numbered without a gap.

    `unique (dataset, number)` is the compare-and-set of a run: two runs that saw the same
    history cannot both release, or their difference would escape disclosure control.
    """

    dataset = models.ForeignKey(
        "catalogue.Dataset", on_delete=models.PROTECT, related_name="+"
    )
    number = models.PositiveIntegerField()
    release = models.ForeignKey(
        Release, on_delete=models.PROTECT, related_name="history_entries"
    )
    sealed = models.BinaryField()

    class Meta:
        ordering = ("dataset", "number")
        constraints = (
            models.UniqueConstraint(
                fields=("dataset", "number"), name="history_number_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.dataset} history {self.number}"
