"""The image source between an unsealer's thread and a worker, over a real socket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox import errors
from sandbox.control import Wanted
from sandbox.files.images import ImageCache
from sandbox.files.parquet import encrypted_writer
from sandbox.files.pme import aad_prefix
from sandbox.files.sealing import SealWriter
from sandbox.files.upload_images import SEGMENT_BYTES
from sandbox.processes.image_service import JobImages, serve_images
from sandbox.processes.image_source import PulledImages, open_everything
from sandbox.protocol import (
    CsvOptions,
    EncryptedTable,
    Format,
    PartitionJob,
    ProfileJob,
    SealedSource,
    StoredFile,
)

KEY = b"k" * 32


def stored(path: Path, rows: int = 0) -> StoredFile:
    content = path.read_bytes()
    return StoredFile(path.name, hashlib.sha256(content).hexdigest(), len(content), rows)


def table_in(vault: Path, *, shards: int = 3) -> EncryptedTable:
    files = []
    for shard in range(shards):
        path = vault / f"shard-{shard}"
        with path.open("wb") as target:
            columns = pa.table({"n": list(range(shard, 5000 + shard)), "s": ["x"] * 5000})
            writer = encrypted_writer(
                target, columns.schema, key=KEY, prefix=aad_prefix("v", shard)
            )
            for batch in columns.to_batches():
                writer.write(batch)
            writer.close()
        files.append(stored(path, 5000))
    return EncryptedTable("t", "v", tuple(files), KEY)


class Pair:
    """A worker's image source, and the thread that serves it."""

    def __init__(self, images: JobImages) -> None:
        ours, theirs = socket.socketpair()
        self.worker_end = theirs
        self.thread = threading.Thread(target=self._serve, args=(ours, images))
        self.thread.start()
        self.source = PulledImages(theirs)

    def _serve(self, ours: socket.socket, images: JobImages) -> None:
        with ours, contextlib.suppress(errors.ProtocolError):
            serve_images(ours, images)

    def close(self) -> None:
        self.source.close()
        self.worker_end.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def pulled(tmp_path: Path) -> Iterator[Pair]:
    job = PartitionJob("j", table_in(tmp_path), (), b"s" * 32)
    pair = Pair(JobImages(job, ImageCache(tmp_path, 10**8), budget_bytes=10**8))
    yield pair
    pair.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def rows_of(path: str) -> list[int]:
    column: list[int] = pq.read_table(path)["n"].to_pylist()
    return column


def test_open_gives_the_wanted_shards_in_their_order(pulled: Pair) -> None:
    opened = pulled.source.open({"t": [2, 0]})

    assert [rows_of(path)[0] for path in opened["t"]] == [2, 0]


def test_offered_sizes_are_about_those_of_the_images(pulled: Pair) -> None:
    (sizes,) = pulled.source.tables.values()
    opened = open_everything(pulled.source)

    assert len(sizes) == 3
    for size, path in zip(sizes, opened["t"], strict=True):
        assert abs(size - Path(path).stat().st_size) < 0.2 * size


def test_progress_is_what_lies_before_the_open_images(tmp_path: Path) -> None:
    job = PartitionJob("j", table_in(tmp_path), (), b"s" * 32)
    images = JobImages(job, ImageCache(tmp_path, 10**8), 10**8)
    ((_, sizes),) = images.offered.tables
    found = [images.progress.read_bytes]

    for shard in (0, 1, 2):
        images.open(Wanted((("t", (shard,)),)))
        found.append(images.progress.read_bytes)
    images.close()

    assert found == [0, 0, sizes[0], sizes[0] + sizes[1]]
    assert images.progress.all_bytes == sum(sizes)


def test_open_closes_what_an_earlier_call_opened(pulled: Pair) -> None:
    pulled.source.open({"t": [0, 1, 2]})
    before = open_descriptors()
    for _ in range(50):
        pulled.source.open({"t": [0, 1, 2]})

    assert open_descriptors() <= before + 3  # the thread may still hold those of the last


def test_open_never_gives_a_path_again(pulled: Pair) -> None:
    given = [pulled.source.open({"t": [shard % 3]})["t"][0] for shard in range(20)]

    assert len(set(given)) == 20


def test_open_counts_what_was_opened(pulled: Pair) -> None:
    size = Path(pulled.source.open({"t": [1]})["t"][0]).stat().st_size
    pulled.source.open({"t": [1]})

    assert pulled.source.opened_bytes == 2 * size


@pytest.mark.parametrize("wanted", [{"t": [3]}, {"t": [-1]}, {"other": [0]}, {"": [0]}])
def test_open_refuses_what_is_none_of_the_jobs(
    pulled: Pair, wanted: dict[str, list[int]]
) -> None:
    with pytest.raises(errors.ProtocolError):
        pulled.source.open(wanted)
    assert rows_of(pulled.source.open({"t": [1]})["t"][0])[0] == 1


def test_open_refuses_more_than_the_budget(tmp_path: Path) -> None:
    job = PartitionJob("j", table_in(tmp_path), (), b"s" * 32)
    sizes = JobImages(job, ImageCache(tmp_path, 10**8), 10**8).offered.tables[0][1]
    pair = Pair(JobImages(job, ImageCache(tmp_path, 10**8), budget_bytes=sum(sizes[:2])))

    with pytest.raises(errors.ResourceExceeded):
        open_everything(pair.source)
    assert len(pair.source.open({"t": [0, 1]})["t"]) == 2
    pair.close()


def test_open_tells_of_an_altered_file_and_goes_on(tmp_path: Path) -> None:
    job = PartitionJob("j", table_in(tmp_path), (), b"s" * 32)
    pair = Pair(JobImages(job, ImageCache(tmp_path, 10**8), 10**8))
    content = bytearray((tmp_path / "shard-1").read_bytes())
    content[100] ^= 1
    (tmp_path / "shard-1").write_bytes(content)

    with pytest.raises(errors.DistributionCorrupt):
        open_everything(pair.source)
    assert rows_of(pair.source.open({"t": [2]})["t"][0])[0] == 2
    pair.close()


def test_descriptors_that_a_worker_sends_along_are_not_kept(pulled: Pair) -> None:
    reading, writing = os.pipe()
    socket.send_fds(pulled.worker_end, [b"\0\0\0\2{}"], [writing])
    os.close(writing)

    assert os.read(reading, 1) == b""  # nobody else has the other end open
    os.close(reading)


def test_an_upload_comes_in_segments(tmp_path: Path) -> None:
    content = os.urandom(1024) * (SEGMENT_BYTES // 1024) + b"the rest"
    path = tmp_path / "upload"
    with path.open("wb") as file, SealWriter(file, KEY, "upload") as writer:
        writer.write(content)
    source = SealedSource(stored(path), KEY)
    job = ProfileJob("j", source, Format.CSV, CsvOptions(), "v", ("out",), KEY)
    pair = Pair(JobImages(job, ImageCache(tmp_path, 10**8), SEGMENT_BYTES))

    assert pair.source.tables == {"": (SEGMENT_BYTES, 8)}
    ((path_of_last,),) = pair.source.open({"": [1]}).values()
    assert Path(path_of_last).read_bytes() == b"the rest"
    ((path_of_first,),) = pair.source.open({"": [0]}).values()
    assert Path(path_of_first).read_bytes() == content[:SEGMENT_BYTES]
    pair.close()
