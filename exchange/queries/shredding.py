"""Crypto-shredding: a version's or an organisation's keys end, and all that stood on them.

What is under way over the version ends with a code that says why, its job is killed, and
the sandbox forgets the version. Releases that were made of it before lie under keys of
their own: they stay until their retention ends or their recipient shreds them. With an
organisation's own key they end too, for their keys lie under it. The log holds no key and
stays whole.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from exchange.audit.actors import NODE, Actor
from exchange.audit.events import EventType
from exchange.catalogue.datakeys import destroy_keys
from exchange.catalogue.forgetting import forget_soon
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.services import end_version
from exchange.catalogue.states import VERSION_MOVES, VersionState
from exchange.errors import Conflict, Invalid
from exchange.keys.models import DataKey, KeyState
from exchange.keys.permissions import check_may_end_keys, check_may_manage_keys
from exchange.keys.shredding import destroy_organisation_keys
from exchange.operations.models import Operation, OperationState
from exchange.operations.services import cancel, enqueue, extend
from exchange.parties.models import Organisation
from exchange.queries.models import Query, Release
from exchange.queries.moves import move
from exchange.queries.releases import shred
from exchange.queries.services import ANALYSE, RUN, kill
from exchange.queries.states import QueryState, ReleaseState

SHRED: Final = "queries.shred_organisation"
VERSION_CODE: Final = "version_key_destroyed"
_GONE: Final = "the key of a dataset version that this query reads was destroyed"
_ELSEWHERE: Final = (
    "Nobody can read its rows any more. Look the dataset up for another version."
)
_UNDER_WAY: Final = (
    QueryState.ANALYSING,
    QueryState.IN_REVIEW,
    QueryState.APPROVED,
    QueryState.RUNNING,
)


def words_for_version(version: DatasetVersion) -> str:
    """What is typed to destroy the version's key: `short-name number`."""
    return f"{version.dataset.slug} {version.number}"


def shred_version(*, version: DatasetVersion, confirmation: str, by: Actor) -> None:
    """Every key of the version is destroyed: no copy of its rows can be read any more.

    One transaction: it is withdrawn with that reason, its offers close, what is under way
    over it has failed with `version_key_destroyed`. A version that was withdrawn before may
    still be shredded. Raises Invalid `confirmation_differs`, Conflict `key_destroyed`, and
    `illegal_move` while an upload is being worked on.
    """
    check_may_manage_keys(by, version.dataset.organisation)
    _check_confirmed(confirmation, words_for_version(version))
    with transaction.atomic():
        version = DatasetVersion.objects.select_for_update().get(pk=version.pk)
        found = list(keys_of(version).filter(state=KeyState.ACTIVE))
        if not found:
            raise Conflict("The version has no key any more.", code="key_destroyed")
        if version.state != VersionState.WITHDRAWN:
            end_version(version=version, because="key_destroyed", by=by)
        else:
            forget_soon(version)
        _cancel_rekeying(version, by=by)
        destroy_keys(*found, by=by)
        version.rekeyings.all().delete()
        _end_queries(queries_on(version), by=by)


def keys_of(version: DatasetVersion) -> QuerySet[DataKey]:
    """Every key that ever encrypted something of the version, its column groups' too."""
    return DataKey.objects.filter(
        subject_type="datasetversion", subject_id=str(version.pk)
    ).select_related("organisation_key__organisation")


def queries_on(version: DatasetVersion) -> QuerySet[Query]:
    """What is under way over the version; each once, repeats follow it."""
    return (
        Query.objects.filter(
            grant__offer__tables__version=version, state__in=_UNDER_WAY, same_as=None
        )
        .select_related("grant__provider", "grant__request", "submitted_by", "result_key")
        .distinct()
    )


def shred_organisation(
    *, organisation: Organisation, confirmation: str, by: Actor
) -> Operation:
    """Every key of the organisation is destroyed, at once; what stood on them follows.

    The operation that comes back withdraws the versions, ends what is under way and shreds
    the releases. Until it has, they are refused by `key_destroyed` and
    `organisation_keys_destroyed`. For administrators: Forbidden otherwise. Raises Invalid
    `confirmation_differs`, Conflict `organisation_keys_destroyed`.
    """
    check_may_end_keys(by, organisation)
    _check_confirmed(confirmation, organisation.slug)
    with transaction.atomic():
        destroy_organisation_keys(organisation=organisation, by=by)
        return enqueue(SHRED, organisation.public_id)


def shred_all(operation: Operation) -> None:
    """Nothing of the operation's organisation is on offer, under way or released."""
    organisation = Organisation.objects.get(public_id=operation.target_id)
    versions = DatasetVersion.objects.filter(dataset__organisation=organisation)
    for version in versions.select_related("dataset__organisation"):
        with transaction.atomic():
            _end_queries(queries_on(version), by=NODE)
            if VersionState.WITHDRAWN in VERSION_MOVES[version.state]:
                end_version(version=version, because="key_destroyed", by=NODE)
            else:
                forget_soon(version)
        extend(operation)
    releases = Release.objects.filter(query__grant__provider=organisation)
    for release in releases.exclude(state=ReleaseState.SHREDDED):
        with suppress(Conflict):  # its recipient shreds it at this moment
            shred(release, by=NODE)
        extend(operation)


def _check_confirmed(said: str, wanted: str) -> None:
    if said.strip() != wanted:
        raise Invalid(
            "The confirmation is not what was asked for; nothing was destroyed.",
            code="confirmation_differs",
            hint=f"Type {wanted} to confirm.",
        )


def _cancel_rekeying(version: DatasetVersion, *, by: Actor) -> None:
    for operation in Operation.objects.unfinished().of("catalogue.rekey", str(version.pk)):
        was_running = operation.state == OperationState.LEASED
        cancel(operation, by=by)
        if was_running:
            job = f"{operation.public_id}-{operation.attempt}"
            transaction.on_commit(partial(kill, [job]))


def _end_queries(queries: QuerySet[Query], *, by: Actor) -> None:
    """In the caller's transaction; the sandbox's jobs are killed once it commits."""
    jobs: list[str] = []
    for query in queries:
        for operation in Operation.objects.unfinished().filter(
            kind__in=(ANALYSE, RUN), target_id=str(query.pk)
        ):
            cancel(operation, by=by)
            jobs.append(f"{operation.public_id}-{operation.attempt}")
        move(
            query,
            to=QueryState.FAILED,
            by=by,
            event=EventType.RUN_FAILED,
            changes={
                "error_code": VERSION_CODE,
                "error_message": _GONE,
                "error_hint": _ELSEWHERE,
                "finished_at": timezone.now(),
            },
            code=VERSION_CODE,
        )
        destroy_keys(query.result_key, by=by)
    if jobs:
        transaction.on_commit(partial(kill, jobs))
