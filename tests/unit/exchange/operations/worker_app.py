"""The Celery app of a worker that knows the tests' handlers and rings again soon."""

import datetime as dt

import django

from exchange.celery import app as app

django.setup()

from exchange.operations import work  # noqa: E402 - needs Django set up
from tests.unit.exchange.operations import acts  # noqa: E402

work.RING_AGAIN_AFTER = dt.timedelta(seconds=0.2)
acts.register_all()
