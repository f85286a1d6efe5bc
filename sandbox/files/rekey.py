"""An encrypted file once more under another key: the same pages in the same places.

A module is as long under one key as under another, so offsets stay what they are; of the
clear footer only the digests of the chunks change. Each page is in clear for a moment only,
in this process; none is decompressed. Every file has a random part of its own in its AAD,
the new one another.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox.errors import (
    Cancelled,
    DeadlineExceeded,
    DistributionCorrupt,
    KeyUnusable,
    ProtocolError,
)
from sandbox.files.chunk_digests import put_chunk_digests
from sandbox.files.chunk_walk import ChunkWalk, Page, write_all
from sandbox.files.footers import (
    ENCRYPTED_MAGIC,
    LENGTH_BYTES,
    MALFORMED,
    NONCE_BYTES,
    Chunk,
    Footer,
)
from sandbox.files.pme import Part, aad_prefix
from sandbox.files.thrift import BINARY, STRUCT, TRUE, Field, Struct, write_struct
from sandbox.files.verified import VerifiedFiles
from sandbox.protocol import RekeyJob, RekeyOutcome, StoredFile

_UNIQUE_BYTES = 8
_FOOTER_MODULE = b"\0"
_INDEXES, _BLOOM_FILTER = (4, 6), 14


class StopSign:
    """What ends a long act early: its deadline, or that nobody waits for it any more."""

    def __init__(self, deadline_seconds: float, given_up: Callable[[], bool]) -> None:
        self._stop_at = time.monotonic() + deadline_seconds
        self._given_up = given_up

    def check(self) -> None:
        """Raise DeadlineExceeded or Cancelled if it is up."""
        if time.monotonic() > self._stop_at:
            raise DeadlineExceeded("the files were not encrypted anew before the deadline")
        if self._given_up():
            raise Cancelled("the job was cancelled")


def rekey(
    job: RekeyJob,
    outputs: Sequence[int],
    files: VerifiedFiles,
    given_up: Callable[[], bool],
) -> RekeyOutcome:
    """Write the job's files under its new key to `outputs`, one each.

    Size and digest of what was written are for whoever commits it. Raises ProtocolError if
    files and outputs do not pair, DistributionCorrupt if a file is not the recorded one,
    and as `rekey_file` does.
    """
    if len(outputs) != len(job.files) or len(job.outputs) != len(job.files):
        raise ProtocolError("a new key needs one output for each file")
    stop = StopSign(job.limits.deadline_seconds, given_up)
    done = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "rekey") as executor:
        for shard, (file, output) in enumerate(zip(job.files, outputs, strict=True)):
            with files.opened(file) as descriptor:
                # All of it is read anyhow.
                check = files.check(descriptor, file, executor)
                prefix = aad_prefix(job.version_id, shard, job.group)
                part = Part(descriptor, job.key, prefix)
                rows = rekey_file(
                    part, output, key=job.output_key, executor=executor, stop=stop
                )
                check()
            done.append(StoredFile(job.outputs[shard], "", file.size_bytes, rows))
    return RekeyOutcome(tuple(done))


def rekey_file(
    part: Part, target: int, *, key: bytes, executor: Executor, stop: StopSign
) -> int:
    """Write the file of `part` to `target` under `key`, same AAD prefix; return its rows.

    `target` is an empty file. Raises KeyUnusable if the part's key does not open it or the
    new one is none, DistributionCorrupt if it was altered, and what `stop` raises.
    """
    if len(key) != 32:
        raise KeyUnusable(f"a data key has 32 bytes, {len(key)} came")
    try:
        footer = Footer(part.descriptor, key=part.key, prefix=part.prefix)
        chunks = [
            chunk for group in footer.chunks(range(len(footer.names))) for chunk in group
        ]
        for chunk in chunks:
            _check_has_pages_only(chunk)
        unique, cipher = os.urandom(_UNIQUE_BYTES), AESGCM(key)
        aad = part.prefix + unique
        digests = _copy(footer, chunks, target, (cipher, aad), executor, stop)
        put_chunk_digests(footer.tree, digests)
        _write_footer(footer, target, cipher, aad, unique)
    except (*MALFORMED, InvalidTag) as error:
        raise DistributionCorrupt(
            "an encrypted file does not decrypt to Parquet: it was altered",
            hint="Restore it from a backup, or publish a new version.",
        ) from error
    return sum(footer.rows)


def _copy(
    footer: Footer,
    chunks: list[Chunk],
    target: int,
    anew: tuple[AESGCM, bytes],
    executor: Executor,
    stop: StopSign,
) -> list[bytes]:
    """Write the chunks' pages under the new key; return the digests of what they became."""

    def run(chunk: Chunk) -> bytes:
        stop.check()
        walk = _ChunkRekey(footer, chunk, target, *anew)
        walk.run()
        return walk.written_sha256

    futures: list[Future[bytes]] = [executor.submit(run, chunk) for chunk in chunks]
    try:
        return [future.result() for future in futures]
    finally:
        # A task that runs would write to whatever has the target's number by then.
        for future in futures:
            if not future.cancel():
                future.exception()


