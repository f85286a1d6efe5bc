"""How much may wait: a queue that is full says so, instead of making everybody wait."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Count, Q

from exchange.agreements.models import Grant
from exchange.errors import LimitReached, Unavailable
from exchange.queries.models import Query
from exchange.queries.states import UNDER_WAY


def check_has_room(grant: Grant) -> None:
    """Raise unless one more query may wait: LimitReached `too_many_queries` for the
    consumer's own share, Unavailable `queue_full` for all that the node takes.

    Counted without a lock: submissions of one moment may exceed a bound by their number.
    """
    waiting = Query.objects.filter(state__in=UNDER_WAY, same_as=None).aggregate(
        every=Count("pk"), own=Count("pk", filter=Q(grant__consumer=grant.consumer_id))
    )
    if waiting["own"] >= settings.BONDED_QUEUE_PER_CONSUMER:
        raise LimitReached(
            f"{waiting['own']} of your organisation's queries are under way, at most "
            f"{settings.BONDED_QUEUE_PER_CONSUMER} may be",
            code="too_many_queries",
            hint="Wait until some of them have ended, then submit again.",
        )
    if waiting["every"] >= settings.BONDED_QUEUE:
        raise Unavailable(
            "as many queries are under way as the node takes at once",
            code="queue_full",
            hint="Submit it again in a few seconds.",
        )
