"""Files whose recorded footer names the digests of their columns: what of them is believed.

Whoever has the data key can write modules whose tags agree. Each such forgery is tried on a
file whose record pins it, and on the same file without: there it opens, or the attempt
would show nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import DistributionCorrupt
from sandbox.files.chunk_digests import chunk_digests, put_chunk_digests
from sandbox.files.chunk_walk import ChunkWalk, Page
from sandbox.files.footers import Chunk, Footer
from sandbox.files.images import ImageCache, Wanted
from sandbox.files.pme import aad_prefix
from sandbox.files.thrift import BINARY, LIST, STRUCT, Field, Items, Struct
from sandbox.files.verified import VerifiedFiles
from sandbox.needs import EVERYTHING, Need
from sandbox.protocol import EncryptedTable
from tests.unit.sandbox.files.tables import (
    GROUP_KEY,
    KEY,
    recorded,
    rows_of,
    stored_table,
    write,
    write_pinned,
)

COLUMNS = ("id", "city", "x", "secret")
ID, X = Need(frozenset({"id"}), None), Need(frozenset({"x"}), None)
PREFIX = aad_prefix("v", 0)


def opened(path: Path) -> Footer:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return Footer(descriptor, key=KEY, prefix=PREFIX)
    finally:
        os.close(descriptor)


def chunk_of(path: Path, column: str, group: int = 0) -> Chunk:
    return opened(path).chunks([COLUMNS.index(column)])[group][0]


def lease(cache: ImageCache, table: EncryptedTable, need: Need = EVERYTHING) -> object:
    """What the first shard's image holds."""
    with cache.lease([Wanted(table, need, (0,))]) as held:
        return pq.read_table(f"/proc/self/fd/{held.descriptors[0]}")


def refused(cache: ImageCache, table: EncryptedTable, need: Need = EVERYTHING) -> str:
    used = cache.cached_bytes
    with pytest.raises(DistributionCorrupt) as caught:
        lease(cache, table, need)
    assert cache.cached_bytes <= used
    return caught.value.message


def without_pins(vault: Path, table: EncryptedTable) -> EncryptedTable:
    """As if what now lies there had been recorded, by its whole digest only."""
    return dataclasses.replace(
        table, files=tuple(recorded(vault / file.name, file.rows) for file in table.files)
    )


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


class _Forgery(ChunkWalk):
    """Writes the last page of a chunk anew: another last byte, and a tag that agrees."""

    def page(self, page: Page, source: memoryview, target: memoryview) -> int:
        aad = self.footer.aad + page.body_kind + page.ordinals
        nonce, sealed = bytes(source[page.body + 4 : page.body + 16]), page.body + 16
        clear = bytearray(self.footer.cipher.decrypt(nonce, source[sealed : page.end], aad))
        clear[-1] ^= 1
        self.forged = AESGCM(KEY).encrypt(nonce, bytes(clear), aad)
        self.at = self.chunk.start + sealed
        return 0

    def flush(self, written: memoryview, *, dictionary_bytes: int) -> None:
        pass


def forge(path: Path, column: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    footer = Footer(descriptor, key=KEY, prefix=PREFIX)
    walk = _Forgery(footer, footer.chunks([COLUMNS.index(column)])[0][0])
    walk.run()
    os.pwrite(descriptor, walk.forged, walk.at)
    os.close(descriptor)


def test_footer_names_the_digest_of_each_chunk(tmp_path: Path) -> None:
    (file,) = stored_table(tmp_path, shards=1, pinned=True).files
    content = (tmp_path / file.name).read_bytes()
    footer = opened(tmp_path / file.name)

    found = chunk_digests(footer.tree)

    assert found == b"".join(
        hashlib.sha256(content[chunk.start : chunk.start + chunk.size_bytes]).digest()
        for group in footer.chunks(range(4))
        for chunk in group
    )
    assert file.footer_sha256 == hashlib.sha256(content[footer.start :]).hexdigest()


@pytest.mark.parametrize("apart", [(), ("secret", "x")])
def test_lease_of_pinned_files_digests_none_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: tuple[str, ...]
) -> None:
    table = stored_table(tmp_path, shards=1, pinned=True, apart=apart)
    monkeypatch.setattr(VerifiedFiles, "check", None)
    cache = ImageCache(tmp_path, 10**8)

    for _ in range(2):
        assert lease(cache, table, ID) == rows_of(0).select(["id"])
        whole = lease(cache, table)
        assert whole.select(rows_of(0).column_names) == rows_of(0)  # type: ignore[attr-defined]
        cache.forget("v")


