"""The work behind an upload: have it profiled, have it partitioned, keep what came back.

Each handler is safe to run twice: it writes to fresh vault names, and only the attempt that
still holds the operation's lease moves the version (`completing`). No sandbox call is made
inside a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from django.db import transaction

from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.catalogue import column_groups, sandbox, vault
from exchange.catalogue.datakeys import destroy_keys, opened
from exchange.catalogue.models import Column, DatasetVersion, StoredFile
from exchange.catalogue.states import VersionState
from exchange.keys import services as keys
from exchange.operations.models import Operation
from exchange.operations.registry import Failure
from exchange.operations.services import completing, extend
from exchange.transitions import advance
from sandbox.errors import SandboxError
from sandbox.protocol import (
    STAGED_FILE_BYTES,
    ColumnGroup,
    ColumnProfile,
    CsvOptions,
    EncryptedTable,
    Format,
    Limits,
    PartitionJob,
    PartitionOutcome,
    ProfileJob,
    ProfileOutcome,
    SealedSource,
)
from sandbox.protocol import StoredFile as VaultFile

# A job that hangs is killed; one that only has much to read is not. Ten times as fast is
# what was measured, on two cores.
_DEADLINE_SECONDS, _SLOWEST_BYTES_A_SECOND = 900.0, 1024**2
# The lease is kept while the job runs, however long that is (`_watching`).
LEASE_SECONDS = 960.0
# One shard takes this many rows before another is worth its open file.
ROWS_PER_SHARD = 500_000
MAX_SHARDS = 64


def profile(operation: Operation) -> None:
    """The version of this operation is profiled: its columns and its staged table stand."""
    version = _version(operation)
    if version.state != VersionState.PROFILING:
        return
    source = version.files.get(part=StoredFile.Part.SOURCE)
    job = ProfileJob(
        job_id=_job_id(operation),
        source=SealedSource(file=vault_file(source), key=opened(version.source_key)),
        format=Format(version.format),
        csv=CsvOptions(
            delimiter=version.csv_delimiter or None,
            encoding=version.csv_encoding or None,
            header=version.csv_header,
        ),
        version_id=str(version.pk),
        outputs=tuple(
            vault.new_name("versions", version.pk, f"staged-{index}")
            for index in range(_staged_count(source.size_bytes))
        ),
        output_key=opened(version.staged_key),
        limits=_limits(source.size_bytes),
    )
    outcome = sandbox.run(job, ProfileOutcome, meanwhile=_watching(operation))
    with completing(operation):
        _store(version, StoredFile.Part.STAGED, outcome.staged)
        version.columns.all().delete()
        Column.objects.bulk_create(
            (
                _column(version, position, column)
                for position, column in enumerate(outcome.columns)
            ),
            batch_size=1000,  # a statement takes at most 65,535 values
        )
        advance(
            version,
            to=VersionState.PROFILED,
            by=version.created_by,
            event=EventType.VERSION_PROFILED,
            changes={
                "rows": outcome.rows,
                "profile": {
                    "encoding": outcome.encoding,
                    "delimiter": outcome.delimiter,
                    "warnings": list(outcome.warnings),
                },
            },
            organisation=version.dataset.organisation.slug,
            rows=outcome.rows,
            columns=len(outcome.columns),
            version=version.number,
        )
    _sweep(version)


def partition(operation: Operation) -> None:
    """The version of this operation is ready: partitioned, encrypted, its upload gone."""
    version = _version(operation)
    if version.state != VersionState.PARTITIONING:
        return
    dataset = version.dataset
    staged = version.files.filter(part=StoredFile.Part.STAGED).order_by("index")
    units = tuple(version.unit_columns)
    job = PartitionJob(
        job_id=_job_id(operation),
        source=EncryptedTable(
            table=dataset.table_name,
            version_id=str(version.pk),
            files=tuple(map(vault_file, staged)),
            key=opened(version.staged_key),
        ),
        units=units,
        # One label per organisation: its tables are co-partitioned on the unit's value.
        shard_key=keys.derive(dataset.organisation, "shards/1"),
        version_id=str(version.pk),
        outputs=tuple(
            vault.new_name("versions", version.pk, f"shard-{index}")
            for index in range(_shard_count(version.rows or 0, units))
        ),
        output_key=opened(version.data_key),
        limits=_limits(max(version.content_bytes or 0, sum(f.size_bytes for f in staged))),
    )
    job = replace(job, groups=column_groups.outputs(version, shards=len(job.outputs)))
    outcome = sandbox.run(job, PartitionOutcome, meanwhile=_watching(operation))
    with completing(operation):
        _store(version, StoredFile.Part.SHARD, outcome.files)
        for group, files in zip(job.groups, outcome.groups, strict=True):
            _store(version, StoredFile.Part.SHARD, files, group=group.name)
        version.files.exclude(part=StoredFile.Part.SHARD).delete()
        # The clear upload can be read by nobody from here on: its key is destroyed, and
        # this is the record that the version stands.
        destroy_keys(version.source_key, version.staged_key, by=version.created_by)
        advance(
            version,
            to=VersionState.READY,
            by=version.created_by,
            changes={
                "rows": outcome.rows,
                "unit_count": outcome.units,
            },
        )
    _sweep(version)


def failed(operation: Operation, error: Failure) -> None:
    """The version of this operation stands failed, saying why and where."""
    version = _version(operation)
    if version.state not in (VersionState.PROFILING, VersionState.PARTITIONING):
        return
    stage = version.state
    key = version.staged_key if stage == VersionState.PROFILING else version.data_key
    with transaction.atomic():
        advance(
            version,
            to=VersionState.FAILED,
            by=version.created_by,
            changes={
                "failed_stage": stage,
                "error_code": error.code,
                "error_message": error.message,
                "error_hint": error.hint,
                "error_line": getattr(error, "line", None),
                "error_column": getattr(error, "column", None) or "",
            },
        )
        record(
            type=EventType.VERSION_FAILED,
            actor=version.created_by,
            subject=version,
            organisation=version.dataset.organisation.slug,
            code=error.code,
            stage=stage,
        )
        destroy_keys(key, by=version.created_by)
        if stage == VersionState.PARTITIONING:
            destroy_keys(*column_groups.keys_of(version), by=version.created_by)
        transaction.on_commit(lambda: _sweep(version))


def _version(operation: Operation) -> DatasetVersion:
    return DatasetVersion.objects.select_related(
        "dataset__organisation", "created_by", "source_key", "staged_key", "data_key"
    ).get(pk=operation.target_id)


def _limits(source_bytes: int) -> Limits:
    """What an ingest job may use that reads so many bytes."""
    seconds = _DEADLINE_SECONDS + source_bytes / _SLOWEST_BYTES_A_SECOND
    return Limits(deadline_seconds=seconds)


def _watching(operation: Operation) -> Callable[[], None]:
    """What keeps the lease of an operation and its progress, called while its job runs."""

    def keep() -> None:
        with suppress(SandboxError):  # the job's own end tells what is wrong
            progress = sandbox.daemon().progress(_job_id(operation))
            if progress.all_bytes:
                share = 100 * progress.read_bytes // progress.all_bytes
                extend(operation, progress=f"{share} %")
                return
        extend(operation)

    return keep


def _job_id(operation: Operation) -> str:
    # An attempt of its own: cancelling a lost one must not hit its successor.
    return f"{operation.public_id}-{operation.attempt}"


def _staged_count(upload_bytes: int) -> int:
    # Staged, an upload may be larger: packed Parquet is. The last file takes what is left.
    return min(MAX_SHARDS, 1 + 2 * upload_bytes // STAGED_FILE_BYTES)


def _shard_count(rows: int, units: tuple[str, ...]) -> int:
    # A row of two units has no one shard to lie in, unless there is but one.
    if len(units) > 1:
        return 1
    # A power of two, so that tables of one unit domain are split alike, one perhaps finer.
    most = max(1, min(MAX_SHARDS, rows // ROWS_PER_SHARD))
    return 1 << (most.bit_length() - 1)


def vault_file(file: StoredFile) -> VaultFile:
    """The stored file as a job names it."""
    return VaultFile(file.name, file.sha256, file.size_bytes, file.rows, file.footer_sha256)


def encrypted_table(
    version: DatasetVersion, *, table: str, columns: Collection[str]
) -> EncryptedTable:
    """The version's shards as a job names them, with their key: for a Job, at once.

    Of its column groups only those that hold one of `columns`: the keys of the others stay
    where they are.
    """
    return EncryptedTable(
        table=table,
        version_id=str(version.pk),
        files=_shards(version, ""),
        key=opened(version.data_key),
        groups=tuple(
            ColumnGroup(
                name=group.name,
                columns=tuple(group.columns),
                files=_shards(version, group.name),
                key=opened(group.data_key),
            )
            for group in column_groups.holding(version, columns)
        ),
    )


def _shards(version: DatasetVersion, group: str) -> tuple[VaultFile, ...]:
    shards = version.files.filter(part=StoredFile.Part.SHARD, group=group)
    return tuple(vault_file(file) for file in shards.order_by("index"))


def _store(
    version: DatasetVersion,
    part: StoredFile.Part,
    files: tuple[VaultFile, ...],
    *,
    group: str = "",
) -> None:
    version.files.filter(part=part, group=group).delete()
    StoredFile.objects.bulk_create(
        StoredFile(
            version=version,
            part=part,
            group=group,
            index=index,
            name=file.name,
            sha256=file.sha256,
            footer_sha256=file.footer_sha256,
            size_bytes=file.size_bytes,
            rows=file.rows,
        )
        for index, file in enumerate(files)
    )


def _column(version: DatasetVersion, position: int, column: ColumnProfile) -> Column:
    return Column(
        version=version,
        position=position,
        name=column.name,
        type=column.type,
        null_share=column.null_share,
        distinct=column.distinct,
        minimum=column.minimum or "",
        maximum=column.maximum or "",
        proposed_roles=list(column.proposed_roles),
        proposed_grid=column.proposed_grid or "",
        reason=column.reason,
    )


def _sweep(version: DatasetVersion) -> None:
    names = version.files.values_list("name", flat=True)
    vault.remove_others("versions", version.pk, tuple(names))
