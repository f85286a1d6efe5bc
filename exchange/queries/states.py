"""The life of a query and of its release, and the moves that are legal."""

from __future__ import annotations

from django.db import models


class QueryState(models.TextChoices):
    """Where a query stands."""

    DRAFTED = "drafted", "drafted"
    ANALYSING = "analysing", "being analysed"
    REFUSED = "refused", "refused"
    IN_REVIEW = "in_review", "in review"
    APPROVED = "approved", "approved"
    RUNNING = "running", "running"
    HELD = "held", "held"
    RELEASED = "released", "released"
    FAILED = "failed", "failed"
    SHREDDED = "shredded", "shredded"


S = QueryState

QUERY_MOVES: dict[str, frozenset[str]] = {
    S.DRAFTED: frozenset({S.ANALYSING}),
    # Straight to a later state only as the repeat of an earlier query that stands there.
    S.ANALYSING: frozenset(
        {S.REFUSED, S.IN_REVIEW, S.APPROVED, S.FAILED, S.RUNNING, S.HELD, S.RELEASED}
    ),
    S.REFUSED: frozenset(),
    S.IN_REVIEW: frozenset({S.APPROVED, S.REFUSED, S.FAILED}),
    S.APPROVED: frozenset({S.RUNNING, S.REFUSED, S.FAILED}),
    # Back to refused: the worker analyses again, and its word is the last.
    S.RUNNING: frozenset({S.HELD, S.REFUSED, S.FAILED}),
    S.HELD: frozenset({S.RELEASED, S.SHREDDED}),
    S.RELEASED: frozenset({S.SHREDDED}),
    S.FAILED: frozenset({S.ANALYSING}),
    S.SHREDDED: frozenset(),
}

# One answer, one approval: in these states a query stands for its fingerprint.
LIVE_STATES = (S.IN_REVIEW, S.APPROVED, S.RUNNING, S.HELD, S.RELEASED)

# It goes on by itself no more: it ended, or people decide.
QUERY_AT_REST = (S.IN_REVIEW, S.REFUSED, S.RELEASED, S.FAILED, S.SHREDDED)

# A process of the node has something to do for it.
UNDER_WAY = (S.ANALYSING, S.APPROVED, S.RUNNING)


class Verdict(models.TextChoices):
    """What `policies.decide` said."""

    ALLOW = "allow", "allow"
    REVIEW = "review", "review"
    REFUSE = "refuse", "refuse"


class ReleaseState(models.TextChoices):
    """Where a release stands."""

    HELD = "held", "held"  # stored; waits for a checkpoint that covers its record
    AVAILABLE = "available", "available"
    SHREDDED = "shredded", "shredded"


RELEASE_MOVES: dict[str, frozenset[str]] = {
    ReleaseState.HELD: frozenset({ReleaseState.AVAILABLE, ReleaseState.SHREDDED}),
    ReleaseState.AVAILABLE: frozenset({ReleaseState.SHREDDED}),
    ReleaseState.SHREDDED: frozenset(),
}
