"""The corpora of queries, as they lie on disk: honest ones of our own, hostile, shared."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.attacks.oracle import Question
from tests.attacks.world import CORPUS

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("BONDED_SHARED", ROOT.parent / "shared")) / "corpus"
# Honest queries are answered whole or in part; refusing a hostile one is always safe.
ALLOWED = {
    "allow": {"allow", "suppress"},
    "suppress": {"suppress", "refuse"},
    "refuse": {"refuse"},
}


def read(path: Path) -> Any:
    """Read one YAML file of the corpora."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def honest() -> list[Question]:
    """Return every honest question of our own, in the order of the files."""
    found = []
    for path in sorted((CORPUS / "honest").glob("*.yaml")):
        data = read(path)
        found += [
            Question(
                item["id"],
                item["class"],
                item["sql"],
                data["world"],
                tuple(item.get("oracle", ())),
                item.get("approximate", {}),
                item.get("share", {}),
                tuple(item.get("over_values", ())),
            )
            for item in data["queries"]
        ]
    return found


@dataclass(frozen=True, slots=True)
class Attack:
    """A hostile query and the verdict that it must get."""

    id: str
    kind: str  # its class
    sql: str
    expected: str
    world: str
    codes: frozenset[str]  # one of them must be among the reasons; empty: any
    secret: str = ""  # SQL of what the plain answer tells and ours must not
    open: str = ""  # why it still gets through


@dataclass(frozen=True, slots=True)
class Series:
    """Several queries of one consumer, whose answers together would tell a secret."""

    name: str
    world: str
    secret: str
    steps: tuple[str, ...]


def series() -> list[Series]:
    """Return every session of the wider grammar."""
    return [
        Series(item["name"], item["world"], item["secret"], tuple(item["steps"]))
        for item in read(CORPUS / "sessions-wide.yaml")["sessions"]
    ]


def hostile(pattern: str = "hostile*.yaml") -> list[Attack]:
    """Return every hostile query of our own, in the order of the files."""
    found = []
    for path in sorted(CORPUS.glob(pattern)):
        data = read(path)
        world = data.get("world", "ships")
        found += [
            Attack(
                f"{world}-{group['name']}-{number:02}",
                group["name"],
                sql,
                group["expected"],
                world,
                frozenset(group.get("codes", ())),
                group.get("secret", ""),
                group.get("open", ""),
            )
            for number, group, sql in _numbered(data["classes"])
        ]
    return found


def _numbered(groups: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Number the queries of each class; several groups may be of one class."""
    counts: Counter[str] = Counter()
    for group in groups:
        for sql in group["queries"]:
            counts[group["name"]] += 1
            yield counts[group["name"]], group, sql
