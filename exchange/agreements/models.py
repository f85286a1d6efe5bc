"""Access requests, the named decisions on them, and the grants they end in."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from exchange.agreements.states import (
    NEGOTIATION_MOVES,
    LegalBasis,
    NegotiationState,
    RuleKind,
)


class AccessRequest(models.Model):
    """One party asks to use one offer, for one purpose. Its id is the case's id."""

    MOVES = NEGOTIATION_MOVES

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    offer = models.ForeignKey(
        "catalogue.Offer", on_delete=models.PROTECT, related_name="requests"
    )
    kind = models.CharField(max_length=16, choices=RuleKind.choices)
    rule_index = models.PositiveIntegerField()  # among the policy's rules of that kind
    state = models.CharField(
        max_length=16, choices=NegotiationState.choices, default=NegotiationState.REQUESTED
    )
    consumer = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="access_requests"
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="access_requests"
    )
    purpose = models.CharField(max_length=100)
    legal_basis = models.CharField(max_length=32, choices=LegalBasis.choices)
    justification = models.TextField()
    columns = models.JSONField(default=list, blank=True)  # [] = all that the rule allows
    duration_days = models.PositiveIntegerField()
    accepted_licence = models.CharField(max_length=100)
    reviewers_needed = models.PositiveIntegerField()  # 0: the policy decides
    due_at = models.DateTimeField(null=True, blank=True)  # reviewers decide before
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    refusal_code = models.CharField(max_length=64, blank=True)
    refusal_note = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=NegotiationState.values), name="request_state_known"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=RuleKind.values), name="request_kind_known"
            ),
            models.CheckConstraint(
                condition=Q(duration_days__gte=1, duration_days__lte=3660),
                name="request_duration_in_range",
            ),
            models.CheckConstraint(
                condition=Q(
                    state__in=(NegotiationState.FINALIZED, NegotiationState.TERMINATED),
                    decided_at__isnull=False,
                )
                | ~Q(state__in=(NegotiationState.FINALIZED, NegotiationState.TERMINATED)),
                name="request_decided_when_final",
            ),
            models.UniqueConstraint(
                fields=("offer", "consumer", "purpose", "kind"),
                condition=Q(state=NegotiationState.REQUESTED),
                name="request_one_open_per_purpose",
            ),
        )

    def __str__(self) -> str:
        return f"{self.consumer} → {self.offer}"

    @property
    def is_waiting(self) -> bool:
        return self.state == NegotiationState.REQUESTED

    @property
    def approvals(self) -> int:
        return sum(1 for d in self.decisions.all() if d.approves)


class RequestDecision(models.Model):
    """One named reviewer's word on one request. Four eyes is held by constraint."""

    request = models.ForeignKey(
        AccessRequest, on_delete=models.PROTECT, related_name="decisions"
    )
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    reviewer_organisation = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="+"
    )
    # Copies from the request, so that one row can hold the four-eyes rule.
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    consumer = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="+"
    )
    approves = models.BooleanField()
    note = models.TextField(blank=True)
    # What a run under the grant may use, if it comes to one: as in `Grant.limits`.
    limits = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("request", "reviewer"), name="request_decision_once_per_reviewer"
            ),
            models.CheckConstraint(
                condition=~Q(reviewer=F("requester")),
                name="request_decision_not_by_requester",
            ),
            models.CheckConstraint(
                condition=~Q(reviewer_organisation=F("consumer")),
                name="request_decision_not_by_consumer",
            ),
        )

    def __str__(self) -> str:
        return f"{self.reviewer}: {'approves' if self.approves else 'rejects'}"


class Grant(models.Model):
    """What one agreement lets one party run: pinned to version, policy version and rule."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.OneToOneField(
        AccessRequest, on_delete=models.PROTECT, related_name="grant"
    )
    offer = models.ForeignKey(
        "catalogue.Offer", on_delete=models.PROTECT, related_name="grants"
    )
    version = models.ForeignKey(
        "catalogue.DatasetVersion", on_delete=models.PROTECT, related_name="grants"
    )
    policy_version = models.ForeignKey(
        "catalogue.PolicyVersion", on_delete=models.PROTECT, related_name="grants"
    )
    kind = models.CharField(max_length=16, choices=RuleKind.choices)
    rule_index = models.PositiveIntegerField()
    provider = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="grants_given"
    )
    consumer = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="grants_held"
    )
    purpose = models.CharField(max_length=100)
    columns = models.JSONField(default=list, blank=True)
    # {"seconds", "memory_mb", "output_mb"} of a run; what is absent is the node's default.
    limits = models.JSONField(default=dict, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
    )
    revocation_note = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="grant_ends_after_start"
            ),
            models.CheckConstraint(
                condition=~Q(provider=F("consumer")), name="grant_parties_differ"
            ),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True, revoked_by__isnull=True)
                | Q(revoked_at__isnull=False, revoked_by__isnull=False),
                name="grant_revoked_at_and_by_together",
            ),
        )

    def __str__(self) -> str:
        return f"{self.consumer}: {self.version} ({self.purpose})"

    @property
    def case_id(self) -> str:
        """The case file's id: that of the request with which the exchange began."""
        return str(self.request_id)

    def is_active(self, now: datetime) -> bool:
        """Whether it may be used at `now`; the version must not be withdrawn besides."""
        return self.revoked_at is None and self.starts_at <= now < self.ends_at
