"""The closed list of what can happen, and what each record of it must say."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class EventType(StrEnum):
    DATASET_REGISTERED = "dataset:registered"
    UPLOAD_ACCEPTED = "upload:accepted"
    VERSION_PROFILED = "version:profiled"
    VERSION_PUBLISHED = "version:published"
    VERSION_FAILED = "version:failed"
    VERSION_WITHDRAWN = "version:withdrawn"
    POLICY_PUBLISHED = "policy:published"
    REQUEST_SUBMITTED = "request:submitted"
    REQUEST_DECIDED = "request:decided"
    GRANT_ISSUED = "grant:issued"
    GRANT_LIMITED = "grant:limited"
    GRANT_REVOKED = "grant:revoked"
    QUERY_SUBMITTED = "query:submitted"
    QUERY_ANALYSED = "query:analysed"
    QUERY_REFUSED = "query:refused"
    QUERY_REVIEWED = "query:reviewed"
    RUN_STARTED = "run:started"
    RUN_FINISHED = "run:finished"
    RUN_FAILED = "run:failed"
    RELEASE_HELD = "release:held"
    RELEASE_AVAILABLE = "release:available"
    RELEASE_DOWNLOADED = "release:downloaded"
    RELEASE_SHREDDED = "release:shredded"
    KEY_ISSUED = "key:issued"
    KEY_REWRAPPED = "key:rewrapped"
    KEY_REKEYED = "key:rekeyed"
    KEY_DESTROYED = "key:destroyed"
    KEY_MASTER_ROTATED = "key:master_rotated"
    KEY_MASTER_RETIRED = "key:master_retired"
    KEY_PROVIDER_CHANGED = "key:provider_changed"
    LOGIN_SUCCEEDED = "login:succeeded"
    LOGIN_FAILED = "login:failed"
    TOKEN_ISSUED = "token:issued"  # noqa: S105 - a name of an event, no token
    TOKEN_REVOKED = "token:revoked"  # noqa: S105 - a name of an event, no token
    PARTY_REGISTERED = "party:registered"
    MEMBERSHIP_GRANTED = "membership:granted"
    LOG_CHECKED = "log:checked"


# What a record of each type must carry beside who, when, subject and case. More is allowed;
# free text and personal fields only as `Private`.
REQUIRED: Final[Mapping[EventType, frozenset[str]]] = MappingProxyType(
    {
        EventType.DATASET_REGISTERED: frozenset({"name"}),
        EventType.UPLOAD_ACCEPTED: frozenset({"content_sha256", "size_bytes", "format"}),
        EventType.VERSION_PROFILED: frozenset({"rows", "columns"}),
        EventType.VERSION_PUBLISHED: frozenset(
            {"policy_digest", "licence", "files", "footers"}
        ),
        EventType.VERSION_FAILED: frozenset({"code"}),
        EventType.VERSION_WITHDRAWN: frozenset({"reason"}),
        EventType.POLICY_PUBLISHED: frozenset({"policy_digest", "number"}),
        EventType.REQUEST_SUBMITTED: frozenset(
            {"purpose", "legal_basis", "dataset_version"}
        ),
        EventType.REQUEST_DECIDED: frozenset({"decision", "policy_digest"}),
        EventType.GRANT_ISSUED: frozenset(
            {"purpose", "dataset_version", "policy_digest", "ends_at"}
        ),
        EventType.GRANT_LIMITED: frozenset({"limits"}),
        EventType.GRANT_REVOKED: frozenset({"reason"}),
        EventType.QUERY_SUBMITTED: frozenset({"purpose", "sql"}),
        EventType.QUERY_ANALYSED: frozenset({"fingerprint", "verdict"}),
        EventType.QUERY_REFUSED: frozenset({"reasons"}),
        EventType.QUERY_REVIEWED: frozenset({"decision"}),
        EventType.RUN_STARTED: frozenset(
            {"fingerprint", "dataset_version", "policy_digest", "attempt"}
        ),
        EventType.RUN_FINISHED: frozenset({"fingerprint", "rows", "suppressed"}),
        EventType.RUN_FAILED: frozenset({"code"}),
        EventType.RELEASE_HELD: frozenset({"result_sha256", "bytes", "rows"}),
        EventType.RELEASE_AVAILABLE: frozenset({"result_sha256"}),
        EventType.RELEASE_DOWNLOADED: frozenset({"result_sha256", "bytes"}),
        EventType.RELEASE_SHREDDED: frozenset({"result_sha256"}),
        EventType.KEY_ISSUED: frozenset({"purpose"}),
        EventType.KEY_REWRAPPED: frozenset({"generation"}),
        EventType.KEY_REKEYED: frozenset({"files", "footers", "replaced"}),
        EventType.KEY_DESTROYED: frozenset({"purpose"}),
        EventType.KEY_MASTER_ROTATED: frozenset({"provider", "master_key"}),
        EventType.KEY_MASTER_RETIRED: frozenset({"provider", "master_key"}),
        EventType.KEY_PROVIDER_CHANGED: frozenset({"provider", "master_key", "earlier"}),
        EventType.LOGIN_SUCCEEDED: frozenset({"method"}),
        EventType.LOGIN_FAILED: frozenset({"reason"}),
        EventType.TOKEN_ISSUED: frozenset({"scopes", "expires_at"}),
        EventType.TOKEN_REVOKED: frozenset({"prefix"}),
        EventType.PARTY_REGISTERED: frozenset({"kind"}),
        EventType.MEMBERSHIP_GRANTED: frozenset({"role", "member"}),
        EventType.LOG_CHECKED: frozenset({"size", "root"}),
    }
)
