"""Stored files under another key: the same rows, and nothing of the old key opens them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_decryption_properties

from sandbox.errors import (
    Cancelled,
    DeadlineExceeded,
    DistributionCorrupt,
    KeyUnusable,
    ProtocolError,
    SandboxError,
)
from sandbox.files.images import ImageCache, Wanted
from sandbox.files.pme import aad_prefix
from sandbox.files.rekey import rekey
from sandbox.files.verified import VerifiedFiles
from sandbox.needs import EVERYTHING
from sandbox.protocol import EncryptedTable, Limits, RekeyJob, RekeyOutcome
from tests.unit.sandbox.files.tables import GROUP_KEY, KEY, recorded, rows_of, stored_table

NEW_KEY = b"n" * 32


def job_for(table: EncryptedTable) -> RekeyJob:
    outputs = tuple(f"{file.name}-anew" for file in table.files)
    return RekeyJob("j", table.version_id, "", table.files, KEY, outputs, NEW_KEY)


def run(
    vault: Path, job: RekeyJob, given_up: Callable[[], bool] = lambda: False
) -> RekeyOutcome:
    outputs = [
        os.open(vault / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for name in job.outputs
    ]
    try:
        return rekey(job, outputs, VerifiedFiles(vault), given_up)
    finally:
        for output in outputs:
            os.close(output)


@pytest.mark.parametrize("rows", [0, 1, 3000, 130_000])
def test_rekey_leaves_the_rows_and_another_key(tmp_path: Path, rows: int) -> None:
    table = stored_table(tmp_path, rows=rows)

    outcome = run(tmp_path, job_for(table))

    assert [file.rows for file in outcome.files] == [rows, rows]
    for shard, file in enumerate(outcome.files):
        path = tmp_path / file.name
        opened = create_decryption_properties(
            footer_key=NEW_KEY, aad_prefix=aad_prefix("v", shard)
        )
        assert pq.read_table(path, decryption_properties=opened).equals(
            rows_of(shard, rows)
        )


def test_rekey_result_does_not_open_with_the_old_key(tmp_path: Path) -> None:
    table = stored_table(tmp_path)
    outcome = run(tmp_path, job_for(table))
    files = tuple(recorded(tmp_path / file.name) for file in outcome.files)
    cache = ImageCache(tmp_path, 10**8)
    wanted = Wanted(dataclasses.replace(table, files=files), EVERYTHING, (0, 1))

    with pytest.raises(KeyUnusable):
        cache.lease([wanted])
    renewed = dataclasses.replace(wanted.table, key=NEW_KEY)
    with cache.lease([Wanted(renewed, EVERYTHING, (0, 1))]) as lease:
        found = [pq.read_table(f"/proc/self/fd/{d}") for d in lease.descriptors]
    assert all(table.equals(rows_of(shard)) for shard, table in enumerate(found))


def test_rekey_of_a_column_group_keeps_its_prefix(tmp_path: Path) -> None:
    table = stored_table(tmp_path, apart=["secret"])
    (group,) = table.groups
    job = RekeyJob("j", "v", "hidden", group.files, GROUP_KEY, ("a", "b"), NEW_KEY)

    run(tmp_path, job)

    opened = create_decryption_properties(
        footer_key=NEW_KEY, aad_prefix=aad_prefix("v", 1, "hidden")
    )
    found = pq.read_table(tmp_path / "b", decryption_properties=opened)
    assert found.equals(rows_of(1).select(["secret"]))


def test_rekey_writes_no_module_twice(tmp_path: Path) -> None:
    """Under the key it already has, too: nonces and the file's own AAD part are new."""
    table = stored_table(tmp_path, shards=1)
    job = dataclasses.replace(job_for(table), output_key=KEY)

    run(tmp_path, job)

    old = (tmp_path / table.files[0].name).read_bytes()
    new = (tmp_path / job.outputs[0]).read_bytes()
    # Behind the same pages the new footer has the digests of their columns, too.
    same = sum(a == b for a, b in zip(old, new, strict=False))
    assert same < len(old) / 50


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": b"x" * 32}, KeyUnusable),
        ({"output_key": b"short"}, KeyUnusable),
        ({"version_id": "w"}, KeyUnusable),
        ({"group": "hidden"}, KeyUnusable),
        ({"outputs": ("a",)}, ProtocolError),
        ({"limits": Limits(deadline_seconds=0.0)}, DeadlineExceeded),
    ],
)
def test_rekey_refuses(
    tmp_path: Path, changes: dict[str, object], error: type[SandboxError]
) -> None:
    table = stored_table(tmp_path)
    job = dataclasses.replace(job_for(table), **changes)  # type: ignore[arg-type]

    with pytest.raises(error):
        run(tmp_path, job)


def test_rekey_refuses_shards_in_another_order(tmp_path: Path) -> None:
    table = stored_table(tmp_path)
    job = dataclasses.replace(job_for(table), files=table.files[::-1])

    with pytest.raises(KeyUnusable):
        run(tmp_path, job)


def test_rekey_refuses_an_altered_file_also_where_it_decrypts(tmp_path: Path) -> None:
    """The start of a file is under no tag: its digest is what tells."""
    table = stored_table(tmp_path)
    path = tmp_path / table.files[1].name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)

    with pytest.raises(DistributionCorrupt):
        run(tmp_path, job_for(table))


def test_rekey_refuses_a_whole_file_that_is_not_the_recorded_one(tmp_path: Path) -> None:
    table = stored_table(tmp_path)
    files = (table.files[0], dataclasses.replace(table.files[1], sha256="0" * 64))

    with pytest.raises(DistributionCorrupt, match="digest"):
        run(tmp_path, job_for(dataclasses.replace(table, files=files)))


@pytest.mark.parametrize("pinned", [True, False])
def test_rekey_has_the_new_footer_pin_every_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, pinned: bool
) -> None:
    """Also of a file that was written before footers did."""
    table = stored_table(tmp_path, pinned=pinned)
    outcome = run(tmp_path, job_for(table))
    files = tuple(recorded(tmp_path / f.name, pinned=True) for f in outcome.files)
    renewed = dataclasses.replace(table, files=files, key=NEW_KEY)
    monkeypatch.setattr(VerifiedFiles, "check", None)  # no file is digested as a whole

    with ImageCache(tmp_path, 10**8).lease([Wanted(renewed, EVERYTHING, (0, 1))]) as lease:
        found = [pq.read_table(f"/proc/self/fd/{d}") for d in lease.descriptors]

    assert all(table.equals(rows_of(shard)) for shard, table in enumerate(found))


def test_rekey_stops_when_nobody_waits(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        run(tmp_path, job_for(stored_table(tmp_path)), given_up=lambda: True)
