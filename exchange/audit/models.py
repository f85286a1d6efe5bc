"""Events, the tree over them, and the signed sizes of that tree. Rows are only added.

The content of an event cannot be altered or deleted: the managers refuse, and triggers in
the database refuse whoever goes round them (migration 0002). `index` and `leaf_hash` are
set once, by the sequencer.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, NoReturn

from django.db import connections, models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from exchange.errors import Refused


def _refuse(verb: str) -> NoReturn:
    raise Refused(f"an audit row cannot be {verb}", code="audit_insert_only")


class InsertOnlyQuerySet(models.QuerySet[Any]):
    def update(self, **kwargs: Any) -> NoReturn:  # noqa: ARG002 - Django's signature
        _refuse("changed")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002 - Django's signature
        _refuse("changed")

    def delete(self) -> NoReturn:
        _refuse("deleted")


class EventQuerySet(InsertOnlyQuerySet):
    def pending(self) -> EventQuerySet:
        return self.filter(index=None).order_by("seq")

    def sealed(self) -> EventQuerySet:
        return self.exclude(index=None).order_by("index")

    def of_case(self, case_id: str) -> EventQuerySet:
        return self.filter(case_id=case_id).order_by("seq")

    def about(self, subject_type: str, subject_id: str) -> EventQuerySet:
        return self.filter(subject_type=subject_type, subject_id=subject_id).order_by("seq")

    def give_places(self, events: Sequence[AuditEvent]) -> int:
        """For the sequencer alone: those without a place get the one that stands in them.

        Returns how many that were.
        """
        places = [(e.index, bytes(e.leaf_hash or b""), e.seq) for e in events]
        with connections[self.db].cursor() as cursor:
            cursor.executemany(
                f'UPDATE {self.model._meta.db_table} SET "index" = %s, leaf_hash = %s'
                ' WHERE seq = %s AND "index" IS NULL',
                places,
            )
            return int(cursor.rowcount)


class InsertOnly(models.Model):
    class Meta:
        abstract = True

    # The only override of save() in the house: it holds no business logic, it refuses.
    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            _refuse("changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002 - Django's signature
        _refuse("deleted")


class AuditEvent(InsertOnly):
    seq = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    type = models.CharField(max_length=40)
    at = models.DateTimeField(default=timezone.now)
    actor_id = models.CharField(max_length=64)
    actor_name = models.CharField(max_length=200)
    organisation = models.CharField(max_length=100, blank=True)
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64)
    case_id = models.CharField(max_length=64, blank=True, default="")
    entry = models.BinaryField(
        help_text=_("Canonical bytes: what is hashed is what is stored.")
    )
    private = models.JSONField(
        default=dict, help_text=_("What the entry only commits to: texts with their salts.")
    )
    index = models.BigIntegerField(null=True, unique=True, editable=False)
    leaf_hash = models.BinaryField(null=True, editable=False)

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit event")
        indexes = [
            models.Index(fields=["case_id", "seq"], name="event_by_case"),
            models.Index(
                fields=["subject_type", "subject_id", "seq"], name="event_by_subject"
            ),
            models.Index(fields=["organisation", "seq"], name="event_by_organisation"),
            models.Index(fields=["type", "seq"], name="event_by_type"),
        ]
        constraints = [
            models.CheckConstraint(
                name="event_index_and_leaf_together",
                condition=models.Q(index=None, leaf_hash=None)
                | models.Q(index__isnull=False, leaf_hash__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"

    @property
    def payload(self) -> dict[str, Any]:
        """What the entry says beside who, when and about what."""
        payload: dict[str, Any] = json.loads(bytes(self.entry))["payload"]
        return payload

    @property
    def is_sealed(self) -> bool:
        return self.index is not None


class TreeNode(InsertOnly):
    """The hash of one complete subtree: `index`-th of its `level` (0 is the leaves)."""

    level = models.PositiveSmallIntegerField()
    index = models.BigIntegerField()
    hash = models.BinaryField()

    objects = InsertOnlyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["level", "index"], name="tree_node_once")
        ]

    def __str__(self) -> str:
        return f"node {self.level}/{self.index}"


class StoredCheckpoint(InsertOnly):
    """A signed size of the log. `previous_size` is unique: no size has two successors."""

    size = models.BigIntegerField(unique=True)
    previous_size = models.BigIntegerField(unique=True)
    root = models.BinaryField()
    note = models.TextField()
    at = models.DateTimeField(default=timezone.now)

    objects = InsertOnlyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="checkpoint_grows",
                condition=models.Q(size__gt=models.F("previous_size")),
            )
        ]

    def __str__(self) -> str:
        return f"checkpoint {self.size}"
