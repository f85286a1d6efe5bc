"""States as a label and a tone, in the reader's language; never by colour alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.agreements.models import AccessRequest, Grant
from exchange.agreements.states import NegotiationState
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.states import VersionState
from exchange.operations.models import Operation, OperationState
from exchange.queries.models import Query, Release
from exchange.queries.states import QueryState, ReleaseState


@dataclass(frozen=True, slots=True)
class Status:
    label: str | Promise
    tone: str  # ok, wait, stop, info or mute
    is_final: bool = True


def _s(label: Promise, tone: str, *, final: bool = True) -> Status:
    return Status(label, tone, final)


VERSIONS: Final[Mapping[str, Status]] = {
    VersionState.UPLOADING: _s(gettext_lazy("Uploading"), "info", final=False),
    VersionState.PROFILING: _s(gettext_lazy("Being read"), "info", final=False),
    VersionState.PROFILED: _s(gettext_lazy("Draft"), "wait"),
    VersionState.PARTITIONING: _s(gettext_lazy("Being encrypted"), "info", final=False),
    VersionState.READY: _s(gettext_lazy("Ready to publish"), "wait"),
    VersionState.PUBLISHED: _s(gettext_lazy("Published"), "ok"),
    VersionState.WITHDRAWN: _s(gettext_lazy("Withdrawn"), "mute"),
    VersionState.FAILED: _s(gettext_lazy("Failed"), "stop"),
}
REQUESTS: Final[Mapping[str, Status]] = {
    NegotiationState.REQUESTED: _s(gettext_lazy("Waiting for a decision"), "wait"),
    NegotiationState.OFFERED: _s(gettext_lazy("Counter-offer"), "wait"),
    NegotiationState.ACCEPTED: _s(gettext_lazy("Accepted"), "info"),
    NegotiationState.AGREED: _s(gettext_lazy("Agreed"), "ok"),
    NegotiationState.VERIFIED: _s(gettext_lazy("Agreed"), "ok"),
    NegotiationState.FINALIZED: _s(gettext_lazy("Granted"), "ok"),
    NegotiationState.TERMINATED: _s(gettext_lazy("Not granted"), "stop"),
}
QUERIES: Final[Mapping[str, Status]] = {
    QueryState.DRAFTED: _s(gettext_lazy("Submitted"), "info", final=False),
    QueryState.ANALYSING: _s(gettext_lazy("Being analysed"), "info", final=False),
    QueryState.REFUSED: _s(gettext_lazy("Refused"), "stop"),
    QueryState.IN_REVIEW: _s(gettext_lazy("Waiting for a reviewer"), "wait"),
    QueryState.APPROVED: _s(gettext_lazy("Approved, about to run"), "info", final=False),
    QueryState.RUNNING: _s(gettext_lazy("Running"), "info", final=False),
    QueryState.HELD: _s(gettext_lazy("Being sealed"), "info", final=False),
    QueryState.RELEASED: _s(gettext_lazy("Released"), "ok"),
    QueryState.FAILED: _s(gettext_lazy("Failed"), "stop"),
    QueryState.SHREDDED: _s(gettext_lazy("Shredded"), "mute"),
}
RELEASES: Final[Mapping[str, Status]] = {
    ReleaseState.HELD: _s(gettext_lazy("Being sealed"), "info", final=False),
    ReleaseState.AVAILABLE: _s(gettext_lazy("Available"), "ok"),
    ReleaseState.SHREDDED: _s(gettext_lazy("Shredded"), "mute"),
}
OPERATIONS: Final[Mapping[str, Status]] = {
    OperationState.PENDING: _s(gettext_lazy("Waiting"), "wait", final=False),
    OperationState.LEASED: _s(gettext_lazy("Running"), "info", final=False),
    OperationState.DONE: _s(gettext_lazy("Done"), "ok"),
    OperationState.FAILED: _s(gettext_lazy("Failed"), "stop"),
    OperationState.CANCELLED: _s(gettext_lazy("Cancelled"), "mute"),
}


def version_status(version: DatasetVersion) -> Status:
    return VERSIONS[version.state]


def request_status(request: AccessRequest) -> Status:
    return REQUESTS[request.state]


def query_status(query: Query) -> Status:
    return QUERIES[query.state]


def release_status(release: Release) -> Status:
    return RELEASES[release.state]


def operation_status(operation: Operation) -> Status:
    return OPERATIONS[operation.state]


def grant_status(grant: Grant, now: datetime) -> Status:
    if grant.revoked_at is not None:
        return Status(_("Revoked"), "stop")
    if grant.ends_at <= now:
        return Status(_("Ended"), "mute")
    if grant.version.state == VersionState.WITHDRAWN:
        return Status(_("Data withdrawn"), "stop")
    if grant.starts_at > now:
        return Status(_("Not yet begun"), "wait")
    return Status(_("Active"), "ok")
