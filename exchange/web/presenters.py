"""An audit event as a sentence, a tone and a link; states as labelled statuses.

The table is closed: a test fails when an EventType has no presenter. The module is long
because it is one table and the words that it needs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from exchange.agreements.states import LegalBasis
from exchange.audit.actors import NODE
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent
from exchange.keys.models import KeyPurpose
from exchange.parties.models import Kind, Role
from exchange.web.rules import purpose_words

Payload = Mapping[str, Any]
E = EventType


@dataclass(frozen=True, slots=True)
class Line:
    """One event as a reader meets it: `detail` are the facts behind the sentence."""

    event_id: uuid.UUID
    type: str
    at: datetime
    organisation: str
    sentence: str
    tone: str  # ok, wait, stop, or "" for a plain step
    url: str
    case_id: str
    index: int | None  # its place in the log; None until sealed
    detail: tuple[tuple[str, str], ...]


Say = Callable[[str, Payload], str]


@dataclass(frozen=True, slots=True)
class Presenter:
    say: Say
    tone: str = ""


def size_words(count: int) -> str:
    """Bytes as people read them, in powers of 1,000."""
    if count < 1000:
        return ngettext("%(n)d byte", "%(n)d bytes", count) % {"n": count}
    for unit, factor in (("kB", 10**3), ("MB", 10**6)):
        if count < factor * 1000:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 10**9:.1f} GB"


def _sentence(text: str | Promise, **words: str) -> str:
    sentence = str(text) % words
    return sentence[:1].upper() + sentence[1:]


def _says(text: Promise, **words: Callable[[Payload], str]) -> Say:
    """A sentence with the actor's name as `who` and the words taken from the payload."""

    def say(who: str, payload: Payload) -> str:
        found = {name: word(payload) for name, word in words.items()}
        return _sentence(text, who=who, **found)

    return say


def _plain_word(key: str) -> Callable[[Payload], str]:
    return lambda payload: _text(payload.get(key, ""))


def _size(key: str = "bytes") -> Callable[[Payload], str]:
    return lambda payload: size_words(int(payload.get(key) or 0))


def _day(key: str) -> Callable[[Payload], str]:
    return lambda payload: str(payload.get(key, ""))[:10]


def _purpose(payload: Payload) -> str:
    words = purpose_words(str(payload.get("purpose", "")))
    return words[:1].lower() + words[1:]


def _choice(choices: Mapping[str, Any], key: str) -> Callable[[Payload], str]:
    """The label of a closed choice; a value from elsewhere stands as it is."""

    def word(payload: Payload) -> str:
        value = str(payload.get(key, ""))
        return str(choices.get(value, value))

    return word


def _rows(payload: Payload) -> str:
    count = int(payload.get("rows") or 0)
    return ngettext("%(n)s row", "%(n)s rows", count) % {"n": f"{count:,}"}


def _withheld(payload: Payload) -> str:
    count = int(payload.get("suppressed") or 0)
    if not count:
        return _("nothing withheld")
    return ngettext(
        "something withheld in %(n)d row", "something withheld in %(n)d rows", count
    ) % {"n": count}


VERDICTS: Final = {
    "allow": gettext_lazy("the policy allows it"),
    "review": gettext_lazy("the policy asks for a reviewer"),
    "refuse": gettext_lazy("the policy refuses it"),
}
DECISIONS: Final = {
    "approve": gettext_lazy("%(who)s approved the request."),
    "reject": gettext_lazy("%(who)s rejected the request."),
    "automatic": gettext_lazy(
        "The policy granted the request by itself; no reviewer was asked."
    ),
    "withdrawn": gettext_lazy("%(who)s withdrew the request."),
    "overdue": gettext_lazy("The request ended undecided: its time was over."),
}


def _say_decision(who: str, payload: Payload) -> str:
    decision = str(payload.get("decision", ""))
    text = DECISIONS.get(decision, gettext_lazy("%(who)s decided the request."))
    return _sentence(text, who=who)


def _say_review(who: str, payload: Payload) -> str:
    if payload.get("decision") == "approve":
        return _sentence(_("%(who)s approved the query."), who=who)
    return _sentence(_("%(who)s rejected the query."), who=who)


_BASES = dict(LegalBasis.choices)
_KEYS = {
    **dict(KeyPurpose.choices),
    "organisation": gettext_lazy("an organisation"),
    "master": gettext_lazy("the node itself"),
}
PROVIDERS: Final = {
    "file": gettext_lazy("the keyring file"),
    "transit": gettext_lazy("Vault or OpenBao"),
    "pkcs11": gettext_lazy("a hardware module"),
}
_ROLES = dict(Role.choices)
_KINDS: Final = {**dict(Kind.choices), "user": gettext_lazy("person")}

