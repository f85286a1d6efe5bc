"""Uploads: taken in sealed, profiled, partitioned; and tried again after a failure.

The services here write rows; the work itself is in `exchange.catalogue.ingest`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import PurePath
from typing import Any, BinaryIO

from django.conf import settings
from django.db import IntegrityError, transaction

from exchange.audit.events import EventType
from exchange.catalogue import vault
from exchange.catalogue.column_groups import issue_group_keys, make_groups
from exchange.catalogue.datakeys import destroy_keys, opened
from exchange.catalogue.models import Dataset, DatasetVersion, PolicyVersion, StoredFile
from exchange.catalogue.publication import unit_columns
from exchange.catalogue.states import VersionState
from exchange.errors import Conflict, ExchangeError, Invalid
from exchange.keys import services as keys
from exchange.keys.models import KeyPurpose
from exchange.keys.organisation_keys import active_key
from exchange.operations.services import enqueue
from exchange.parties.models import User
from exchange.parties.permissions import check_can_manage_datasets
from exchange.transitions import advance
from sandbox.needs import columns_apart
from sandbox.protocol import CsvOptions, Format

PROFILE = "catalogue.profile"
PARTITION = "catalogue.partition"
_ENDINGS = {".csv": Format.CSV, ".tsv": Format.CSV, ".txt": Format.CSV} | {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
}


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
    `duplicate_upload` (names the earlier version), Invalid `upload_too_large`,
    `upload_empty`, `upload_interrupted`, Unavailable `upload_no_space`: the version then
    stands failed with that code, its key destroyed and its file gone. Invalid
    `upload_format_unknown`: no version stands.
    """
    check_can_manage_datasets(by, dataset.organisation)
    filename = PurePath(filename.replace("\\", "/")).name[:255] or "upload"
    chosen = format or _ENDINGS.get(PurePath(filename).suffix.lower())
    if chosen is None:
        raise Invalid(
            "the file name ends in none of " + ", ".join(sorted(_ENDINGS)),
            code="upload_format_unknown",
            hint="Say whether it is csv or parquet.",
        )
    version = _begin(
        dataset, filename=filename, format=chosen, csv=csv or CsvOptions(), by=by
    )
    try:
        _take_in(version, stream, by=by)
    except ExchangeError as error:
        _give_up(version, error, by=by)
        raise
    except OSError as error:
        interrupted = Invalid(
            "the upload stopped before its end",
            code="upload_interrupted",
            hint="Send the file again.",
        )
        _give_up(version, interrupted, by=by)
        raise interrupted from error
    return version


def retry_version(
    *, version: DatasetVersion, csv: CsvOptions | None = None, by: User
) -> DatasetVersion:
    """A failed version is being profiled or partitioned again, from the same bytes.

    `csv` replaces the reading options (profiling only). Conflict `version_not_failed`,
    `upload_gone` where the bytes no longer exist.
    """
    check_can_manage_datasets(by, version.dataset.organisation)
    if version.state != VersionState.FAILED:
        raise Conflict(
            f"version {version.number} is {version.state}; only a failed one can retry",
            code="version_not_failed",
        )
    profiled = version.failed_stage == VersionState.PARTITIONING
    part = StoredFile.Part.STAGED if profiled else StoredFile.Part.SOURCE
    if not version.files.filter(part=part).exists():
        raise Conflict(
            "the bytes of this upload are no longer in the vault",
            code="upload_gone",
            hint="Upload the file again.",
        )
    cleared: dict[str, Any] = {
        "failed_stage": "",
        "error_code": "",
        "error_message": "",
        "error_hint": "",
    }
    changes = {**cleared, "error_line": None, "error_column": ""}
    purpose = KeyPurpose.VERSION if profiled else KeyPurpose.STAGED
    try:
        with transaction.atomic():
            key = keys.issue_data_key(
                organisation=version.dataset.organisation,
                purpose=purpose,
                subject=version,
                by=by,
            )
            if profiled:
                to, kind = VersionState.PARTITIONING, PARTITION
                changes["data_key"] = key
                issue_group_keys(version, by=by)
            else:
                to, kind = VersionState.PROFILING, PROFILE
                changes["staged_key"] = key
                if csv is not None:
                    changes |= _csv_fields(csv)
            advance(version, to=to, by=by, changes=changes)
            enqueue(kind, version.pk)
    except IntegrityError as error:
        raise _duplicate(version) from error
    return version


def partition_version(
    *, version: DatasetVersion, policy_version: PolicyVersion, by: User
) -> DatasetVersion:
    """A profiled version is being partitioned by the policy's privacy unit.

    Its keys are issued in the same transaction: that is the record of the act; columns that
    the policy keeps from all queries get one of their own. Conflict
    `illegal_move` unless it is profiled, Invalid `policy_of_another_dataset`.
    """
    dataset = version.dataset
    check_can_manage_datasets(by, dataset.organisation)
    table = policy_version.policy.table(dataset.table_name)
    if policy_version.dataset_id != dataset.pk or table is None:
        raise Invalid(
            "the policy version belongs to another dataset",
            code="policy_of_another_dataset",
            hint="Set a policy on this dataset.",
        )
    names = list(version.columns.values_list("name", flat=True))
    apart = columns_apart(policy_version.policy, dataset.table_name, names)
    with transaction.atomic():
        key = keys.issue_data_key(
            organisation=dataset.organisation,
            purpose=KeyPurpose.VERSION,
            subject=version,
            by=by,
        )
        make_groups(version, apart, by=by)
        advance(
            version,
            to=VersionState.PARTITIONING,
            by=by,
            changes={"data_key": key, "unit_columns": unit_columns(table)},
        )
        enqueue(PARTITION, version.pk)
    return version


