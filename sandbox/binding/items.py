"""What may stand in FROM, bound: rows that belong to units, results, or public tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from policies.shape import Usage
from sandbox.plan.results import Relation
from sandbox.plan.terms import Gap, Predicate, Ref, Term
from sandbox.sql import syntax


class RowTerms(Protocol):
    """Binds expressions over the rows of one SELECT."""

    def term(self, expression: syntax.Expression, usage: Usage) -> Term | None:
        """Bind an expression; a bare column in it is noted with `usage`."""

    def ref(self, expression: syntax.Expression) -> Ref | None:
        """Return the column that an expression plainly is, or None; nothing is noted."""

    def gap(self, expression: syntax.Expression) -> Gap | None:
        """Return the difference of dates that this is, or None; nothing is noted."""

    def expanded(self, column: syntax.Column) -> tuple[syntax.Expression, RowTerms] | None:
        """Return what an alias or a column of a derived table stands for, and where."""

    def blame(self, expression: syntax.Expression) -> None:
        """Note every column in an expression as used in an unknown way."""


@dataclass(frozen=True, slots=True)
class Projected:
    """A column of a derived table: an expression over the rows of an inner SELECT.

    It is bound where it is used, with what is done to it there.
    """

    expression: syntax.Expression
    terms: RowTerms


@dataclass(frozen=True, slots=True)
class Reentered:
    """A column of a controlled result that stands beside rows in FROM."""

    relation: Relation
    column: int


Meaning = Ref | Projected | Reentered


@dataclass(frozen=True, slots=True)
class RowsItem:
    """Rows of protected or public tables, with the columns that they show, in order.

    `names` holds the columns as they were written, for `*`; hidden ones are among them.
    """

    tables: tuple[str, ...]
    joins: tuple[tuple[Ref, Ref], ...]
    where: tuple[Predicate, ...]
    columns: Mapping[str, Ref | Projected]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResultItem:
    """A controlled relation with the names of its columns."""

    relation: Relation
    names: tuple[str, ...]


Item = RowsItem | ResultItem


@dataclass(frozen=True, slots=True)
class Bound:
    """An item of FROM under its alias, with what each lower-case name means in it."""

    alias: str
    columns: Mapping[str, Meaning]
    names: tuple[str, ...]
