"""One run in the sandbox, from job to sealed file: aggregates or a labelled subset.

The answer lies sealed in the vault under the query's own key before any row says so; if the
transaction that would say so does not commit, the file is removed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.utils import timezone

from exchange.agreements.limits import limits_of
from exchange.agreements.models import Grant
from exchange.agreements.states import RuleKind
from exchange.catalogue import sandbox, vault
from exchange.catalogue.datakeys import opened
from exchange.catalogue.ingest import encrypted_table
from exchange.catalogue.models import Dataset
from exchange.catalogue.selectors import schema_of
from exchange.errors import ExchangeError
from exchange.keys import services as keys
from exchange.keys.models import DataKey
from exchange.queries import results
from exchange.queries.history import History, read_history
from exchange.queries.models import Query
from exchange.queries.subjects import (
    encrypted_tables,
    nameable_tables,
    needed_of,
    protected_datasets,
    schemas_of,
    versions_of,
)
from policies.shape_codec import shape_from_json
from sandbox.errors import SandboxError
from sandbox.needs import needs_of
from sandbox.protocol import (
    EncryptedTable,
    ExecuteJob,
    ExecuteOutcome,
    Limits,
    Metering,
    SubsetJob,
    SubsetOutcome,
    TableSchema,
)

_TRIES = 3
PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a run made: a sealed file, and what is said of it."""

    stored_name: str
    filename: str
    media_type: str
    content_sha256: str
    content_bytes: int
    rows: int
    columns: tuple[tuple[str, str], ...]
    suppressed: int = 0
    partial: bool = False
    executed_sql: str = ""
    report: tuple[tuple[str, int], ...] = ()
    metering: Metering = field(default_factory=Metering)
    history: History | None = None  # what the run was controlled against
    history_text: str = ""


def job_limits(grant: Grant) -> Limits:
    """What a run under the grant may use, as its job carries it."""
    found = limits_of(grant)
    return Limits(
        deadline_seconds=float(found.seconds),
        memory_bytes=found.memory_mb * 1024**2,
        output_bytes=found.output_mb * 1024**2,
    )


def deliver(query: Query, *, job_id: str) -> Delivered:
    """Run the query in the sandbox; its answer lies sealed in the vault afterwards."""
    make = _subset if query.grant.kind == RuleKind.SUBSET else _aggregate
    for left in reversed(range(_TRIES)):
        began = timezone.now()
        try:
            return make(query, job_id)
        except (SandboxError, ExchangeError):
            # A version was written anew under another key while the job was on its way,
            # and its old files are gone: the same question over the new ones.
            if not left or not _was_rekeyed(query.grant, since=began):
                raise
            query.grant.version.refresh_from_db(fields=["data_key"])
    raise AssertionError("there is at least one try")


def datasets_of(query: Query) -> list[Dataset]:
    """The datasets whose history this query's answer is controlled against, and joins."""
    if query.grant.kind == RuleKind.SUBSET:
        return []
    return protected_datasets(query.grant, shape_from_json(query.shape).tables)


def _was_rekeyed(grant: Grant, *, since: datetime) -> bool:
    versions = [str(version.pk) for version in versions_of(grant).values()]
    return DataKey.objects.filter(
        subject_type="datasetversion", subject_id__in=versions, destroyed_at__gte=since
    ).exists()


def digest_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def _named_in(texts: tuple[str, ...], grant: Grant) -> tuple[str, ...]:
    return tuple(
        name for name in versions_of(grant) if any(f'"{name}"' in t for t in texts)
    )


def _aggregate(query: Query, job_id: str) -> Delivered:
    grant = query.grant
    used = shape_from_json(query.shape).tables
    history = read_history(datasets_of(query))
    job = ExecuteJob(
        job_id=job_id,
        sql=query.sql,
        purpose=query.purpose,
        policy=grant.policy_version.canonical,
        # Earlier answers over other joins are compared too: on their tables.
        tables=nameable_tables(grant, (*used, *_named_in(history.texts, grant))),
        schemas=schemas_of(grant),
        fingerprint=query.fingerprint,
        history=history.texts,
        limits=job_limits(grant),
    )
    # Named first and keyed then: a key that this text cannot need is not unwrapped for it.
    job = replace(job, tables=encrypted_tables(grant, needs_of(job)))
    outcome = sandbox.run(job, ExecuteOutcome)
    content = results.encode_result(
        outcome,
        dataset_version=str(grant.version_id),
        policy_digest=grant.policy_version.digest,
    )
    sealed = vault.seal(
        [content],
        name=vault.new_name("results", query.pk, "result"),
        key=opened(query.result_key),
    )
    return Delivered(
        stored_name=sealed.file.name,
        filename=f"{grant.offer.dataset.slug}-{str(query.pk)[:8]}.json",
        media_type=results.MEDIA_TYPE,
        content_sha256=sealed.content_sha256,
        content_bytes=sealed.content_bytes,
        rows=len(outcome.rows),
        columns=outcome.columns,
        suppressed=outcome.suppressed,
        partial=outcome.partial,
        executed_sql=outcome.executed_sql,
        report=outcome.report,
        metering=outcome.metering,
        history=history,
        history_text=outcome.history,
    )


def _subset(query: Query, job_id: str) -> Delivered:
    grant = query.grant
    rule = grant.policy_version.policy.subset_rules[grant.rule_index]
    version, dataset = grant.version, grant.version.dataset
    output = vault.new_name("results", query.pk, "package")
    job = SubsetJob(
        job_id=job_id,
        policy=grant.policy_version.canonical,
        rule_index=grant.rule_index,
        columns=tuple(query.columns),
        table=EncryptedTable(dataset.table_name, str(version.pk), (), b""),
        schema=TableSchema(dataset.table_name, tuple(schema_of(version).items())),
        max_rows=rule.max_rows,
        metadata=_metadata(grant, query),
        output=output,
        output_key=opened(query.result_key),
        # One pseudonym per recipient and dataset: two recipients cannot join theirs.
        pseudonym_key=keys.derive(
            grant.provider, f"pseudonyms/1/{dataset.pk}/{grant.consumer.public_id}"
        ),
        limits=job_limits(grant),
    )
    (need,) = needs_of(job).values()
    table = encrypted_table(
        version, table=dataset.table_name, columns=needed_of(need, version)
    )
    outcome = sandbox.run(replace(job, table=table), SubsetOutcome)
    return Delivered(
        stored_name=outcome.package.name,
        filename=f"{dataset.slug}-{version.number}-{str(query.pk)[:8]}.parquet",
        media_type=PARQUET,
        content_sha256=outcome.content_sha256,
        content_bytes=outcome.content_bytes,
        rows=outcome.rows,
        columns=outcome.columns,
        metering=outcome.metering,
    )


def _metadata(grant: Grant, query: Query) -> tuple[tuple[str, str], ...]:
    return (
        ("bonded.attribution", grant.offer.attribution),
        ("bonded.dataset", grant.offer.dataset.title),
        ("bonded.dataset_version", str(grant.version_id)),
        ("bonded.grant", str(grant.pk)),
        ("bonded.licence", grant.request.accepted_licence),
        ("bonded.policy_digest", grant.policy_version.digest),
        ("bonded.purpose", grant.purpose),
        ("bonded.query", str(query.pk)),
        ("bonded.recipient", grant.consumer.slug),
        ("bonded.terms", grant.offer.terms),
    )
