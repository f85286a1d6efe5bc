"""The embedded broker: files in a folder that say which operation to look at.

Kombu's own file transport opens a message's file under its final name and writes it after:
a worker that looks in between reads an empty message and dies of it. Here a message gets
its name when it is whole. One that cannot be read (its writer was killed, or the disk was
full) is passed over: the operation's row is the truth, and the sweep rings again.
"""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

logger = logging.getLogger(__name__)


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel whose messages appear whole or not at all."""

    def _put(self, queue: str, payload: Any, **_kwargs: Any) -> None:
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        # Readers take names that end in the queue's; this one does not yet.
        part = Path(self.data_folder_out) / f"{name}.part"
        part.write_text(dumps(payload), encoding="utf-8")
        part.replace(part.with_suffix(""))

    def _get(self, queue: str) -> Any:
        try:
            return super()._get(queue)
        except ValueError:
            logger.warning("a message that cannot be read was passed over")
            raise Empty from None


class Transport(filesystem.Transport):  # type: ignore[misc]  # kombu has no types
    """Kombu's file transport with the channel above."""

    Channel = Channel