PRESENTERS: Final[Mapping[EventType, Presenter]] = {
    E.DATASET_REGISTERED: Presenter(
        _says(
            gettext_lazy("%(who)s registered the dataset “%(name)s”."),
            name=_plain_word("name"),
        )
    ),
    E.UPLOAD_ACCEPTED: Presenter(
        _says(
            gettext_lazy(
                "%(who)s uploaded a file of %(size)s (%(format)s), sealed on arrival."
            ),
            size=_size("size_bytes"),
            format=_plain_word("format"),
        )
    ),
    E.VERSION_PROFILED: Presenter(
        _says(
            gettext_lazy("The upload of %(who)s was read and profiled: %(rows)s."),
            rows=_rows,
        )
    ),
    E.VERSION_PUBLISHED: Presenter(
        _says(
            gettext_lazy("%(who)s published the version under %(licence)s."),
            licence=_plain_word("licence"),
        ),
        "ok",
    ),
    E.VERSION_FAILED: Presenter(
        _says(
            gettext_lazy(
                "The upload of %(who)s could not be used (%(code)s); none of it is public."
            ),
            code=_plain_word("code"),
        ),
        "stop",
    ),
    E.VERSION_WITHDRAWN: Presenter(
        _says(gettext_lazy("%(who)s withdrew the version.")), "stop"
    ),
    E.POLICY_PUBLISHED: Presenter(
        _says(
            gettext_lazy("%(who)s set version %(number)s of the policy."),
            number=_plain_word("number"),
        )
    ),
    E.REQUEST_SUBMITTED: Presenter(
        _says(
            gettext_lazy(
                "%(who)s asked for access, for %(purpose)s; legal basis: %(basis)s."
            ),
            purpose=_purpose,
            basis=_choice(_BASES, "legal_basis"),
        ),
        "wait",
    ),
    E.REQUEST_DECIDED: Presenter(_say_decision),
    E.GRANT_ISSUED: Presenter(
        _says(
            gettext_lazy("The grant was issued, for %(purpose)s, until %(end)s."),
            purpose=_purpose,
            end=_day("ends_at"),
        ),
        "ok",
    ),
    E.GRANT_LIMITED: Presenter(
        _says(gettext_lazy("%(who)s set what a run under the grant may use."))
    ),
    E.GRANT_REVOKED: Presenter(_says(gettext_lazy("%(who)s revoked the grant.")), "stop"),
    E.QUERY_SUBMITTED: Presenter(
        _says(gettext_lazy("%(who)s submitted a query, for %(purpose)s."), purpose=_purpose)
    ),
    E.QUERY_ANALYSED: Presenter(
        _says(
            gettext_lazy("The query of %(who)s was analysed: %(verdict)s."),
            verdict=_choice(VERDICTS, "verdict"),
        )
    ),
    E.QUERY_REFUSED: Presenter(
        _says(
            gettext_lazy("The query of %(who)s was refused: %(reasons)s."),
            reasons=_plain_word("reasons"),
        ),
        "stop",
    ),
    E.QUERY_REVIEWED: Presenter(_say_review),
    E.RUN_STARTED: Presenter(
        _says(
            gettext_lazy(
                "The query of %(who)s began to run in the sandbox, attempt %(attempt)s."
            ),
            attempt=_plain_word("attempt"),
        )
    ),
    E.RUN_FINISHED: Presenter(
        _says(
            gettext_lazy("The query of %(who)s has run: %(rows)s, %(withheld)s."),
            rows=_rows,
            withheld=_withheld,
        )
    ),
    E.RUN_FAILED: Presenter(
        _says(
            gettext_lazy(
                "The query of %(who)s failed (%(code)s); nothing left the sandbox."
            ),
            code=_plain_word("code"),
        ),
        "stop",
    ),
    E.RELEASE_HELD: Presenter(
        _says(
            gettext_lazy(
                "The result for %(who)s was stored encrypted: %(rows)s, %(size)s."
            ),
            rows=_rows,
            size=_size(),
        ),
        "wait",
    ),
    E.RELEASE_AVAILABLE: Presenter(
        _says(
            gettext_lazy(
                "A signed checkpoint covers the result's record; the release is open."
            )
        ),
        "ok",
    ),
    E.RELEASE_DOWNLOADED: Presenter(
        _says(gettext_lazy("%(who)s received the result, %(size)s."), size=_size()), "ok"
    ),
    E.RELEASE_SHREDDED: Presenter(
        _says(
            gettext_lazy("The result was shredded: its key is destroyed, its record stays.")
        )
    ),
    E.KEY_ISSUED: Presenter(
        _says(
            gettext_lazy("A key was issued for %(what)s, by an act of %(who)s."),
            what=_choice(_KEYS, "purpose"),
        )
    ),
    E.KEY_REWRAPPED: Presenter(
        _says(
            gettext_lazy("Keys were wrapped anew, generation %(generation)s."),
            generation=_plain_word("generation"),
        )
    ),
    E.KEY_REKEYED: Presenter(
        _says(
            gettext_lazy(
                "The files of a version were written anew under a new key, by an act of "
                "%(who)s."
            )
        )
    ),
    E.KEY_DESTROYED: Presenter(
        _says(
            gettext_lazy("A key for %(what)s was destroyed, by an act of %(who)s."),
            what=_choice(_KEYS, "purpose"),
        )
    ),
    E.KEY_MASTER_ROTATED: Presenter(
        _says(
            gettext_lazy("The node has a new master key, held by %(provider)s."),
            provider=_choice(PROVIDERS, "provider"),
        )
    ),
    E.KEY_MASTER_RETIRED: Presenter(
        _says(gettext_lazy("An old master key was retired; nothing lay under it any more."))
    ),
    E.KEY_PROVIDER_CHANGED: Presenter(
        _says(
            gettext_lazy(
                "The node's master keys are held by %(provider)s from now on, before by "
                "%(earlier)s."
            ),
            provider=_choice(PROVIDERS, "provider"),
            earlier=_choice(PROVIDERS, "earlier"),
        ),
        "wait",
    ),
    E.LOGIN_SUCCEEDED: Presenter(_says(gettext_lazy("%(who)s signed in."))),
    E.LOGIN_FAILED: Presenter(_says(gettext_lazy("Somebody failed to sign in.")), "stop"),
    E.TOKEN_ISSUED: Presenter(
        _says(
            gettext_lazy("%(who)s issued an access token, valid until %(end)s."),
            end=_day("expires_at"),
        )
    ),
    E.TOKEN_REVOKED: Presenter(_says(gettext_lazy("%(who)s revoked an access token."))),
    E.PARTY_REGISTERED: Presenter(
        _says(
            gettext_lazy("%(who)s registered a party: %(kind)s."),
            kind=_choice(_KINDS, "kind"),
        )
    ),
    E.MEMBERSHIP_GRANTED: Presenter(
        _says(
            gettext_lazy("%(who)s gave somebody the role of %(role)s."),
            role=_choice(_ROLES, "role"),
        )
    ),
    E.LOG_CHECKED: Presenter(
        _says(
            gettext_lazy(
                "%(who)s re-hashed the whole log of %(size)s records; it is consistent."
            ),
            size=_plain_word("size"),
        ),
        "ok",
    ),
}

