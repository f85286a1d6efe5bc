"""The unsealer's side of one job's image source: what it may ask for, and the answers.

It runs in a thread of its own, which holds the job's data keys and ends with the worker.
Only shards of the job's own tables can be wanted; descriptors that a worker sends along
are closed by the kernel, because nothing here receives any.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from functools import partial

from sandbox import codec, protocol
from sandbox.control import Done, Offered, Progress, Wanted
from sandbox.errors import (
    DistributionCorrupt,
    ProtocolError,
    ResourceExceeded,
    SandboxError,
)
from sandbox.files.images import ImageCache, Lease, Waiting
from sandbox.files.images import Wanted as WantedImages
from sandbox.needs import Need, needs_of
from sandbox.processes import channel
from sandbox.refusal import to_refusal

_MOST_QUESTION_BYTES = 1024**2
_UPLOAD = ""


class JobImages:
    """What one job's worker may have: sizes first, images when they are wanted."""

    def __init__(
        self,
        job: protocol.Job,
        cache: ImageCache,
        budget_bytes: int,
        keys: tuple[bytes, ...] = (),
    ) -> None:
        self._budget_bytes = budget_bytes
        self.keys = keys  # for what the job writes, in the order of its fields
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._passed = 0  # bytes of tables and shards before those that are open
        self._cache = cache
        self._lease: Lease | None = None
        self._source: protocol.SealedSource | None = None
        self._tables: dict[str, tuple[protocol.EncryptedTable, Need]] = {}
        self._prepare(job)

    def _prepare(self, job: protocol.Job) -> None:
        if isinstance(job, protocol.ProfileJob):
            self._source = job.source
            self._sizes[_UPLOAD] = self._cache.upload_sizes(job.source)
        elif not isinstance(job, (protocol.AnalyseJob, protocol.RekeyJob)):
            needs = needs_of(job)
            for table in tables_of(job):
                need = needs[table.table]
                self._sizes[table.table] = self._cache.sizes(table, need)
                self._tables[table.table] = (table, need)

    @property
    def offered(self) -> Offered:
        """What the worker is told first."""
        sizes = tuple(len(key) for key in self.keys)
        return Offered(tuple(self._sizes.items()), self._budget_bytes, sizes)

    def open(
        self, wanted: Wanted, given_up: Callable[[], bool] = lambda: False
    ) -> tuple[int, ...]:
        """Return the wanted images' descriptors: this object's, until it opens others.

        What it opened before is let go of first: a job that waits for memory holds none.
        """
        self._check(wanted)
        self.close()
        self._passed = self._before(wanted)
        waiting = Waiting(given_up=given_up)
        if self._source is not None:
            segments = [shard for _, shards in wanted.tables for shard in shards]
            self._lease = self._cache.lease_upload(self._source, segments, waiting)
        else:
            asked = [
                WantedImages(*self._tables[table], shards)
                for table, shards in wanted.tables
            ]
            self._lease = self._cache.lease(asked, waiting)
        return self._lease.descriptors

    @property
    def progress(self) -> Progress:
        """How far it is: what comes before the images that it asked for last."""
        return Progress(self._passed, sum(map(sum, self._sizes.values())))

    def close(self) -> None:
        """Let go of whatever is open."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def _before(self, wanted: Wanted) -> int:
        first = {table: min(shards, default=0) for table, shards in wanted.tables}
        return sum(sum(self._sizes[table][:shard]) for table, shard in first.items())

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
    """Answer a worker until it closes its end; nothing of its images stays open then."""
    channel.send(source, codec.encode(images.offered))
    for key in images.keys:
        source.sendall(key)  # from where it lies, and is wiped after the job
    try:
        while (
            message := codec.receive(source, max_bytes=_MOST_QUESTION_BYTES)
        ) is not None:
            answer, opened = _answer(message, images, partial(is_closed, source.fileno()))
            channel.send(source, codec.encode(answer), opened)
    finally:
        images.close()


def _answer(
    message: codec.Message, images: JobImages, given_up: Callable[[], bool]
) -> tuple[codec.Message, Sequence[int]]:
    try:
        if not isinstance(message, Wanted):
            raise ProtocolError("a worker may ask for images only")  # noqa: TRY301 - the handler below answers it
        opened = images.open(message, given_up)
    except SandboxError as error:
        return to_refusal(error), ()
    except Exception as error:  # noqa: BLE001 - a bad file must not end the unsealer
        kind = type(error).__name__
        return to_refusal(DistributionCorrupt(f"unsealing failed ({kind})")), ()
    return Done(len(opened)), opened


def is_closed(descriptor: int) -> bool:
    """Whether the peer of a socket says nothing more, and never will."""
    poll = select.poll()  # not select: it takes small numbers only
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))


def tables_of(job: protocol.Job) -> tuple[protocol.EncryptedTable, ...]:
    """Return the encrypted tables that a job reads."""
    if isinstance(job, protocol.PartitionJob):
        return (job.source,)
    if isinstance(job, protocol.SubsetJob):
        return (job.table,)
    if isinstance(job, protocol.ExecuteJob):
        return job.tables
    return ()