def test_forged_page_is_refused_though_its_tag_agrees(tmp_path: Path) -> None:
    table = stored_table(tmp_path, shards=1, pinned=True)
    forge(tmp_path / table.files[0].name, "x")

    assert "column is not the recorded one" in refused(ImageCache(tmp_path, 10**8), table)
    # Nothing else would have told it from the real one.
    cache, control = ImageCache(tmp_path, 10**8), without_pins(tmp_path, table)
    assert lease(cache, control, X) != rows_of(0).select(["x"])


def test_forged_page_is_refused_also_where_the_real_one_was_verified(
    tmp_path: Path,
) -> None:
    table = stored_table(tmp_path, shards=1, pinned=True)
    cache = ImageCache(tmp_path, 10**8)
    lease(cache, table, X)
    cache.forget("v")
    forge(tmp_path / table.files[0].name, "x")

    assert "column is not the recorded one" in refused(cache, table, X)


def test_file_of_another_attempt_is_refused_by_its_footer(tmp_path: Path) -> None:
    """Same key, version, shard, rows and length: each of its tags agrees."""
    table = stored_table(tmp_path, shards=1, pinned=True)
    path = tmp_path / table.files[0].name
    other = write_pinned(path, rows_of(0), PREFIX)
    assert other.size_bytes == table.files[0].size_bytes

    cache = ImageCache(tmp_path, 10**8)
    assert "footer is not the recorded one" in refused(cache, table)
    with pytest.raises(DistributionCorrupt, match="footer"):
        cache.sizes(table, EVERYTHING)
    assert lease(cache, without_pins(tmp_path, table)) == rows_of(0)


@given(choice=st.data())
def test_flipped_bit_is_refused_by_whoever_reads_the_column(
    tmp_path_factory: pytest.TempPathFactory, choice: st.DataObject
) -> None:
    """Whoever reads other columns is not told: nothing of what it gets depends on it."""
    vault = tmp_path_factory.mktemp("vault")
    table = stored_table(vault, shards=1, rows=1500, pinned=True)
    path = vault / table.files[0].name
    column = choice.draw(st.sampled_from(COLUMNS))
    chunk = chunk_of(path, column, choice.draw(st.integers(0, 1)))
    flip(path, chunk.start + choice.draw(st.integers(0, chunk.size_bytes - 1)))
    cache = ImageCache(vault, 10**8)

    for name in COLUMNS:
        need = Need(frozenset({name}), None)
        if name == column:
            refused(cache, table, need)
        else:
            assert lease(cache, table, need) == rows_of(0, 1500).select([name])
    refused(cache, table)


def test_file_has_no_byte_that_nothing_pins(tmp_path: Path) -> None:
    """Magic, chunks without a gap, and a footer to the end."""
    (file,) = stored_table(tmp_path, shards=1, pinned=True).files
    footer = opened(tmp_path / file.name)

    end = 4
    for group in footer.chunks(range(4)):
        for chunk in group:
            assert chunk.start == end
            end += chunk.size_bytes
    assert end == footer.start


@pytest.mark.parametrize(
    "alter",
    [
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:0],
        lambda data: data[:-8] + data[-8:].lower(),
    ],
    ids=["magic", "footer", "cut off", "longer", "empty", "length or magic behind"],
)
def test_what_lies_around_the_columns_is_refused_too(
    tmp_path: Path, alter: Callable[[bytes], bytes]
) -> None:
    table = stored_table(tmp_path, shards=1, pinned=True)
    path = tmp_path / table.files[0].name
    path.write_bytes(alter(path.read_bytes()))

    refused(ImageCache(tmp_path, 10**8), table, ID)


