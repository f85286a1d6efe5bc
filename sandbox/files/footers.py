"""The footer of an encrypted Parquet file: opened, checked, cut down to columns.

What is not exactly as our own writers leave it is refused by a branch that names it: other
ciphers, columns under keys of their own, chunks in other files, nested columns, ordinals
beyond 16 bits. Source: parquet-format, Encryption.md (AES_GCM_V1) and parquet.thrift.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox.errors import DistributionCorrupt, KeyUnusable
from sandbox.files.chunk_digests import DIGEST_BYTES, chunk_digests, digest_of_footer
from sandbox.files.thrift import I32, I64, LATER, STRUCT, Depth, Items, Reader, Struct

PLAIN_MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
LENGTH_BYTES, NONCE_BYTES, TAG_BYTES = 4, 12, 16
MOST_ORDINAL = 32_767  # ordinals in the AAD are signed 16-bit integers
_FOOTER_MODULE = b"\0"  # Encryption.md 4.4.2
_TAIL_BYTES = LENGTH_BYTES + len(ENCRYPTED_MAGIC)
_REPEATED = 2
# Schema elements; of each row group the columns, of each of those metadata and encryption.
_LOOKED_AT: Depth = {2: {}, 4: {1: {3: {}, 8: {}}}}
# Where few of the columns will be used, each is read when it is.
_FEW_LOOKED_AT: Depth = {2: {}, 4: {1: LATER}}
# What reading junk as Thrift may raise: an absent or mistyped field, or the end of data.
MALFORMED = (ValueError, TypeError, AttributeError, LookupError, struct.error)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of one row group: where its pages lie, under which ordinals."""

    tree: Struct
    ordinals: bytes  # row group and column, as they end the AAD of its modules
    start: int
    size_bytes: int
    has_dictionary: bool
    sha256: bytes | None = None  # that its bytes must have, if that is to be found out

    def settle(self, *, start: int, data_start: int, size_bytes: int) -> None:
        """Have the tree speak of clear pages that lie from `start` in an image."""
        meta = self.tree.get(3)
        meta.put_integer(9, I64, data_start)
        if self.has_dictionary:
            meta.put_integer(11, I64, start)
        meta.put_integer(7, I64, size_bytes)
        meta.drop(10, 14, 15)  # index pages, bloom filters: not carried over
        self.tree.drop(4, 5, 6, 7, 8, 9)  # page indexes, encryption
        self.tree.put_integer(2, I64, start)


