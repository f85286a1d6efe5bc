"""The daily cap while several workers settle queries of one consumer at once."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from exchange.agreements.models import Grant
from exchange.operations import work
from exchange.operations.models import Operation
from exchange.queries.models import Query
from exchange.queries.services import submit
from tests.factories.walk import COUNT_BY_TYPE, House, asked, offered, perform_all


@pytest.mark.django_db(transaction=True)
def test_daily_cap_is_counted_while_no_other_grant_uses_it_up(house: House) -> None:
    """Whoever settles a query on one grant waits for whoever settles on another."""
    offer = offered(house, cap=1)
    first, second = (asked(house, offer).grant for _ in range(2))
    query = submit(grant=first, sql=COUNT_BY_TYPE, by=house.builder)
    waiting = Operation.objects.get(target_id=str(query.pk))

    def settle() -> None:
        try:
            work.perform(waiting.public_id)
        finally:
            connection.close()

    worker = threading.Thread(target=settle)
    with transaction.atomic():
        Grant.objects.select_for_update().get(pk=second.pk)
        worker.start()
        worker.join(timeout=1)
        meanwhile = Query.objects.get(pk=query.pk).state
    worker.join(timeout=30)
    perform_all()

    query.refresh_from_db()
    assert (meanwhile, query.state) == ("analysing", "held")