class _ChunkRekey(ChunkWalk):
    """One column chunk on its way from one key to another."""

    def __init__(
        self, footer: Footer, chunk: Chunk, target: int, cipher: AESGCM, aad: bytes
    ) -> None:
        super().__init__(footer, chunk)
        self._target = target
        self._cipher = cipher
        self._aad = aad
        self._end = chunk.start
        self._written = hashlib.sha256()

    @property
    def written_sha256(self) -> bytes:
        """The digest of what was written."""
        return self._written.digest()

    def page(self, page: Page, source: memoryview, target: memoryview) -> int:
        """Lay header and page under the new key at the start of `target`."""
        base = page.start
        for start, end, kind in (
            (page.start, page.body, page.header_kind),
            (page.body, page.end, page.body_kind),
        ):
            nonce, suffix = start + LENGTH_BYTES, kind + page.ordinals
            clear = self.footer.cipher.decrypt(
                source[nonce : nonce + NONCE_BYTES],
                source[nonce + NONCE_BYTES : end],
                self.footer.aad + suffix,
            )
            module = target[start - base : end - base]
            module[:LENGTH_BYTES] = source[start:nonce]
            _seal_into(self._cipher, clear, self._aad + suffix, module[LENGTH_BYTES:])
        return page.end - base

    def flush(self, written: memoryview, *, dictionary_bytes: int) -> None:  # noqa: ARG002 - it lies where it lay
        """Write what was laid in the target."""
        write_all(self._target, written, self._end)
        self._written.update(written)
        self._end += len(written)


def _seal_into(
    cipher: AESGCM, clear: bytes | bytearray, aad: bytes, into: memoryview
) -> None:
    """Nonce, ciphertext and tag of `clear`."""
    nonce = os.urandom(NONCE_BYTES)
    into[:NONCE_BYTES] = nonce
    cipher.encrypt_into(nonce, clear, aad, into[NONCE_BYTES:])


def _write_footer(
    footer: Footer, target: int, cipher: AESGCM, aad: bytes, unique: bytes
) -> None:
    """The magic at the start and all that stands behind the pages."""
    algorithm = Struct([Field(2, BINARY, unique), Field(3, TRUE, value=True)])
    crypto = Struct([Field(1, STRUCT, Struct([Field(1, STRUCT, algorithm)]))])
    tail = bytearray()
    write_struct(tail, crypto)
    clear = bytearray()
    write_struct(clear, footer.tree)
    sealed = bytearray(len(clear) + NONCE_BYTES + 16)
    _seal_into(cipher, clear, aad + _FOOTER_MODULE, memoryview(sealed))
    tail += struct.pack("<I", len(sealed)) + sealed
    tail += struct.pack("<I", len(tail)) + ENCRYPTED_MAGIC
    write_all(target, memoryview(ENCRYPTED_MAGIC), 0)
    write_all(target, memoryview(tail), footer.start)


def _check_has_pages_only(chunk: Chunk) -> None:
    # Our writers make neither; under the new key they would be junk in the file.
    if any(chunk.tree.get(field) is not None for field in _INDEXES):
        raise DistributionCorrupt("a file with an index of its pages was not expected")
    if chunk.tree.get(3).get(_BLOOM_FILTER) is not None:
        raise DistributionCorrupt("a file with bloom filters was not expected")
