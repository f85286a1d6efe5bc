"""The process that holds data keys: it turns jobs with keys into jobs without, and images.

It knows the vault and no SQL. Each record from the door carries, as its first descriptor,
the socket on which that request is answered. A job goes on to the fork server without the
keys of its sources, with a socket on which its worker asks for images; a thread of its own
answers there. If that fails, the refusal goes back to the door.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import socket
import threading
from functools import partial
from pathlib import Path

from sandbox import codec, protocol
from sandbox.control import (
    Done,
    Forget,
    HealthQuestion,
    HealthReport,
    KeyOffer,
    KeyQuestion,
    Layer,
    Progress,
    ProgressQuestion,
    Start,
)
from sandbox.errors import DistributionCorrupt, ProtocolError, SandboxError
from sandbox.files.images import ImageCache
from sandbox.files.rekey import rekey
from sandbox.job_keys import TransportKey, keys_in, with_keys
from sandbox.processes import channel, lockdown, memory
from sandbox.processes.image_service import JobImages, is_closed, serve_images
from sandbox.refusal import to_refusal

# Files in memory that a worker fills: of ingest, chunks of text and images of them.
_SCRATCH: dict[type, int] = {protocol.ProfileJob: 6, protocol.PartitionJob: 3}

_LOADED_LATE = ("cryptography.hazmat.backends.openssl.backend",)


class Unsealer:
    """Answers the door; each job in a thread of its own, which its keys do not outlive."""

    def __init__(
        self,
        door: socket.socket,
        fork_server: socket.socket,
        cache: ImageCache,
        budget_bytes: int,
        layers: tuple[Layer, ...] = (),
        transport: TransportKey | None = None,
    ) -> None:
        self._door = door
        self._fork_server = fork_server
        self._cache = cache
        self._budget_bytes = budget_bytes
        self._layers = layers
        self._transport = transport or TransportKey()
        self._serving: dict[str, JobImages] = {}  # by the door's name of the run
        self._sending = threading.Lock()  # records to the fork server do not mix

    def serve(self) -> None:
        """Answer the door's records until it closes."""
        while (record := channel.receive(self._door)) is not None:
            payload, descriptors = record
            threading.Thread(
                target=self._answer, args=(payload, descriptors), daemon=True
            ).start()

    def _answer(self, payload: bytes, descriptors: list[int]) -> None:
        reply = descriptors[0]
        keys: list[bytes] = []  # in clear, as long as the job lasts
        try:
            message = codec.decode(codec.frame_payload(payload))
            if isinstance(message, protocol.Job):
                keys += [key and self._transport.open(key) for key in keys_in(message)]
                message = with_keys(message, keys)
            if isinstance(message, Forget):
                _write(reply, Done(self._cache.forget(message.version_id)))
            elif isinstance(message, HealthQuestion):
                cached, limit = self._cache.cached_bytes, self._cache.limit_bytes
                _write(reply, HealthReport(self._layers, 0, 0, cached, limit, ""))
            elif isinstance(message, ProgressQuestion):
                _write(reply, self._progress(message.job_id))
            elif isinstance(message, KeyQuestion):
                _write(reply, KeyOffer(self._transport.public))
            elif isinstance(message, protocol.RekeyJob):
                gone = partial(is_closed, reply)
                _write(reply, rekey(message, descriptors[1:], self._cache.files, gone))
            elif isinstance(message, protocol.Job):
                self._hand_on(message, descriptors)
            else:
                raise ProtocolError("the unsealer takes jobs, Forget and HealthQuestion")  # noqa: TRY301 - the handler below answers it
        except SandboxError as error:
            _write(reply, to_refusal(error))
        except Exception as error:  # noqa: BLE001 - a bad job must not end the daemon
            kind = type(error).__name__
            _write(reply, to_refusal(DistributionCorrupt(f"unsealing failed ({kind})")))
        finally:
            for key in keys:
                memory.wipe(key)
            channel.close_all(descriptors)

    def _hand_on(self, job: protocol.Job, descriptors: list[int]) -> None:
        # What the worker writes with goes to it alone, not through the fork server.
        keys = tuple(keys_in(without_source_keys(job)))
        images = JobImages(job, self._cache, self._budget_bytes, keys)
        start = Start(
            job_id=job.job_id,
            outputs=len(descriptors) - 1,
            scratch=_SCRATCH.get(type(job), 0),
            limits=job.limits,
        )
        unkeyed = with_keys(job, [b""] * len(keys))
        record = codec.encode(start) + codec.encode(unkeyed)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                given = [descriptors[0], theirs.fileno(), *descriptors[1:]]
                with self._sending:
                    channel.send(self._fork_server, record, given)
            # From here on the job's own socket is the worker's alone: its end is the job's.
            channel.close_all(descriptors)
            descriptors.clear()
            self._serving[job.job_id] = images
            try:
                with contextlib.suppress(OSError, SandboxError):  # it is gone, or mad
                    serve_images(ours, images)
            finally:
                del self._serving[job.job_id]

    def _progress(self, job_id: str) -> Progress:
        """Of the job's run that was begun last; the door puts a number behind its id."""
        for run_id, images in reversed(list(self._serving.items())):
            if run_id.rpartition("#")[0] == job_id:
                return images.progress
        return Progress()


def without_source_keys(job: protocol.Job) -> protocol.Job:
    """Return the job as a worker may see it: what it reads is in clear, by descriptor.

    The key of what it writes stays: one fresh key each.
    """
    if isinstance(job, protocol.ProfileJob):
        return dataclasses.replace(job, source=dataclasses.replace(job.source, key=b""))
    if isinstance(job, protocol.PartitionJob):
        return dataclasses.replace(job, source=_without_key(job.source))
    if isinstance(job, protocol.SubsetJob):
        return dataclasses.replace(job, table=_without_key(job.table))
    if isinstance(job, protocol.ExecuteJob):
        return dataclasses.replace(job, tables=tuple(_without_key(t) for t in job.tables))
    return job


def _without_key(table: protocol.EncryptedTable) -> protocol.EncryptedTable:
    groups = tuple(dataclasses.replace(group, key=b"") for group in table.groups)
    return dataclasses.replace(table, key=b"", groups=groups)


def _write(reply: int, message: codec.Message) -> None:
    with socket.socket(fileno=os.dup(reply)) as answer:
        try:
            codec.send(answer, message)
        except OSError:
            return  # the door gave the request up


def prepare() -> None:
    """Load what libraries load at their first need: later no module is readable."""
    for name in _LOADED_LATE:
        importlib.import_module(name)


def main(
    door: int, fork_server: int, vault: str, cache_bytes: int, budget_bytes: int
) -> None:
    """Be the unsealer over these inherited sockets; returns when the door closes."""
    # Before anything is confined: it may take a capability.
    layers = memory.keep_in_memory()
    memory.allow_many_images()
    transport = TransportKey()
    transport.try_out()
    lockdown.confine_unsealer(Path(vault))
    cache = ImageCache(Path(vault), cache_bytes)
    with socket.socket(fileno=door) as door_end, socket.socket(fileno=fork_server) as fork:
        Unsealer(door_end, fork, cache, budget_bytes, layers, transport).serve()
