"""An audit event as a sentence, a tone and a link: one table.

The table is closed: a test fails when an EventType has no presenter.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.agreements.states import LegalBasis
from exchange.audit.actors import NODE
from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent
from exchange.keys.models import KeyPurpose
from exchange.parties.models import Kind, Role
from exchange.web.event_details import details_of
from exchange.web.event_words import (
    Payload,
    Say,
    choice,
    day,
    plain_word,
    purpose,
    rows,
    says,
    sentence_of,
    size,
    withheld,
)

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


@dataclass(frozen=True, slots=True)
class Presenter:
    say: Say
    tone: str = ""


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
    return sentence_of(text, who=who)


def _say_review(who: str, payload: Payload) -> str:
    if payload.get("decision") == "approve":
        return sentence_of(_("%(who)s approved the query."), who=who)
    return sentence_of(_("%(who)s rejected the query."), who=who)


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
        says(
            gettext_lazy("%(who)s registered the dataset “%(name)s”."),
            name=plain_word("name"),
        )
    ),
    E.UPLOAD_ACCEPTED: Presenter(
        says(
            gettext_lazy(
                "%(who)s uploaded a file of %(size)s (%(format)s), sealed on arrival."
            ),
            size=size("size_bytes"),
            format=plain_word("format"),
        )
    ),
    E.VERSION_PROFILED: Presenter(
        says(
            gettext_lazy("The upload of %(who)s was read and profiled: %(rows)s."),
            rows=rows,
        )
    ),
    E.VERSION_PUBLISHED: Presenter(
        says(
            gettext_lazy("%(who)s published the version under %(licence)s."),
            licence=plain_word("licence"),
        ),
        "ok",
    ),
    E.VERSION_FAILED: Presenter(
        says(
            gettext_lazy(
                "The upload of %(who)s could not be used (%(code)s); none of it is public."
            ),
            code=plain_word("code"),
        ),
        "stop",
    ),
    E.VERSION_WITHDRAWN: Presenter(
        says(gettext_lazy("%(who)s withdrew the version.")), "stop"
    ),
    E.POLICY_PUBLISHED: Presenter(
        says(
            gettext_lazy("%(who)s set version %(number)s of the policy."),
            number=plain_word("number"),
        )
    ),
    E.REQUEST_SUBMITTED: Presenter(
        says(
            gettext_lazy(
                "%(who)s asked for access, for %(purpose)s; legal basis: %(basis)s."
            ),
            purpose=purpose,
            basis=choice(_BASES, "legal_basis"),
        ),
        "wait",
    ),
    E.REQUEST_DECIDED: Presenter(_say_decision),
    E.GRANT_ISSUED: Presenter(
        says(
            gettext_lazy("The grant was issued, for %(purpose)s, until %(end)s."),
            purpose=purpose,
            end=day("ends_at"),
        ),
        "ok",
    ),
    E.GRANT_LIMITED: Presenter(
        says(gettext_lazy("%(who)s set what a run under the grant may use."))
    ),
    E.GRANT_REVOKED: Presenter(says(gettext_lazy("%(who)s revoked the grant.")), "stop"),
    E.QUERY_SUBMITTED: Presenter(
        says(gettext_lazy("%(who)s submitted a query, for %(purpose)s."), purpose=purpose)
    ),
    E.QUERY_ANALYSED: Presenter(
        says(
            gettext_lazy("The query of %(who)s was analysed: %(verdict)s."),
            verdict=choice(VERDICTS, "verdict"),
        )
    ),
    E.QUERY_REFUSED: Presenter(
        says(
            gettext_lazy("The query of %(who)s was refused: %(reasons)s."),
            reasons=plain_word("reasons"),
        ),
        "stop",
    ),
    E.QUERY_REVIEWED: Presenter(_say_review),
    E.RUN_STARTED: Presenter(
        says(
            gettext_lazy(
                "The query of %(who)s began to run in the sandbox, attempt %(attempt)s."
            ),
            attempt=plain_word("attempt"),
        )
    ),
    E.RUN_FINISHED: Presenter(
        says(
            gettext_lazy("The query of %(who)s has run: %(rows)s, %(withheld)s."),
            rows=rows,
            withheld=withheld,
        )
    ),
    E.RUN_FAILED: Presenter(
        says(
            gettext_lazy(
                "The query of %(who)s failed (%(code)s); nothing left the sandbox."
            ),
            code=plain_word("code"),
        ),
        "stop",
    ),
    E.RELEASE_HELD: Presenter(
        says(
            gettext_lazy(
                "The result for %(who)s was stored encrypted: %(rows)s, %(size)s."
            ),
            rows=rows,
            size=size(),
        ),
        "wait",
    ),
    E.RELEASE_AVAILABLE: Presenter(
        says(
            gettext_lazy(
                "A signed checkpoint covers the result's record; the release is open."
            )
        ),
        "ok",
    ),
    E.RELEASE_DOWNLOADED: Presenter(
        says(gettext_lazy("%(who)s received the result, %(size)s."), size=size()), "ok"
    ),
    E.RELEASE_SHREDDED: Presenter(
        says(
            gettext_lazy("The result was shredded: its key is destroyed, its record stays.")
        )
    ),
    E.KEY_ISSUED: Presenter(
        says(
            gettext_lazy("A key was issued for %(what)s, by an act of %(who)s."),
            what=choice(_KEYS, "purpose"),
        )
    ),
    E.KEY_REWRAPPED: Presenter(
        says(
            gettext_lazy("Keys were wrapped anew, generation %(generation)s."),
            generation=plain_word("generation"),
        )
    ),
    E.KEY_REKEYED: Presenter(
        says(
            gettext_lazy(
                "The files of a version were written anew under a new key, by an act of "
                "%(who)s."
            )
        )
    ),
    E.KEY_DESTROYED: Presenter(
        says(
            gettext_lazy("A key for %(what)s was destroyed, by an act of %(who)s."),
            what=choice(_KEYS, "purpose"),
        )
    ),
    E.KEY_MASTER_ROTATED: Presenter(
        says(
            gettext_lazy("The node has a new master key, held by %(provider)s."),
            provider=choice(PROVIDERS, "provider"),
        )
    ),
    E.KEY_MASTER_RETIRED: Presenter(
        says(gettext_lazy("An old master key was retired; nothing lay under it any more."))
    ),
    E.KEY_PROVIDER_CHANGED: Presenter(
        says(
            gettext_lazy(
                "The node's master keys are held by %(provider)s from now on, before by "
                "%(earlier)s."
            ),
            provider=choice(PROVIDERS, "provider"),
            earlier=choice(PROVIDERS, "earlier"),
        ),
        "wait",
    ),
    E.LOGIN_SUCCEEDED: Presenter(says(gettext_lazy("%(who)s signed in."))),
    E.LOGIN_FAILED: Presenter(says(gettext_lazy("Somebody failed to sign in.")), "stop"),
    E.TOKEN_ISSUED: Presenter(
        says(
            gettext_lazy("%(who)s issued an access token, valid until %(end)s."),
            end=day("expires_at"),
        )
    ),
    E.TOKEN_REVOKED: Presenter(says(gettext_lazy("%(who)s revoked an access token."))),
    E.PARTY_REGISTERED: Presenter(
        says(
            gettext_lazy("%(who)s registered a party: %(kind)s."),
            kind=choice(_KINDS, "kind"),
        )
    ),
    E.MEMBERSHIP_GRANTED: Presenter(
        says(
            gettext_lazy("%(who)s gave somebody the role of %(role)s."),
            role=choice(_ROLES, "role"),
        )
    ),
    E.LOG_CHECKED: Presenter(
        says(
            gettext_lazy(
                "%(who)s re-hashed the whole log of %(size)s records; it is consistent."
            ),
            size=plain_word("size"),
        ),
        "ok",
    ),
}


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
        detail=details_of(event),
    )
