"""What a reader may see of queries and releases."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from exchange.agreements.models import Grant
    from exchange.parties.models import User
    from exchange.queries.models import Query, Release
    from ledger.receipt import Receipt


def queries_visible_to(user: User) -> QuerySet[Query]:
    """Queries under grants of the reader's organisations; all for a regulator."""
    raise NotImplementedError


def query_visible_to(user: User, query_id: UUID | str) -> Query:
    """That query, or NotFound."""
    raise NotImplementedError


def queries_to_review(user: User) -> QuerySet[Query]:
    """Queries in review on which this user may still give a word: the inbox."""
    raise NotImplementedError


def releases_visible_to(user: User) -> QuerySet[Release]:
    """Releases under grants of the reader's organisations; all for a regulator."""
    raise NotImplementedError


def release_visible_to(user: User, release_id: UUID | str) -> Release:
    """That release, or NotFound."""
    raise NotImplementedError


def answer_of(query: Query) -> Release | None:
    """The release that answers the query: its own, or that of the query it repeats."""
    raise NotImplementedError


def receipt_of(release: Release) -> Receipt | None:
    """The inclusion receipt of its release:held record; None until a checkpoint covers it."""
    raise NotImplementedError


def runs_left_today(grant: Grant) -> int | None:
    """Runs that the rule's daily cap still allows; None where it has no cap."""
    raise NotImplementedError
