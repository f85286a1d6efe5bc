"""What the binder finds out about a query, collected as it goes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from policies.document import Column, Policy, Role
from policies.shape import ColumnUse, Finding, JoinUse, Place, Usage
from sandbox.plan.terms import Ref
from sandbox.plan.view_columns import extended
from sandbox.plan.views import View
from sandbox.sql import syntax
from sandbox.sql.syntax import Expression

MAX_STEPS = 100_000


class TooManySteps(Exception):
    """A query unfolds to more nodes than are bound."""


@dataclass(slots=True)
class Facts:
    """Uses, joins, findings and aggregate families, in the order they were met."""

    policy: Policy
    uses: list[ColumnUse] = field(default_factory=list)
    joins: list[JoinUse] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    families: set[str] = field(default_factory=set)
    froms: list[tuple[str, ...]] = field(default_factory=list)
    refs: dict[tuple[str, str], Ref] = field(default_factory=dict)  # by lower-case column
    steps: int = 0
    views: dict[str, View] = field(default_factory=dict)
    names: dict[Ref, str] = field(default_factory=dict)  # of a view's columns, to readers
    # Of keys that an outer join may not find: the unit that they are where it does.
    found: dict[Ref, Ref] = field(default_factory=dict)

    def add_view(self, view: View) -> None:
        """Let a view be read as a table: the policy speaks of it from now on."""
        self.views[view.name] = view
        self.policy = extended(self.policy, (view,))
        made = {column.value: view.ref(column.name) for column in view.columns}
        for column in view.columns:
            self.refs[view.name, column.name] = view.ref(column.name)
            inner = self.found.get(column.value) if isinstance(column.value, Ref) else None
            if inner is not None and inner in made:
                self.found[view.ref(column.name)] = made[inner]

    def step(self) -> None:
        """Count one more node; raises TooManySteps where a query unfolds without end.

        A chain of WITH, each using the one before twice, doubles at every step.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TooManySteps

    def refuse(
        self, code: str, message: str, hint: str, place: Place | None = None
    ) -> None:
        """Note something that is refused whatever the policy says."""
        self.findings.append(Finding(code, message, hint, place))

    def use(
        self,
        ref: Ref,
        usage: Usage,
        place: Place | None,
        *,
        aggregate: str | None = None,
        on_grid: bool = True,
        detail: str = "",
    ) -> None:
        """Note one use of a column."""
        self.uses.append(
            ColumnUse(ref.table, ref.column, usage, place, aggregate, on_grid, detail)
        )

    @contextlib.contextmanager
    def trial(self) -> Iterator[Facts]:
        """Note what follows apart: it is in what is given, and here nothing stays of it."""
        kept = self.uses, self.joins, self.findings, self.families, self.froms
        self.uses, self.joins, self.findings = [], [], []
        self.families, self.froms = set(), []
        tried = Facts(self.policy)
        try:
            yield tried
        finally:
            tried.uses, tried.findings = self.uses, self.findings
            self.uses, self.joins, self.findings, self.families, self.froms = kept

    def column(self, ref: Ref) -> Column | None:
        """The policy's column behind a reference, or None where it names none."""
        table = self.policy.table(ref.table)
        return None if table is None else table.column(ref.column)

    def is_public(self, ref: Ref) -> bool:
        """Whether a reference is to a public table."""
        table = self.policy.table(ref.table)
        return table is not None and table.public

    def may_name(self, ref: Ref) -> bool:
        """Whether a hint may tell the column's name: hidden columns are not listed."""
        column = self.column(ref)
        return self.is_public(ref) or (column is not None and not column.has(Role.HIDDEN))

    def scratch(self) -> Facts:
        """A collector to try a reading with, whose findings nobody sees."""
        return Facts(
            self.policy,
            refs=self.refs,
            steps=self.steps,
            views=self.views,
            names=self.names,
            found=self.found,
        )


def place_of(expression: Expression) -> Place | None:
    """Return where an expression stands, or the place of its first part that knows."""
    if not isinstance(expression, (syntax.Not, syntax.Logical)):
        return expression.place
    match expression:
        case syntax.Not(item=item):
            return place_of(item)
        case syntax.Logical(items=items) if items:
            return place_of(items[0])
    return None