def test_files_and_groups_in_each_others_place_are_refused(tmp_path: Path) -> None:
    table = stored_table(tmp_path, pinned=True, apart=["secret"])
    first, second = (tmp_path / file.name for file in table.files)
    shutil.move(first, tmp_path / "kept")
    shutil.move(second, first)
    shutil.move(tmp_path / "kept", second)

    refused(ImageCache(tmp_path, 10**8), table)


@pytest.mark.parametrize("kind", ["no footer on record", "no digests in the footer"])
def test_all_of_a_file_is_digested_where_its_footer_pins_nothing(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "f"
    pinned = kind == "no footer on record"
    (write_pinned if pinned else write)(path, rows_of(0), PREFIX)
    file = recorded(path, pinned=not pinned)
    table = EncryptedTable("t", "v", (file,), KEY)
    cache = ImageCache(tmp_path, 10**8)
    assert lease(cache, table, ID) == rows_of(0).select(["id"])
    cache.forget("v")
    chunk = chunk_of(path, "secret")
    flip(path, chunk.start + chunk.size_bytes // 2)

    assert "file's digest is not the recorded one" in refused(cache, table, ID)


def test_held_image_is_given_only_while_its_file_is_the_one_it_came_from(
    tmp_path: Path,
) -> None:
    table = stored_table(tmp_path, shards=1, pinned=True)
    path = tmp_path / table.files[0].name
    cache = ImageCache(tmp_path, 10**8)
    lease(cache, table, ID)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # as from a backup

    assert lease(cache, table, ID) == rows_of(0).select(["id"])
    flip(path, chunk_of(path, "x").start + 50)
    assert "file's digest is not the recorded one" in refused(cache, table, ID)


def test_held_image_is_not_given_by_the_word_of_another_record(tmp_path: Path) -> None:
    """Its footer was checked against that record only."""
    table = stored_table(tmp_path, shards=1, pinned=True)
    path = tmp_path / table.files[0].name
    flip(path, chunk_of(path, "x").start + 50)
    cache = ImageCache(tmp_path, 10**8)
    lease(cache, table, ID)
    (file,) = table.files
    whole = dataclasses.replace(table, files=(dataclasses.replace(file, footer_sha256=""),))

    assert "file's digest is not the recorded one" in refused(cache, whole, ID)


def test_groups_are_pinned_like_shards(tmp_path: Path) -> None:
    table = stored_table(tmp_path, shards=1, pinned=True, apart=["secret"])
    (group,) = table.groups
    path = tmp_path / group.files[0].name
    write_pinned(
        path, rows_of(0).select(["secret"]), aad_prefix("v", 0, "hidden"), key=GROUP_KEY
    )

    assert "footer is not the recorded one" in refused(ImageCache(tmp_path, 10**8), table)


@pytest.mark.parametrize("count", [0, 11, 13])
def test_footer_with_the_digests_of_other_chunks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(
        "sandbox.files.pme_writer.put_chunk_digests",
        lambda footer, digests: put_chunk_digests(footer, (digests * 2)[:count]),
    )
    table = stored_table(tmp_path, shards=1, pinned=True)  # 3 row groups, 4 columns

    assert "other column chunks" in refused(ImageCache(tmp_path, 10**8), table)


@given(st.lists(st.binary(min_size=32, max_size=32)))
def test_chunk_digests_are_those_that_were_put(digests: list[bytes]) -> None:
    footer = Struct([])

    assert chunk_digests(footer) is None
    put_chunk_digests(footer, digests)
    assert chunk_digests(footer) == b"".join(digests)


def test_chunk_digests_are_looked_for_among_other_pairs() -> None:
    footer = Struct([])
    put_chunk_digests(footer, [bytes(32)])
    other = Struct([Field(1, BINARY, b"another"), Field(2, BINARY, b"word")])
    both = [other, *footer.structs(5)]

    footer.put(5, LIST, Items(STRUCT, both))
    assert chunk_digests(footer) == bytes(32)
    footer.put(5, LIST, Items(STRUCT, [other]))
    assert chunk_digests(footer) is None
