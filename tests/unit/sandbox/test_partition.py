"""A staged table to shards: every row once, each unit in one, in one slab or in many."""

import contextlib
import io
import os
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.files.pme import aad_prefix
from sandbox.intake import partition as partitioning
from sandbox.protocol import (
    EncryptedTable,
    Limits,
    PartitionJob,
    PartitionOutcome,
    StoredFile,
)
from tests.unit.sandbox import unsealing
from tests.unit.sandbox.test_ingest import memory, parquet

KEY, SHARD_KEY = b"k" * 32, b"s" * 32


class Staged:
    """An image source over the parts of a staged table, one of which is open at a time."""

    def __init__(self, parts: Sequence[pa.Table]) -> None:
        self._parts = [parquet(part, row_group_size=500) for part in parts]
        self.tables = {"t": tuple(map(len, self._parts))}
        self.asked: list[int] = []
        self._open: list[int] = []

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        self.close()
        (index,) = wanted["t"]
        self.asked.append(index)
        self._open = [os.memfd_create("staged", os.MFD_CLOEXEC)]
        os.write(self._open[0], self._parts[index])
        return {"t": [f"/proc/self/fd/{self._open[0]}"]}

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)


def in_parts(table: pa.Table, parts: int) -> list[pa.Table]:
    size = -(-table.num_rows // parts)
    return [table.slice(start, size) for start in range(0, table.num_rows, size)]


def source_of(parts: Sequence[pa.Table]) -> EncryptedTable:
    files = [StoredFile(f"s{i}", "", 0, part.num_rows) for i, part in enumerate(parts)]
    return EncryptedTable("t", "v", tuple(files), b"")


def split(
    table: pa.Table, units: tuple[str, ...], shards: int, *, files: int = 1
) -> tuple[PartitionOutcome, list[pa.Table]]:
    staged = in_parts(table, files)
    source = source_of(staged)
    names = tuple(f"shard {i}" for i in range(shards))
    job = PartitionJob("j", source, units, SHARD_KEY, "v", names, KEY, limits=Limits())
    found = []
    with contextlib.ExitStack() as stack:
        images = Staged(staged)
        stack.callback(images.close)
        held = [stack.enter_context(memory()) for _ in range(shards + 3)]
        outputs, scratch = held[:shards], held[shards:]
        outcome = partitioning.partition(job, images, outputs, scratch)
        for index, output in enumerate(outputs):
            data = os.pread(output, os.fstat(output).st_size, 0)
            plain = unsealing.image(data, key=KEY, prefix=aad_prefix("v", index))
            with os.fdopen(plain, "rb") as file:
                found.append(pq.read_table(io.BytesIO(file.read())))
        assert images.asked == list(range(files))
    return outcome, found


def runs(rows: int) -> pa.Table:
    """The first half has no NULL anywhere, the second one has in each column."""
    late = range(rows // 2, rows)
    return pa.table(
        {
            "n": list(range(rows)),
            "machine": [None if i in late and i % 9 == 0 else i % 97 for i in range(rows)],
            "note": [None if i in late and i % 5 == 0 else f"n{i}" for i in range(rows)],
            "shard": [i % 3 for i in range(rows)],
        }
    )


@pytest.mark.parametrize("units", [(), ("machine",), ("n",)])
@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize(("is_small", "files"), [(False, 1), (True, 1), (False, 3)])
def test_every_row_is_in_one_shard_and_each_unit_too(
    units: tuple[str, ...],
    shards: int,
    is_small: bool,
    files: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`is_small`: each part of the staged table is a slab of its own."""
    table = runs(6000)
    if is_small:
        monkeypatch.setattr(partitioning._Writing, "_held_bytes", lambda _: 2**60)
        monkeypatch.setattr("sandbox.intake.parquet_ingest._PART_BYTES", 1)

    outcome, parts = split(table, units, shards, files=files)

    assert outcome.rows == 6000
    assert [file.rows for file in outcome.files] == [part.num_rows for part in parts]
    assert all(part.num_rows for part in parts)
    together = pa.concat_tables(parts).sort_by("n")
    assert together.to_pylist() == table.to_pylist()
    for unit in units:
        homes = [set(part.column(unit).to_pylist()) - {None} for part in parts]
        assert sum(map(len, homes)) == len(set().union(*homes)) == outcome.units
        nowhere = [part.column(unit).null_count for part in parts]
        assert sum(nowhere) == nowhere[0]


def test_the_same_unit_has_the_same_place_whatever_its_type() -> None:
    table = runs(3000)
    text = table.set_column(1, "machine", table.column("machine").cast(pa.string()))

    _, numbers = split(table, ("machine",), 4)
    _, texts = split(text, ("machine",), 4)

    for one, other in zip(numbers, texts, strict=True):
        assert sorted(one.column("n").to_pylist()) == sorted(other.column("n").to_pylist())
