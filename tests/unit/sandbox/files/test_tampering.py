"""Every kind of alteration of an encrypted file is refused by name, digest aside.

The digest of a whole file would find all of these at once; here it is made to agree, so
that what is tried is what stands behind it: tags, AAD, and the checks of the format.
"""

from __future__ import annotations

import functools
import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet.encryption import create_encryption_properties

from sandbox.errors import DistributionCorrupt, KeyUnusable, SandboxError
from sandbox.files import chunk_walk
from sandbox.files.chunk_walk import ChunkWalk, Page
from sandbox.files.footers import Footer
from sandbox.files.pme import aad_prefix
from tests.unit.sandbox import unsealing
from tests.unit.sandbox.files.tables import KEY, rows_of

PREFIX = aad_prefix("v", 0)
REFUSED = (DistributionCorrupt, KeyUnusable)


@dataclass(frozen=True)
class Module:
    """Where one encrypted module lies in a file, length included."""

    kind: str
    start: int
    end: int


class _Listing(ChunkWalk):
    """Writes down where the modules of a chunk are."""

    def __init__(self, footer: Footer, chunk: object) -> None:
        super().__init__(footer, chunk)  # type: ignore[arg-type]
        self.modules: list[Module] = []
        self.at = self.chunk.start

    def page(self, page: Page, source: memoryview, target: memoryview) -> int:
        name = "dictionary" if page.is_dictionary else "page"
        at = self.at
        self.modules += [
            Module(f"{name} header", at + page.start, at + page.body),
            Module(name, at + page.body, at + page.end),
        ]
        return 0

    def flush(self, written: memoryview, *, dictionary_bytes: int) -> None:
        self.at = self.modules[-1].end


def encrypted(
    table: pa.Table, *, prefix: bytes = PREFIX, key: bytes = KEY, **options: object
) -> bytes:
    """The file that pyarrow writes, with pages and row groups of few rows."""
    target = io.BytesIO()
    encryption = create_encryption_properties(
        footer_key=key, aad_prefix=prefix, store_aad_prefix=False
    )
    settings = {
        "row_group_size": 1000,
        "max_rows_per_page": 250,
        "data_page_size": 1,
        "write_batch_size": 250,
        "use_dictionary": ["city"],
        **options,
    }
    pq.write_table(table, target, encryption_properties=encryption, **settings)
    return target.getvalue()


@functools.cache
def sample() -> bytes:
    return encrypted(rows_of(0))


@functools.cache
def modules(data: bytes) -> tuple[Module, ...]:
    """All modules of a file, in the order of its row groups and columns."""
    with unsealing.stored(data) as file:
        footer = Footer(file, key=KEY, prefix=PREFIX)
        found: list[Module] = []
        for group in footer.chunks(range(len(footer.names))):
            for chunk in group:
                listing = _Listing(footer, chunk)
                listing.run()
                found += listing.modules
        found.append(Module("footer", footer.start, len(data)))
    return tuple(found)


def refused(data: bytes, **options: object) -> SandboxError:
    with pytest.raises(REFUSED) as caught:
        os.close(unsealing.image(data, **{"key": KEY, "prefix": PREFIX, **options}))  # type: ignore[arg-type]
    return caught.value


def exchanged(data: bytes, one: slice, other: slice) -> bytes:
    """The file with two parts in each other's place; the first one comes first."""
    return b"".join(
        (
            data[: one.start],
            data[other],
            data[one.stop : other.start],
            data[one],
            data[other.stop :],
        )
    )


def of_kind(*kinds: str) -> list[Module]:
    return [module for module in modules(sample()) if module.kind in kinds]


KINDS = ("page", "page header", "dictionary", "dictionary header", "footer")


def test_the_sample_has_modules_of_every_kind_and_is_whole() -> None:
    assert {module.kind for module in modules(sample())} == set(KINDS)
    assert len(of_kind("page")) > 4 * 3  # several pages in a chunk
    descriptor = unsealing.image(sample(), key=KEY, prefix=PREFIX)
    with os.fdopen(descriptor, "rb") as file:
        assert pq.read_table(io.BytesIO(file.read())).equals(rows_of(0))


@pytest.mark.parametrize("kind", KINDS)
@given(choice=st.data())
def test_a_flipped_bit_in_any_module_is_refused(kind: str, choice: st.DataObject) -> None:
    module = choice.draw(st.sampled_from(of_kind(kind)))
    position = choice.draw(st.integers(module.start, module.end - 1))
    altered = bytearray(sample())
    altered[position] ^= 1 << choice.draw(st.integers(0, 7))

    assert refused(bytes(altered)).code in ("distribution_corrupt", "key_unusable")


@given(choice=st.data())
def test_two_modules_in_each_others_place_are_refused(choice: st.DataObject) -> None:
    kind = choice.draw(st.sampled_from(["page", "page header", "dictionary"]))
    by_length: dict[int, list[Module]] = {}
    for module in of_kind(kind):
        by_length.setdefault(module.end - module.start, []).append(module)
    alike = [group for group in by_length.values() if len(group) > 1]
    one, other = choice.draw(
        st.lists(
            st.sampled_from(choice.draw(st.sampled_from(alike))),
            min_size=2,
            max_size=2,
            unique=True,
        )
    )
    first, second = sorted((one, other), key=lambda module: module.start)

    altered = exchanged(
        sample(), slice(first.start, first.end), slice(second.start, second.end)
    )
    assert refused(altered).code == "distribution_corrupt"


