"""Datasets and their immutable versions (DCAT), policy versions and offers (ODRL).

Rows about data, never rows of data: what a column is called and how many values it has is
here; a value is in the vault only, encrypted.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from exchange.catalogue.states import VERSION_MOVES, VersionState

if TYPE_CHECKING:
    from policies.document import Policy


class Dataset(models.Model):
    """What an organisation offers under one name, over all its versions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(
        "parties.Organisation", on_delete=models.PROTECT, related_name="datasets"
    )
    slug = models.SlugField(max_length=80)
    # The name that queries and policies use: a plain lower-case SQL identifier.
    table_name = models.CharField(max_length=63)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    keywords = models.JSONField(default=list, blank=True)
    # `safe` or `dp`, fixed by the first publication: exact releases void dp claims.
    aggregate_mode = models.CharField(max_length=8, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("title", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("organisation", "slug"), name="dataset_slug_unique_in_organisation"
            ),
            models.UniqueConstraint(
                fields=("organisation", "table_name"),
                name="dataset_table_name_unique_in_organisation",
            ),
            models.CheckConstraint(
                condition=Q(aggregate_mode__in=("", "safe", "dp")),
                name="dataset_aggregate_mode_known",
            ),
        )

    def __str__(self) -> str:
        return self.title


class DatasetVersion(models.Model):
    """One upload, from its first byte to its withdrawal; its rows never change."""

    MOVES = VERSION_MOVES

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(
        max_length=16, choices=VersionState.choices, default=VersionState.UPLOADING
    )

    filename = models.CharField(max_length=255)
    format = models.CharField(
        max_length=8, choices=(("csv", "CSV"), ("parquet", "Parquet"))
    )
    csv_delimiter = models.CharField(max_length=4, blank=True)  # blank: find out
    csv_encoding = models.CharField(max_length=32, blank=True)
    csv_header = models.BooleanField(default=True)
    content_sha256 = models.CharField(max_length=64, blank=True)  # of the clear upload
    content_bytes = models.BigIntegerField(default=0)

    rows = models.BigIntegerField(null=True, blank=True)
    unit_count = models.BigIntegerField(null=True, blank=True)
    # Columns by whose keyed hash the rows are partitioned; [] = each row is its own unit.
    unit_columns = models.JSONField(default=list, blank=True)
    # {"encoding", "delimiter", "warnings": [...]}; the columns have rows of their own.
    profile = models.JSONField(default=dict, blank=True)

    # Of the stage under way or last failed. Errors of the upload name line and column.
    failed_stage = models.CharField(max_length=16, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    error_hint = models.TextField(blank=True)
    error_line = models.BigIntegerField(null=True, blank=True)
    error_column = models.CharField(max_length=255, blank=True)

    source_key = models.ForeignKey(
        "keys.DataKey", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    staged_key = models.ForeignKey(
        "keys.DataKey", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    data_key = models.ForeignKey(
        "keys.DataKey", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("dataset", "-number")
        constraints = (
            models.UniqueConstraint(
                fields=("dataset", "number"), name="dataset_version_number_unique"
            ),
            models.CheckConstraint(
                condition=Q(number__gte=1), name="dataset_version_number_positive"
            ),
            models.UniqueConstraint(
                fields=("dataset", "content_sha256"),
                condition=~Q(content_sha256="")
                & ~Q(state__in=(VersionState.FAILED, VersionState.WITHDRAWN)),
                name="dataset_version_content_unique",
            ),
            models.CheckConstraint(
                condition=Q(state__in=VersionState.values),
                name="dataset_version_state_known",
            ),
            models.CheckConstraint(
                condition=~Q(state=VersionState.FAILED) | ~Q(error_code=""),
                name="dataset_version_failed_says_why",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=(VersionState.READY, VersionState.PUBLISHED))
                | Q(data_key__isnull=False, rows__isnull=False, unit_count__isnull=False),
                name="dataset_version_ready_has_key_and_rows",
            ),
        )

    def __str__(self) -> str:
        return f"{self.dataset} · {self.number}"

    @property
    def rows_about(self) -> int | None:
        """The number of rows to two significant digits: all that others may know.

        Beside released counts the exact number would give a withheld one away.
        """
        if self.rows is None or self.rows < 100:
            return self.rows
        step: int = 10 ** (len(str(self.rows)) - 2)
        return (self.rows + step // 2) // step * step


class StoredFile(models.Model):
    """A file of a version in the vault; its digests are checked when it is read."""

    class Part(models.TextChoices):
        SOURCE = "source", "source"  # the upload, sealed
        STAGED = "staged", "staged"  # typed, one encrypted Parquet file
        SHARD = "shard", "shard"  # partitioned by unit

    version = models.ForeignKey(
        DatasetVersion, on_delete=models.PROTECT, related_name="files"
    )
    part = models.CharField(max_length=8, choices=Part.choices)
    group = models.CharField(max_length=63, blank=True)  # of columns; blank: the others
    index = models.PositiveIntegerField(default=0)
    name = models.CharField(max_length=255, unique=True)  # relative to the vault
    sha256 = models.CharField(max_length=64)
    # Of the encrypted footer, which pins each column; blank: none, all of it is digested.
    footer_sha256 = models.CharField(max_length=64, blank=True)
    size_bytes = models.BigIntegerField()
    rows = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("version", "part", "group", "index")
        constraints = (
            models.UniqueConstraint(
                fields=("version", "part", "group", "index"),
                name="stored_file_part_group_index_unique",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Rekeying(models.Model):
    """Files of a version that are being written anew, and the key they will be under."""

    version = models.ForeignKey(
        DatasetVersion, on_delete=models.PROTECT, related_name="rekeyings"
    )
    group = models.CharField(max_length=63, blank=True)  # of columns; blank: the shards
    key = models.ForeignKey("keys.DataKey", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("version", "group"), name="rekeying_once_per_group"
            ),
        )

    def __str__(self) -> str:
        return f"{self.version} {self.group}"


class ColumnGroup(models.Model):
    """Columns of a version that lie in files and under a data key of their own.

    Which they are was decided by the policy under which the version was partitioned. A
    later policy that opens or closes a column moves no byte: a job gets the key of a group
    if it may need one of its columns, whatever the group is called.
    """

    version = models.ForeignKey(
        DatasetVersion, on_delete=models.PROTECT, related_name="column_groups"
    )
    name = models.CharField(max_length=63)
    columns = models.JSONField()  # names
    data_key = models.ForeignKey("keys.DataKey", on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("version", "name")
        constraints = (
            models.UniqueConstraint(
                fields=("version", "name"), name="column_group_name_unique_in_version"
            ),
            models.CheckConstraint(condition=~Q(name=""), name="column_group_has_a_name"),
        )

    def __str__(self) -> str:
        return f"{self.version} · {self.name}"


class Column(models.Model):
    """What is known of one column, and the roles proposed for it; never a sample value."""

    version = models.ForeignKey(
        DatasetVersion, on_delete=models.CASCADE, related_name="columns"
    )
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    null_share = models.FloatField()
    distinct = models.BigIntegerField()
    minimum = models.CharField(max_length=64, blank=True)
    maximum = models.CharField(max_length=64, blank=True)
    proposed_roles = models.JSONField(default=list, blank=True)
    proposed_grid = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ("version", "position")
        constraints = (
            models.UniqueConstraint(fields=("version", "name"), name="column_name_unique"),
            models.UniqueConstraint(
                fields=("version", "position"), name="column_position_unique"
            ),
        )

    def __str__(self) -> str:
        return self.name


class PolicyVersion(models.Model):
    """One edit of a dataset's policy: canonical JSON and its digest; never updated."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="policies")
    number = models.PositiveIntegerField()
    source = models.TextField()  # as the provider wrote it, comments included
    canonical = models.TextField()
    digest = models.CharField(max_length=64)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("dataset", "-number")
        constraints = (
            models.UniqueConstraint(
                fields=("dataset", "number"), name="policy_version_number_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.dataset} policy {self.number}"

    @property
    def policy(self) -> Policy:
        return _read_policy(self.canonical)


@lru_cache(maxsize=128)
def _read_policy(canonical: str) -> Policy:
    # Reading takes milliseconds, and each step of a query asks for it. Values are frozen.
    from policies.codec import load_policy

    return load_policy(canonical)


class Offer(models.Model):
    """A version under a policy version and a licence, open to requests until closed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="offers")
    version = models.ForeignKey(
        DatasetVersion, on_delete=models.PROTECT, related_name="offers"
    )
    policy_version = models.ForeignKey(
        PolicyVersion, on_delete=models.PROTECT, related_name="offers"
    )
    licence = models.CharField(max_length=100)  # SPDX expression or LicenseRef-...
    terms = models.TextField(blank=True)
    attribution = models.CharField(max_length=500, blank=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    published_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-published_at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("dataset",),
                condition=Q(closed_at__isnull=True),
                name="offer_one_open_per_dataset",
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True) | Q(closed_at__gte=F("published_at")),
                name="offer_closed_after_published",
            ),
        )

    def __str__(self) -> str:
        return f"{self.version} · {self.licence}"

    @property
    def is_open(self) -> bool:
        return self.closed_at is None


class OfferTable(models.Model):
    """Which version stands behind each table that the offer's policy names."""

    offer = models.ForeignKey(Offer, on_delete=models.CASCADE, related_name="tables")
    table_name = models.CharField(max_length=63)
    version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ("offer", "table_name")
        constraints = (
            models.UniqueConstraint(
                fields=("offer", "table_name"), name="offer_table_name_unique"
            ),
        )

    def __str__(self) -> str:
        return self.table_name
