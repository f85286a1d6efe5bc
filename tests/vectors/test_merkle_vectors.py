"""Published vectors: the RFC 6962 example log, and transparency-dev/merkle's verdicts.

The first are committed; the others are read from BONDED_VECTORS/merkle, by default beside
the checkout, and skipped where they are not.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ledger import merkle
from ledger.errors import LedgerError

ROOT = Path(__file__).parents[2]
KNOWN = json.loads((Path(__file__).parent / "rfc6962.json").read_text("utf-8"))
ENTRIES = [bytes.fromhex(entry) for entry in KNOWN["entries"]]
ROOTS = [bytes.fromhex(root) for root in KNOWN["roots"]]
PUBLISHED = (
    Path(os.environ.get("BONDED_VECTORS", ROOT.parent / "shared/vectors")) / "merkle"
)
CASES = sorted(PUBLISHED.rglob("*.json"))


def case_name(case: Path) -> str:
    return str(case.relative_to(PUBLISHED).with_suffix(""))


def hashes(proof: list[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(sibling) for sibling in proof)


@pytest.fixture(scope="module")
def store() -> merkle.MemoryStore:
    tree = merkle.MemoryStore()
    merkle.append(tree, 0, map(merkle.hash_leaf, ENTRIES))
    return tree


def test_roots_are_the_known_answers(store: merkle.MemoryStore) -> None:
    assert [merkle.root(store, size) for size in range(len(ROOTS))] == ROOTS


@pytest.mark.parametrize("known", KNOWN["inclusion"])
def test_inclusion_proof_is_the_known_answer(
    store: merkle.MemoryStore, known: dict[str, Any]
) -> None:
    index, size, proof = known["index"], known["size"], hashes(known["proof"])

    assert merkle.prove_inclusion(store, index, size) == proof
    merkle.verify_inclusion(
        leaf_hash=merkle.hash_leaf(ENTRIES[index]),
        index=index,
        size=size,
        proof=proof,
        root=ROOTS[size],
    )


@pytest.mark.parametrize("known", KNOWN["consistency"])
def test_consistency_proof_is_the_known_answer(
    store: merkle.MemoryStore, known: dict[str, Any]
) -> None:
    old, new, proof = known["old"], known["new"], hashes(known["proof"])

    assert merkle.prove_consistency(store, old, new) == proof
    merkle.verify_consistency(
        old=old, new=new, old_root=ROOTS[old], new_root=ROOTS[new], proof=proof
    )


@pytest.mark.skipif(not CASES, reason=f"no published vectors in {PUBLISHED}")
def test_published_vectors_are_all_there() -> None:
    assert len(CASES) == 196
    assert {case.relative_to(PUBLISHED).parts[0] for case in CASES} == {
        "inclusion",
        "consistency",
    }


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_published_verdict(case: Path) -> None:
    vector = json.loads(case.read_text("utf-8"))

    assert is_refused(vector) == vector["wantErr"], vector["desc"]


def is_refused(vector: dict[str, Any]) -> bool:
    proof = [base64.b64decode(sibling) for sibling in vector["proof"] or []]
    try:
        if "leafIdx" in vector:
            merkle.verify_inclusion(
                leaf_hash=base64.b64decode(vector["leafHash"] or ""),
                index=vector["leafIdx"],
                size=vector["treeSize"],
                proof=proof,
                root=base64.b64decode(vector["root"] or ""),
            )
        else:
            merkle.verify_consistency(
                old=vector["size1"],
                new=vector["size2"],
                old_root=base64.b64decode(vector["root1"] or ""),
                new_root=base64.b64decode(vector["root2"] or ""),
                proof=proof,
            )
    except LedgerError:
        return True
    return False
