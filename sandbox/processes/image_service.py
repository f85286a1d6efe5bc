"""The unsealer's side of one job's image source: what it may ask for, and the answers.

It runs in a thread of its own, which holds the job's data keys and ends with the worker.
Only shards of the job's own tables can be wanted; descriptors that a worker sends along
are closed by the kernel, because nothing here receives any.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial

from sandbox import codec, protocol
from sandbox.control import Done, Offered, Wanted
from sandbox.errors import (
    DistributionCorrupt,
    ProtocolError,
    ResourceExceeded,
    SandboxError,
)
from sandbox.files.images import ImageCache
from sandbox.needs import needs_of
from sandbox.processes import channel
from sandbox.refusal import to_refusal

_MOST_QUESTION_BYTES = 1024**2
_UPLOAD = ""
# Over the image cache, which several jobs' threads share.
CACHE_LOCK = threading.Lock()


class JobImages:
    """What one job's worker may have: sizes first, images when they are wanted."""

    def __init__(self, job: protocol.Job, cache: ImageCache, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._openers: dict[str, Callable[[int], int]] = {}
        with CACHE_LOCK:
            self._prepare(job, cache)

    def _prepare(self, job: protocol.Job, cache: ImageCache) -> None:
        if isinstance(job, protocol.ProfileJob):
            source = job.source
            self._sizes[_UPLOAD] = cache.segments(source)
            self._openers[_UPLOAD] = partial(cache.segment, source)
        elif not isinstance(job, protocol.AnalyseJob):
            needs = needs_of(job)
            for table in tables_of(job):
                need = needs[table.table]
                self._sizes[table.table] = cache.sizes(table, need)
                self._openers[table.table] = partial(cache.shard, table, need)

    @property
    def offered(self) -> Offered:
        """What the worker is told first."""
        return Offered(tuple(self._sizes.items()), self._budget_bytes)

    def open(self, wanted: Wanted) -> list[int]:
        """Return the wanted images' descriptors, which are the caller's to close."""
        self._check(wanted)
        opened: list[int] = []
        try:
            for table, shards in wanted.tables:
                for shard in shards:
                    with CACHE_LOCK:
                        opened.append(self._openers[table](shard))
        except BaseException:
            channel.close_all(opened)
            raise
        return opened

    def _check(self, wanted: Wanted) -> None:
        total = 0
        for table, shards in wanted.tables:
            sizes = self._sizes.get(table)
            if sizes is None or not all(0 <= shard < len(sizes) for shard in shards):
                raise ProtocolError("a worker wants what is none of its job's")
            total += sum(sizes[shard] for shard in shards)
        if total > self._budget_bytes:
            raise ResourceExceeded(
                f"the job needs {total} bytes of its tables at once, the sandbox opens"
                f" {self._budget_bytes}",
                hint="Ask for fewer columns, or give the sandbox a larger image cache.",
            )


def serve_images(source: socket.socket, images: JobImages) -> None:
    """Answer a worker until it closes its end."""
    channel.send(source, codec.encode(images.offered))
    while True:
        message = codec.receive(source, max_bytes=_MOST_QUESTION_BYTES)
        if message is None:
            return
        opened: list[int] = []
        try:
            if not isinstance(message, Wanted):
                raise ProtocolError("a worker may ask for images only")  # noqa: TRY301 - the handler below answers it
            opened = images.open(message)
            channel.send(source, codec.encode(Done(len(opened))), opened)
        except SandboxError as error:
            channel.send(source, codec.encode(to_refusal(error)))
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - a bad file must not end the unsealer
            kind = type(error).__name__
            refusal = to_refusal(DistributionCorrupt(f"unsealing failed ({kind})"))
            channel.send(source, codec.encode(refusal))
        finally:
            channel.close_all(opened)


def tables_of(job: protocol.Job) -> tuple[protocol.EncryptedTable, ...]:
    """Return the encrypted tables that a job reads."""
    if isinstance(job, protocol.PartitionJob):
        return (job.source,)
    if isinstance(job, protocol.SubsetJob):
        return (job.table,)
    if isinstance(job, protocol.ExecuteJob):
        return job.tables
    return ()
