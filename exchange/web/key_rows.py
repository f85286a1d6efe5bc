"""What the page of keys says of each: plain values for its templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.rekeying import KEYED, REKEY
from exchange.catalogue.states import VersionState
from exchange.keys.choice import ProviderKind
from exchange.keys.models import DataKey, KeyPurpose, KeyState
from exchange.keys.selectors import OrganisationKeyState, PurposeCount
from exchange.operations.models import Operation
from exchange.web.presenters import PROVIDERS
from exchange.web.statuses import Status, version_status

_WORKED_ON = (VersionState.UPLOADING, VersionState.PROFILING, VersionState.PARTITIONING)


def provider_words(kind: ProviderKind | None) -> str:
    return str(PROVIDERS[kind]) if kind is not None else ""


def organisation_status(state: OrganisationKeyState) -> Status:
    if state.state == KeyState.DESTROYED:
        return Status(_("Destroyed"), "stop")
    if not state.state:
        return Status(_("Not made yet"), "mute")
    if state.is_rotating:
        return Status(_("Being rotated"), "info", is_final=False)
    return Status(_("Active"), "ok")


def key_rows(versions: Sequence[DatasetVersion]) -> list[dict[str, Any]]:
    """One row a version; the queries do not grow with their number."""
    ids = [str(version.pk) for version in versions]
    under_way = {
        operation.target_id: operation
        for operation in Operation.objects.unfinished().filter(
            kind=REKEY, target_id__in=ids
        )
    }
    live = set(
        DataKey.objects.filter(
            subject_type="datasetversion", subject_id__in=ids, state=KeyState.ACTIVE
        ).values_list("subject_id", flat=True)
    )
    return [
        _row(
            version,
            is_live=str(version.pk) in live,
            work=under_way.get(str(version.pk)),
        )
        for version in versions
    ]


def _row(
    version: DatasetVersion, *, is_live: bool, work: Operation | None
) -> dict[str, Any]:
    key = version.data_key or version.staged_key or version.source_key
    holder = version.data_key.organisation_key if version.data_key else None
    return {
        "version": version,
        "version_status": version_status(version),
        "key": key,
        "generation": holder.generation if holder and is_live else None,
        "status": _status(is_live=is_live, has_key=key is not None, work=work),
        "progress": work.progress if work is not None else "",
        "may_rotate": is_live and work is None and version.state in KEYED,
        "may_destroy": is_live and version.state not in _WORKED_ON,
    }


def _status(*, is_live: bool, has_key: bool, work: Operation | None) -> Status:
    if work is not None:
        return Status(_("Being rotated"), "info", is_final=False)
    if is_live:
        return Status(_("Active"), "ok")
    if has_key:
        return Status(_("Destroyed"), "stop")
    return Status(_("Not made yet"), "mute")


def purpose_rows(counts: Sequence[PurposeCount]) -> list[dict[str, Any]]:
    words = dict(KeyPurpose.choices)
    return [
        {
            "what": words.get(count.purpose, count.purpose),
            "active": count.active,
            "destroyed": count.destroyed,
        }
        for count in counts
    ]
