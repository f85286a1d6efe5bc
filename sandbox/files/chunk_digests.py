"""What pins an encrypted file without all of it being read: digests of its column chunks.

They lie in the footer, which is encrypted, and the digest of the footer lies in the record.
So whoever reads some columns digests the footer and those columns, and knows as much about
them as the digest of the whole file would tell, also of a file made by somebody who has the
key: tags bind a page to its file and place, but one who can encrypt can make others.

In the footer it is one pair of its key-value metadata (parquet.thrift, FileMetaData 5):
`bonded.chunks`, and in base64 the SHA-256 of each chunk's bytes as they lie in the file, by
row group, in each by column.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Iterable

from sandbox.files.thrift import BINARY, LIST, STRUCT, Field, Items, Struct

DIGEST_BYTES = 32
_NAME = b"bonded.chunks"
_PAIRS = 5
# Behind the footer: its length and the magic of files whose footer is encrypted.
_TAIL = struct.Struct("<I4s")
_MAGIC = b"PARE"


def put_chunk_digests(footer: Struct, digests: Iterable[bytes]) -> None:
    """Have a clear footer name the digests of its chunks, and no other pairs."""
    text = base64.b64encode(b"".join(digests))
    pair = Struct([Field(1, BINARY, _NAME), Field(2, BINARY, text)])
    footer.put(_PAIRS, LIST, Items(STRUCT, [pair]))


def chunk_digests(footer: Struct) -> bytes | None:
    """Return the digests that a clear footer names, one behind the other, if it does.

    Raises ValueError where they are not base64.
    """
    if footer.get(_PAIRS) is None:
        return None
    for pair in footer.structs(_PAIRS):
        if pair.get(1) == _NAME:
            return base64.b64decode(pair.get(2), validate=True)
    return None


def footer_sha256(descriptor: int) -> str:
    """Return the digest of the footer of an encrypted file, its length and magic included.

    Empty where the file does not end as one: then only its whole digest pins it.
    """
    size = os.fstat(descriptor).st_size
    end = os.pread(descriptor, _TAIL.size, max(0, size - _TAIL.size))
    if len(end) != _TAIL.size:
        return ""
    length, magic = _TAIL.unpack(end)
    if magic != _MAGIC or length + _TAIL.size + len(_MAGIC) > size:
        return ""
    return digest_of_footer(os.pread(descriptor, length, size - _TAIL.size - length), end)


def digest_of_footer(footer: bytes, end: bytes) -> str:
    """Return the digest of a footer's bytes and of the length and magic behind them."""
    return hashlib.sha256(footer + end).hexdigest()
