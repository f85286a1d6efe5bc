"""Writes on agreements: request, decide, revoke. Four eyes where the policy asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exchange.agreements.models import AccessRequest, Grant
    from exchange.catalogue.models import Offer
    from exchange.parties.models import Organisation, User


def request_access(
    *,
    offer: Offer,
    consumer: Organisation,
    kind: str,
    purpose: str,
    legal_basis: str,
    justification: str,
    duration_days: int,
    accepted_licence: str,
    columns: Sequence[str] = (),
    by: User,
) -> AccessRequest:
    """A request stands, recorded; where the policy decides alone, its grant stands too.

    `kind` is aggregate or subset. `accepted_licence` must be the offer's (aggregate) or the
    rule's (subset). Raises Refused `purpose_not_offered`, `licence_not_accepted`,
    `column_not_offered`, `duration_too_long`, Conflict `offer_closed`, `own_dataset`,
    `request_already_open`.
    """
    raise NotImplementedError


def decide_request(
    *, request: AccessRequest, approve: bool, note: str = "", by: User
) -> AccessRequest:
    """The reviewer's word is recorded; the last one needed issues the grant or ends it.

    One rejection ends the request. Forbidden for the requester and for every member of the
    consumer (`four_eyes`). Conflict `request_not_waiting`, `already_decided`.
    """
    raise NotImplementedError


def withdraw_request(*, request: AccessRequest, by: User) -> AccessRequest:
    """A waiting request is terminated by its own side."""
    raise NotImplementedError


def terminate_overdue(*, now: datetime) -> int:
    """Requests past their due time are terminated, each recorded; how many comes back."""
    raise NotImplementedError


def revoke_grant(*, grant: Grant, note: str, by: User) -> Grant:
    """Nothing can be run under the grant any more; what was released stays released."""
    raise NotImplementedError
