"""The Celery app: rings operations, and sweeps for those that nobody answered."""

import os
from typing import Any

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange.settings")

# Before the app: the first connection looks the name up.
TRANSPORT_ALIASES["filesystem"] = "exchange.doorbell:Transport"

app = Celery("exchange")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _renew_connections(**_: Any) -> None:
    # As Django does between requests: what is too old or broken is not used once more.
    close_old_connections()


task_prerun.connect(_renew_connections)
