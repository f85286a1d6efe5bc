"""An audit event as a sentence, a tone and a link; states as labelled statuses.

The table is closed: a test fails when an EventType has no presenter.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent

Payload = Mapping[str, Any]
E = EventType


@dataclass(frozen=True, slots=True)
class Line:
    """One event as a reader meets it: `detail` are the facts behind the sentence."""

    event_id: uuid.UUID
    type: str
    at: datetime
    who: str
    organisation: str
    sentence: str
    tone: str  # ok, wait, stop, or "" for a plain step
    url: str
    case_id: str
    index: int | None  # its place in the log; None until sealed
    detail: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Presenter:
    say: Callable[[Payload], str]
    tone: str = ""


def _size(payload: Payload, key: str = "bytes") -> str:
    return size_words(int(payload.get(key) or 0))


def size_words(count: int) -> str:
    """Bytes as people read them, in powers of 1,000."""
    if count < 1000:
        return ngettext("%(n)d byte", "%(n)d bytes", count) % {"n": count}
    for unit, factor in (("kB", 10**3), ("MB", 10**6), ("GB", 10**9)):
        if count < factor * 1000 or unit == "GB":
            return f"{count / factor:.1f} {unit}"
    raise AssertionError("the largest unit takes every size")


def _rows(payload: Payload) -> str:
    count = int(payload.get("rows") or 0)
    return ngettext("%(n)s row", "%(n)s rows", count) % {"n": f"{count:,}"}


def _decision(payload: Payload) -> str:
    word = str(payload.get("decision", ""))
    return {
        "approved": _("approved"),
        "approve": _("approved"),
        "granted": _("approved"),
        "rejected": _("rejected"),
        "reject": _("rejected"),
        "refused": _("refused"),
    }.get(word, word)


def _reason_count(payload: Payload) -> int:
    reasons = payload.get("reasons") or ()
    return len(reasons) if isinstance(reasons, list | tuple) else 1


def _withheld(payload: Payload) -> str:
    count = int(payload.get("suppressed") or 0)
    if not count:
        return _("nothing withheld")
    return ngettext(
        "something withheld in %(n)d row", "something withheld in %(n)d rows", count
    ) % {"n": count}


def _verdict(payload: Payload) -> str:
    return {
        "allow": _("The policy allows it."),
        "review": _("The policy asks for a reviewer."),
        "refuse": _("The policy refuses it."),
    }.get(str(payload.get("verdict")), "")


PRESENTERS: Final[Mapping[EventType, Presenter]] = {
    E.DATASET_REGISTERED: Presenter(
        lambda p: _("registered the dataset “%(name)s”") % {"name": p.get("name", "")}
    ),
    E.UPLOAD_ACCEPTED: Presenter(
        lambda p: (
            _("uploaded a %(format)s file of %(size)s, sealed on arrival")
            % {"format": str(p.get("format", "")).upper(), "size": _size(p, "size_bytes")}
        )
    ),
    E.VERSION_PROFILED: Presenter(
        lambda p: _("profiled the upload: %(rows)s") % {"rows": _rows(p)}
    ),
    E.VERSION_PUBLISHED: Presenter(
        lambda p: (
            _("published the version under the licence %(licence)s")
            % {"licence": p.get("licence", "")}
        ),
        "ok",
    ),
    E.VERSION_FAILED: Presenter(
        lambda p: (
            _("could not use the upload (%(code)s); nothing was published")
            % {"code": p.get("code", "")}
        ),
        "stop",
    ),
    E.VERSION_WITHDRAWN: Presenter(lambda p: _("withdrew the version"), "stop"),
    E.POLICY_PUBLISHED: Presenter(
        lambda p: (
            _("set version %(number)s of the policy") % {"number": p.get("number", "")}
        )
    ),
    E.REQUEST_SUBMITTED: Presenter(
        lambda p: (
            _("asked for access, for %(purpose)s (legal basis: %(basis)s)")
            % {"purpose": p.get("purpose", ""), "basis": p.get("legal_basis", "")}
        ),
        "wait",
    ),
    E.REQUEST_DECIDED: Presenter(
        lambda p: _("decided the request: %(decision)s") % {"decision": _decision(p)}
    ),
    E.GRANT_ISSUED: Presenter(
        lambda p: (
            _("issued the grant for %(purpose)s, until %(end)s")
            % {"purpose": p.get("purpose", ""), "end": str(p.get("ends_at", ""))[:10]}
        ),
        "ok",
    ),
    E.GRANT_REVOKED: Presenter(lambda p: _("revoked the grant"), "stop"),
    E.QUERY_SUBMITTED: Presenter(
        lambda p: _("submitted a query for %(purpose)s") % {"purpose": p.get("purpose", "")}
    ),
    E.QUERY_ANALYSED: Presenter(
        lambda p: _("analysed the query. %(verdict)s") % {"verdict": _verdict(p)}
    ),
    E.QUERY_REFUSED: Presenter(
        lambda p: (
            ngettext(
                "refused the query, for %(n)d reason",
                "refused the query, for %(n)d reasons",
                _reason_count(p),
            )
            % {"n": _reason_count(p)}
        ),
        "stop",
    ),
    E.QUERY_REVIEWED: Presenter(
        lambda p: _("reviewed the query: %(decision)s") % {"decision": _decision(p)}
    ),
    E.RUN_STARTED: Presenter(
        lambda p: (
            _("started the run in the sandbox (attempt %(n)s)") % {"n": p.get("attempt", 1)}
        )
    ),
    E.RUN_FINISHED: Presenter(
        lambda p: (
            _("finished the run: %(rows)s, %(withheld)s")
            % {"rows": _rows(p), "withheld": _withheld(p)}
        )
    ),
    E.RUN_FAILED: Presenter(
        lambda p: (
            _("could not finish the run (%(code)s); nothing left the sandbox")
            % {"code": p.get("code", "")}
        ),
        "stop",
    ),
    E.RELEASE_HELD: Presenter(
        lambda p: (
            _("stored the result, encrypted: %(rows)s, %(size)s")
            % {"rows": _rows(p), "size": _size(p)}
        ),
        "wait",
    ),
    E.RELEASE_AVAILABLE: Presenter(
        lambda p: _("opened the release: a signed checkpoint covers its record"), "ok"
    ),
    E.RELEASE_DOWNLOADED: Presenter(
        lambda p: _("received the result (%(size)s)") % {"size": _size(p)}, "ok"
    ),
    E.RELEASE_SHREDDED: Presenter(
        lambda p: _("shredded the result: its key is destroyed, its record stays")
    ),
    E.KEY_ISSUED: Presenter(
        lambda p: _("issued a key for %(purpose)s") % {"purpose": p.get("purpose", "")}
    ),
    E.KEY_REWRAPPED: Presenter(lambda p: _("wrapped a key anew")),
    E.KEY_DESTROYED: Presenter(
        lambda p: _("destroyed a key for %(purpose)s") % {"purpose": p.get("purpose", "")}
    ),
    E.LOGIN_SUCCEEDED: Presenter(lambda p: _("signed in")),
    E.LOGIN_FAILED: Presenter(lambda p: _("failed to sign in"), "stop"),
    E.TOKEN_ISSUED: Presenter(
        lambda p: (
            _("issued an access token, valid until %(end)s")
            % {"end": str(p.get("expires_at", ""))[:10]}
        )
    ),
    E.TOKEN_REVOKED: Presenter(lambda p: _("revoked an access token")),
    E.PARTY_REGISTERED: Presenter(
        lambda p: _("registered a party (%(kind)s)") % {"kind": p.get("kind", "")}
    ),
    E.MEMBERSHIP_GRANTED: Presenter(
        lambda p: _("granted the role %(role)s") % {"role": p.get("role", "")}
    ),
    E.LOG_CHECKED: Presenter(
        lambda p: (
            _("re-hashed the whole log of %(size)s records and found it consistent")
            % {"size": p.get("size", "")}
        ),
        "ok",
    ),
}

# What the facts behind a sentence are called; any other key stands as it is.
DETAIL_LABELS: Final = {
    "purpose": gettext_lazy("Purpose"),
    "legal_basis": gettext_lazy("Legal basis"),
    "dataset_version": gettext_lazy("Dataset version"),
    "policy_digest": gettext_lazy("Policy digest"),
    "fingerprint": gettext_lazy("Fingerprint of the plan"),
    "result_sha256": gettext_lazy("Digest of the result"),
    "content_sha256": gettext_lazy("Digest of the upload"),
    "licence": gettext_lazy("Licence"),
    "rows": gettext_lazy("Rows"),
    "suppressed": gettext_lazy("Rows with something withheld"),
    "sql": gettext_lazy("Submitted SQL"),
    "executed_sql": gettext_lazy("Executed SQL"),
    "reasons": gettext_lazy("Reasons"),
    "decision": gettext_lazy("Decision"),
    "code": gettext_lazy("Code"),
    "ends_at": gettext_lazy("Ends"),
}


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        if "code" in value:
            return str(value["code"])
        return "; ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return str(value)


def _detail(payload: Payload) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(DETAIL_LABELS.get(key, key.replace("_", " "))), _plain(value))
        for key, value in payload.items()
        if value not in (None, "", [], {})
    )


def present(event: AuditEvent, *, names: Mapping[str, str] | None = None) -> Line:
    """The event as a sentence; `names` maps organisations' slugs to their names."""
    payload = event.payload
    presenter = PRESENTERS[EventType(event.type)]
    return Line(
        event_id=event.event_id,
        type=event.type,
        at=event.at,
        who=_("This node") if event.actor_id == "node" else event.actor_name,
        organisation=(names or {}).get(event.organisation, event.organisation),
        sentence=presenter.say(payload),
        tone=presenter.tone,
        url=reverse("audit:event", args=[event.event_id]),
        case_id=event.case_id,
        index=event.index,
        detail=_detail(payload),
    )
