"""Unsealed columns in memory: verified, bounded, shared between jobs by what they hold.

A job takes a lease on the images that it needs at once and gets descriptors. Nothing is
handed out before the files it came from were found to be the recorded ones: by digests of
their footers and of the columns that were read, or of all their bytes (`Shard.checks`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import DistributionCorrupt, SandboxError
from sandbox.files.image_memory import Image, ImageMemory, Wish
from sandbox.files.pme import Unsealing, decrypt
from sandbox.files.shards import Shard, open_shard, wish_for
from sandbox.files.upload_images import Segment, segments_of
from sandbox.files.verified import VerifiedFiles
from sandbox.needs import EVERYTHING, Need
from sandbox.protocol import EncryptedTable, SealedSource

_MOST_SIZES = 10_000
# A job that waits this long for others' memory is told so.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Shards of one table that a job needs at once, and which columns of them."""

    table: EncryptedTable
    need: Need
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long a job waits for memory that others hold, and what ends its wait early."""

    patience_seconds: float = PATIENCE_SECONDS
    given_up: Callable[[], bool] = lambda: False


class Lease:
    """Images that stay in memory until it is closed; `descriptors` in order of asking."""

    def __init__(self, memory: ImageMemory, images: list[Image]) -> None:
        self._memory = memory
        self._images = images
        self.descriptors = tuple(image.descriptor for image in images)

    def close(self) -> None:
        """Let go of the images and their descriptors; may be called twice."""
        images, self._images, self.descriptors = self._images, [], ()
        self._memory.release(images)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ImageCache:
    """Images of encrypted shards, at most `limit_bytes`; safe to share between threads."""

    def __init__(
        self, vault: Path, limit_bytes: int, *, threads: int | None = None
    ) -> None:
        self.files = VerifiedFiles(vault)
        self._memory = ImageMemory(limit_bytes)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._lock = threading.Lock()  # over the sizes
        self._sizes: OrderedDict[tuple[object, ...], int] = OrderedDict()

    @property
    def limit_bytes(self) -> int:
        """The most that images may take."""
        return self._memory.limit_bytes

    @property
    def cached_bytes(self) -> int:
        """What images take now; those in the making and in use count in full."""
        return self._memory.used_bytes

    def forget(self, version_id: str) -> int:
        """Let go of every image of a version; returns how many those were."""
        return self._memory.forget(version_id)

    def sizes(self, table: EncryptedTable, need: Need) -> tuple[int, ...]:
        """Return how many bytes the image of each shard takes, at most.

        Of what is in memory exactly, else from the footers: no page is decrypted, no whole
        digest taken. Raises DistributionCorrupt or KeyUnusable where a footer does not open
        or is not the recorded one.
        """
        return tuple(self._size(table, need, shard) for shard in range(len(table.files)))

    def lease(self, wanted: Sequence[Wanted], waiting: Waiting | None = None) -> Lease:
        """Have the images of all that is wanted in memory, each item's shards in order.

        Raises DistributionCorrupt if a file is not the one that was recorded, KeyUnusable
        if a key is not the one it was encrypted with, ResourceExceeded if they do not fit
        together (`images_exceed_memory`) or did not while others held theirs
        (`image_memory_busy`), Cancelled if the job was given up while it waited for room.
        """
        with self._workers() as executor, contextlib.ExitStack() as stack:
            shards = [
                stack.enter_context(open_shard(self.files, item.table, item.need, shard))
                for item in wanted
                for shard in item.shards
            ]
            images = self._acquire(shards, waiting or Waiting())
            try:
                self._make(list(zip(images, shards, strict=True)), executor)
                for image in images:
                    image.result()
            except BaseException:
                self._memory.release(images)
                raise
            return Lease(self._memory, images)

    def table(self, table: EncryptedTable, need: Need) -> list[int]:
        """Return one descriptor per shard, which are the caller's to close.

        For whoever is alone with the cache, as benchmarks are: what it holds is not counted
        beyond this call.
        """
        with self.lease([Wanted(table, need, tuple(range(len(table.files))))]) as lease:
            return [os.dup(descriptor) for descriptor in lease.descriptors]

    def upload_sizes(self, source: SealedSource) -> tuple[int, ...]:
        """Return the bytes of each segment of an upload's content."""
        with self.files.opened(source.file) as descriptor:
            return tuple(s.size_bytes for s in segments_of(descriptor, source))

    def lease_upload(
        self,
        source: SealedSource,
        indices: Sequence[int] | None = None,
        waiting: Waiting | None = None,
    ) -> Lease:
        """Have segments of an upload's clear content in memory; None: all of it as one.

        No other job is given them. Raises as `lease` does.
        """
        with self._workers() as executor, self.files.opened(source.file) as descriptor:
            check = self.files.check(descriptor, source.file, executor)
            segments = segments_of(descriptor, source, whole=indices is None)
            if indices is not None:
                segments = [segments[index] for index in indices]
            # Under a name that no other job's wish has.
            name = f"upload {os.urandom(16).hex()}"
            asked = [
                Shard(Wish(name, index, {}, EVERYTHING, None, segment.size_bytes))
                for index, segment in enumerate(segments)
            ]
            images = self._acquire(asked, waiting or Waiting())
            pairs = list(zip(images, segments, strict=True))
            try:
                _copy(self._memory, pairs, check, executor)
            finally:
                self._memory.forget(name)
            return Lease(self._memory, images)

    @contextlib.contextmanager
    def _workers(self) -> Iterator[Executor]:
        # A crew for each lease: a small job does not queue behind a large one's pages.
        with ThreadPoolExecutor(self._threads, "unseal") as executor:
            yield executor

    def _size(self, table: EncryptedTable, need: Need, shard: int) -> int:
        wish = wish_for(table, need, shard)
        held = self._memory.size_of(wish)
        if held is not None:
            return held
        name = (table.version_id, shard, tuple(wish.files.items()), need.needed)
        with self._lock:
            if name in self._sizes:
                return self._sizes[name]
        with open_shard(self.files, table, need, shard) as opened:
            opened.lay_out(need.needed)
            size = opened.wish.size_bytes or 0
        with self._lock:
            self._sizes[name] = size
            if len(self._sizes) > _MOST_SIZES:
                self._sizes.popitem(last=False)
        return size

    def _acquire(self, shards: Sequence[Shard], waiting: Waiting) -> list[Image]:
        """An image pinned for each; those with the shard's own wish are yet to be made."""
        wishes = [shard.wish for shard in shards]
        while True:
            missing = {id(wish) for wish in self._memory.missing(wishes)}
            absent = [shard for shard in shards if id(shard.wish) in missing]
            for shard in absent:
                if shard.wish.size_bytes is None:
                    shard.lay_out(shard.wish.need.needed)
            self._widen(absent)
            acquired = self._memory.acquire(
                wishes,
                patience_seconds=waiting.patience_seconds,
                given_up=waiting.given_up,
            )
            if acquired is not None:
                return acquired

    def _make(self, pairs: Sequence[tuple[Image, Shard]], executor: Executor) -> None:
        """Make what is new: each is settled, or failed for all that wait for it.

        Afterwards each image is known to come of the recorded files of its shard.
        """
        left = [image for image, shard in pairs if image.wish is shard.wish]
        begun: list[tuple[Image, Unsealing]] = []
        try:
            # Ahead of the pages: an image that needs these waits for them anyhow.
            checks = [
                check
                for image, shard in pairs
                for check in shard.checks(image, self.files, executor)
            ]
            for image, shard in pairs:
                if image in left:
                    assert shard.layout is not None, "an image to be made was laid out"
                    begun.append((image, shard.layout.begin()))
            decrypt([unsealing for _, unsealing in begun], executor)
            for check in checks:
                check()
            while begun:
                image, unsealing = begun.pop(0)
                self._memory.settle(image, unsealing.finish())
                left.remove(image)
        except BaseException as error:
            for _, unsealing in begun:
                unsealing.abandon()
            _fail(self._memory, left, error)
            raise

    def _widen(self, absent: Sequence[Shard]) -> None:
        """Where memory is short, have new images take the place of the held ones.

        Queries over many sets of columns would otherwise drive each other's images out;
        so they come to share one, of what all of them may see.
        """
        if self._memory.has_room_for(sum(s.wish.size_bytes or 0 for s in absent)):
            return
        for shard in absent:
            narrow, held = shard.wish.columns, self._memory.held_columns(shard.wish)
            if narrow is not None and not held <= narrow:
                shard.lay_out(narrow | held)
        if sum(s.wish.size_bytes or 0 for s in absent) > self.limit_bytes // 2:
            for shard in absent:
                shard.lay_out(shard.wish.need.needed)


def _copy(
    memory: ImageMemory,
    segments: Sequence[tuple[Image, Segment]],
    check: Callable[[], None],
    executor: Executor,
) -> None:
    """Have the clear bytes of each segment in its image, or none of them."""
    copies = [executor.submit(segment.copy) for _, segment in segments]
    left = [image for image, _ in segments]
    try:
        made = [copy.result() for copy in copies]
        check()
        for (image, _), descriptor in zip(segments, made, strict=True):
            memory.settle(image, descriptor)
            left.remove(image)
    except BaseException as error:
        for copy in copies:
            if not copy.cancel() and copy.exception() is None:
                os.close(copy.result())
        _fail(memory, left, error)
        memory.release([image for image, _ in segments])
        raise


def _fail(memory: ImageMemory, images: Sequence[Image], error: BaseException) -> None:
    told = error
    if not isinstance(told, SandboxError):
        told = DistributionCorrupt(f"unsealing failed ({type(error).__name__})")
    for image in images:
        memory.fail(image, told)
