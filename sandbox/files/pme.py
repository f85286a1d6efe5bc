"""Encrypted Parquet (PME) to a plain image in memory, page by page.

Nothing is decompressed or decoded: each page header and page is decrypted as a module with
its AAD suffix and laid behind the one before; page sizes and footer offsets are rewritten
and what speaks of encryption is dropped. Columns that are not asked for are neither
decrypted nor named in the image. Source: parquet-format, Encryption.md (AES_GCM_V1).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.thrift import I32, I64, STRUCT, Items, Reader, Struct, write_struct

_ENCRYPTED_MAGIC, _PLAIN_MAGIC = b"PARE", b"PAR1"
_LENGTH_BYTES, _NONCE_BYTES, _TAG_BYTES = 4, 12, 16
_MODULE_OVERHEAD = _LENGTH_BYTES + _NONCE_BYTES + _TAG_BYTES
# Module types of the AAD suffix (Encryption.md 4.4.2).
_FOOTER, _DATA_PAGE, _DICTIONARY_PAGE, _DATA_HEADER, _DICTIONARY_HEADER = 0, 2, 3, 4, 5
# What reading junk as Thrift may raise: an absent or mistyped field, or the end of data.
MALFORMED = (ValueError, TypeError, AttributeError, LookupError, struct.error)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def aad_prefix(version_id: str, shard: int) -> bytes:
    """Return the AAD prefix of a shard of a dataset version (protocol.EncryptedTable)."""
    return f"{version_id}/{shard}".encode()


def unseal_image(
    source: memoryview, *, key: bytes, aad_prefix: bytes, columns: frozenset[str] | None
) -> int:
    """Return a descriptor of a plain Parquet image in memory that nobody can write to.

    It holds the named columns that the file has (None: all), in file order.
    Raises KeyUnusable if key and prefix do not open the footer, DistributionCorrupt if
    anything behind it does not decrypt or is not Parquet as `sandbox.files.parquet`
    writes it.
    """
    if len(key) != 32:
        raise KeyUnusable(f"a data key has 32 bytes, {len(key)} came")
    descriptor = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        # An image is never longer than its source: each module loses 32 bytes.
        os.ftruncate(descriptor, max(len(source), 1))
        with mmap.mmap(descriptor, 0) as target, memoryview(target) as view:
            size = _Transcoder(source, view, key, aad_prefix).run(columns)
        os.ftruncate(descriptor, size)
        seal(descriptor)
    except (*MALFORMED, InvalidTag) as error:
        os.close(descriptor)
        raise DistributionCorrupt(
            "an encrypted file does not decrypt to Parquet: it was altered"
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def image_bytes(
    source: memoryview, *, key: bytes, aad_prefix: bytes, columns: frozenset[str] | None
) -> int:
    """Return about how many bytes `unseal_image` would make; only the footer is read.

    It is never too few but for the footer itself. Raises as `unseal_image` does.
    """
    if len(key) != 32:
        raise KeyUnusable(f"a data key has 32 bytes, {len(key)} came")
    try:
        with memoryview(b"") as nothing:
            return _Transcoder(source, nothing, key, aad_prefix).estimate(columns)
    except (*_MALFORMED, InvalidTag) as error:
        raise DistributionCorrupt(
            "an encrypted file does not decrypt to Parquet: it was altered"
        ) from error


def seal(descriptor: int) -> None:
    """Make a memfd immutable, also for those who get a descriptor of it."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


class _Transcoder:
    """One pass over one file."""

    def __init__(
        self, source: memoryview, target: memoryview, key: bytes, aad_prefix: bytes
    ) -> None:
        self._source = source
        self._target = target
        self._aead = AESGCM(key)
        self._prefix = aad_prefix
        self._aad = b""
        self._end = 0  # of what is written to the target

    def run(self, columns: frozenset[str] | None) -> int:
        """Write the image; return its size in bytes."""
        footer = self._footer()
        self._append(_PLAIN_MAGIC)
        kept = select_columns(footer, columns)
        for position, group in enumerate(footer.structs(4)):
            ordinal = group.integer(7) if group.get(7) is not None else position
            chunks = group.structs(1)
            for column in kept:
                self._column_chunk(chunks[column], ordinal, column)
            group.put(1, 9, Items(STRUCT, [chunks[column] for column in kept]))
            group.drop(4, 5, 6)
        # 5: key-value metadata, may describe columns that are not there; 8, 9: encryption.
        footer.drop(5, 8, 9)
        plain = bytearray()
        write_struct(plain, footer)
        self._append(plain + struct.pack("<I", len(plain)) + _PLAIN_MAGIC)
        return self._end

    def estimate(self, columns: frozenset[str] | None) -> int:
        """Return how long the kept column chunks are in the source."""
        footer = self._footer()
        kept = _select_columns(footer, columns)
        return sum(
            chunks[column].get(3).integer(7)
            for chunks in (group.structs(1) for group in footer.structs(4))
            for column in kept
        )

    def _footer(self) -> Struct:
        source = self._source
        if len(source) < 12 or bytes(source[-4:]) != _ENCRYPTED_MAGIC:
            raise DistributionCorrupt("Parquet with an encrypted footer was expected")
        (length,) = struct.unpack("<I", source[-8:-4])
        if length > len(source) - 12:
            raise DistributionCorrupt("the footer is longer than the file")
        reader = Reader(source, len(source) - 8 - length)
        algorithm = reader.struct().get(1)
        if not isinstance(algorithm, Struct) or [f.id for f in algorithm.fields] != [1]:
            raise DistributionCorrupt("encryption by AES_GCM_V1 was expected")
        settings = algorithm.get(1)
        if settings.get(1) is not None:
            raise DistributionCorrupt("an AAD prefix stands in the file, none was expected")
        self._aad = self._prefix + settings.get(2)
        try:
            plain, _ = self._module(reader.position, bytes([_FOOTER]))
        except InvalidTag as error:
            raise KeyUnusable(
                "the data key, or the version the file is said to be of, does not open it"
            ) from error
        return Reader(plain).struct()

    def _column_chunk(self, chunk: Struct, ordinal: int, column: int) -> None:
        crypto, meta = chunk.get(8), chunk.get(3)
        if crypto is None or [f.id for f in crypto.fields] != [1] or meta is None:
            raise DistributionCorrupt("a column under the footer's key was expected")
        suffix = struct.pack("<hh", ordinal, column)
        data_start = meta.integer(9)
        dictionary = meta.get(11) is not None and 0 < meta.integer(11) < data_start
        position = meta.integer(11) if dictionary else data_start
        stop = position + meta.integer(7)
        image_start, image_data = self._end, self._end
        if dictionary:
            kinds = (_DICTIONARY_HEADER, _DICTIONARY_PAGE)
            position = self._page(position, kinds, suffix)
            image_data = self._end
        page = 0
        while position < stop:
            page_suffix = suffix + struct.pack("<h", page)
            position = self._page(position, (_DATA_HEADER, _DATA_PAGE), page_suffix)
            page += 1
        meta.put_integer(9, I64, image_data)
        if dictionary:
            meta.put_integer(11, I64, image_start)
        meta.put_integer(7, I64, self._end - image_start)
        meta.drop(10, 14, 15)  # index pages, bloom filters: not carried over
        chunk.drop(4, 5, 6, 7, 8, 9)  # page indexes, encryption
        chunk.put_integer(2, I64, image_start)

    def _page(self, position: int, kinds: tuple[int, int], suffix: bytes) -> int:
        """Copy one page and its header; return where the next one starts."""
        raw_header, position = self._module(position, bytes([kinds[0]]) + suffix)
        header = Reader(raw_header).struct()
        length = self._module_length(position)
        header.put_integer(3, I32, length - _NONCE_BYTES - _TAG_BYTES)
        header.drop(4)  # its checksum is of the encrypted page
        plain_header = bytearray()
        write_struct(plain_header, header)
        self._append(plain_header)
        start = position + _LENGTH_BYTES
        end = start + length
        body_size = length - _NONCE_BYTES - _TAG_BYTES
        self._aead.decrypt_into(
            self._source[start : start + _NONCE_BYTES],
            self._source[start + _NONCE_BYTES : end],
            self._aad + bytes([kinds[1]]) + suffix,
            self._target[self._end : self._end + body_size],
        )
        self._end += body_size
        return end

    def _module_length(self, position: int) -> int:
        (length,) = struct.unpack_from("<I", self._source, position)
        if not _NONCE_BYTES + _TAG_BYTES <= length <= len(self._source) - position - 4:
            raise ValueError("a module ends outside the file")
        return int(length)

    def _module(self, position: int, suffix: bytes) -> tuple[bytes, int]:
        """The plain bytes of the module at `position`, and where it ends."""
        start = position + _LENGTH_BYTES
        end = start + self._module_length(position)
        nonce = self._source[start : start + _NONCE_BYTES]
        sealed = self._source[start + _NONCE_BYTES : end]
        return self._aead.decrypt(nonce, sealed, self._aad + suffix), end

    def _append(self, data: bytes | bytearray) -> None:
        self._target[self._end : self._end + len(data)] = data
        self._end += len(data)


def select_columns(footer: Struct, columns: frozenset[str] | None) -> list[int]:
    """Cut the schema down to `columns`; return the positions of those that stay."""
    schema = footer.structs(2)
    root, leaves = schema[0], schema[1:]
    if root.integer(5) != len(leaves):
        raise DistributionCorrupt("a flat schema was expected")
    kept = [
        position
        for position, leaf in enumerate(leaves)
        if columns is None or leaf.get(4).decode() in columns
    ]
    root.put_integer(5, I32, len(kept))
    footer.put(2, 9, Items(STRUCT, [root, *(leaves[position] for position in kept)]))
    if footer.get(7) is not None:
        orders = footer.structs(7)
        footer.put(7, 9, Items(STRUCT, [orders[position] for position in kept]))
    return kept
