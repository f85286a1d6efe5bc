import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.sealing import CHUNK_BYTES, HEADER_BYTES, SealReader, SealWriter

KEY = b"k" * 32
CHUNK_EDGES = [
    0,
    1,
    CHUNK_BYTES - 1,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    3 * CHUNK_BYTES,
    200_000,
]


def seal(content: bytes, *, key: bytes = KEY, context: str = "c") -> bytes:
    target = io.BytesIO()
    with SealWriter(target, key, context) as writer:
        writer.write(content)
    return target.getvalue()


def unseal(sealed: bytes, *, key: bytes = KEY, context: str = "c") -> bytes:
    return b"".join(SealReader(io.BytesIO(sealed), key, context))


def sample(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


@pytest.mark.parametrize("size", CHUNK_EDGES)
def test_seal_reader_returns_what_was_written(size: int) -> None:
    content = sample(size)
    sealed = seal(content)

    assert unseal(sealed) == content
    assert SealReader(io.BytesIO(sealed), KEY, "c").size == size
    assert content[:20] not in sealed or size == 0 or size < 4


@settings(max_examples=25)
@given(data=st.data(), size=st.sampled_from(CHUNK_EDGES))
def test_read_range_equals_a_slice(data: st.DataObject, size: int) -> None:
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    content = sample(size)

    assert (
        SealReader(io.BytesIO(seal(content)), KEY, "c").read_range(start, end)
        == (content[start:end])
    )


def test_seal_writer_reports_digests() -> None:
    import hashlib

    target = io.BytesIO()
    writer = SealWriter(target, KEY, "c")
    for piece in (b"ab", b"", b"c" * 100_000):
        writer.write(piece)
    writer.close()
    writer.close()

    assert writer.sha256 == hashlib.sha256(b"ab" + b"c" * 100_000).hexdigest()
    assert writer.sealed_sha256 == hashlib.sha256(target.getvalue()).hexdigest()
    assert (writer.size, writer.sealed_size) == (100_002, len(target.getvalue()))
    assert "k" * 4 not in repr(writer)
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"x")


def test_seal_reader_refuses_every_flipped_byte() -> None:
    sealed = seal(sample(100))

    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises((DistributionCorrupt, KeyUnusable)):
            unseal(bytes(altered))


def test_seal_reader_refuses_every_truncation() -> None:
    sealed = seal(sample(100))

    for length in range(len(sealed)):
        with pytest.raises(DistributionCorrupt):
            unseal(sealed[:length])


def test_seal_reader_refuses_moved_dropped_and_appended_chunks() -> None:
    sealed = seal(sample(3 * CHUNK_BYTES))
    header, body = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
    step = CHUNK_BYTES + 16
    a, b, c = body[:step], body[step : 2 * step], body[2 * step :]

    for altered in (b + a + c, a + c, a + b, a, a + b + c + c, a + b + c + bytes(16), b""):
        with pytest.raises(DistributionCorrupt):
            unseal(header + altered)


def test_seal_reader_refuses_another_key_or_context() -> None:
    sealed = seal(b"content")

    with pytest.raises(KeyUnusable):
        unseal(sealed, key=b"x" * 32)
    with pytest.raises(KeyUnusable):
        unseal(sealed, context="d")
    with pytest.raises(KeyUnusable, match="32 bytes"):
        unseal(sealed, key=b"short")


def test_seal_writer_left_by_an_error_writes_no_whole_file() -> None:
    target = io.BytesIO()

    with pytest.raises(RuntimeError), SealWriter(target, KEY, "c") as writer:  # noqa: PT012
        writer.write(sample(CHUNK_BYTES + 5))
        raise RuntimeError
    with pytest.raises(DistributionCorrupt):
        unseal(target.getvalue())


def test_read_range_refuses_what_is_outside() -> None:
    reader = SealReader(io.BytesIO(seal(b"abc")), KEY, "c")

    for start, end in ((-1, 2), (2, 1), (0, 4)):
        with pytest.raises(ValueError, match="not inside"):
            reader.read_range(start, end)
