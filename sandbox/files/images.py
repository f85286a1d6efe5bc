"""Unsealed columns in memory: verified, bounded, the least recently used leaves first."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.pme import aad_prefix, image_bytes, seal, unseal_image
from sandbox.files.sealing import SealReader
from sandbox.files.vault import open_stored
from sandbox.needs import Need
from sandbox.protocol import EncryptedTable, SealedSource, StoredFile

_MOST_VERIFICATIONS = 10_000
SEGMENT_BYTES = 64 * 1024**2  # of an upload's content, unsealed together
_PIECE_BYTES = 1024**2


@dataclass(slots=True)
class _Image:
    """A sealed memfd that the cache holds open."""

    descriptor: int
    size_bytes: int
    version_id: str
    key_digest: bytes


class ImageCache:
    """Images of encrypted shards; at most `limit_bytes` stay when nobody uses them."""

    def __init__(self, vault: Path, limit_bytes: int) -> None:
        self._vault = vault
        self.limit_bytes = limit_bytes
        self.cached_bytes = 0
        # (digest, version, shard, columns) -> image, the least recently used first.
        self._images: OrderedDict[tuple[str, str, int, frozenset[str] | None], _Image] = (
            OrderedDict()
        )
        self._verified: OrderedDict[tuple[int, int, int, int], str] = OrderedDict()

    def table(self, table: EncryptedTable, need: Need) -> list[int]:
        """Return one descriptor per shard; they are the caller's to close.

        Raises DistributionCorrupt if a file is not the one that was recorded, KeyUnusable
        if the key is not the one it was encrypted with.
        """
        opened: list[int] = []
        try:
            for shard, file in enumerate(table.files):
                opened.append(self._shard(table, shard, file, need))
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return opened

    def shard(self, table: EncryptedTable, need: Need, index: int) -> int:
        """Return a descriptor of one shard's image; it is the caller's to close."""
        return self._shard(table, index, table.files[index], need)

    def sizes(self, table: EncryptedTable, need: Need) -> tuple[int, ...]:
        """Return the bytes of each shard's image, estimated where it is not in memory.

        No digest is checked for an estimate: the footer is authenticated by its tag.
        """
        return tuple(
            self._size(table, shard, file, need) for shard, file in enumerate(table.files)
        )

    def segments(self, source: SealedSource) -> tuple[int, ...]:
        """Return how many bytes of content each segment of an upload has."""
        with self._upload(source) as reader:
            starts = range(0, max(reader.size, 1), SEGMENT_BYTES)
            return tuple(min(SEGMENT_BYTES, reader.size - start) for start in starts)

    def segment(self, source: SealedSource, index: int) -> int:
        """Return a descriptor of one segment of an upload's clear bytes; never cached."""
        with self._upload(source) as reader:
            start = index * SEGMENT_BYTES
            end = min(start + SEGMENT_BYTES, reader.size)
            descriptor = os.memfd_create("upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                with os.fdopen(os.dup(descriptor), "wb") as target:
                    for piece in range(start, end, _PIECE_BYTES):
                        target.write(
                            reader.read_range(piece, min(piece + _PIECE_BYTES, end))
                        )
                os.lseek(descriptor, 0, os.SEEK_SET)  # whoever gets it shares the place
                seal(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    @contextlib.contextmanager
    def _upload(self, source: SealedSource) -> Iterator[SealReader]:
        with os.fdopen(self._open(source.file), "rb") as file:
            yield SealReader(file, source.key, source.file.name)

    def _size(self, table: EncryptedTable, shard: int, file: StoredFile, need: Need) -> int:
        held = self._find(file, table.version_id, shard, need)
        if held is not None:
            return held.size_bytes
        stored = open_stored(self._vault, file.name)
        try:
            if os.fstat(stored).st_size == 0:
                raise DistributionCorrupt("a stored file is empty")
            return image_bytes(
                memoryview(mmap.mmap(stored, 0, prot=mmap.PROT_READ)),
                key=table.key,
                aad_prefix=aad_prefix(table.version_id, shard),
                columns=need.needed,
            )
        finally:
            os.close(stored)

    def forget(self, version_id: str) -> int:
        """Let go of every image of a version; returns how many those were."""
        names = [n for n, image in self._images.items() if image.version_id == version_id]
        for name in names:
            self._drop(name)
        return len(names)

    def _shard(
        self, table: EncryptedTable, shard: int, file: StoredFile, need: Need
    ) -> int:
        key_digest = hashlib.sha256(table.key).digest()
        stored = self._open(file)
        try:
            held = self._find(file, table.version_id, shard, need)
            if held is not None:
                # A job with another key must not profit from one that had the right key.
                if not hmac.compare_digest(held.key_digest, key_digest):
                    raise KeyUnusable("the data key is not the one that opened this file")
                return os.dup(held.descriptor)
            descriptor = _transcode(stored, table, shard, need)
        finally:
            os.close(stored)
        name = (file.sha256, table.version_id, shard, need.needed)
        size = os.fstat(descriptor).st_size
        if size <= self.limit_bytes:
            self._make_room(size)
            kept = _Image(os.dup(descriptor), size, table.version_id, key_digest)
            self._images[name] = kept
            self.cached_bytes += size
        return descriptor

    def _find(
        self, file: StoredFile, version_id: str, shard: int, need: Need
    ) -> _Image | None:
        for name, image in self._images.items():
            if name[:3] == (file.sha256, version_id, shard) and need.fits(name[3]):
                self._images.move_to_end(name)
                return image
        return None

    def _make_room(self, size: int) -> None:
        while self._images and self.cached_bytes + size > self.limit_bytes:
            self._drop(next(iter(self._images)))

    def _drop(self, name: tuple[str, str, int, frozenset[str] | None]) -> None:
        image = self._images.pop(name)
        self.cached_bytes -= image.size_bytes
        os.close(image.descriptor)

    def _open(self, file: StoredFile) -> int:
        """A descriptor of a stored file whose bytes are the recorded ones.

        A verification holds as long as inode, time and size stay: whoever can forge those
        meets the tags of the encryption.
        """
        descriptor = open_stored(self._vault, file.name)
        try:
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if status.st_size != file.size_bytes:
                raise DistributionCorrupt(  # noqa: TRY301 - the handler below closes the descriptor
                    f"a stored file has {status.st_size} bytes,"
                    f" {file.size_bytes} were recorded",
                    hint="Restore it from a backup, or publish a new version.",
                )
            digest = self._verified.get(identity)
            if digest is None:
                with io.FileIO(os.dup(descriptor)) as raw:
                    digest = hashlib.file_digest(raw, "sha256").hexdigest()
                os.lseek(descriptor, 0, os.SEEK_SET)
                self._verified[identity] = digest
                if len(self._verified) > _MOST_VERIFICATIONS:
                    self._verified.popitem(last=False)
            if not hmac.compare_digest(digest, file.sha256):
                raise DistributionCorrupt(  # noqa: TRY301 - the handler below closes the descriptor
                    "a stored file's digest is not the recorded one: it was altered",
                    hint="Restore it from a backup, or publish a new version.",
                )
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _transcode(stored: int, table: EncryptedTable, shard: int, need: Need) -> int:
    if os.fstat(stored).st_size == 0:
        raise DistributionCorrupt("a stored file is empty")
    # Not closed here: after a failure the error's frames still hold slices of it, and it
    # goes with the last of them.
    mapped = mmap.mmap(stored, 0, prot=mmap.PROT_READ)
    return unseal_image(
        memoryview(mapped),
        key=table.key,
        aad_prefix=aad_prefix(table.version_id, shard),
        columns=need.needed,
    )
