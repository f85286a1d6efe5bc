"""Staged tables whose pages become those of the shards, and those whose do not."""

import contextlib
import os
from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.files.pme import aad_prefix
from sandbox.intake import partition as partitioning
from sandbox.intake.staging import ONE_SHARD_ROWS, parquet_of, staged_parquet
from sandbox.intake.taking_over import TakingOver
from sandbox.protocol import (
    EncryptedTable,
    GroupOutput,
    PartitionJob,
    PartitionOutcome,
    StoredFile,
)
from tests.unit.sandbox import unsealing
from tests.unit.sandbox.test_ingest import memory
from tests.unit.sandbox.test_partition import KEY, SHARD_KEY, Staged, runs

APART_KEY = b"a" * 32
ROWS = 20_000


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images whose pages were taken over, once the fixture's test has run."""
    found: list[str] = []
    add = TakingOver.add

    def noted(self: TakingOver, path: str) -> None:
        found.append(path)
        add(self, path)

    monkeypatch.setattr(TakingOver, "add", noted)
    return found


class Written(Staged):
    """Files of a staged table as the engine writes them, in groups of 2,048 rows."""

    def __init__(self, parts: Sequence[pa.Table], options: str) -> None:
        super().__init__([])
        self._parts = [written(part, options) for part in parts]
        self.tables = {"t": tuple(map(len, self._parts))}


def written(part: pa.Table, options: str) -> bytes:
    with memory() as file, duckdb.connect() as engine:
        engine.register("part", part)
        options = options.rpartition(", ROW_GROUP_SIZE ")[0] + ", ROW_GROUP_SIZE 2048"
        engine.execute(f"COPY part TO '/proc/self/fd/{file}' ({options})")
        return os.pread(file, os.fstat(file).st_size, 0)


def split(
    parts: Sequence[pa.Table],
    units: tuple[str, ...],
    shards: int,
    *,
    apart: tuple[str, ...] = (),
    options: str = parquet_of(2048),
) -> tuple[PartitionOutcome, list[pa.Table]]:
    """The outcome, and the table of each shard with its columns that are kept apart."""
    files = tuple(StoredFile(f"s{i}", "", 0, part.num_rows) for i, part in enumerate(parts))
    names = tuple(f"shard {i}" for i in range(shards))
    others = tuple(f"apart {i}" for i in range(shards))
    groups = (GroupOutput("g", apart, others, APART_KEY),) if apart else ()
    job = PartitionJob(
        "j", EncryptedTable("t", "v", files, b""), units, SHARD_KEY, "v", names, KEY,
        groups=groups,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        images = Written(parts, options)
        stack.callback(images.close)
        count = shards * (1 + len(groups))
        held = [stack.enter_context(memory()) for _ in range(count + 3)]
        outcome = partitioning.partition(job, images, held[:count], held[count:])
        found = []
        for index in range(shards):
            own = opened(held[index], KEY, aad_prefix("v", index))
            if apart:
                more = opened(held[shards + index], APART_KEY, aad_prefix("v", index, "g"))
                for name in more.column_names:
                    own = own.append_column(name, more.column(name))
            found.append(own)
        return outcome, found


def opened(output: int, key: bytes, prefix: bytes) -> pa.Table:
    data = os.pread(output, os.fstat(output).st_size, 0)
    with os.fdopen(unsealing.image(data, key=key, prefix=prefix), "rb") as file:
        return pq.read_table(file)


@pytest.mark.parametrize(
    ("units", "shards"), [((), 1), ((), 4), (("machine",), 1), (("machine", "n"), 1)]
)
@pytest.mark.parametrize("apart", [(), ("note", "shard")])
def test_rows_that_need_not_be_told_apart_are_taken_over(
    units: tuple[str, ...], shards: int, apart: tuple[str, ...], taken: list[str]
) -> None:
    table = runs(ROWS)
    parts = [table.slice(0, 12_000), table.slice(12_000)]

    outcome, found = split(parts, units, shards, apart=apart)

    assert len(taken) == 2
    assert outcome.rows == ROWS
    assert [file.rows for file in outcome.files] == [part.num_rows for part in found]
    assert all(part.num_rows for part in found)
    together = pa.concat_tables(found).select(table.column_names)
    assert together.to_pylist() == table.to_pylist()
    if len(units) == 1:
        assert outcome.units == len(set(table.column(units[0]).to_pylist()) - {None})


def test_rows_of_units_are_not_taken_over_into_several_shards(taken: list[str]) -> None:
    _, found = split([runs(ROWS)], ("machine",), 2)

    assert not taken
    homes = [set(part.column("machine").to_pylist()) - {None} for part in found]
    assert not homes[0] & homes[1]


def test_what_was_staged_fast_is_written_anew(taken: list[str]) -> None:
    table = runs(ROWS)

    _, (found,) = split([table], (), 1, options=staged_parquet(2048, ONE_SHARD_ROWS))

    assert not taken
    assert found.to_pylist() == table.to_pylist()


def test_row_groups_larger_than_a_shard_are_written_anew(taken: list[str]) -> None:
    outcome, found = split([runs(ROWS)], (), 16)

    assert not taken
    assert outcome.rows == ROWS
    assert all(part.num_rows for part in found)
