"""Key rows: wrapped bytes, their purpose and their state. No clear key is ever a field."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class KeyState(models.TextChoices):
    ACTIVE = "active", _("active")
    # Of organisation keys: opens, takes nothing new, and ends with its rotation.
    RETIRING = "retiring", _("retiring")
    DESTROYED = "destroyed", _("destroyed")


class KeyPurpose(models.TextChoices):
    """What a data key encrypts; it is bound into the wrapping."""

    UPLOAD = "upload", _("a sealed upload")
    STAGED = "staged", _("a staged table")
    VERSION = "version", _("a dataset version")
    RESULT = "result", _("a held result")
    PACKAGE = "package", _("a labelled subset")
    DERIVATION = "derivation", _("an organisation's derived keys")


class MasterKey(models.Model):
    """A master key that was seen at its provider: a name and two times, never a byte."""

    ref = models.CharField(max_length=128, unique=True)
    noted_at = models.DateTimeField(default=timezone.now, editable=False)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("master key")
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.ref


class OrganisationKeyQuerySet(models.QuerySet["OrganisationKey"]):
    def live(self) -> OrganisationKeyQuerySet:
        """Those that open something."""
        return self.exclude(state=KeyState.DESTROYED)


class OrganisationKey(models.Model):
    """One generation of an organisation's key, wrapped by the node's key provider."""

    organisation = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="keys"
    )
    generation = models.PositiveIntegerField(default=1)
    wrapped = models.BinaryField()
    provider_ref = models.CharField(max_length=128)
    state = models.CharField(max_length=12, choices=KeyState, default=KeyState.ACTIVE)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    objects = OrganisationKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("organisation key")
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "generation"],
                name="organisation_key_generation_once",
            ),
            models.UniqueConstraint(
                fields=["organisation"],
                condition=Q(state=KeyState.ACTIVE),
                name="organisation_key_one_active",
            ),
            models.CheckConstraint(
                name="organisation_key_destroyed_is_empty",
                condition=Q(
                    state__in=[KeyState.ACTIVE, KeyState.RETIRING], destroyed_at=None
                )
                | Q(state=KeyState.DESTROYED, wrapped=b"", destroyed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"key {self.generation} of organisation {self.organisation_id}"


class DataKey(models.Model):
    """One data key, wrapped by its organisation's key; empty once destroyed."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    organisation_key = models.ForeignKey(
        OrganisationKey, on_delete=models.PROTECT, related_name="data_keys"
    )
    wrapped = models.BinaryField()
    purpose = models.CharField(max_length=20, choices=KeyPurpose)
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64)
    state = models.CharField(max_length=12, choices=KeyState, default=KeyState.ACTIVE)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("data key")
        indexes = [
            models.Index(fields=["subject_type", "subject_id"], name="data_key_subject")
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["subject_type", "subject_id"],
                condition=Q(purpose=KeyPurpose.DERIVATION),
                name="data_key_one_derivation",
            ),
            models.CheckConstraint(
                name="data_key_destroyed_is_empty",
                condition=Q(state=KeyState.ACTIVE, destroyed_at=None)
                | Q(state=KeyState.DESTROYED, wrapped=b"", destroyed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} key {self.public_id}"
