"""Who may give a word on what others ask for: four eyes, from two houses."""

from __future__ import annotations

from exchange.errors import Forbidden
from exchange.parties.models import Organisation, User
from exchange.parties.permissions import check_can_review


def check_may_decide(
    user: User, *, provider: Organisation, consumer: Organisation, asker: int | None
) -> None:
    """Raise Forbidden unless `user` reviews for the provider and stands on that side only.

    `asker` is the id of the user who asked. The database holds the same by constraint on
    each decision row; a member of both houses is stopped here.
    """
    check_can_review(user, provider)
    if user.pk == asker or user.memberships.filter(organisation=consumer).exists():
        raise Forbidden(
            "whoever asks, or belongs to the organisation that asks, does not decide",
            code="four_eyes",
            hint="Another reviewer of the provider must look at it.",
        )


def may_decide(
    user: User, *, provider: Organisation, consumer: Organisation, asker: int | None
) -> bool:
    """Whether `check_may_decide` passes."""
    try:
        check_may_decide(user, provider=provider, consumer=consumer, asker=asker)
    except Forbidden:
        return False
    return True
