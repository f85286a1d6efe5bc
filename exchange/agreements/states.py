"""The life of an access request, in the words of the Dataspace Protocol's negotiation."""

from __future__ import annotations

from django.db import models


class NegotiationState(models.TextChoices):
    """State names of DSP 2025-1, `ContractNegotiation`."""

    REQUESTED = "REQUESTED", "requested"
    OFFERED = "OFFERED", "offered"
    ACCEPTED = "ACCEPTED", "accepted"
    AGREED = "AGREED", "agreed"
    VERIFIED = "VERIFIED", "verified"
    FINALIZED = "FINALIZED", "finalized"
    TERMINATED = "TERMINATED", "terminated"


S = NegotiationState

# Within one node agreeing, verifying and finalizing are one act: both sides read the same
# row. Termination is legal from any state that is not final (DSP 2025-1).
NEGOTIATION_MOVES: dict[str, frozenset[str]] = {
    S.REQUESTED: frozenset({S.OFFERED, S.AGREED, S.FINALIZED, S.TERMINATED}),
    S.OFFERED: frozenset({S.REQUESTED, S.ACCEPTED, S.TERMINATED}),
    S.ACCEPTED: frozenset({S.AGREED, S.TERMINATED}),
    S.AGREED: frozenset({S.VERIFIED, S.TERMINATED}),
    S.VERIFIED: frozenset({S.FINALIZED, S.TERMINATED}),
    S.FINALIZED: frozenset(),
    S.TERMINATED: frozenset(),
}


class RuleKind(models.TextChoices):
    """Which kind of rule of the policy is asked for."""

    AGGREGATE = "aggregate", "aggregates"
    SUBSET = "subset", "labelled subset"


class LegalBasis(models.TextChoices):
    """GDPR Article 6(1) by letter, and what stands where no person is concerned."""

    CONSENT = "consent", "consent, Art. 6(1)(a)"
    CONTRACT = "contract", "contract, Art. 6(1)(b)"
    LEGAL_OBLIGATION = "legal-obligation", "legal obligation, Art. 6(1)(c)"
    VITAL_INTERESTS = "vital-interests", "vital interests, Art. 6(1)(d)"
    PUBLIC_TASK = "public-task", "public task, Art. 6(1)(e)"
    LEGITIMATE_INTERESTS = "legitimate-interests", "legitimate interests, Art. 6(1)(f)"
    NOT_PERSONAL = "not-personal", "no personal data"