class Footer:
    """An opened footer, with the cipher that opens the modules of its file."""

    def __init__(
        self,
        descriptor: int,
        *,
        key: bytes | bytearray,
        prefix: bytes,
        sha256: str = "",
        agreed: set[int] | None = None,
        few: bool = False,
    ) -> None:
        """Open the footer of the file `descriptor` is of.

        `sha256` is what its digest must be, empty where none is on record; `agreed` are
        positions of columns that were found to have the digests that it names, here or by
        an earlier opening. `few` says that few of its columns will be asked for: that is a
        matter of speed.
        Raises KeyUnusable if key and prefix do not open it, DistributionCorrupt if it is
        not the recorded one or none of ours, and one of MALFORMED if it cannot be read.
        """
        if len(key) != 32:
            raise KeyUnusable(f"a data key has 32 bytes, {len(key)} came")
        self.descriptor = descriptor
        self.file_bytes = os.fstat(descriptor).st_size
        self.cipher = AESGCM(key)
        tail = os.pread(descriptor, _TAIL_BYTES, max(0, self.file_bytes - _TAIL_BYTES))
        head = os.pread(descriptor, len(ENCRYPTED_MAGIC), 0)
        if self.file_bytes < 12 or not head == tail[LENGTH_BYTES:] == ENCRYPTED_MAGIC:
            raise DistributionCorrupt("Parquet with an encrypted footer was expected")
        (length,) = struct.unpack_from("<I", tail)
        if length > self.file_bytes - 12:
            raise DistributionCorrupt("the footer is longer than the file")
        self.start = self.file_bytes - _TAIL_BYTES - length
        self.tree_bytes = length
        raw = os.pread(descriptor, length, self.start)
        if sha256 and not hmac.compare_digest(digest_of_footer(raw, tail), sha256):
            raise DistributionCorrupt(
                "the digest of a stored file's footer is not the recorded one: it was"
                " altered, or is another file's",
                hint="Restore it from a backup, or publish a new version.",
            )
        reader = Reader(raw)
        self.aad = prefix + _unique_part(reader.struct())
        clear = self._open(raw, reader.position)
        self.tree = Reader(clear).struct(_FEW_LOOKED_AT if few else _LOOKED_AT)
        self.names = _flat_names(self.tree)
        self.groups = self.tree.structs(4)
        if len(self.groups) > MOST_ORDINAL or len(self.names) > MOST_ORDINAL:
            raise DistributionCorrupt("a file has more row groups or columns than ordinals")
        self.agreed = set() if agreed is None else agreed
        # Of a footer that may be anybody's they would say nothing.
        self._digests = chunk_digests(self.tree) if sha256 else None
        count = len(self.groups) * len(self.names)
        if self.is_pinned and len(self._digests or b"") != count * DIGEST_BYTES:
            raise DistributionCorrupt("a footer names the digests of other column chunks")

    @property
    def is_pinned(self) -> bool:
        """Whether each chunk has a digest to agree with, by a footer that is recorded."""
        return self._digests is not None

    def _open(self, raw: bytes, position: int) -> bytes:
        (length,) = struct.unpack_from("<I", raw, position)
        if length != len(raw) - position - LENGTH_BYTES:
            raise DistributionCorrupt("the footer has another length than it says")
        nonce = position + LENGTH_BYTES
        sealed = nonce + NONCE_BYTES
        try:
            return self.cipher.decrypt(
                raw[nonce:sealed], raw[sealed:], self.aad + _FOOTER_MODULE
            )
        except InvalidTag as error:
            raise KeyUnusable(
                "the data key, or the version the file is said to be of, does not open it"
            ) from error

    @property
    def rows(self) -> tuple[int, ...]:
        """How many rows each row group has."""
        return tuple(group.integer(3) for group in self.groups)

    def kept(self, columns: frozenset[str] | None) -> list[int]:
        """The positions of the named columns that the file has (None: all)."""
        if columns is None:
            return list(range(len(self.names)))
        return [place for place, name in enumerate(self.names) if name in columns]

    def chunks(self, columns: Sequence[int]) -> list[list[Chunk]]:
        """The chunks at these positions, by row group."""
        found = []
        for position, group in enumerate(self.groups):
            ordinal = group.integer(7) if group.get(7) is not None else position
            trees = group.structs(1)
            found.append(
                [
                    self._chunk(
                        trees[column], ordinal, column, self._digest(position, column)
                    )
                    for column in columns
                ]
            )
        return found

    def _digest(self, group: int, column: int) -> bytes | None:
        if self._digests is None or column in self.agreed:
            return None
        place = (group * len(self.names) + column) * DIGEST_BYTES
        return self._digests[place : place + DIGEST_BYTES]

    def _chunk(
        self, tree: Struct, ordinal: int, column: int, sha256: bytes | None
    ) -> Chunk:
        crypto, meta = tree.get(8), tree.get(3)
        if crypto is None or [f.id for f in crypto.fields] != [1] or meta is None:
            raise DistributionCorrupt("a column under the footer's key was expected")
        if tree.get(1) is not None:
            raise DistributionCorrupt("a column in a file of its own was not expected")
        data_start, size = meta.integer(9), meta.integer(7)
        has_dictionary = meta.get(11) is not None and 0 < meta.integer(11) < data_start
        start = meta.integer(11) if has_dictionary else data_start
        if not (0 < start <= data_start and size >= 0 and start + size <= self.start):
            raise DistributionCorrupt("a column chunk lies outside the file's pages")
        ordinals = struct.pack("<hh", ordinal, column)
        return Chunk(tree, ordinals, start, size, has_dictionary, sha256)

    def cut(self, columns: Sequence[int]) -> tuple[list[Struct], list[Struct] | None]:
        """The schema elements and, where there are any, the orders of these columns."""
        leaves = self.tree.structs(2)[1:]
        orders = self.tree.structs(7) if self.tree.get(7) is not None else None
        return (
            [leaves[column] for column in columns],
            None if orders is None else [orders[column] for column in columns],
        )


