"""Moves of a query, and of those that repeat it: they have one answer and one fate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from exchange.audit.actors import Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.nudges import nudge
from exchange.queries.models import Query
from exchange.queries.states import QUERY_AT_REST, QueryState
from exchange.transitions import advance

_SHARED = ("error_code", "error_message", "error_hint", "reasons", "finished_at")


def rest_of(query_id: UUID) -> str:
    """The topic of the nudge that a query goes on by itself no more."""
    return f"rest:{query_id}"


def move(
    query: Query,
    *,
    to: QueryState,
    by: Actor,
    event: EventType | None = None,
    changes: Mapping[str, Any] | None = None,
    **payload: Any,
) -> Query:
    """The query and its repeats are in state `to`, in the caller's transaction.

    The event, if any, belongs to the query's case and its provider's log.
    """
    changes = dict(changes or {})
    advance(query, to=to, by=by, changes=changes)
    shared = {name: value for name, value in changes.items() if name in _SHARED}
    same = Query.objects.filter(same_as=query).order_by()
    repeats = list(same.values_list("pk", flat=True))
    if repeats:
        Query.objects.filter(pk__in=repeats).update(state=to, **shared)
    moved = (query.pk, *repeats)
    nudge(*moved, *(map(rest_of, moved) if to in QUERY_AT_REST else ()))
    if event is not None:
        record_of(query, type=event, by=by, **payload)
    return query


def record_of(
    query: Query,
    *,
    type: EventType,  # noqa: A002 - the field's word
    by: Actor,
    **payload: Any,
) -> None:
    """An event about the query stands in its case file."""
    record(
        type=type,
        actor=by,
        subject=query,
        case_id=query.case_id,
        organisation=query.grant.provider.slug,
        **payload,
    )


def record_analysed(query: Query) -> None:
    """What the analysis found, as the query's fields say it, stands in its case file."""
    repeats = {} if query.same_as_id is None else {"same_as": str(query.same_as_id)}
    record_of(
        query,
        type=EventType.QUERY_ANALYSED,
        by=query.submitted_by,
        fingerprint=query.fingerprint,
        verdict=str(query.verdict),
        policy_digest=query.grant.policy_version.digest,
        **repeats,
    )
