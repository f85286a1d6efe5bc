"""The staged plan of a query and its fingerprint (DESIGN section 5).

Blocks are protecting aggregations; `result` is what stage 2 computes over their cells.
`parameters` are controlled results that re-enter: the WHERE of a later block may compare
with them (`sandbox.plan.terms.Parameter`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from sandbox.plan.block import Block
from sandbox.plan.canonical import to_data
from sandbox.plan.results import Relation

FORMAT = "bonded-plan/2"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be run: equal for queries that mean the same, whatever they are called."""

    blocks: tuple[Block, ...]
    result: Relation
    parameters: tuple[Relation, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the canonical plan, in hex."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def text(self) -> str:
        """The canonical plan as JSON."""
        return json.dumps(
            [FORMAT, to_data(self)], ensure_ascii=False, separators=(",", ":")
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that its blocks read, without repetition."""
        return tuple(dict.fromkeys(name for block in self.blocks for name in block.tables))