def chunks_of(data: bytes) -> list[list[slice]]:
    """By row group, where each column's pages lie."""
    with unsealing.stored(data) as file:
        footer = Footer(file, key=KEY, prefix=PREFIX)
        return [
            [slice(c.start, c.start + c.size_bytes) for c in group]
            for group in footer.chunks(range(len(footer.names)))
        ]


def test_chunks_columns_and_row_groups_in_each_others_place_are_refused() -> None:
    # Equal values give chunks of equal length, so that every offset still fits.
    same = pa.table({name: pa.array(range(3000), pa.int64()) for name in "abc"})
    data = encrypted(same, use_dictionary=False, compression="none")
    groups = chunks_of(data)
    assert len({c.stop - c.start for group in groups for c in group}) == 1

    for one, other in (
        (groups[0][0], groups[0][1]),  # two columns
        (groups[0][0], groups[1][0]),  # one column of two row groups
        (groups[0][1], groups[2][2]),
        (
            slice(groups[0][0].start, groups[0][2].stop),
            slice(groups[1][0].start, groups[1][2].stop),  # two row groups
        ),
    ):
        assert refused(exchanged(data, one, other)).code == "distribution_corrupt"


def test_parts_of_another_file_of_the_same_rows_are_refused() -> None:
    """Same key, version and shard, as two attempts of one partition would leave."""
    table = pa.table({"a": pa.array(range(3000), pa.int64())})
    one = encrypted(table, use_dictionary=False)
    other = encrypted(table, use_dictionary=False)
    assert len(one) == len(other)
    for start, end in ((module.start, module.end) for module in modules(one)):
        assert refused(one[:start] + other[start:end] + one[end:]).code in (
            "distribution_corrupt",
            "key_unusable",
        )


@pytest.mark.parametrize(
    "prefix",
    [aad_prefix("v", 1), aad_prefix("w", 0), aad_prefix("v", 0, "hidden"), b"", b"v/0/"],
)
def test_another_shard_version_or_group_is_refused(prefix: bytes) -> None:
    assert refused(sample(), prefix=prefix).code == "key_unusable"


def test_another_key_is_refused() -> None:
    for key in (b"x" * 32, KEY[:31] + b"\0", KEY[:16], b""):
        assert refused(sample(), key=key).code == "key_unusable"


@given(st.integers(0, 10**6))
def test_a_file_that_was_cut_off_is_refused(place: int) -> None:
    refused(sample()[: place % len(sample())])


@given(st.binary(min_size=1, max_size=40), st.integers(0, 10**6))
def test_bytes_put_in_are_refused(more: bytes, place: int) -> None:
    at = 4 + place % (len(sample()) - 4)
    altered = sample()[:at] + more + sample()[at:]
    if altered[: len(sample())] != sample():
        refused(altered)


def test_a_footer_in_clear_under_any_name_is_refused() -> None:
    plain = io.BytesIO()
    pq.write_table(rows_of(0), plain)

    assert refused(plain.getvalue()).code == "distribution_corrupt"
    renamed = plain.getvalue()[:-4] + b"PARE"
    assert refused(renamed).code in ("distribution_corrupt", "key_unusable")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"a": [{"x": 1, "y": 2}]}), "nested"),
        (pa.table({"a": [[1, 2], [3]]}), "nested"),
        (pa.table({"a": [{"x": 1}], "b": [1]}), "nested"),
    ],
)
def test_nested_columns_are_refused_by_name(table: pa.Table, says: str) -> None:
    assert says in refused(encrypted(table, use_dictionary=False)).message


def test_more_pages_than_ordinals_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunk_walk, "MOST_ORDINAL", 2)

    error = refused(sample())

    assert "more pages than ordinals" in error.message


def test_indexes_of_pages_are_left_behind() -> None:
    data = encrypted(rows_of(0), write_page_index=True)

    descriptor = unsealing.image(data, key=KEY, prefix=PREFIX)

    with os.fdopen(descriptor, "rb") as file:
        image = file.read()
    read = pq.ParquetFile(io.BytesIO(image))
    assert read.read().equals(rows_of(0))
    assert not read.metadata.row_group(0).column(0).has_column_index
    for name in ("city", "secret"):
        assert name.encode() not in data


@pytest.mark.parametrize("kind", ["column index", "offset index"])
def test_an_altered_index_changes_no_answer(kind: str) -> None:
    """It is neither read nor carried over: only its digest could tell, and does."""
    data = bytearray(encrypted(rows_of(0), write_page_index=True))
    pages_end = max(module.end for module in modules(bytes(data)) if module.kind == "page")
    footer = next(module for module in modules(bytes(data)) if module.kind == "footer")
    indexes = range(pages_end, footer.start)
    assert indexes
    data[indexes[0] if kind == "column index" else indexes[-1]] ^= 1

    descriptor = unsealing.image(bytes(data), key=KEY, prefix=PREFIX)

    with os.fdopen(descriptor, "rb") as file:
        assert pq.read_table(io.BytesIO(file.read())).equals(rows_of(0))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-8] + struct.pack("<I", 2**32 - 1) + data[-4:],
        lambda data: data[:-8] + struct.pack("<I", 0) + data[-4:],
        lambda data: data[:-8] + struct.pack("<I", 12) + data[-4:],
        lambda data: data[:-4] + b"PAR1",
    ],
)
def test_a_false_length_of_the_footer_is_refused(change: Callable[[bytes], bytes]) -> None:
    refused(change(sample()))


def test_no_descriptor_is_left_after_refusals() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    altered = bytearray(sample())
    altered[modules(sample())[1].start + 20] ^= 1
    for _ in range(20):
        refused(bytes(altered))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
