"""The process that holds data keys: it turns jobs with keys into jobs with descriptors.

It knows the vault and no SQL. Each record from the door carries, as its first descriptor,
the socket on which that request is answered. A job goes on to the fork server without the
keys of its sources, with images in their place; if that fails, the refusal goes back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from pathlib import Path

from sandbox import codec, protocol
from sandbox.control import Done, Forget, HealthQuestion, HealthReport, Start
from sandbox.errors import DistributionCorrupt, ProtocolError, SandboxError
from sandbox.files.images import ImageCache, Lease, Wanted
from sandbox.needs import needs_of
from sandbox.processes import channel, lockdown
from sandbox.refusal import to_refusal


def serve(door: socket.socket, fork_server: socket.socket, cache: ImageCache) -> None:
    """Answer the door's records until it closes."""
    while (record := channel.receive(door)) is not None:
        payload, descriptors = record
        try:
            _answer(payload, descriptors, fork_server, cache)
        finally:
            channel.close_all(descriptors)


def _answer(
    payload: bytes, descriptors: list[int], fork_server: socket.socket, cache: ImageCache
) -> None:
    reply, *outputs = descriptors
    try:
        message = codec.decode(codec.frame_payload(payload))
        if isinstance(message, Forget):
            _write(reply, Done(cache.forget(message.version_id)))
        elif isinstance(message, HealthQuestion):
            cached, limit = cache.cached_bytes, cache.limit_bytes
            _write(reply, HealthReport((), 0, 0, cached, limit, ""))
        elif isinstance(message, protocol.Job):
            _hand_on(message, reply, outputs, fork_server, cache)
        else:
            raise ProtocolError("the unsealer takes jobs, Forget and HealthQuestion")  # noqa: TRY301 - the handler below answers it
    except SandboxError as error:
        _write(reply, to_refusal(error))
    except Exception as error:  # noqa: BLE001 - a bad job must not end the daemon
        kind = type(error).__name__
        _write(reply, to_refusal(DistributionCorrupt(f"unsealing failed ({kind})")))


def _hand_on(
    job: protocol.Job,
    reply: int,
    outputs: list[int],
    fork_server: socket.socket,
    cache: ImageCache,
) -> None:
    tables, lease = _unseal(job, cache)
    with lease or contextlib.nullcontext():
        start = Start(
            job=codec.encode(without_source_keys(job)), outputs=len(outputs), images=tables
        )
        opened = lease.descriptors if lease is not None else ()
        channel.send(fork_server, codec.encode(start), [reply, *outputs, *opened])


def _unseal(
    job: protocol.Job, cache: ImageCache
) -> tuple[tuple[tuple[str, int], ...], Lease | None]:
    """What the worker may see: by table the number of images, and the images."""
    if isinstance(job, protocol.AnalyseJob):
        return (), None
    if isinstance(job, protocol.ProfileJob):
        return (("", 1),), cache.lease_upload(job.source)
    needs, tables = needs_of(job), tables_of(job)
    wanted = [
        Wanted(table, needs[table.table], tuple(range(len(table.files))))
        for table in tables
    ]
    counts = tuple((table.table, len(table.files)) for table in tables)
    return counts, cache.lease(wanted)


def tables_of(job: protocol.Job) -> tuple[protocol.EncryptedTable, ...]:
    """Return the encrypted tables that a job reads."""
    if isinstance(job, protocol.PartitionJob):
        return (job.source,)
    if isinstance(job, protocol.SubsetJob):
        return (job.table,)
    if isinstance(job, protocol.ExecuteJob):
        return job.tables
    return ()


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


def main(door: int, fork_server: int, vault: str, cache_bytes: int) -> None:
    """Be the unsealer over these inherited sockets; returns when the door closes."""
    lockdown.confine_unsealer(Path(vault))
    cache = ImageCache(Path(vault), cache_bytes)
    with socket.socket(fileno=door) as door_end, socket.socket(fileno=fork_server) as fork:
        serve(door_end, fork, cache)
