"""Organisations, users, memberships and API tokens."""

from __future__ import annotations

import datetime as dt
import uuid
from enum import StrEnum
from functools import cached_property

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Kind(models.TextChoices):
    """What an organisation is in the exchange."""

    PROVIDER = "provider", _("provider")
    CONSUMER = "consumer", _("consumer")
    REGULATOR = "regulator", _("regulator")
    OPERATOR = "operator", _("operator of the node")


class Role(models.TextChoices):
    """What a person is in an organisation; `permissions.GRANTED` says what they may do."""

    ADMIN = "admin", _("administrator")
    STEWARD = "steward", _("data steward")
    BUILDER = "builder", _("model builder")
    REVIEWER = "reviewer", _("reviewer")
    REGULATOR = "regulator", _("regulator")


class Scope(StrEnum):
    """What a token may be used for; never more than its owner may do."""

    CATALOGUE_READ = "catalogue:read"
    DATASETS_WRITE = "datasets:write"
    REQUESTS_WRITE = "requests:write"
    REQUESTS_DECIDE = "requests:decide"
    QUERIES_WRITE = "queries:write"
    RELEASES_READ = "releases:read"
    EVIDENCE_READ = "evidence:read"
    PARTIES_WRITE = "parties:write"
    KEYS_WRITE = "keys:write"


class Organisation(models.Model):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=Kind)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("organisation")
        ordering = ["name"]
        default_permissions = ()
        permissions = [
            ("administer", _("May add members, issue tokens and rotate keys")),
            ("manage_datasets", _("May register, upload and publish datasets")),
            ("request_access", _("May ask for access on its behalf")),
            ("submit_queries", _("May run queries under its grants")),
            ("review", _("May decide requests and queries over its datasets")),
            ("view_evidence", _("May see its case files and receipts")),
            ("view_evidence_of_all", _("May see every case file of the node")),
        ]
        constraints = [
            models.CheckConstraint(
                name="organisation_kind_known", condition=Q(kind__in=Kind.values)
            )
        ]

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    organisations = models.ManyToManyField(
        Organisation, through="Membership", related_name="members"
    )

    class Meta:
        verbose_name = _("user")
        ordering = ["username"]

    def __str__(self) -> str:
        return self.get_full_name() or self.username

    @cached_property
    def organisation(self) -> Organisation | None:
        """The organisation they act for: the one they joined first."""
        first = self.memberships.select_related("organisation").order_by("pk").first()
        return first.organisation if first else None

    @property
    def actor_id(self) -> str:
        return str(self.public_id)

    @property
    def actor_name(self) -> str:
        return str(self)

    @property
    def actor_organisation(self) -> str:
        return self.organisation.slug if self.organisation else ""


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="memberships"
    )
    role = models.CharField(max_length=20, choices=Role)
    granted_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("membership")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "organisation", "role"], name="membership_once"
            ),
            models.CheckConstraint(
                name="membership_role_known", condition=Q(role__in=Role.values)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()} of {self.organisation}"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self, now: dt.datetime) -> ApiTokenQuerySet:
        return self.filter(revoked_at=None, expires_at__gt=now, user__is_active=True)


class ApiToken(models.Model):
    """A bearer credential, kept as its digest only: the text is shown once, at issue."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("API token")
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="token_expires_after_issue",
                condition=Q(expires_at__gt=models.F("created_at")),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes
