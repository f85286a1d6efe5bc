"""Plain Parquet images to one encrypted file (PME), page by page: the inverse of `pme`.

The engine writes Parquet several times as fast as Arrow does, but cannot encrypt it safely.
So it writes a plain image into memory, and here each page header and page of it becomes a
module with its AAD suffix, without being decompressed. Row groups of several images come
one after another into one file under one footer. What comes out is what pyarrow writes and
reads: AES_GCM_V1, one uniform key, encrypted footer, AAD prefix not stored. Source:
parquet-format, Encryption.md.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Collection, Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.chunk_digests import put_chunk_digests
from sandbox.files.footers import MALFORMED, select_columns
from sandbox.files.parquet import Sink
from sandbox.files.thrift import (
    BINARY,
    I16,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    Field,
    Items,
    Reader,
    Struct,
    write_struct,
)

_ENCRYPTED_MAGIC, _PLAIN_MAGIC = b"PARE", b"PAR1"
_LENGTH_BYTES, _NONCE_BYTES, _TAG_BYTES = 4, 12, 16
_OVERHEAD = _LENGTH_BYTES + _NONCE_BYTES + _TAG_BYTES
# Module types of the AAD suffix (Encryption.md 4.4.2).
_FOOTER, _DATA_PAGE, _DICTIONARY_PAGE, _DATA_HEADER, _DICTIONARY_HEADER = 0, 2, 3, 4, 5
_DICTIONARY_KIND = 2  # PageType.DICTIONARY_PAGE
_FILE_UNIQUE_BYTES = 8
# Of a column whose values are units: the most rows that one of them has in the whole table.
MOST_ROWS = "bonded.most_rows"
# Ordinals of row groups and pages are 16 bits in the AAD (4.4.2).
_MOST_ORDINALS = 2**15


class EncryptedFile:
    """Collects row groups under `key` (32 bytes); whole only after `close()`.

    One thread at a time. `target` takes bytes in order and keeps none of them in clear.
    """

    def __init__(self, target: Sink, *, key: bytes, prefix: bytes) -> None:
        if len(key) != 32:
            raise KeyUnusable(f"a data key has 32 bytes, {len(key)} came")
        self._target = target
        self._aead = AESGCM(key)
        self._unique = os.urandom(_FILE_UNIQUE_BYTES)
        self._aad = prefix + self._unique
        self._footer: Struct | None = None
        self._schema = b""
        self._groups: list[Struct] = []
        self._digests: list[bytes] = []  # of the column chunks, as they were written
        self._written = 0
        self.rows = 0
        self._write(_ENCRYPTED_MAGIC)

    @property
    def groups(self) -> int:
        """How many row groups were written."""
        return len(self._groups)

    def append(
        self,
        image: memoryview,
        *,
        columns: Collection[str] | None = None,
        groups: Collection[int] | None = None,
    ) -> int:
        """Add the row groups of a plain image, or those of these positions; return rows.

        `columns` names those that are taken, in the image's order; None: all. Every image
        of a file has the same schema. Raises DistributionCorrupt if the image is not flat,
        plain Parquet, or has another schema than the first.
        """
        try:
            footer = _plain_footer(image)
            kept = select_columns(footer, None if columns is None else frozenset(columns))
            self._take_schema(footer)
            rows = 0
            for position, group in enumerate(footer.structs(4)):
                if groups is None or position in groups:
                    self._row_group(image, group, kept)
                    rows += group.integer(3)
        except MALFORMED as error:
            raise DistributionCorrupt("an image in memory is not plain Parquet") from error
        self.rows += rows
        return rows

    def close(self, most_rows: Mapping[str, int] | None = None) -> None:
        """Write the footer. Raises ValueError if no image came: there is no schema.

        `most_rows` is told by the first row group, if there is one: each of its chunks of a
        column that is named there has the number under the key `MOST_ROWS`.
        """
        if self._footer is None:
            raise ValueError("a Parquet file needs the schema of at least one image")
        footer = self._footer
        for group in self._groups[:1]:
            _tell_most_rows(group, most_rows or {})
        footer.put_integer(3, I64, self.rows)
        footer.put(4, LIST, Items(STRUCT, self._groups))
        # 5: key-value metadata of one image; 8, 9: encryption of files with plain footers.
        footer.drop(5, 8, 9)
        put_chunk_digests(footer, self._digests)
        algorithm = Struct([Field(2, BINARY, self._unique), Field(3, TRUE, value=True)])
        crypto = Struct([Field(1, STRUCT, Struct([Field(1, STRUCT, algorithm)]))])
        tail = bytearray()
        write_struct(tail, crypto)
        plain = bytearray()
        write_struct(plain, footer)
        tail += self._module(plain, bytes([_FOOTER]))
        self._write(tail + struct.pack("<I", len(tail)) + _ENCRYPTED_MAGIC)

    def _take_schema(self, footer: Struct) -> None:
        schema = bytearray()
        write_struct(schema, Struct([Field(2, LIST, footer.get(2))]))
        if self._footer is None:
            self._footer, self._schema = footer, bytes(schema)
        elif bytes(schema) != self._schema:
            raise DistributionCorrupt("the images of one file have different schemas")

    def _row_group(self, image: memoryview, group: Struct, kept: list[int]) -> None:
        ordinal = len(self._groups)
        if ordinal >= _MOST_ORDINALS:
            raise DistributionCorrupt(f"a file holds at most {_MOST_ORDINALS} row groups")
        chunks, start = group.structs(1), self._written
        for column, position in enumerate(kept):
            suffix = struct.pack("<hh", ordinal, column)
            self._column_chunk(image, chunks[position], suffix)
        group.put(1, LIST, Items(STRUCT, [chunks[position] for position in kept]))
        group.drop(4)  # sorting columns: their positions may not be these
        group.put_integer(5, I64, start)
        group.put_integer(6, I64, self._written - start)
        group.put_integer(7, I16, ordinal)
        self._groups.append(group)

    def _column_chunk(self, image: memoryview, chunk: Struct, suffix: bytes) -> None:
        meta = chunk.get(3)
        data_start = meta.integer(9)
        # Some writers say 0 where there is no dictionary.
        dictionary = meta.get(11) is not None and 0 < meta.integer(11) < data_start
        position = meta.integer(11) if dictionary else data_start
        stop = position + meta.integer(7)
        if not 0 < position <= stop <= len(image):
            raise ValueError("a column chunk lies outside the image")
        begin = self._written
        pieces: list[bytearray] = []
        size = data_at = page = 0
        while position < stop:
            header, body, position = _page(image, position, stop)
            if header.integer(1) == _DICTIONARY_KIND:
                kinds, place = (_DICTIONARY_HEADER, _DICTIONARY_PAGE), suffix
            else:
                if page >= _MOST_ORDINALS:
                    raise DistributionCorrupt("a column chunk has too many pages")
                kinds = (_DATA_HEADER, _DATA_PAGE)
                place = suffix + struct.pack("<h", page)
                data_at = data_at if page else size
                page += 1
            header.put_integer(3, I32, len(body) + _OVERHEAD)
            header.drop(4)  # its checksum is of the plain page
            plain = bytearray()
            write_struct(plain, header)
            pieces.append(self._module(plain, bytes([kinds[0]]) + place))
            pieces.append(self._module(body, bytes([kinds[1]]) + place))
            size += len(pieces[-2]) + len(pieces[-1])
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
            self._write(piece)
        self._digests.append(digest.digest())
        meta.put_integer(9, I64, begin + data_at)
        if dictionary:
            meta.put_integer(11, I64, begin)
        else:
            meta.drop(11)
        meta.put_integer(7, I64, size)
        meta.drop(10, 14, 15)  # index pages, bloom filters: not carried over
        chunk.drop(4, 5, 6, 7, 9)  # page indexes, encrypted metadata
        chunk.put_integer(2, I64, begin)
        chunk.put(8, STRUCT, Struct([Field(1, STRUCT, Struct([]))]))  # the footer's key

    def _module(self, data: bytearray | memoryview, suffix: bytes) -> bytearray:
        """Length, nonce, ciphertext and tag of one module (Encryption.md 5.1)."""
        nonce = os.urandom(_NONCE_BYTES)
        module = bytearray(len(data) + _OVERHEAD)
        struct.pack_into("<I", module, 0, len(module) - _LENGTH_BYTES)
        module[_LENGTH_BYTES : _LENGTH_BYTES + _NONCE_BYTES] = nonce
        with memoryview(module) as view:
            sealed = view[_LENGTH_BYTES + _NONCE_BYTES :]
            self._aead.encrypt_into(nonce, data, self._aad + suffix, sealed)
        return module

    def _write(self, data: bytes | bytearray) -> None:
        self._target.write(data)
        self._written += len(data)


def _tell_most_rows(group: Struct, most_rows: Mapping[str, int]) -> None:
    """Put key-value metadata (parquet.thrift, ColumnMetaData) in the named chunks."""
    for chunk in group.structs(1):
        meta = chunk.get(3)
        (name,) = meta.get(3).values  # the path of a column in a flat schema
        most = most_rows.get(name.decode())
        if most is not None:
            pair = [Field(1, BINARY, MOST_ROWS.encode()), Field(2, BINARY, b"%d" % most)]
            meta.put(8, LIST, Items(STRUCT, [Struct(pair)]))


def _plain_footer(image: memoryview) -> Struct:
    if len(image) < 12 or bytes(image[-4:]) != _PLAIN_MAGIC:
        raise ValueError("Parquet with a plain footer was expected")
    (length,) = struct.unpack("<I", image[-8:-4])
    if length > len(image) - 12:
        raise ValueError("the footer is longer than the image")
    return Reader(image, len(image) - 8 - length).struct()


def _page(image: memoryview, position: int, stop: int) -> tuple[Struct, memoryview, int]:
    """The header and bytes of the page at `position`, and where the next one starts."""
    reader = Reader(image, position)
    header = reader.struct()
    end = reader.position + header.integer(3)
    if not reader.position <= end <= stop:
        raise ValueError("a page ends outside its column chunk")
    return header, image[reader.position : end], end
