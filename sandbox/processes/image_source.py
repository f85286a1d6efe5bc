"""How a worker gets images: it asks the unsealer for those that it needs next.

What the worker says goes by `write`, what comes back by `recvmsg`: the only calls on
sockets that its filter allows.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from typing import Protocol

from sandbox import codec
from sandbox.control import Done, Offered, Wanted
from sandbox.errors import ProtocolError, ResourceExceeded, SandboxUnavailable
from sandbox.processes import channel
from sandbox.protocol import Refusal
from sandbox.refusal import to_error

# Above every descriptor that the process has when the first image comes.
_FIRST_NUMBER = 100


class ImageSource(Protocol):
    """Images of the shards of a job's tables, opened some at a time.

    `tables` names each table with the bytes of each shard's image (estimated); an upload is
    the table "", its shards are segments of its content. `budget_bytes` is what may be open
    at once. An implementation owes: paths of exactly the shards wanted, in the order in
    which they were wanted; that whatever an earlier call opened is closed, also when this
    call fails; that no path ever names another image than it named before.
    Errors: ResourceExceeded beyond the budget, ProtocolError for a shard that is not there,
    and what a bad file or key raises.
    """

    @property
    def tables(self) -> Mapping[str, tuple[int, ...]]:
        """Bytes of each shard's image, by table."""
        ...

    @property
    def budget_bytes(self) -> int:
        """How many bytes of images may be open at once."""
        ...

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return the paths of these shards, by table; earlier ones are closed."""
        ...


class PulledImages:
    """The image source of a worker, over its socket to the unsealer."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        offered, _ = self._receive()
        if not isinstance(offered, Offered):
            raise ProtocolError("the unsealer offered nothing")
        self.tables: Mapping[str, tuple[int, ...]] = dict(offered.tables)
        self.budget_bytes = offered.budget_bytes
        # Of what the job writes, in the order of its fields.
        self.keys = tuple(channel.read(source, size) for size in offered.key_sizes)
        self.opened_bytes = 0  # of all images so far, each time that they were opened
        self._open: list[int] = []
        self._next = _FIRST_NUMBER

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return the paths of these shards, by table; earlier ones are closed."""
        self.close()
        asked = tuple((table, tuple(shards)) for table, shards in wanted.items())
        _write_all(self._source.fileno(), codec.encode(Wanted(asked)))
        answer, descriptors = self._receive()
        self._open = [self._numbered(descriptor) for descriptor in descriptors]
        count = sum(len(shards) for _, shards in asked)
        if not isinstance(answer, Done) or len(self._open) != count:
            self.close()
            raise ProtocolError("the unsealer answered with other images")
        rest = iter(self._open)
        return {
            table: [f"/proc/self/fd/{next(rest)}" for _ in shards]
            for table, shards in asked
        }

    def close(self) -> None:
        """Close whatever is open."""
        channel.close_all(self._open)
        self._open = []

    def _numbered(self, descriptor: int) -> int:
        """Move a descriptor to a number that none had: no cache may know its path."""
        self.opened_bytes += os.fstat(descriptor).st_size
        if self._next >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            raise ResourceExceeded("the job opened too many images one after another")
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, self._next)
        os.close(descriptor)
        self._next = moved + 1
        return moved

    def _receive(self) -> tuple[codec.Message, list[int]]:
        record = channel.receive(self._source)
        if record is None:
            raise SandboxUnavailable("the unsealer went away during the job")
        payload, descriptors = record
        message = codec.decode(codec.frame_payload(payload))
        if isinstance(message, Refusal):
            channel.close_all(descriptors)
            raise to_error(message)
        return message, descriptors


def open_everything(source: ImageSource) -> dict[str, list[str]]:
    """Open all shards of all tables at once; raises ResourceExceeded if they do not fit."""
    return source.open({table: range(len(sizes)) for table, sizes in source.tables.items()})


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
