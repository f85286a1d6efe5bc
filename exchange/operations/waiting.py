"""Wait for what other processes do: woken by nudges, bounded in number and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings

from exchange.nudges import listening

# A nudge may be lost: the row is looked at this often besides.
_LOOK_SECONDS: Final = 1.0


class Waiters:
    """At most so many threads of this process wait; the others go on serving."""

    def __init__(self, most: int) -> None:
        self._places = threading.BoundedSemaphore(most) if most > 0 else None

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Whether there is room for one who waits, while the block runs."""
        has_place = self._places is not None and self._places.acquire(blocking=False)
        try:
            yield has_place
        finally:
            if has_place and self._places is not None:
                self._places.release()


waiters: Final = Waiters(settings.BONDED_WAITERS)


def wait_until(reached: Callable[[], bool], *topics: object, seconds: float) -> bool:
    """Say whether `reached()` comes true within `seconds`; asked anew after each nudge.

    Never inside a transaction: it would see the rows as they were, and keep them so.
    """
    until = time.monotonic() + seconds
    with listening(*topics) as ear:
        while not reached():
            left = until - time.monotonic()
            if left <= 0:
                return False
            ear.wait(min(left, _LOOK_SECONDS))
    return True
