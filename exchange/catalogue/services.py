"""Writes on the catalogue: register, upload, policy, partition, publish, withdraw.

Each act writes its audit event in its own transaction: without the event, no act.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from sandbox.protocol import CsvOptions, Format

if TYPE_CHECKING:
    from exchange.catalogue.models import Dataset, DatasetVersion, Offer, PolicyVersion
    from exchange.parties.models import Organisation, User


def register_dataset(
    *,
    organisation: Organisation,
    title: str,
    slug: str = "",
    table_name: str = "",
    description: str = "",
    keywords: Sequence[str] = (),
    by: User,
) -> Dataset:
    """A dataset without versions stands under `organisation`, and is recorded.

    `slug` and `table_name` default to forms of the title; both are unique within the
    organisation (Conflict `dataset_slug_taken`, `dataset_table_name_taken`).
    """
    raise NotImplementedError


def accept_upload(
    *,
    dataset: Dataset,
    stream: BinaryIO | Iterable[bytes],
    filename: str,
    format: Format | None = None,  # noqa: A002 - the protocol's word
    csv: CsvOptions | None = None,
    by: User,
) -> DatasetVersion:
    """A new version holds the upload, sealed while it streamed in; profiling is enqueued.

    `format` None: by the file name's ending. The clear bytes touch no disk. Raises Conflict
    `duplicate_upload` (names the earlier version), Refused `upload_too_large`,
    `upload_empty`, `upload_format_unknown`, `upload_interrupted`; the version then stands
    failed with that code, its key destroyed and its file gone.
    """
    raise NotImplementedError


def retry_version(
    *, version: DatasetVersion, csv: CsvOptions | None = None, by: User
) -> DatasetVersion:
    """A failed version is being profiled or partitioned again, from the same bytes.

    `csv` replaces the reading options (profiling only). Conflict `version_not_failed`,
    `upload_gone` where the bytes no longer exist.
    """
    raise NotImplementedError


def set_policy(*, dataset: Dataset, text: str, by: User) -> PolicyVersion:
    """The dataset's newest policy version says what `text` (YAML or JSON) says.

    The text must name the dataset's table with columns that its newest profiled version
    has, of fitting types. Same content as the newest version: that one comes back. Raises
    PolicyError with line and path; Conflict `dataset_not_profiled` before any profile.
    """
    raise NotImplementedError


def partition_version(
    *, version: DatasetVersion, policy_version: PolicyVersion, by: User
) -> DatasetVersion:
    """A profiled version is being partitioned by the policy's privacy unit."""
    raise NotImplementedError


def publish(
    *,
    version: DatasetVersion,
    policy_version: PolicyVersion,
    licence: str,
    terms: str = "",
    attribution: str = "",
    by: User,
) -> Offer:
    """The version is on offer under that policy version; the dataset's earlier offer closes.

    Requires state ready or published. Each further table that the policy names is pinned to
    the published version of the organisation's dataset of that table name. Grants on
    earlier offers keep their own version and policy version.
    """
    raise NotImplementedError


def withdraw(*, version: DatasetVersion, note: str = "", by: User) -> DatasetVersion:
    """The version is offered no more, and no grant on it runs; the sandbox forgets it."""
    raise NotImplementedError
