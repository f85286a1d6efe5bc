"""Whether the node can open keys now, asked seldom enough for a page open to all."""

from __future__ import annotations

import threading
import time
from typing import Final

from exchange.errors import ExchangeError
from exchange.keys.choice import provider
from exchange.keys.provider import check_works

# An answer holds this long: a health page must not turn into load on the provider.
KEPT_SECONDS: Final = 5.0


class Standing:
    """What the last look at the provider found, kept for a moment in each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._problem: ExchangeError | None = None

    def problem(self) -> ExchangeError | None:
        """What keeps the node from its keys, or None: it wrapped one and opened it."""
        with self._lock:
            if time.monotonic() - self._asked_at > KEPT_SECONDS:
                self._problem = _look()
                self._asked_at = time.monotonic()
            return self._problem

    def forget(self) -> None:
        """The next question is asked of the provider itself."""
        with self._lock:
            self._asked_at = float("-inf")


standing = Standing()


def _look() -> ExchangeError | None:
    try:
        check_works(provider())
    except ExchangeError as error:
        return error
    return None