def _begin(
    dataset: Dataset,
    *,
    filename: str,
    format: Format,  # noqa: A002 - the protocol's word
    csv: CsvOptions,
    by: User,
) -> DatasetVersion:
    # The organisation's first key is made by its provider, ahead of the transaction.
    active_key(dataset.organisation, by=by)
    with transaction.atomic():
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        last = dataset.versions.order_by("-number").values_list("number", flat=True).first()
        version = DatasetVersion(
            dataset=dataset,
            number=(last or 0) + 1,
            filename=filename,
            format=str(format),
            created_by=by,
            **_csv_fields(csv),
        )
        for name, purpose in (
            ("source_key", KeyPurpose.UPLOAD),
            ("staged_key", KeyPurpose.STAGED),
        ):
            key = keys.issue_data_key(
                organisation=dataset.organisation, purpose=purpose, subject=version, by=by
            )
            setattr(version, name, key)
        version.save(force_insert=True)
    return version


def _take_in(
    version: DatasetVersion, stream: BinaryIO | Iterable[bytes], *, by: User
) -> None:
    sealed = vault.seal(
        vault.chunks_of(stream),
        name=vault.new_name("versions", version.pk, "source"),
        key=opened(version.source_key),
        limit_bytes=settings.BONDED_UPLOAD_BYTES,
    )
    try:
        _accept(version, sealed, by=by)
    except BaseException:
        vault.remove(sealed.file.name)
        raise


def _accept(version: DatasetVersion, sealed: vault.SealedUpload, *, by: User) -> None:
    if not sealed.content_bytes:
        raise Invalid(
            "the upload has no bytes",
            code="upload_empty",
            hint="Choose a file that has a header and rows.",
        )
    version.content_sha256 = sealed.content_sha256
    try:
        with transaction.atomic():
            if _twin(version) is not None:
                raise _duplicate(version)
            StoredFile.objects.create(
                version=version,
                part=StoredFile.Part.SOURCE,
                name=sealed.file.name,
                sha256=sealed.file.sha256,
                size_bytes=sealed.file.size_bytes,
            )
            advance(
                version,
                to=VersionState.PROFILING,
                by=by,
                event=EventType.UPLOAD_ACCEPTED,
                changes={
                    "content_sha256": sealed.content_sha256,
                    "content_bytes": sealed.content_bytes,
                },
                organisation=version.dataset.organisation.slug,
                content_sha256=sealed.content_sha256,
                size_bytes=sealed.content_bytes,
                format=version.format,
            )
            enqueue(PROFILE, version.pk)
    except IntegrityError as error:
        raise _duplicate(version) from error


def _twin(version: DatasetVersion) -> DatasetVersion | None:
    return (
        DatasetVersion.objects.filter(
            dataset=version.dataset_id, content_sha256=version.content_sha256
        )
        .exclude(state__in=(VersionState.FAILED, VersionState.WITHDRAWN))
        .exclude(pk=version.pk)
        .first()
    )


def _duplicate(version: DatasetVersion) -> Conflict:
    earlier = _twin(version)
    number = earlier.number if earlier is not None else "?"
    return Conflict(
        f"the same bytes are version {number} of this dataset already",
        code="duplicate_upload",
        hint=f"Use version {number}, or withdraw it before uploading the same file again.",
    )


def _give_up(version: DatasetVersion, error: ExchangeError, *, by: User) -> None:
    # What was set in memory inside the transaction that rolled back does not hold.
    version.refresh_from_db()
    with transaction.atomic():
        advance(
            version,
            to=VersionState.FAILED,
            by=by,
            event=EventType.VERSION_FAILED,
            changes={
                "content_sha256": "",
                "failed_stage": VersionState.UPLOADING,
                "error_code": error.code,
                "error_message": error.message,
                "error_hint": error.hint,
            },
            organisation=version.dataset.organisation.slug,
            code=error.code,
        )
        destroy_keys(version.source_key, version.staged_key, by=by)
    vault.remove_others("versions", version.pk, ())


def give_up_stale(*, before: datetime) -> int:
    """Uploads begun before then that never ended stand failed; how many that were."""
    interrupted = Invalid(
        "the upload stopped before its end",
        code="upload_interrupted",
        hint="Send the file again.",
    )
    stale = DatasetVersion.objects.filter(
        state=VersionState.UPLOADING, created_at__lt=before
    )
    given_up = 0
    for version in stale.select_related("dataset__organisation", "created_by"):
        with suppress(Conflict):
            _give_up(version, interrupted, by=version.created_by)
            given_up += 1
    return given_up


def _csv_fields(csv: CsvOptions) -> dict[str, Any]:
    return {
        "csv_delimiter": csv.delimiter or "",
        "csv_encoding": csv.encoding or "",
        "csv_header": csv.header,
    }
