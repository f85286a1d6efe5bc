"""The staged table: parts come as plain images in memory and go to the vault encrypted."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from sandbox.files.pme import aad_prefix
from sandbox.files.pme_writer import EncryptedFile
from sandbox.protocol import STAGED_FILE_BYTES, ProfileJob, StoredFile

# Row groups as the engine's own tables have them; version 2 of the encodings is both the
# smaller and the faster one to write and to read. Filters are not carried over.
_OPTIONS = (
    "FORMAT parquet, USE_TMP_FILE false, PARQUET_VERSION V2, WRITE_BLOOM_FILTER false"
)
_GROUP_ROWS, _VECTOR_ROWS = 122_880, 2048
# What stays is written smaller. A dictionary of more values is tried in vain more often
# than it helps, and a try costs as much as the column's encoding.
_KEPT = f"{_OPTIONS}, COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 8192"
# A table of fewer rows is never split into shards: `exchange.catalogue.ingest` says so.
ONE_SHARD_ROWS = 1_000_000
# A staged table that is split is read once: it is written fast. Dictionaries that do not
# help much cost a sixth of the time, zstd as much more.
STAGED = (
    f"{_OPTIONS}, COMPRESSION snappy, DICTIONARY_SIZE_LIMIT 1000,"
    f" ROW_GROUP_SIZE {_GROUP_ROWS}"
)


def parquet_of(rows: int) -> str:
    """Return how so many rows are written: in even row groups, with no stub at the end."""
    groups = max(1, round(rows / _GROUP_ROWS))
    even = -(-rows // groups)
    size = max(1, -(-even // _VECTOR_ROWS)) * _VECTOR_ROWS
    return f"{_KEPT}, ROW_GROUP_SIZE {size}"


def staged_parquet(part_rows: int, table_rows: int) -> str:
    """Return how a part of a staged table is written, by the estimates of its rows.

    Of a table that will be one shard as `parquet_of` does, so that its pages can be taken
    over; of a larger one fast, because its rows are read once and written anew.
    """
    return parquet_of(part_rows) if table_rows < ONE_SHARD_ROWS else STAGED


class VaultFile:
    """One encrypted file behind a descriptor, written anew from its beginning."""

    def __init__(
        self, output: int, *, key: bytes, version_id: str, shard: int, group: str = ""
    ) -> None:
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)
        self._target = os.fdopen(os.dup(output), "wb")
        prefix = aad_prefix(version_id, shard, group)
        self._file = EncryptedFile(self._target, key=key, prefix=prefix)

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return self._file.rows

    def add(
        self,
        image: int,
        *,
        columns: Collection[str] | None = None,
        groups: Collection[int] | None = None,
    ) -> int:
        """Add the rows of the plain image behind a descriptor; return how many.

        Of its row groups those of these positions; None: all.
        """
        # Not closed here: after a failure the error's frames still hold slices of it.
        mapped = mmap.mmap(image, 0, prot=mmap.PROT_READ)
        return self._file.append(memoryview(mapped), columns=columns, groups=groups)

    def finish(self, most_rows: Mapping[str, int] | None = None) -> None:
        """Make the file whole; of its columns in `most_rows` it tells the number."""
        self._file.close(most_rows)
        self._target.flush()

    @property
    def size_bytes(self) -> int:
        """How many bytes were written."""
        return self._target.tell()

    def close(self) -> None:
        """Let go of the descriptor."""
        # What is still buffered of half a file is written or not: nobody will read it.
        with contextlib.suppress(OSError):
            self._target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class StagedTable:
    """The files of a staged table: the next one is begun when one is large."""

    def __init__(self, job: ProfileJob, outputs: Sequence[int]) -> None:
        self._job = job
        self._outputs = outputs
        self._whole: list[StoredFile] = []
        self._file = self._begin()

    def add(self, image: int, *, columns: Collection[str] | None = None) -> int:
        """Add the rows of the plain image behind a descriptor; return how many."""
        is_full = self._file.rows and self._file.size_bytes >= STAGED_FILE_BYTES
        if is_full and self._has_more():
            self._end()
            self._file = self._begin()
        return self._file.add(image, columns=columns)

    def finish(self) -> tuple[StoredFile, ...]:
        """Make the last file whole; return all of them, measured by the door only."""
        self._end()
        return tuple(self._whole)

    def _has_more(self) -> bool:
        return len(self._whole) + 1 < len(self._outputs)

    def _begin(self) -> VaultFile:
        number = len(self._whole)
        return VaultFile(
            self._outputs[number],
            key=self._job.output_key,
            version_id=self._job.version_id,
            shard=number,
        )

    def _end(self) -> None:
        self._file.finish()
        self._file.close()
        name = self._job.outputs[len(self._whole)]
        self._whole.append(StoredFile(name, "", 0, self._file.rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


A = TypeVar("A")
B = TypeVar("B")


def in_order(
    run: Callable[[A], B], parts: Iterable[A], threads: int, *, waiting: int
) -> Iterator[B]:
    """Yield what `run` makes of each part, in their order, with that many threads.

    Of the parts, at most `waiting` are taken that were not yielded yet.
    """
    begun: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for part in parts:
                begun.append(pool.submit(run, part))
                if len(begun) >= waiting:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
