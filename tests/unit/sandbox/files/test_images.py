"""The cache of images: what is shared, refused, counted, forgotten."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sandbox.errors import (
    Cancelled,
    DistributionCorrupt,
    KeyUnusable,
    ResourceExceeded,
    SandboxError,
)
from sandbox.files.images import ImageCache, Lease, Waiting, Wanted
from sandbox.files.pme import Layout, Unsealing
from sandbox.needs import EVERYTHING, Need
from sandbox.protocol import EncryptedTable
from tests.unit.sandbox.files.tables import rows_of, stored_table

ALL = frozenset({"id", "city", "x", "secret"})
IMPATIENT = Waiting(patience_seconds=0.0)


def need(*columns: str, allowed: frozenset[str] = ALL) -> Need:
    return Need(frozenset(columns), allowed)


def shards(table: EncryptedTable, wanted: Need = EVERYTHING) -> list[Wanted]:
    return [Wanted(table, wanted, tuple(range(len(table.files))))]


def tables_in(lease: Lease) -> list[pa.Table]:
    return [pq.read_table(f"/proc/self/fd/{d}") for d in lease.descriptors]


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


@pytest.fixture
def decryptions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One entry for each image whose decryption was begun."""
    begun: list[int] = []
    begin = Layout.begin

    def counted(layout: Layout) -> Unsealing:
        begun.append(1)
        return begin(layout)

    monkeypatch.setattr(Layout, "begin", counted)
    return begun


def test_lease_gives_each_shard_in_the_order_asked_for(tmp_path: Path) -> None:
    table = stored_table(tmp_path, shards=3)
    cache = ImageCache(tmp_path, 10**8)

    with cache.lease([Wanted(table, EVERYTHING, (2, 0))]) as lease:
        found = tables_in(lease)

    assert [t.equals(rows_of(s)) for t, s in zip(found, (2, 0), strict=True)] == [True] * 2


def test_lease_shares_an_image_that_holds_enough_and_nothing_forbidden(
    tmp_path: Path, decryptions: list[int]
) -> None:
    table = stored_table(tmp_path, shards=1)
    cache = ImageCache(tmp_path, 10**8)

    with cache.lease(shards(table, need("id", "city"))) as first:
        with cache.lease(shards(table, need("city"))) as second:
            assert inode(first.descriptors[0]) == inode(second.descriptors[0])
        allowed = frozenset({"city", "x"})
        with cache.lease(shards(table, need("city", allowed=allowed))) as third:
            assert tables_in(third)[0].column_names == ["city"]

    assert len(decryptions) == 2


def test_lease_of_groups_is_the_image_without_groups(tmp_path: Path) -> None:
    whole = stored_table(tmp_path, version="whole")
    parts = stored_table(tmp_path, version="parts", apart=["city", "secret"])
    cache = ImageCache(tmp_path, 10**8)

    with (
        cache.lease(shards(whole)) as one,
        cache.lease(shards(parts)) as other,
        cache.lease(shards(parts, need("secret", "id"))) as few,
    ):
        for left, right in zip(tables_in(one), tables_in(other), strict=True):
            assert left.equals(right.select(left.column_names))
        for shard, found in enumerate(tables_in(few)):
            assert found.equals(rows_of(shard).select(["id", "secret"]))


def test_lease_without_a_group_gives_none_of_its_columns(tmp_path: Path) -> None:
    table = stored_table(tmp_path, apart=["secret"])
    cache = ImageCache(tmp_path, 10**8)
    without = dataclasses.replace(table, groups=())

    with cache.lease(shards(table)) as whole, cache.lease(shards(without)) as cut:
        assert "secret" in tables_in(whole)[0].column_names
        assert "secret" not in tables_in(cut)[0].column_names


