"""The memory that images take: counted from before they are made until nobody holds them.

`used_bytes` never exceeds `limit_bytes`: what is being decrypted counts in full from the
start, and what a job holds counts until it lets go, also when its version was forgotten.
A job that finds no room waits for others to let go. It holds nothing while it waits, so
that two cannot wait for each other.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sandbox.errors import Cancelled, KeyUnusable, ResourceExceeded, SandboxError
from sandbox.files.verified import Identity
from sandbox.needs import Need

_LOOK_SECONDS = 0.2


@dataclass(slots=True)
class Wish:
    """One image as a job asks for it."""

    version_id: str
    shard: int
    files: dict[str, bytes]  # digest of each file that may be in it -> digest of its key
    need: Need
    columns: frozenset[str] | None  # what a new image would hold
    size_bytes: int | None = None  # of a new image, at most; None: not known yet
    # By digest: which file on the disk a new image would be made of, checked by which
    # footer's digest. Another record of the file may know less, or be false.
    made_of: dict[str, tuple[Identity, str]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Image:
    """A sealed memfd that is held open, or one in the making."""

    wish: Wish
    size_bytes: int
    pins: int = 1  # leases that hold it; only what has none is dropped for room
    descriptor: int = -1
    last_use: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    error: SandboxError | None = None

    def result(self) -> int:
        """Wait until it is made; return its descriptor or raise what went wrong."""
        self.ready.wait()
        if self.error is not None:
            raise self.error
        return self.descriptor


class ImageMemory:
    """The images there are; safe to share between threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._changed = threading.Condition()  # over all that follows
        self._images: list[Image] = []  # what another job may be given
        self._clock = 0
        self._last_use: dict[str, int] = {}  # by version: the least recent goes first

    def missing(self, wishes: Sequence[Wish]) -> list[Wish]:
        """Return those of `wishes` for which no image is there or in the making."""
        with self._changed:
            return [wish for wish in wishes if self._find(wish) is None]

    def size_of(self, wish: Wish) -> int | None:
        """Return the bytes of the image that `wish` would be given, if there is one."""
        with self._changed:
            image = self._find(wish)
            return None if image is None else image.size_bytes

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether that much fits without anything being dropped."""
        return self.used_bytes + size_bytes <= self.limit_bytes

    def held_columns(self, wish: Wish) -> frozenset[str]:
        """Return every column of the same shard that is in memory and allowed to `wish`."""
        with self._changed:
            return frozenset().union(
                *(
                    image.wish.columns or frozenset()
                    for image in self._images
                    if _is_same_shard(image.wish, wish)
                    and (wish.need.allowed is not None)
                    and (image.wish.columns or frozenset()) <= wish.need.allowed
                )
            )

    def acquire(
        self,
        wishes: Sequence[Wish],
        *,
        patience_seconds: float,
        given_up: Callable[[], bool],
    ) -> list[Image] | None:
        """Pin an image for each wish; the caller must make those that have its own wish.

        Each of these ends with `settle` or `fail`, and every one with `release`.
        Returns None, with nothing pinned, if one without a known size must be made.
        Raises ResourceExceeded if they do not fit together, or if others hold the room
        for all of `patience_seconds`; Cancelled if `given_up` says so while it waits.
        """
        stop_at = time.monotonic() + patience_seconds
        with self._changed:
            while True:
                found = [self._find(wish) for wish in wishes]
                sizes = [
                    wish.size_bytes if image is None else 0
                    for wish, image in zip(wishes, found, strict=True)
                ]
                if None in sizes:
                    return None
                wanted = sum(size or 0 for size in sizes)
                held = {id(image): image for image in found if image is not None}
                together = wanted + sum(image.size_bytes for image in held.values())
                if together > self.limit_bytes:
                    raise _too_large(together, self.limit_bytes)
                if self._make_room(wanted, keep=held):
                    return self._pin(wishes, found)
                if time.monotonic() >= stop_at:
                    raise _busy()
                if given_up():
                    raise Cancelled("the job was given up while it waited for memory")
                self._changed.wait(_LOOK_SECONDS)

    def settle(self, image: Image, descriptor: int) -> None:
        """The image is made: it lies under `descriptor`, which is this object's now."""
        size = os.fstat(descriptor).st_size
        with self._changed:
            self.used_bytes += size - image.size_bytes
            image.size_bytes = size
            image.descriptor = descriptor
            self._drop_narrower(image)
            self._changed.notify_all()
        image.ready.set()

    def fail(self, image: Image, error: SandboxError) -> None:
        """The image cannot be made; whoever waits for it gets `error` too."""
        with self._changed:
            self._forget(image)
            image.error = error
        image.ready.set()

    def release(self, images: Sequence[Image]) -> None:
        """Let go of images that `acquire` gave."""
        with self._changed:
            for image in images:
                image.pins -= 1
                if not image.pins and image not in self._images:
                    self._free(image)
            self._changed.notify_all()

    def forget(self, version_id: str) -> int:
        """Give no image of a version to anybody any more; returns how many there were.

        Those that a job holds, or that are in the making, go when it lets go of them.
        """
        with self._changed:
            gone = [i for i in self._images if i.wish.version_id == version_id]
            for image in gone:
                self._forget(image)
            self._last_use.pop(version_id, None)
            self._changed.notify_all()
        return len(gone)

    def _find(self, wish: Wish) -> Image | None:
        for image in self._images:
            held = image.wish
            if not _is_same_shard(held, wish) or not wish.need.fits(held.columns):
                continue
            # A job with another key must not profit from one that had the right key.
            if any(
                not hmac.compare_digest(key, wish.files[name])
                for name, key in held.files.items()
            ):
                raise KeyUnusable("the data key is not the one that opened this file")
            return image
        return None

    def _pin(self, wishes: Sequence[Wish], found: Sequence[Image | None]) -> list[Image]:
        pinned = []
        self._clock += 1
        for wish, image in zip(wishes, found, strict=True):
            if image is None:
                image = Image(wish, wish.size_bytes or 0)
                self.used_bytes += image.size_bytes
                self._images.append(image)
            else:
                image.pins += 1
            image.last_use = self._last_use[wish.version_id] = self._clock
            pinned.append(image)
        return pinned

    def _make_room(self, size: int, *, keep: dict[int, Image]) -> bool:
        """Drop what nobody uses until `size` fits; whether it does."""
        idle = [i for i in self._images if not i.pins and id(i) not in keep]
        idle.sort(key=lambda i: (self._last_use.get(i.wish.version_id, 0), i.last_use))
        free = self.limit_bytes - self.used_bytes
        if free + sum(image.size_bytes for image in idle) < size:
            return False
        for image in idle:
            if self.used_bytes + size <= self.limit_bytes:
                break
            self._forget(image)
        return True

    def _drop_narrower(self, image: Image) -> None:
        """Drop what nobody uses and the new image can stand in for."""
        columns = image.wish.columns
        for other in [i for i in self._images if i is not image and not i.pins]:
            narrower = other.wish.columns is not None and (
                columns is not None and other.wish.columns <= columns
            )
            if narrower and _is_same_shard(other.wish, image.wish):
                self._forget(other)

    def _forget(self, image: Image) -> None:
        if image in self._images:
            self._images.remove(image)
            if not image.pins:
                self._free(image)

    def _free(self, image: Image) -> None:
        self.used_bytes -= image.size_bytes
        if image.descriptor >= 0:
            os.close(image.descriptor)


def _is_same_shard(held: Wish, wish: Wish) -> bool:
    return (held.version_id, held.shard) == (wish.version_id, wish.shard) and (
        held.files.keys() <= wish.files.keys()
    )


def _too_large(wanted: int, limit: int) -> ResourceExceeded:
    return ResourceExceeded(
        f"the columns that are needed at once take {wanted} bytes of memory, the sandbox"
        f" has {limit} for all of them",
        hint="Ask over fewer columns or tables, or give the sandbox a larger image cache.",
        code="images_exceed_memory",
    )


def _busy() -> ResourceExceeded:
    return ResourceExceeded(
        "other jobs hold the memory that the columns of this one need",
        hint="Run it again in a while, or give the sandbox a larger image cache.",
        code="image_memory_busy",
    )
