"""Nudges between the node's processes: something became of a row, look at it.

A nudge is a hint of a few bytes: it may come twice, late or never, and says nothing but a
name. Who waits for one looks at the row first, after each nudge, and now and then besides.
With a Redis broker nudges are published there; else they are datagrams to the sockets of
the processes that listen, in the node's own directory.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Final, Protocol

import redis
from django.conf import settings
from django.db import transaction

from sandbox.door_address import short_address

logger = logging.getLogger(__name__)

# To whom seals the log: an event waits that somebody waits for.
SEAL: Final = "seal"
_MOST_BYTES: Final = 4096
_MOST_TOPICS: Final = 50  # of 64 bytes at most, in one message
_READY_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 0.5


def nudge(*topics: object) -> None:
    """Tell whoever listens, once the caller's transaction commits; at once outside one."""
    transaction.on_commit(partial(_send, tuple(map(str, topics))), robust=True)


class Ear:
    """What a listener waits at."""

    def __init__(self) -> None:
        self._heard = threading.Event()

    def hear(self) -> None:
        self._heard.set()

    def wait(self, seconds: float) -> bool:
        """Say whether a nudge came since the last call, or comes within `seconds`."""
        heard = self._heard.wait(max(0.0, seconds))
        self._heard.clear()
        return heard


@contextmanager
def listening(*topics: object) -> Iterator[Ear]:
    """An ear for these topics. Look at the row inside: what came before is not heard."""
    ear, hub = Ear(), _hub(os.getpid())
    names = tuple(map(str, topics))
    hub.add(ear, names)
    try:
        yield ear
    finally:
        hub.remove(ear, names)


class _Line(Protocol):
    """How nudges travel from one process to the others."""

    def send(self, text: str) -> None: ...

    def receive(self) -> Iterator[str]:
        """Yield each text as it comes, the first being "" once nothing is missed."""


class _Redis:
    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url, socket_connect_timeout=1, socket_timeout=5, decode_responses=True
        )
        # Channels know no database number: two nodes may share one server.
        self._channel = f"bonded:nudges:{settings.BONDED_NODE_NAME}"

    def send(self, text: str) -> None:
        self._client.publish(self._channel, text)

    def receive(self) -> Iterator[str]:
        subscriber = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # the library's own
        with subscriber as messages:
            messages.subscribe(self._channel)
            yield ""
            while True:
                message = messages.get_message(timeout=4.0)
                if message is not None:
                    yield str(message["data"])


class _Datagrams:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def send(self, text: str) -> None:
        if not self._directory.is_dir():
            return  # nobody ever listened
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)  # a listener whose buffer is full will look anyway
            for path in self._directory.iterdir():
                try:
                    with short_address(path) as address:
                        sender.sendto(text.encode(), address)
                except (ConnectionRefusedError, FileNotFoundError):
                    path.unlink(missing_ok=True)  # its process is gone
                except BlockingIOError:
                    continue

    def receive(self) -> Iterator[str]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            with short_address(path) as address:
                receiver.bind(address)
            path.chmod(0o600)
            try:
                yield ""
                while True:
                    yield receiver.recv(_MOST_BYTES).decode(errors="replace")
            finally:
                path.unlink(missing_ok=True)


class _Hub:
    """All ears of this process, and the one thread that hears for them."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._ears: dict[str, set[Ear]] = {}
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    def add(self, ear: Ear, topics: tuple[str, ...]) -> None:
        with self._lock:
            for topic in topics:
                self._ears.setdefault(topic, set()).add(ear)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._listen, name="nudges", daemon=True
                )
                self._thread.start()
        # Once in a process: before this, what others send is not heard.
        self._ready.wait(_READY_SECONDS)

    def remove(self, ear: Ear, topics: tuple[str, ...]) -> None:
        with self._lock:
            for topic in topics:
                self._ears[topic].discard(ear)
                if not self._ears[topic]:
                    del self._ears[topic]

    def tell(self, topics: tuple[str, ...]) -> None:
        with self._lock:
            found = [ear for topic in topics for ear in self._ears.get(topic, ())]
        for ear in found:
            ear.hear()

    def _listen(self) -> None:
        while True:
            try:
                for text in self._line.receive():
                    self.tell(tuple(text.split()) if text else self._everything())
                    self._ready.set()
            except (OSError, redis.RedisError) as error:
                logger.warning("nudges are not heard: %s", type(error).__name__)
            time.sleep(_AGAIN_SECONDS)

    def _everything(self) -> tuple[str, ...]:
        # The line was down: whatever anybody waits for may have come meanwhile.
        with self._lock:
            return tuple(self._ears)


@cache
def _line(pid: int) -> _Line:
    # A line of each process's own: sockets are not shared over a fork.
    del pid
    url = settings.BONDED_BROKER_URL
    if url.startswith(("redis:", "rediss:")):
        return _Redis(url)
    return _Datagrams(settings.RUN_DIR / "nudges")


@cache
def _hub(pid: int) -> _Hub:
    return _Hub(_line(pid))


def _send(topics: tuple[str, ...]) -> None:
    pid = os.getpid()
    _hub(pid).tell(topics)
    with suppress(OSError, redis.RedisError):
        for start in range(0, len(topics), _MOST_TOPICS):
            _line(pid).send(" ".join(topics[start : start + _MOST_TOPICS]))
