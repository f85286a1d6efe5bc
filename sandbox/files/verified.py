"""Stored files as they are recorded: opened by size, digested as a whole where need be."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

from sandbox.errors import DistributionCorrupt
from sandbox.files.vault import open_stored
from sandbox.protocol import StoredFile

_MOST_VERIFICATIONS = 10_000
_WINDOW_BYTES = 1024**2
_HINT = "Restore it from a backup, or publish a new version."

# Of a file: what does not change while nobody writes to it.
Identity = tuple[int, int, int, int]


def identity_of(descriptor: int) -> Identity:
    """Return what tells a file from another, and from itself after a change."""
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


class VerifiedFiles:
    """Opens files of a vault and knows what of them was verified; for many threads.

    That is all of a file, or columns by its recorded footer. It holds as long as inode,
    times and size stay: whoever can forge those meets the tags of the encryption. The tags
    alone would not do: somebody who has the key, or kept the file of an earlier attempt
    under it, could write pages that open.
    """

    def __init__(self, vault: Path) -> None:
        self._vault = vault
        self._lock = threading.Lock()  # over the table of digests
        self._digests: OrderedDict[Identity, Future[str]] = OrderedDict()
        self._agreed: OrderedDict[tuple[Identity, str], set[int]] = OrderedDict()

    @contextlib.contextmanager
    def opened(self, file: StoredFile) -> Iterator[int]:
        """A descriptor of a stored file that has the recorded size.

        It may be read at once. Nothing that comes of it may be handed out before it was
        found to be the recorded one: by its footer's and its chunks' digests, or because
        `check` was asked and what it returned raised nothing. Raises DistributionCorrupt.
        """
        descriptor = open_stored(self._vault, file.name)
        try:
            size = os.fstat(descriptor).st_size
            if size != file.size_bytes:
                raise DistributionCorrupt(
                    f"a stored file has {size} bytes, {file.size_bytes} were recorded",
                    hint=_HINT,
                )
            yield descriptor
        finally:
            os.close(descriptor)

    def check(
        self, descriptor: int, file: StoredFile, executor: Executor
    ) -> Callable[[], None]:
        """Have the digest of all of it taken, and return what waits for it.

        That raises DistributionCorrupt if it is not the recorded one.
        """
        digest = self._digest(descriptor, executor)
        return lambda: _check(digest, file)

    def agreed(self, descriptor: int, file: StoredFile) -> set[int]:
        """Return which columns agreed with the file's recorded footer; to be added to."""
        name = (identity_of(descriptor), file.footer_sha256)
        with self._lock:
            agreed = self._agreed.setdefault(name, set())
            if len(self._agreed) > _MOST_VERIFICATIONS:
                self._agreed.popitem(last=False)
        return agreed

    def _digest(self, descriptor: int, executor: Executor) -> Future[str]:
        identity = identity_of(descriptor)
        with self._lock:
            known = self._digests.get(identity)
            if known is not None and not _has_failed(known):
                return known
            # A descriptor of its own: the caller may close its one first.
            digest = executor.submit(_digest_of, os.dup(descriptor))
            self._digests[identity] = digest
            if len(self._digests) > _MOST_VERIFICATIONS:
                self._digests.popitem(last=False)
        return digest


def _check(digest: Future[str], file: StoredFile) -> None:
    if not hmac.compare_digest(digest.result(), file.sha256):
        raise DistributionCorrupt(
            "a stored file's digest is not the recorded one: it was altered", hint=_HINT
        )


def _has_failed(digest: Future[str]) -> bool:
    """Whether there will be no digest: the disk gave an error, or its executor ended."""
    return digest.cancelled() or (digest.done() and digest.exception() is not None)


def _digest_of(descriptor: int) -> str:
    digest, buffer, place = hashlib.sha256(), memoryview(bytearray(_WINDOW_BYTES)), 0
    try:
        while count := os.preadv(descriptor, [buffer], place):
            digest.update(buffer[:count])
            place += count
    finally:
        os.close(descriptor)
    return digest.hexdigest()
