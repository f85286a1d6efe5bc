"""The tree, against a reference that is RFC 6962's own recursion, word for word."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger import merkle
from ledger.errors import (
    NodeExists,
    OutOfRange,
    ProofMalformed,
    RootMismatch,
    TreeIncomplete,
)
from tests.unit.ledger.store_contract import StoreContract

Draw = Callable[[st.SearchStrategy[Any]], Any]
law = settings(deadline=None)
leaves = st.lists(st.binary(max_size=4), min_size=1, max_size=70)


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> merkle.MemoryStore:
        return merkle.MemoryStore()


def tree_of(entries: list[bytes]) -> merkle.MemoryStore:
    store = merkle.MemoryStore()
    merkle.append(store, 0, map(merkle.hash_leaf, entries))
    return store


def reference_root(entries: list[bytes]) -> bytes:
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = reference_split(len(entries))
    halves = reference_root(entries[:k]) + reference_root(entries[k:])
    return hashlib.sha256(b"\1" + halves).digest()


def reference_path(m: int, entries: list[bytes]) -> list[bytes]:
    if len(entries) == 1:
        return []
    k = reference_split(len(entries))
    if m < k:
        return [*reference_path(m, entries[:k]), reference_root(entries[k:])]
    return [*reference_path(m - k, entries[k:]), reference_root(entries[:k])]


def reference_subproof(m: int, entries: list[bytes], *, is_known: bool) -> list[bytes]:
    if m == len(entries):
        return [] if is_known else [reference_root(entries)]
    k = reference_split(len(entries))
    if m <= k:
        known = reference_subproof(m, entries[:k], is_known=is_known)
        return [*known, reference_root(entries[k:])]
    return [
        *reference_subproof(m - k, entries[k:], is_known=False),
        reference_root(entries[:k]),
    ]


def reference_split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def alter(draw: Draw, hashes: list[bytes]) -> list[bytes]:
    """One bit flipped, or one hash dropped, doubled, added or exchanged."""
    kind = draw(st.sampled_from(["flip", "drop", "double", "add", "swap"]))
    if kind == "add" or not hashes:
        place = draw(st.integers(0, len(hashes)))
        return [*hashes[:place], draw(st.binary(min_size=32, max_size=32)), *hashes[place:]]
    place = draw(st.integers(0, len(hashes) - 1))
    if kind == "flip":
        return [*hashes[:place], flipped(draw, hashes[place]), *hashes[place + 1 :]]
    if kind == "swap":
        other = draw(st.integers(0, len(hashes) - 1))
        changed = list(hashes)
        changed[place], changed[other] = changed[other], changed[place]
        return changed
    return (
        hashes[:place] + hashes[place : place + 1] * (kind == "double") + hashes[place:][1:]
    )


def flipped(draw: Draw, value: bytes) -> bytes:
    bit = draw(st.integers(0, len(value) * 8 - 1))
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))


@law
@given(entries=leaves)
def test_root_is_that_of_the_specification(entries: list[bytes]) -> None:
    store = tree_of(entries)

    roots = [merkle.root(store, size) for size in range(len(entries) + 1)]

    assert roots == [reference_root(entries[:size]) for size in range(len(entries) + 1)]


@law
@given(entries=leaves, data=st.data())
def test_append_in_any_batches_gives_one_tree(
    entries: list[bytes], data: st.DataObject
) -> None:
    whole, parts = tree_of(entries), merkle.MemoryStore()
    hashes = [merkle.hash_leaf(entry) for entry in entries]

    done = 0
    while done < len(hashes):
        batch = data.draw(st.integers(0, len(hashes) - done) if done else st.just(1))
        batch = max(batch, 1)
        edge = merkle.append(parts, done, hashes[done : done + batch])
        done += batch

    assert edge.root() == merkle.root(whole, len(entries))
    assert parts._nodes == whole._nodes


@law
@given(entries=leaves, data=st.data())
def test_prove_inclusion_is_that_of_the_specification_and_verifies(
    entries: list[bytes], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(entries)))
    index = data.draw(st.integers(0, size - 1))
    store = tree_of(entries)

    proof = merkle.prove_inclusion(store, index, size)

    assert list(proof) == reference_path(index, entries[:size])
    merkle.verify_inclusion(
        leaf_hash=merkle.hash_leaf(entries[index]),
        index=index,
        size=size,
        proof=proof,
        root=reference_root(entries[:size]),
    )


@law
@given(count=st.integers(1, 70), data=st.data())
def test_verify_inclusion_altered_is_refused(count: int, data: st.DataObject) -> None:
    entries = [number.to_bytes(2) for number in range(count)]
    index = data.draw(st.integers(0, count - 1))
    store = tree_of(entries)
    honest: dict[str, Any] = {
        "leaf_hash": merkle.hash_leaf(entries[index]),
        "index": index,
        "size": count,
        "proof": list(merkle.prove_inclusion(store, index, count)),
        "root": merkle.root(store, count),
    }
    what = data.draw(st.sampled_from(["leaf_hash", "index", "proof", "root"]))
    change = {
        "leaf_hash": lambda: flipped(data.draw, honest["leaf_hash"]),
        "root": lambda: flipped(data.draw, honest["root"]),
        "index": lambda: data.draw(st.integers(-1, count)),
        "proof": lambda: alter(data.draw, honest["proof"]),
    }[what]()
    assume(change != honest[what])

    with pytest.raises((ProofMalformed, RootMismatch)):
        merkle.verify_inclusion(**{**honest, what: change})


@law
@given(entries=leaves, data=st.data())
def test_prove_consistency_is_that_of_the_specification_and_verifies(
    entries: list[bytes], data: st.DataObject
) -> None:
    new = data.draw(st.integers(1, len(entries)))
    old = data.draw(st.integers(1, new))
    store = tree_of(entries)

    proof = merkle.prove_consistency(store, old, new)

    assert list(proof) == reference_subproof(old, entries[:new], is_known=True)
    merkle.verify_consistency(
        old=old,
        new=new,
        old_root=reference_root(entries[:old]),
        new_root=reference_root(entries[:new]),
        proof=proof,
    )


@law
@given(new=st.integers(1, 70), data=st.data())
def test_verify_consistency_altered_is_refused(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    store = tree_of([number.to_bytes(2) for number in range(new)])
    honest: dict[str, Any] = {
        "old": old,
        "new": new,
        "old_root": merkle.root(store, old),
        "new_root": merkle.root(store, new),
        "proof": list(merkle.prove_consistency(store, old, new)),
    }
    what = data.draw(st.sampled_from(["old_root", "new_root", "proof"]))
    change = (
        alter(data.draw, honest["proof"])
        if what == "proof"
        else flipped(data.draw, honest[what])
    )
    assume(change != honest[what])

    with pytest.raises((ProofMalformed, RootMismatch)):
        merkle.verify_consistency(**{**honest, what: change})


@law
@given(entries=leaves, data=st.data())
def test_verify_consistency_rewritten_history_is_refused(
    entries: list[bytes], data: st.DataObject
) -> None:
    """A node that altered an entry cannot prove that its log begins with the old one."""
    old = data.draw(st.integers(1, len(entries)))
    place = data.draw(st.integers(0, old - 1))
    rewritten = [*entries[:place], entries[place] + b"!", *entries[place + 1 :]]
    store = tree_of(rewritten)

    with pytest.raises(RootMismatch) as refused:
        merkle.verify_consistency(
            old=old,
            new=len(entries),
            old_root=reference_root(entries[:old]),
            new_root=merkle.root(store, len(entries)),
            proof=merkle.prove_consistency(store, old, len(entries)),
        )

    assert refused.value.expected != refused.value.calculated


@law
@given(entries=leaves)
def test_frontier_grown_without_a_store_has_the_root(entries: list[bytes]) -> None:
    edge = merkle.Frontier()

    for entry in entries:
        edge.append(merkle.hash_leaf(entry))

    assert edge.root() == reference_root(entries)
    assert merkle.Frontier(edge.size, edge.hashes).root() == edge.root()


def test_root_empty_tree_is_hash_of_nothing() -> None:
    assert merkle.root(merkle.MemoryStore(), 0) == hashlib.sha256(b"").digest()


def test_append_nothing_writes_nothing() -> None:
    store = merkle.MemoryStore()

    edge = merkle.append(store, 0, [])

    assert edge.size == 0
    assert edge.hashes == ()


def test_append_to_a_size_the_store_lacks_is_refused() -> None:
    with pytest.raises(TreeIncomplete, match="a tree of 3 has node 0 of level 1"):
        merkle.append(merkle.MemoryStore(), 3, [merkle.hash_leaf(b"")])


def test_append_again_is_refused() -> None:
    store = tree_of([b"a", b"b"])

    with pytest.raises(NodeExists):
        merkle.append(store, 1, [merkle.hash_leaf(b"b")])


@pytest.mark.parametrize(("index", "size"), [(-1, 2), (2, 2), (0, 0)])
def test_prove_inclusion_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(OutOfRange):
        merkle.prove_inclusion(tree_of([b"a", b"b"]), index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 2), (2, 1), (-1, 1)])
def test_prove_consistency_outside_the_tree_is_refused(old: int, new: int) -> None:
    with pytest.raises(OutOfRange):
        merkle.prove_consistency(tree_of([b"a", b"b"]), old, new)


def test_verify_inclusion_says_how_many_hashes_are_needed() -> None:
    with pytest.raises(ProofMalformed, match="proof has 0 hashes, index 9 of 11 needs 3"):
        merkle.verify_inclusion(
            leaf_hash=bytes(32), index=9, size=11, proof=[], root=bytes(32)
        )


@pytest.mark.parametrize(("index", "size"), [(-1, 2), (2, 2), (3, 2), (0, 0)])
def test_verify_inclusion_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofMalformed, match=f"in a tree of {size}, {index} came"):
        merkle.verify_inclusion(
            leaf_hash=bytes(32), index=index, size=size, proof=[], root=bytes(32)
        )


@pytest.mark.parametrize(("old", "new"), [(-1, 2), (0, 0), (0, 2), (3, 2)])
def test_verify_consistency_of_sizes_that_do_not_grow_is_refused(
    old: int, new: int
) -> None:
    with pytest.raises(ProofMalformed, match=f"{old} then {new} came"):
        merkle.verify_consistency(
            old=old, new=new, old_root=bytes(32), new_root=bytes(32), proof=[]
        )


def test_verify_inclusion_hash_of_another_length_is_refused() -> None:
    """Else a byte could move from one sibling to the next and give the same node."""
    with pytest.raises(ProofMalformed, match="32 bytes, 31 came"):
        merkle.verify_inclusion(
            leaf_hash=bytes(32), index=0, size=2, proof=[bytes(31)], root=bytes(32)
        )


@pytest.mark.parametrize(
    ("size", "hashes", "sentence"),
    [
        (-1, [], "0 or more entries, came -1"),
        (3, [bytes(32)], "a tree of 3 is covered by 2 hashes, 1 came"),
        (1, [bytes(5)], "32 bytes, 5 came"),
    ],
)
def test_frontier_that_does_not_fit_is_refused(
    size: int, hashes: list[bytes], sentence: str
) -> None:
    with pytest.raises(ProofMalformed, match=sentence):
        merkle.Frontier(size, hashes)


def test_verify_consistency_hash_of_another_length_is_refused() -> None:
    """Else the old root could carry bytes over into its sibling and give the same node."""
    store = tree_of([b"a", b"b", b"c"])
    (sibling,) = merkle.prove_consistency(store, 2, 3)

    with pytest.raises(ProofMalformed, match="32 bytes, 33 came"):
        merkle.verify_consistency(
            old=2,
            new=3,
            old_root=merkle.root(store, 2) + sibling[:1],
            new_root=merkle.root(store, 3),
            proof=[sibling[1:]],
        )
