"""The Merkle tree of a log: hashes, the stored tree, proofs and their verification.

A leaf is hashed as SHA-256(0x00 ‖ entry), an inner node as SHA-256(0x01 ‖ left ‖ right);
the two prefixes keep a node from being passed off as an entry (RFC 6962 section 2.1).

    level 2          g               Only perfect subtrees are stored, each once and for
                   /   \\             ever: node (level, index) covers the entries from
    level 1      e       f     h     index * 2^level. A tree of 7 is covered by g, h and
                / \\     / \\   / \\    leaf 6, its *frontier*; appending, the root and
    level 0    0   1   2   3 4   5 6 every proof need O(log size) of these.

One algorithm and its mirror image stand here together, hence the module's length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import (
    NodeExists,
    OutOfRange,
    ProofMalformed,
    RootMismatch,
    TreeIncomplete,
)

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Node:
    """The root of the perfect subtree over [index << level, (index + 1) << level)."""

    level: int
    index: int
    hash: bytes


class Store(Protocol):
    """Where the tree's perfect subtrees are kept.

    Every implementation owes:
    - `node` answers None for what was never put, never another node's hash;
    - `put_nodes` writes all or none, and raises if one of the nodes is already there,
      so that two writers at the same size cannot both succeed;
    - what `put_nodes` wrote is seen by the next `node` of the same caller, and is as
      durable as the caller's transaction.
    """

    def node(self, level: int, index: int) -> bytes | None:
        """Answer the 32 bytes put for (level, index), or None."""

    def put_nodes(self, nodes: Sequence[Node]) -> None:
        """Keep `nodes`, all of them new; raise `NodeExists` and keep none otherwise."""


class MemoryStore:
    """A `Store` in a dictionary, for an auditor's own copy of a log."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes | None:
        """Answer the hash put for (level, index), or None."""
        return self._nodes.get((level, index))

    def put_nodes(self, nodes: Sequence[Node]) -> None:
        """Keep `nodes`; raises `NodeExists` and keeps none if one is there already."""
        for node in nodes:
            if (node.level, node.index) in self._nodes:
                raise NodeExists(
                    f"node {node.index} of level {node.level} is new, it was there already"
                )
        self._nodes.update({(node.level, node.index): node.hash for node in nodes})


def hash_leaf(entry: bytes) -> bytes:
    """Return the leaf hash of `entry`, 32 bytes. Source: RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node over `left` and `right`. Source: RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The perfect subtrees covering the first `size` entries, widest first.

    It grows by one leaf in amortised constant time and knows its root, without the store.
    """

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Take up a tree of `size` entries from its frontier.

        Raises `ProofMalformed` unless there is one 32-byte hash per 1-bit of `size` >= 0.
        """
        if size < 0:
            raise ProofMalformed(f"a tree has 0 or more entries, came {size}")
        if len(hashes) != size.bit_count():
            raise ProofMalformed(
                f"a tree of {size} is covered by {size.bit_count()} hashes, "
                f"{len(hashes)} came"
            )
        _check_hashes(hashes)
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The covering hashes, widest subtree first."""
        return tuple(self._hashes)

    def append(self, leaf_hash: bytes) -> list[Node]:
        """Add one leaf; return the leaf and every subtree it completes, lowest first."""
        node = Node(0, self.size, leaf_hash)
        completed = [node]
        while node.index & 1:
            parent = hash_children(self._hashes.pop(), node.hash)
            node = Node(node.level + 1, node.index >> 1, parent)
            completed.append(node)
        self._hashes.append(node.hash)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the root of the tree so far; that of the empty tree is SHA-256('')."""
        return _fold(self._hashes) if self._hashes else EMPTY_ROOT


def frontier(store: Store, size: int) -> Frontier:
    """Return the frontier of the first `size` entries in `store`.

    Requires size >= 0. Raises `TreeIncomplete` if the store has fewer entries.
    """
    return Frontier(size, list(_covering(store, 0, size)))


def append(store: Store, size: int, leaf_hashes: Iterable[bytes]) -> Frontier:
    """Extend the tree of `size` entries by `leaf_hashes`; return its new frontier.

    Every completed subtree is put into `store` in one call; the caller keeps the new size.
    Raises `TreeIncomplete` if the store lacks the tree of `size`, `NodeExists` if
    the store already holds entries beyond it (another writer was first).
    """
    edge = frontier(store, size)
    completed = [node for leaf_hash in leaf_hashes for node in edge.append(leaf_hash)]
    if completed:
        store.put_nodes(completed)
    return edge


def root(store: Store, size: int) -> bytes:
    """Return the root over the first `size` entries; raises `TreeIncomplete`."""
    return frontier(store, size).root()


def prove_inclusion(store: Store, index: int, size: int) -> tuple[bytes, ...]:
    """Return the proof that entry `index` is in the tree of `size`, leaf's sibling first.

    Requires 0 <= index < size, else `OutOfRange`; raises `TreeIncomplete`.
    Source: RFC 6962 section 2.1.1.
    """
    if not 0 <= index < size:
        raise OutOfRange(f"an entry of a tree of {size} is asked for, index {index} came")
    begin, end = 0, size
    path: list[bytes] = []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_subtree(store, middle, end))
            end = middle
        else:
            path.append(_subtree(store, begin, middle))
            begin = middle
    return tuple(reversed(path))


def prove_consistency(store: Store, old: int, new: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of `new` entries begins with that of `old`.

    Requires 0 < old <= new, else `OutOfRange`; raises `TreeIncomplete`. The proof is
    empty when both are equal. Source: RFC 6962 section 2.1.2.
    """
    if not 0 < old <= new:
        raise OutOfRange(f"a tree of {new} begins with trees of 1 to {new}, {old} came")
    begin, end = 0, new
    path: list[bytes] = []
    while end != old:
        middle = begin + _split(end - begin)
        if old <= middle:
            path.append(_subtree(store, middle, end))
            end = middle
        else:
            path.append(_subtree(store, begin, middle))
            begin = middle
    # At begin == 0 the subtree is the whole old tree, whose root the verifier knows.
    if begin:
        path.append(_subtree(store, begin, end))
    return tuple(reversed(path))


