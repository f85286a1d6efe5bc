"""Writes on the catalogue: register, upload, policy, partition, publish, withdraw.

Each act writes its audit event in its own transaction: without the event, no act.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from exchange.audit.actors import Actor, Private
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.catalogue.floor import check_keeps_floor
from exchange.catalogue.forgetting import forget_soon
from exchange.catalogue.models import (
    Dataset,
    DatasetVersion,
    Offer,
    OfferTable,
    PolicyVersion,
)
from exchange.catalogue.policy_views import document_of
from exchange.catalogue.publication import check_licence, check_publishable, pin_tables
from exchange.catalogue.selectors import newest_policy, schemas_of_organisation
from exchange.catalogue.states import VersionState
from exchange.catalogue.uploads import accept_upload, partition_version, retry_version
from exchange.errors import Conflict, Invalid
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import check_can_manage_datasets
from exchange.transitions import advance
from policies.codec import dump_policy, load_policy, policy_digest
from policies.composing import line_numbers
from policies.schema_check import check_tables

__all__ = [
    "accept_upload",
    "end_version",
    "partition_version",
    "publish",
    "register_dataset",
    "retry_version",
    "set_policy",
    "withdraw",
]

_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


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
    organisation (Conflict `dataset_name_taken`). Invalid `dataset_title_missing`,
    `table_name_invalid`.
    """
    check_can_manage_datasets(by, organisation)
    title = title.strip()
    if not title or len(title) > 200:
        raise Invalid(
            f"a title has 1 to 200 characters, this one has {len(title)}",
            code="dataset_title_missing",
            hint="Say in a few words what the rows are about.",
        )
    slug = slugify(slug or title)[:80] or f"dataset-{organisation.datasets.count() + 1}"
    table_name = table_name or _table_name_from(slug)
    if not _TABLE_NAME.match(table_name):
        raise Invalid(
            "a table name begins with a lower-case letter and holds lower-case letters, "
            "digits and underscores, 63 at most",
            code="table_name_invalid",
            hint="For example `milling_runs`.",
        )
    try:
        with transaction.atomic():
            dataset = Dataset.objects.create(
                organisation=organisation,
                slug=slug,
                table_name=table_name,
                title=title,
                description=description.strip(),
                keywords=sorted({word.strip() for word in keywords if word.strip()}),
                created_by=by,
            )
            record(
                type=EventType.DATASET_REGISTERED,
                actor=by,
                subject=dataset,
                organisation=organisation.slug,
                name=slug,
                table=table_name,
            )
    except IntegrityError as error:
        raise Conflict(
            f"{organisation} has a dataset with the short name `{slug}` or the table name "
            f"`{table_name}` already",
            code="dataset_name_taken",
            hint="Choose another name, or upload a new version of that dataset.",
        ) from error
    return dataset


def set_policy(*, dataset: Dataset, text: str, by: User) -> PolicyVersion:
    """The dataset's newest policy version says what `text` (YAML, JSON or ODRL) says.

    The text must name the dataset's table with columns that its newest profiled version
    has, of fitting types, and keep to the node's floor. Same content as the newest version:
    that one comes back. Raises PolicyError with line and path; Conflict
    `dataset_not_profiled` before any profile.
    """
    check_can_manage_datasets(by, dataset.organisation)
    text = document_of(text)
    policy = load_policy(text)
    schemas = schemas_of_organisation(dataset.organisation)
    if dataset.table_name not in schemas:
        raise Conflict(
            "no version of this dataset has been profiled yet, so no column is known of "
            "which a policy could speak",
            code="dataset_not_profiled",
            hint="Upload the data and wait for its profile.",
        )
    check_tables(policy, own=dataset.table_name, schemas=schemas, lines=line_numbers(text))
    check_keeps_floor(policy, text)
    digest = policy_digest(policy)
    with transaction.atomic():
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        newest = newest_policy(dataset)
        if newest is not None and newest.digest == digest:
            return newest
        version = PolicyVersion.objects.create(
            dataset=dataset,
            number=newest.number + 1 if newest is not None else 1,
            source=text,
            canonical=dump_policy(policy),
            digest=digest,
            created_by=by,
        )
        record(
            type=EventType.POLICY_PUBLISHED,
            actor=by,
            subject=version,
            organisation=dataset.organisation.slug,
            policy_digest=digest,
            number=version.number,
            dataset=str(dataset.pk),
        )
    return version


