"""What a reader may see of requests and grants."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from exchange.agreements.models import AccessRequest, Grant
    from exchange.parties.models import User
    from policies.document import Rule


def requests_visible_to(user: User) -> QuerySet[AccessRequest]:
    """Requests of the reader's organisations, as provider or consumer; all for a regulator."""
    raise NotImplementedError


def request_visible_to(user: User, request_id: UUID | str) -> AccessRequest:
    """That request, or NotFound."""
    raise NotImplementedError


def requests_to_decide(user: User) -> QuerySet[AccessRequest]:
    """Waiting requests on which this user may still give a word: the inbox."""
    raise NotImplementedError


def grants_visible_to(user: User) -> QuerySet[Grant]:
    """Grants of the reader's organisations, as provider or consumer; all for a regulator."""
    raise NotImplementedError


def grant_visible_to(user: User, grant_id: UUID | str) -> Grant:
    """That grant, or NotFound."""
    raise NotImplementedError


def rule_of(subject: AccessRequest | Grant) -> Rule:
    """The policy's rule that the request or grant is about."""
    raise NotImplementedError