def altered(table: EncryptedTable, kind: str) -> EncryptedTable:
    (group,) = table.groups
    changes: dict[str, object] = {
        "key": {"key": b"x" * 32},
        "name": {"name": "other"},
        "order": {"files": group.files[::-1]},
        "columns": {"columns": ("city",)},
        "fewer": {"files": group.files[:1]},
        "another's": {"files": table.files},
    }[kind]
    return dataclasses.replace(table, groups=(dataclasses.replace(group, **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("key", KeyUnusable),
        ("name", KeyUnusable),
        ("order", KeyUnusable),
        ("columns", DistributionCorrupt),
        ("fewer", DistributionCorrupt),
        ("another's", KeyUnusable),
    ],
)
def test_lease_refuses_a_group_that_is_not_the_tables(
    tmp_path: Path, kind: str, error: type[SandboxError]
) -> None:
    table = stored_table(tmp_path, apart=["secret"])
    cache = ImageCache(tmp_path, 10**8)

    with pytest.raises(error):
        cache.lease(shards(altered(table, kind)))
    with cache.lease(shards(table)):  # and the right one is not spoilt by it
        assert cache.cached_bytes > 0


def test_lease_refuses_groups_with_other_rows(tmp_path: Path) -> None:
    table = stored_table(tmp_path, version="v", apart=["secret"])
    (tmp_path / "fewer").mkdir()
    fewer = stored_table(tmp_path / "fewer", version="v", apart=["secret"], rows=2999)
    for file in fewer.groups[0].files:
        (tmp_path / file.name).write_bytes((tmp_path / "fewer" / file.name).read_bytes())
    mixed = dataclasses.replace(table, groups=fewer.groups)

    with pytest.raises(DistributionCorrupt, match="same rows"):
        ImageCache(tmp_path, 10**8).lease(shards(mixed))


def test_lease_of_another_key_is_refused_also_when_warm(tmp_path: Path) -> None:
    table = stored_table(tmp_path, apart=["secret"])
    cache = ImageCache(tmp_path, 10**8)

    with cache.lease(shards(table)):
        for other in (dataclasses.replace(table, key=b"x" * 32), altered(table, "key")):
            with pytest.raises(KeyUnusable):
                cache.lease(shards(other))


@pytest.mark.parametrize("pinned", [True, False])
def test_lease_looks_at_the_file_each_time(tmp_path: Path, *, pinned: bool) -> None:
    table = stored_table(tmp_path, shards=1, pinned=pinned)
    cache = ImageCache(tmp_path, 10**8)
    cache.lease(shards(table)).close()
    path = tmp_path / table.files[0].name
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)

    with pytest.raises(DistributionCorrupt):
        cache.lease(shards(table))


def test_lease_hands_nothing_out_that_fails_its_digest(tmp_path: Path) -> None:
    """All of the image decrypts: the file is whole, and not the one that is recorded."""
    table = stored_table(tmp_path, shards=2)
    first, second = table.files
    other = dataclasses.replace(second, sha256="0" * 64)
    table = dataclasses.replace(table, files=(first, other))
    cache = ImageCache(tmp_path, 10**8)

    with pytest.raises(DistributionCorrupt, match="digest"):
        cache.lease(shards(table))
    assert cache.cached_bytes == 0


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    finish = Unsealing.finish

    def slow(unsealing: Unsealing) -> int:
        time.sleep(seconds)
        return finish(unsealing)

    monkeypatch.setattr(Unsealing, "finish", slow)


