"""Each unit column's most rows of one unit, told by every file that has the column."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow.parquet import read_table
from pyarrow.parquet.encryption import create_decryption_properties

from sandbox.files.images import ImageCache, Wanted
from sandbox.files.pme import aad_prefix
from sandbox.files.pme_writer import MOST_ROWS
from sandbox.intake import partition as partitioning
from sandbox.needs import EVERYTHING
from sandbox.protocol import (
    ColumnGroup,
    EncryptedTable,
    GroupOutput,
    Limits,
    PartitionJob,
    PartitionOutcome,
    RekeyJob,
    RekeyOutcome,
)
from tests.unit.sandbox import unsealing
from tests.unit.sandbox.daemon_fixture import DATA_KEY, STAGED_KEY, Served, serving
from tests.unit.sandbox.test_ingest import memory
from tests.unit.sandbox.test_partition import Staged, in_parts, source_of

HIDDEN_KEY, NEW_KEY = b"h" * 32, b"n" * 32
Told = list[dict[str, tuple[int, int]]]  # by file: column -> row group and number


def told(images: Sequence[int]) -> Told:
    """What the engine finds in each image."""
    found = []
    with duckdb.connect() as engine:
        for image in images:
            rows = engine.execute(
                "SELECT path_in_schema, row_group_id, key_value_metadata FROM"
                " parquet_metadata(?) WHERE cardinality(key_value_metadata) > 0",
                [f"/proc/self/fd/{image}"],
            ).fetchall()
            assert all(list(told) == [MOST_ROWS.encode()] for _, _, told in rows)
            found.append({n: (g, int(t[MOST_ROWS.encode()])) for n, g, t in rows})
    return found


def split(table: pa.Table, units: tuple[str, ...], shards: int, *, files: int) -> Told:
    staged = in_parts(table, files)
    source = source_of(staged)
    names = tuple(f"shard {i}" for i in range(shards))
    job = PartitionJob("j", source, units, b"s" * 32, "v", names, DATA_KEY)
    with contextlib.ExitStack() as stack:
        images = Staged(staged)
        stack.callback(images.close)
        held = [stack.enter_context(memory()) for _ in range(shards + 3)]
        outputs, scratch = held[:shards], held[shards:]
        partitioning.partition(job, images, outputs, scratch)
        plain = []
        for index, output in enumerate(outputs):
            data = os.pread(output, os.fstat(output).st_size, 0)
            made = unsealing.image(data, key=DATA_KEY, prefix=aad_prefix("v", index))
            stack.callback(os.close, made)
            plain.append(made)
        return told(plain)


def trips(rows: int = 6000) -> pa.Table:
    """Columns of names that the count itself uses; one has no value at all."""
    return pa.table(
        {
            "place": [None if i % 3 == 0 else i**2 % 83 for i in range(rows)],
            "u": [f"p{i**2 % 83}" if i % 2 else None for i in range(rows)],
            "c": pa.nulls(rows, pa.string()),
            "flat": [i * 0.0 * (-1) ** i for i in range(rows)],  # 0.0 and -0.0 are one
            "n": range(rows),
        }
    )


def most(table: pa.Table, column: str) -> int:
    values = [value for value in table[column].to_pylist() if value is not None]
    return max(Counter(values).values(), default=0)


@pytest.mark.parametrize(
    ("units", "shards"),
    [
        ((), 2),
        (("place",), 1),
        (("place",), 8),
        (("u",), 4),
        (("c",), 1),
        (("flat",), 1),
        (("place", "u", "n"), 1),
    ],
)
@pytest.mark.parametrize(("is_small", "files"), [(False, 1), (True, 1), (False, 3)])
def test_partition_tells_the_most_rows_of_one_unit(
    units: tuple[str, ...],
    shards: int,
    is_small: bool,
    files: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`is_small`: each part of the staged table is a slab, and row groups, of its own."""
    table = trips()
    if is_small:
        monkeypatch.setattr(partitioning._Writing, "_held_bytes", lambda _: 2**60)
        monkeypatch.setattr("sandbox.intake.parquet_ingest._PART_BYTES", 1)

    found = split(table, units, shards, files=files)

    assert found == [{unit: (0, most(table, unit)) for unit in units}] * shards


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("most")) as daemon:
        yield daemon


def images_of(vault: Path, table: EncryptedTable) -> Told:
    cache, shards = ImageCache(vault, 10**8), tuple(range(len(table.files)))
    with cache.lease([Wanted(table, EVERYTHING, shards)]) as lease:
        return told(lease.descriptors)


def trips_csv() -> bytes:
    lines = [
        f"{i % 3},{i % 7 if i % 4 else ''},{'' if i % 5 else f'd{i % 11}'}"
        for i in range(3000)
    ]
    return ("kind,van,driver\n" + "\n".join(lines) + "\n").encode()


@pytest.mark.parametrize(("units", "shards"), [(("van", "driver"), 1), (("van",), 4)])
@pytest.mark.parametrize("apart", [(), ("van",)])
def test_files_of_a_daemon_tell_it_also_in_a_column_group_and_under_another_key(
    served: Served, units: tuple[str, ...], shards: int, apart: tuple[str, ...]
) -> None:
    name = f"trips-{len(units)}-{len(apart)}"
    staged = served.profile(trips_csv(), name).staged
    source = EncryptedTable("trips", f"{name}-staged", staged, STAGED_KEY)
    outputs = tuple(f"{name}/{i}" for i in range(shards))
    hidden = tuple(f"{name}/h{i}" for i in range(shards))
    groups = (GroupOutput("hidden", apart, hidden, HIDDEN_KEY),) if apart else ()
    job = PartitionJob(
        *(name, source, units, b"s" * 32, name, outputs, DATA_KEY),
        groups=groups,
        limits=Limits(),
    )
    numbers = {
        "van": (0, max(Counter(i % 7 for i in range(3000) if i % 4).values())),
        "driver": (0, max(Counter(i % 11 for i in range(0, 3000, 5)).values())),
    }

    outcome = served.client.run(job)

    assert isinstance(outcome, PartitionOutcome)
    made = [
        ColumnGroup(group.name, group.columns, files, group.key)
        for group, files in zip(groups, outcome.groups, strict=True)
    ]
    table = EncryptedTable("trips", name, outcome.files, DATA_KEY, tuple(made))
    told_of = {unit: numbers[unit] for unit in units}
    # A shard that no unit came to has no row group that could tell.
    expected = [told_of if file.rows else {} for file in outcome.files]
    assert images_of(served.vault, table) == expected

    anew = served.client.run(
        RekeyJob(
            f"{name}-rekey",
            name,
            "",
            table.files,
            DATA_KEY,
            tuple(f"{file.name}-anew" for file in table.files),
            NEW_KEY,
        )
    )
    assert isinstance(anew, RekeyOutcome)
    files = tuple(
        replace(file, rows=old.rows)
        for file, old in zip(anew.files, table.files, strict=True)
    )
    assert images_of(served.vault, replace(table, files=files, key=NEW_KEY)) == expected
    opened = create_decryption_properties(
        footer_key=NEW_KEY, aad_prefix=aad_prefix(name, 0)
    )
    assert read_table(served.vault / files[0].name, decryption_properties=opened).num_rows