def merged_tree(parts: Sequence[tuple[Footer, Sequence[int]]]) -> Struct:
    """Return one footer over these columns of files with the same rows: the first one's.

    Chunks must have been settled. Nothing of it speaks of encryption.
    """
    footer = parts[0][0].tree
    elements: list[Struct] = []
    orders: list[Struct] | None = []
    for part, columns in parts:
        leaves, ordered = part.cut(columns)
        elements += leaves
        orders = None if orders is None or ordered is None else orders + ordered
    root = footer.structs(2)[0]
    root.put_integer(5, I32, len(elements))
    footer.put(2, 9, Items(STRUCT, [root, *elements]))
    if orders is None:
        footer.drop(7)
    else:
        footer.put(7, 9, Items(STRUCT, orders))
    for position, group in enumerate(parts[0][0].groups):
        chunks = []
        for part, columns in parts:
            trees = part.groups[position].structs(1)
            chunks += [trees[column] for column in columns]
        group.put(1, 9, Items(STRUCT, chunks))
        group.drop(4, 5, 6)  # sorting, and sizes and offsets that hold no more
    # 5: key-value metadata, describes the encrypted files; 8, 9: encryption.
    footer.drop(5, 8, 9)
    return footer


def select_columns(footer: Struct, columns: frozenset[str] | None) -> list[int]:
    """Cut a clear footer's schema down to `columns`; return the positions that stay.

    Raises DistributionCorrupt if the schema is not flat.
    """
    names = _flat_names(footer)
    root, *leaves = footer.structs(2)
    kept = [place for place, name in enumerate(names) if columns is None or name in columns]
    root.put_integer(5, I32, len(kept))
    footer.put(2, 9, Items(STRUCT, [root, *(leaves[place] for place in kept)]))
    if footer.get(7) is not None:
        orders = footer.structs(7)
        footer.put(7, 9, Items(STRUCT, [orders[place] for place in kept]))
    return kept


def _unique_part(crypto: Struct) -> bytes:
    """What the file itself adds to the AAD prefix."""
    algorithm = crypto.get(1)
    if not isinstance(algorithm, Struct) or [f.id for f in algorithm.fields] != [1]:
        raise DistributionCorrupt("encryption by AES_GCM_V1 was expected")
    settings = algorithm.get(1)
    if settings.get(1) is not None:
        raise DistributionCorrupt("an AAD prefix stands in the file, none was expected")
    unique = settings.get(2)
    if not isinstance(unique, bytes):
        raise DistributionCorrupt("the file has no AAD part of its own")
    return unique


def _flat_names(footer: Struct) -> tuple[str, ...]:
    """The names of a schema whose columns hold one value a row."""
    root, *leaves = footer.structs(2)
    if root.integer(5) != len(leaves) or any(leaf.get(5) is not None for leaf in leaves):
        raise DistributionCorrupt("a flat schema was expected, nested columns came")
    if any(leaf.integer(3) == _REPEATED for leaf in leaves):
        raise DistributionCorrupt("a flat schema was expected, a repeated column came")
    names = tuple(leaf.get(4).decode() for leaf in leaves)
    if len(set(names)) != len(names):
        raise DistributionCorrupt("two columns of a file have one name")
    return names
