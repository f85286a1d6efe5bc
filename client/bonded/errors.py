"""What can go wrong for someone who uses a node from outside.

BondedError
├── ConfigInvalid       the settings file or an argument cannot be used
├── Unreachable         no answer from the node, after retries
├── AnswerMalformed     the node's answer is not what version 1 of the API says
├── Problem             the node refused, by a problem document (RFC 9457)
│   ├── NotSignedIn     401: no token, or one that is unknown, expired or revoked
│   └── NotAllowed      403: the token is good, the act is not its holder's
├── QueryRefused        the policy refuses the query; every reason is in `reasons`
├── RunFailed           the query was approved and its run failed
├── NotFound            a name fits no dataset, or several
├── NoGrant             nothing allows this purpose on this dataset yet
├── LicenceNotAccepted  a subset was asked for without accepting its licence by name
├── StillWaiting        the time given ran out; the work goes on at the node
└── IntegrityFailed     bytes received are not the bytes the node committed to
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class BondedError(Exception):
    """The client could not do what was asked; `code` is stable, `hint` the way forward."""

    code = "client_error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


class ConfigInvalid(BondedError):
    """The settings file, an address or an argument cannot be used."""

    code = "config_invalid"


class Unreachable(BondedError):
    """The node did not answer, also after retries."""

    code = "unreachable"


class AnswerMalformed(BondedError):
    """The node answered with something that version 1 of its API does not say."""

    code = "answer_malformed"


class Problem(BondedError):
    """The node refused; the sentence, hint and documentation address are the node's."""

    def __init__(self, document: Mapping[str, object], *, status: int) -> None:
        message = _text(document, "detail") or _text(document, "title")
        super().__init__(
            message or f"the node answered {status} and gave no reason",
            hint=_text(document, "hint"),
        )
        self.status = status
        self.code = _text(document, "code") or "unknown"
        self.docs = _text(document, "docs")
        self.document = dict(document)


class NotSignedIn(Problem):
    """The node knows no such token, or it has expired or was revoked."""


class NotAllowed(Problem):
    """The token is good; what was asked is not its holder's to do."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One ground for a refusal, as the node states it."""

    code: str
    message: str
    hint: str = ""
    line: int | None = None  # of the submitted SQL, 1-based
    column: int | None = None
    policy_line: int | None = None  # of the policy's text as this reader sees it

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}: " if self.line else ""
        way = f"\n    → {self.hint}" if self.hint else ""
        policy = f", policy line {self.policy_line}" if self.policy_line else ""
        return f"{where}{self.message} [{self.code}{policy}]{way}"


class QueryRefused(BondedError):
    """The policy refuses the query; `reasons` holds every ground, not the first."""

    code = "query_refused"

    def __init__(self, reasons: Sequence[Reason]) -> None:
        self.reasons = tuple(reasons)
        count = len(self.reasons)
        noun = "reason" if count == 1 else "reasons"
        listed = "".join(f"\n  {reason}" for reason in self.reasons)
        super().__init__(f"the query is refused for {count} {noun}:{listed}")


class RunFailed(BondedError):
    """The query was approved, and its run failed at the node."""

    code = "run_failed"

    def __init__(self, message: str, *, hint: str = "", code: str = "run_failed") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class NotFound(BondedError):
    """A name fits no dataset that this reader may see, or several."""

    code = "not_found"


class NoGrant(BondedError):
    """No grant in force allows this purpose on this dataset."""

    code = "no_grant"


class LicenceNotAccepted(BondedError):
    """Rows leave only to someone who accepts their licence by its SPDX name."""

    code = "licence_not_accepted"


class StillWaiting(BondedError):
    """The time given ran out; nothing is lost, the work goes on at the node."""

    code = "still_waiting"


class IntegrityFailed(BondedError):
    """What was received is not what the node committed to."""

    code = "integrity_failed"


def problem_from(document: Mapping[str, object], *, status: int) -> Problem:
    """The error for a problem document, by its status."""
    if status == 401:
        return NotSignedIn(document, status=status)
    if status == 403:
        return NotAllowed(document, status=status)
    return Problem(document, status=status)


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""
