"""New data keys for a version: its files are written anew in the background.

    asked for      an operation; nothing else changes
    its key        issued once and kept in `Rekeying`, so that every attempt uses it
    files          written to fresh names by the sandbox; a killed attempt's are swept
    swapped        names, digests, key and record in one transaction, the old key destroyed
    afterwards     the sandbox forgets the old images, the old files are removed

A query that began before the swap may find its files gone; it is run again
(`queries.delivery`). The rows, their order and their shards stay what they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import transaction

from exchange.audit.actors import NODE, Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.catalogue import sandbox, vault
from exchange.catalogue.datakeys import opened
from exchange.catalogue.forgetting import forget_soon
from exchange.catalogue.ingest import vault_file
from exchange.catalogue.models import DatasetVersion, Rekeying, StoredFile
from exchange.catalogue.states import VersionState
from exchange.errors import Conflict
from exchange.keys import services as keys
from exchange.keys.models import DataKey, KeyPurpose
from exchange.keys.permissions import check_may_manage_keys
from exchange.operations.models import Operation
from exchange.operations.services import completing, enqueue, extend
from sandbox.protocol import Limits, RekeyJob, RekeyOutcome
from sandbox.protocol import StoredFile as VaultFile

REKEY: Final = "catalogue.rekey"
LIMITS: Final = Limits(deadline_seconds=3600.0)
LEASE_SECONDS: Final = LIMITS.deadline_seconds + 60
KEYED: Final = (VersionState.READY, VersionState.PUBLISHED)


@dataclass(frozen=True, slots=True)
class Part:
    """The files of a version that lie under one data key; `group` empty: its shards."""

    group: str
    files: tuple[StoredFile, ...]
    key: DataKey


def rekey_version(*, version: DatasetVersion, by: Actor) -> DatasetVersion:
    """The version's files will be written anew under a fresh key.

    Conflict `version_not_ready` unless it is ready or published, `operation_unfinished`
    while it is under way.
    """
    check_may_manage_keys(by, version.dataset.organisation)
    if version.state not in KEYED:
        raise Conflict(
            f"version {version.number} is {version.state}; only one whose rows stand has a "
            "key to change",
            code="version_not_ready",
        )
    with transaction.atomic():
        enqueue(REKEY, version.pk)
    return version


def rekey(operation: Operation) -> None:
    """The files of the operation's version lie under a fresh key, the old one is gone."""
    version = _version(operation)
    if version.state not in KEYED:
        return
    for part in _parts(version, operation):
        extend(operation, progress=f"{len(part.files)} files are written anew")
        fresh = _fresh_key(version, part)
        job = RekeyJob(
            job_id=f"{operation.public_id}-{operation.attempt}",
            version_id=str(version.pk),
            group=part.group,
            files=tuple(vault_file(file) for file in part.files),
            key=opened(part.key),
            outputs=tuple(
                vault.new_name("versions", version.pk, f"shard-{file.index}")
                for file in part.files
            ),
            output_key=opened(fresh),
            limits=LIMITS,
        )
        outcome = sandbox.run(job, RekeyOutcome)
        with transaction.atomic():
            _swap(version, part, fresh, outcome.files)
            extend(operation)  # the lease is compared: who lost it swaps nothing
    with completing(operation):
        forget_soon(version)
    vault.remove_others(
        "versions", version.pk, tuple(version.files.values_list("name", flat=True))
    )


def _version(operation: Operation) -> DatasetVersion:
    return DatasetVersion.objects.select_related("dataset__organisation", "data_key").get(
        pk=operation.target_id
    )


def _parts(version: DatasetVersion, operation: Operation) -> list[Part]:
    """What is still to be done: an attempt that was killed may have swapped some parts.

    Their keys were made since the work was asked for.
    """
    held = [("", version.data_key)]
    held += [
        (group.name, group.data_key)
        for group in version.column_groups.select_related("data_key")
    ]
    shards = version.files.filter(part=StoredFile.Part.SHARD).order_by("index")
    return [
        Part(name, tuple(shards.filter(group=name)), key)
        for name, key in held
        if key is not None and key.created_at < operation.created_at
    ]


def _fresh_key(version: DatasetVersion, part: Part) -> DataKey:
    with transaction.atomic():
        begun = Rekeying.objects.filter(version=version, group=part.group).first()
        if begun is None:
            begun = Rekeying.objects.create(
                version=version,
                group=part.group,
                key=keys.issue_data_key(
                    organisation=version.dataset.organisation,
                    purpose=KeyPurpose.VERSION,
                    subject=version,
                    by=NODE,
                ),
            )
    return begun.key


def _swap(
    version: DatasetVersion, part: Part, fresh: DataKey, files: tuple[VaultFile, ...]
) -> None:
    """In the caller's transaction: the new files and key stand in the old ones' place."""
    # Locked, so that a shred waits and then finds the new key, or came before and is found.
    stands = DatasetVersion.objects.select_for_update().filter(
        pk=version.pk, state__in=KEYED
    )
    if part.group:
        keyed = version.column_groups.filter(name=part.group, data_key=part.key)
        moved = keyed.update(data_key=fresh) if stands.exists() else 0
    else:
        moved = stands.filter(data_key=part.key).update(data_key=fresh)
    if moved != 1:
        raise Conflict("The version or its key changed meanwhile.", code="state_changed")
    for file, written in zip(part.files, files, strict=True):
        StoredFile.objects.filter(pk=file.pk, name=file.name).update(
            name=written.name,
            sha256=written.sha256,
            footer_sha256=written.footer_sha256,
            size_bytes=written.size_bytes,
        )
    record(
        type=EventType.KEY_REKEYED,
        actor=NODE,
        subject=version,
        organisation=version.dataset.organisation.slug,
        group=part.group,
        files=[file.sha256 for file in files],
        footers=[file.footer_sha256 for file in files],
        replaced=[file.sha256 for file in part.files],
    )
    Rekeying.objects.filter(version=version, group=part.group).delete()
    keys.destroy(part.key, by=NODE)