def in_thread(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_two_jobs_that_want_one_shard_decrypt_it_once(
    tmp_path: Path, decryptions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = stored_table(tmp_path, shards=1)
    cache = ImageCache(tmp_path, 10**8)
    slowly(monkeypatch, 0.2)

    with ThreadPoolExecutor(8) as jobs:
        leases = list(jobs.map(lambda _: cache.lease(shards(table)), range(8)))

    assert len({inode(lease.descriptors[0]) for lease in leases}) == 1
    assert len(decryptions) == 1
    for lease in leases:
        lease.close()


def test_a_job_that_waited_for_a_failure_is_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = stored_table(tmp_path, shards=1)
    path = tmp_path / table.files[0].name
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    file = dataclasses.replace(table.files[0], sha256=digest)
    table = dataclasses.replace(table, files=(file,))
    cache = ImageCache(tmp_path, 10**8)
    slowly(monkeypatch, 0.2)

    def told(_: int) -> str:
        try:
            cache.lease(shards(table))
        except SandboxError as error:
            return error.code
        return "none"

    with ThreadPoolExecutor(4) as jobs:
        assert set(jobs.map(told, range(4))) == {"distribution_corrupt"}
    assert cache.cached_bytes == 0


def test_forget_while_it_is_decrypted_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decryptions: list[int]
) -> None:
    table = stored_table(tmp_path, shards=1)
    cache = ImageCache(tmp_path, 10**8)
    slowly(monkeypatch, 0.5)
    leases: list[Lease] = []
    job = in_thread(lambda: leases.append(cache.lease(shards(table))))
    while not decryptions:
        time.sleep(0.01)

    assert cache.forget("v") == 1
    job.join()

    assert tables_in(leases[0])[0].equals(rows_of(0))  # the job itself may go on
    leases[0].close()
    assert cache.cached_bytes == 0
    cache.lease(shards(table)).close()
    assert len(decryptions) == 2


def test_forget_counts_only_that_version_and_what_is_held_until_let_go(
    tmp_path: Path,
) -> None:
    one, other = (stored_table(tmp_path, version=v, shards=1) for v in ("a", "b"))
    cache = ImageCache(tmp_path, 10**8)
    held = cache.lease(shards(one))
    cache.lease(shards(other)).close()
    used = cache.cached_bytes

    assert cache.forget("a") == 1
    assert cache.forget("a") == 0
    assert cache.cached_bytes == used
    held.close()
    assert cache.cached_bytes == used // 2 or abs(cache.cached_bytes - used / 2) < 2000


def test_the_least_recently_used_version_goes_first(
    tmp_path: Path, decryptions: list[int]
) -> None:
    a, b, c = (stored_table(tmp_path, version=v, shards=2) for v in "abc")
    size = sum(ImageCache(tmp_path, 10**8).sizes(a, EVERYTHING))
    cache = ImageCache(tmp_path, int(2.2 * size))
    for table in (a, b, a, c):  # b goes
        cache.lease(shards(table)).close()
    before = len(decryptions)

    cache.lease(shards(a)).close()
    cache.lease(shards(c)).close()
    assert len(decryptions) == before
    cache.lease(shards(b)).close()
    assert len(decryptions) == before + 2


def test_more_than_the_memory_is_refused_by_name(tmp_path: Path) -> None:
    table = stored_table(tmp_path, shards=2)
    one, _ = ImageCache(tmp_path, 10**8).sizes(table, EVERYTHING)
    cache = ImageCache(tmp_path, int(1.5 * one))

    with pytest.raises(ResourceExceeded) as refused:
        cache.lease(shards(table))
    assert refused.value.code == "images_exceed_memory"
    cache.lease([Wanted(table, EVERYTHING, (1,))]).close()


def test_what_others_hold_is_waited_for(tmp_path: Path) -> None:
    a, b = (stored_table(tmp_path, version=v, shards=1) for v in "ab")
    (size,) = ImageCache(tmp_path, 10**8).sizes(a, EVERYTHING)
    cache = ImageCache(tmp_path, int(1.5 * size))
    held = cache.lease(shards(a))

    with pytest.raises(ResourceExceeded) as refused:
        cache.lease(shards(b), IMPATIENT)
    assert refused.value.code == "image_memory_busy"
    with pytest.raises(Cancelled):
        cache.lease(shards(b), Waiting(given_up=lambda: True))
    leases: list[Lease] = []
    job = in_thread(lambda: leases.append(cache.lease(shards(b))))
    time.sleep(0.1)
    assert not leases
    held.close()
    job.join(10)
    assert tables_in(leases[0])[0].equals(rows_of(0))
    assert cache.cached_bytes <= cache.limit_bytes
    leases[0].close()


def test_queries_over_many_columns_share_one_image_where_memory_is_short(
    tmp_path: Path, decryptions: list[int]
) -> None:
    table = stored_table(tmp_path, shards=1)
    (size,) = ImageCache(tmp_path, 10**8).sizes(table, need("secret", "x", "id"))
    cache = ImageCache(tmp_path, 2 * size + 5000)
    sets = [need("secret", "x"), need("secret", "id"), need("x", "id", "secret")]
    for _ in range(3):
        for wanted in sets:
            cache.lease(shards(table, wanted)).close()

    assert len(decryptions) < 9
    before = len(decryptions)
    for wanted in sets:
        cache.lease(shards(table, wanted)).close()
    assert len(decryptions) == before


@pytest.mark.parametrize("columns", [("id",), ("secret", "city"), ()])
def test_sizes_are_close_and_never_too_small(
    tmp_path: Path, columns: tuple[str, ...]
) -> None:
    table = stored_table(tmp_path, apart=["secret"])
    cache = ImageCache(tmp_path, 10**8)

    sizes = cache.sizes(table, need(*columns))

    with cache.lease(shards(table, need(*columns))) as lease:
        for size, descriptor in zip(sizes, lease.descriptors, strict=True):
            made = os.fstat(descriptor).st_size
            assert made <= size <= made + 4000


def test_nothing_is_left_open_after_many_leases(tmp_path: Path) -> None:
    table = stored_table(tmp_path, apart=["secret"])
    cache = ImageCache(tmp_path, 10**8)
    other = dataclasses.replace(table, key=b"x" * 32)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(20):
        cache.lease(shards(table, need("id"))).close()
        with pytest.raises(KeyUnusable):
            cache.sizes(other, need("x"))
        cache.forget("v")

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert cache.cached_bytes == 0
