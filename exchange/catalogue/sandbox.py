"""The one place where the exchange finds its sandbox daemon."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

from sandbox.errors import ProtocolError, SandboxUnavailable
from sandbox.launcher import Daemon
from sandbox.protocol import Job, Outcome

# A daemon that is being restarted by the supervisor is back within seconds; work that meets
# the gap waits for it instead of failing.
WAIT_SECONDS = 15.0
_POLL_SECONDS = 0.25

O = TypeVar("O", bound=Outcome)  # noqa: E741 - an outcome


def daemon() -> Daemon:
    """The daemon at this node's socket; the connection is made per job."""
    return Daemon(settings.BONDED_SANDBOX_SOCKET)


def run(
    job: Job,
    expected: type[O],
    *,
    wait_seconds: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> O:
    """Run `job` to its outcome of the `expected` type; never inside a transaction.

    `meanwhile` is called every few seconds until then; what it raises gives the job up.
    Waits for a daemon that is away. Raises what `Daemon.run` raises, ProtocolError for an
    outcome of another type.
    """
    until = time.monotonic() + (WAIT_SECONDS if wait_seconds is None else wait_seconds)
    while True:
        try:
            if meanwhile is None:
                outcome = daemon().run(job)
            else:
                outcome = daemon().run(job, meanwhile=meanwhile)
            break
        except SandboxUnavailable:
            if time.monotonic() >= until:
                raise
            time.sleep(_POLL_SECONDS)
    if not isinstance(outcome, expected):
        raise ProtocolError(
            f"{expected.__name__} was expected, {type(outcome).__name__} came"
        )
    return outcome