# What the facts behind a sentence are called; any other key stands as it is.
DETAIL_LABELS: Final = {
    "purpose": gettext_lazy("Purpose"),
    "justification": gettext_lazy("Why"),
    "note": gettext_lazy("Note"),
    "reason": gettext_lazy("Reason"),
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
    "bytes": gettext_lazy("Size in bytes"),
    "size_bytes": gettext_lazy("Size in bytes"),
    "consumer": gettext_lazy("Consumer"),
    "grant": gettext_lazy("Grant"),
    "query": gettext_lazy("Query"),
    "partial": gettext_lazy("Partial"),
    "columns": gettext_lazy("Columns"),
    "kind": gettext_lazy("Kind"),
    "verdict": gettext_lazy("Verdict"),
    "attempt": gettext_lazy("Attempt"),
    "files": gettext_lazy("Digests of the files"),
    "footers": gettext_lazy("Digests of the files' footers"),
    "tables": gettext_lazy("Tables and their versions"),
    "offer": gettext_lazy("Offer"),
    "number": gettext_lazy("Number"),
    "duration_days": gettext_lazy("Duration in days"),
    "format": gettext_lazy("Format"),
    "name": gettext_lazy("Name"),
    "table": gettext_lazy("Name in queries"),
    "role": gettext_lazy("Role"),
    "scopes": gettext_lazy("Scopes"),
    "expires_at": gettext_lazy("Expires"),
}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, dict):
        if "code" in value:
            return str(value["code"])
        return "; ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)


def _detail(event: AuditEvent) -> tuple[tuple[str, str], ...]:
    """The payload; where the entry only commits to a text, the text while it is kept."""
    found = []
    for key, value in event.payload.items():
        if key == "actor_name" or value in (None, "", [], {}):
            continue
        kept = event.private.get(key, {}).get("text")
        if isinstance(value, dict) and "commitment" in value and kept is None:
            kept = _("erased; its commitment is %(hash)s") % {"hash": value["commitment"]}
        words = _text(value) if kept is None else str(kept)
        if words:
            found.append((str(DETAIL_LABELS.get(key, key.replace("_", " "))), words))
    return tuple(found)


def present(event: AuditEvent, *, names: Mapping[str, str] | None = None) -> Line:
    """The event as a sentence; `names` maps organisations' slugs to their names."""
    presenter = PRESENTERS[EventType(event.type)]
    who = _("this node") if event.actor_id == NODE.actor_id else event.actor_name
    return Line(
        event_id=event.event_id,
        type=event.type,
        at=event.at,
        organisation=(names or {}).get(event.organisation, event.organisation),
        sentence=presenter.say(who, event.payload),
        tone=presenter.tone,
        url=reverse("audit:event", args=[event.event_id]),
        case_id=event.case_id,
        index=event.index,
        detail=_detail(event),
    )
