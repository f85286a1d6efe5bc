from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand
from django.db import DatabaseError, close_old_connections

from exchange import nudges
from exchange.audit.sequencer import seal
from exchange.node.readiness import check_secrets

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Seal the log's pending events and sign, for as long as it runs."

    def handle(self, *args: Any, **options: Any) -> None:
        check_secrets()
        stop = threading.Event()
        with nudges.listening(nudges.SEAL) as ear:

            def end(*_: object) -> None:
                stop.set()
                ear.hear()

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, end)
            while not stop.is_set():
                close_old_connections()
                try:
                    sealed = seal()
                except DatabaseError as error:
                    # A busy or restarting database: what is pending stays pending.
                    logger.warning("sealing failed: %s", type(error).__name__)
                    stop.wait(2)
                    continue
                # Events that nobody waits for are sealed together: a nudge says who waits.
                if sealed is None or not sealed.is_whole_batch:
                    ear.wait(settings.BONDED_SEAL_SECONDS)
