"""What the parts of one query share while it is bound: facts, WITH, blocks, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sandbox.binding.facts import Facts
from sandbox.binding.items import Item
from sandbox.plan.block import Block
from sandbox.plan.results import Relation
from sandbox.sql import syntax

Schemas = Mapping[str, Sequence[tuple[str, str]]]
MAX_BLOCKS = 40
MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Environment:
    """The queries of WITH that a place can see, by lower-case name, with what they see."""

    queries: Mapping[str, tuple[syntax.Query, Environment]] = field(default_factory=dict)
    depth: int = 0
    copy: int = 0  # which reading of its tables this is, where one is joined with itself

    def copied(self, copy: int) -> Environment:
        """Return the environment in which base tables are read as that copy."""
        return replace(self, copy=copy or self.copy)

    def within(self, named: Sequence[tuple[str, syntax.Query]]) -> Environment:
        """Return the environment inside a query whose WITH names these.

        Each sees those before it; one of the same name as an outer one shadows it.
        """
        found = self
        for name, query in named:
            queries = {**found.queries, name.lower(): (query, found)}
            found = replace(found, queries=queries)
        return replace(found, depth=self.depth + 1)


class Queries(Protocol):
    """Binds a query inside another one."""

    def query(
        self, query: syntax.Query, environment: Environment, *, as_result: bool = False
    ) -> Item | None:
        """Bind a query; None where it is refused.

        `as_result`: rows of public tables come as a result, which stage 2 computes.
        """


@dataclass(slots=True)
class Context:
    """Collects what a query is made of, as its parts are bound."""

    facts: Facts
    schemas: Schemas
    blocks: list[Block] = field(default_factory=list)
    parameters: list[Relation] = field(default_factory=list)

    def block(self, block: Block) -> int:
        """Return the number of a block; equal blocks are one, and answered once."""
        if block not in self.blocks:
            self.blocks.append(block)
        return self.blocks.index(block)

    def parameter(self, relation: Relation) -> int:
        """Return the number of a result that re-enters."""
        if relation not in self.parameters:
            self.parameters.append(relation)
        return self.parameters.index(relation)

    def scratch(self) -> Context:
        """Return a context to try a reading in, of which nothing stays."""
        return Context(self.facts.scratch(), self.schemas)
