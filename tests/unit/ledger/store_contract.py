"""What every `ledger.merkle.Store` owes; one class, run against each of them."""

from __future__ import annotations

import pytest

from ledger import merkle
from ledger.errors import NodeExists


class StoreContract:
    """Subclass it and give a fixture `store` with an empty store."""

    def test_node_never_put_is_none(self, store: merkle.Store) -> None:
        store.put_nodes([merkle.Node(0, 0, b"a" * 32)])

        assert store.node(0, 1) is None
        assert store.node(1, 0) is None

    def test_node_put_is_answered(self, store: merkle.Store) -> None:
        store.put_nodes([merkle.Node(0, 5, b"a" * 32), merkle.Node(3, 5, b"b" * 32)])

        assert store.node(0, 5) == b"a" * 32
        assert store.node(3, 5) == b"b" * 32

    def test_put_nodes_twice_is_refused_and_keeps_none(self, store: merkle.Store) -> None:
        store.put_nodes([merkle.Node(0, 1, b"a" * 32)])

        with pytest.raises(NodeExists):
            store.put_nodes([merkle.Node(0, 0, b"b" * 32), merkle.Node(0, 1, b"c" * 32)])

        assert store.node(0, 0) is None
        assert store.node(0, 1) == b"a" * 32

    def test_two_writers_at_one_size_second_is_refused(self, store: merkle.Store) -> None:
        first = [merkle.hash_leaf(bytes([number])) for number in range(5)]
        merkle.append(store, 0, first[:3])
        merkle.append(store, 3, first[3:])

        with pytest.raises(NodeExists):
            merkle.append(store, 3, [merkle.hash_leaf(b"late")])

        assert merkle.root(store, 5) == merkle.append(merkle.MemoryStore(), 0, first).root()

    def test_tree_grows_and_proves(self, store: merkle.Store) -> None:
        leaves = [merkle.hash_leaf(bytes([number])) for number in range(11)]
        for size, leaf in enumerate(leaves):
            merkle.append(store, size, [leaf])

        for index in range(11):
            merkle.verify_inclusion(
                leaf_hash=leaves[index],
                index=index,
                size=11,
                proof=merkle.prove_inclusion(store, index, 11),
                root=merkle.root(store, 11),
            )
