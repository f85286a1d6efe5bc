"""The facts behind an audit event's sentence, each under a label."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exchange.audit.models import AuditEvent
from exchange.web.event_words import text_of

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


def details_of(event: AuditEvent) -> tuple[tuple[str, str], ...]:
    """The payload; where the entry only commits to a text, the text while it is kept."""
    found = []
    for key, value in event.payload.items():
        if key == "actor_name" or value in (None, "", [], {}):
            continue
        kept = event.private.get(key, {}).get("text")
        if isinstance(value, dict) and "commitment" in value and kept is None:
            kept = _("erased; its commitment is %(hash)s") % {"hash": value["commitment"]}
        words = text_of(value) if kept is None else str(kept)
        if words:
            found.append((str(DETAIL_LABELS.get(key, key.replace("_", " "))), words))
    return tuple(found)
