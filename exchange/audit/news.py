"""The only channel upwards: later stages hear of events once a checkpoint covers them.

A listener is called in the sequencer's process after the sealing transaction committed. It
may be missed when that process dies in between, so it must be safe to run twice, and who
depends on it must also find the work by looking at rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from exchange.audit.events import EventType
from exchange.audit.models import AuditEvent

logger = logging.getLogger(__name__)

Listener = Callable[[AuditEvent], None]
_listeners: dict[EventType, list[Listener]] = {}


def subscribe(type: EventType, listener: Listener) -> None:  # noqa: A002 - the field's word
    """Call `listener` with each sealed event of `type`. Register in `AppConfig.ready()`."""
    registered = _listeners.setdefault(type, [])
    if listener not in registered:
        registered.append(listener)


def announce(event: AuditEvent) -> None:
    """Tell the listeners; one that fails is logged and keeps the others from nothing."""
    for listener in _listeners.get(EventType(event.type), []):
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 - one listener must not stop the log
            # The type only: an error's text may quote what the event is about.
            name = getattr(listener, "__qualname__", type(listener).__name__)
            logger.error(  # noqa: TRY400 - a traceback would quote values
                "listener %s of %s failed: %s", name, event.type, type(error).__name__
            )