def publish(
    *,
    version: DatasetVersion,
    policy_version: PolicyVersion,
    licence: str,
    terms: str = "",
    attribution: str = "",
    by: User,
) -> Offer:
    """The version is on offer under that policy; the dataset's earlier offer closes.

    Requires state ready or published, and a policy that keeps to the node's floor as it is
    now: PolicyError `policy_weaker_than_floor`. Each further table that the policy names is
    pinned to the version on offer of the organisation's dataset of that table name. Grants
    on earlier offers keep their own version and policy version. Raises Conflict
    `version_not_ready`, `partition_unfit`, `policy_version_unfit`, `table_not_published`,
    `table_policy_differs`, `aggregate_mode_fixed`, Invalid `licence_unknown`,
    `policy_without_rule`, `policy_of_another_dataset`.
    """
    dataset = version.dataset
    check_can_manage_datasets(by, dataset.organisation)
    licence = check_licence(licence)
    policy = policy_version.policy
    # Again: the operator may have raised the floor since the policy was set.
    check_keeps_floor(policy, policy_version.source)
    with transaction.atomic():
        dataset = Dataset.objects.select_for_update().get(pk=dataset.pk)
        version = DatasetVersion.objects.get(pk=version.pk)
        mode = check_publishable(version, policy_version, policy)
        pinned = pin_tables(dataset, version, policy)
        now = timezone.now()
        dataset.offers.filter(closed_at=None).update(closed_at=now)
        Dataset.objects.filter(pk=dataset.pk).update(aggregate_mode=mode)
        if version.state == VersionState.READY:
            advance(
                version, to=VersionState.PUBLISHED, by=by, changes={"published_at": now}
            )
        offer = Offer.objects.create(
            dataset=dataset,
            version=version,
            policy_version=policy_version,
            licence=licence,
            terms=terms.strip(),
            attribution=attribution.strip() or str(dataset.organisation),
            published_by=by,
            published_at=now,
        )
        OfferTable.objects.bulk_create(
            OfferTable(offer=offer, table_name=name, version=behind)
            for name, behind in pinned.items()
        )
        stored = version.files.order_by("part", "index")
        record(
            type=EventType.VERSION_PUBLISHED,
            actor=by,
            subject=version,
            organisation=dataset.organisation.slug,
            policy_digest=policy_version.digest,
            licence=licence,
            files=[file.sha256 for file in stored],
            footers=[file.footer_sha256 for file in stored],
            offer=str(offer.pk),
            tables={name: str(behind.pk) for name, behind in pinned.items()},
        )
    return offer


def withdraw(*, version: DatasetVersion, note: str = "", by: User) -> DatasetVersion:
    """The version is offered no more, and no grant on it runs; the sandbox forgets it."""
    check_can_manage_datasets(by, version.dataset.organisation)
    return end_version(version=version, note=note, by=by)


def end_version(
    *, version: DatasetVersion, note: str = "", because: str = "", by: Actor
) -> DatasetVersion:
    """Withdraw it for a reason that no permission decides: its key was destroyed."""
    with transaction.atomic():
        now = timezone.now()
        advance(
            version,
            to=VersionState.WITHDRAWN,
            by=by,
            event=EventType.VERSION_WITHDRAWN,
            changes={"withdrawn_at": now},
            organisation=version.dataset.organisation.slug,
            reason=Private(note),
            **({"because": because} if because else {}),
        )
        Offer.objects.filter(tables__version=version, closed_at=None).update(closed_at=now)
        forget_soon(version)
    return version


def _table_name_from(slug: str) -> str:
    name = slug.replace("-", "_")[:63]
    return name if name[:1].isalpha() else f"t_{name}"[:63]
