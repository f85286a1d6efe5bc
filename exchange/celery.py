"""The Celery app: rings operations, and sweeps for those that nobody answered."""

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange.settings")

# Before the app: the first connection looks the name up.
TRANSPORT_ALIASES["filesystem"] = "exchange.doorbell:Transport"

app = Celery("exchange")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