def verify_inclusion(
    *, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf at `index` is in the tree of `size` whose root is `root`.

    `proof` runs from the leaf's sibling up. Raises `ProofMalformed` unless
    0 <= index < size and the proof's length fits, `RootMismatch` if the root differs.
    Source: RFC 6962 section 2.1.1; the decomposition is that of transparency-dev/merkle.
    """
    if not 0 <= index < size:
        raise ProofMalformed(f"index must lie in a tree of {size}, {index} came")
    inner, border = _path_lengths(index, size)
    if len(proof) != inner + border:
        raise ProofMalformed(
            f"proof has {len(proof)} hashes, index {index} of {size} needs {inner + border}"
        )
    _check_hashes((leaf_hash, root, *proof))
    calculated = _climb(leaf_hash, proof[:inner], index)
    calculated = _climb_border(calculated, proof[inner:])
    _check_root(expected=root, calculated=calculated, what="inclusion")


def verify_consistency(
    *, old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `new` entries begins with the tree of `old` entries.

    Raises `ProofMalformed` unless 0 < old <= new (that every tree begins with the empty
    one says nothing) and the proof's length fits, `RootMismatch` if either root differs
    from what the proof leads to. Source: RFC 6962 section 2.1.2.
    """
    if not 0 < old <= new:
        raise ProofMalformed(f"sizes must grow from 1, {old} then {new} came")
    if old == new:
        if proof:
            raise ProofMalformed(f"proof has {len(proof)} hashes, {old} to {new} needs 0")
        _check_root(expected=old_root, calculated=new_root, what="consistency, same size")
        return
    _check_hashes((old_root, new_root, *proof))
    # The climb starts at the largest perfect subtree that ends where the old tree ends;
    # when that is the whole old tree, the proof leaves it out, as its root is known.
    level = (old & -old).bit_length() - 1
    inner, border = _path_lengths(old - 1, new)
    inner -= level
    is_whole = old == 1 << level
    needed = inner + border + (0 if is_whole else 1)
    if len(proof) != needed:
        raise ProofMalformed(
            f"proof has {len(proof)} hashes, {old} to {new} needs {needed}"
        )
    seed, path = (old_root, proof) if is_whole else (proof[0], proof[1:])
    place = (old - 1) >> level
    left_siblings = [h for i, h in enumerate(path[:inner]) if place >> i & 1]
    earlier = _climb_border(seed, [*left_siblings, *path[inner:]])
    _check_root(expected=old_root, calculated=earlier, what="consistency, earlier tree")
    later = _climb_border(_climb(seed, path[:inner], place), path[inner:])
    _check_root(expected=new_root, calculated=later, what="consistency, later tree")


def _split(width: int) -> int:
    """The largest power of two below `width` >= 2."""
    return 1 << ((width - 1).bit_length() - 1)


def covering(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of the perfect subtrees over [begin, end), widest first.

    Requires 0 <= begin <= end, and that begin is aligned to the widest of them.
    """
    width = end - begin
    for level in reversed(range(width.bit_length())):
        if width >> level & 1:
            yield level, begin >> level
            begin += 1 << level


def _covering(store: Store, begin: int, end: int) -> Iterator[bytes]:
    for level, index in covering(begin, end):
        stored = store.node(level, index)
        if stored is None:
            raise TreeIncomplete(
                f"a tree of {end} has node {index} of level {level}, none came"
            )
        yield stored


def _subtree(store: Store, begin: int, end: int) -> bytes:
    return _fold(list(_covering(store, begin, end)))


def _fold(hashes: Sequence[bytes]) -> bytes:
    return _climb_border(hashes[-1], hashes[-2::-1])


def _path_lengths(index: int, size: int) -> tuple[int, int]:
    """How many hashes lie below, and how many above, the point where the path of `index`
    meets the tree's right border; above it every sibling is on the left."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _climb(seed: bytes, path: Sequence[bytes], place: int) -> bytes:
    for level, sibling in enumerate(path):
        on_the_right = place >> level & 1
        seed = (
            hash_children(sibling, seed) if on_the_right else hash_children(seed, sibling)
        )
    return seed


def _climb_border(seed: bytes, path: Sequence[bytes]) -> bytes:
    for sibling in path:
        seed = hash_children(sibling, seed)
    return seed


def _check_hashes(hashes: Iterable[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofMalformed(f"a hash has {HASH_BYTES} bytes, {len(value)} came")


def _check_root(*, expected: bytes, calculated: bytes, what: str) -> None:
    if expected != calculated:
        raise RootMismatch(expected=expected, calculated=calculated, what=what)
