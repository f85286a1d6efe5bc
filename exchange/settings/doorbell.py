"""Celery, a doorbell: `exchange.operations` holds the truth."""

from __future__ import annotations

from typing import Any

from exchange.settings.environment import (
    BONDED_BROKER_URL,
    BONDED_SWEEP_SECONDS,
    BROKER_DIR,
)

CELERY_BROKER_URL = BONDED_BROKER_URL
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        "data_folder_in": str(BROKER_DIR / "queue"),
        "data_folder_out": str(BROKER_DIR / "queue"),
        "control_folder": str(BROKER_DIR / "control"),
        "polling_interval": 0.05,
    }
    if BONDED_BROKER_URL.startswith("filesystem:")
    else {}
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # a lost ring is rung again by the sweep
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False  # nobody but the rows tells a worker what to do
# Else each task connects anew, to a server process that has read no catalogue yet.
CELERY_DB_REUSE_MAX = 1000
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "operations.sweep": {"task": "operations.sweep", "schedule": BONDED_SWEEP_SECONDS},
    "queries.open": {"task": "queries.open", "schedule": BONDED_SWEEP_SECONDS},
    "queries.upkeep": {"task": "queries.upkeep", "schedule": 60.0},
    "api.forget": {"task": "api.forget", "schedule": 3600.0},
}
