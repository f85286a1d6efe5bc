"""Wait for what the running node does: its worker, its sequencer."""

from __future__ import annotations

import time
from collections.abc import Collection

from django.conf import settings
from django.db import models

from exchange.errors import ExchangeError

LIMIT_SECONDS = 90.0
_PAUSE_SECONDS = 0.1


class NotDone(ExchangeError):
    """The node did not do in time, or could not do, what the demo needs."""


def wait_until(row: models.Model, states: Collection[str], *, what: str) -> None:
    """`row.state` is in `states` afterwards; NotDone when it fails or takes too long.

    `row` is loaded again; `what` names the work in the message.
    """
    until = time.monotonic() + LIMIT_SECONDS
    while True:
        row.refresh_from_db()
        state = str(row.state)  # type: ignore[attr-defined]  # every row waited for has a state
        if state in states:
            return
        if state in ("failed", "refused"):
            code = getattr(row, "error_code", "") or "no code"
            message = getattr(row, "error_message", "") or str(getattr(row, "reasons", ""))
            raise NotDone(
                f"{what} ended as {state} ({code}): {message}",
                code="demo_step_failed",
                hint="Start the demo with an empty directory in BONDED_HOME.",
            )
        if not (settings.RUN_DIR / "ready").exists():
            raise NotDone(
                f"{what} needs a running node, and the node has stopped",
                code="demo_node_stopped",
                hint="Start it again with ./bonded demo; it goes on where it was.",
            )
        if time.monotonic() > until:
            raise NotDone(
                f"{what} is still {state} after {LIMIT_SECONDS:.0f} s",
                code="demo_step_late",
                hint=f"The logs are in {settings.RUN_DIR.name}/; start the demo again.",
            )
        time.sleep(_PAUSE_SECONDS)
