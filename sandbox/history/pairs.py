"""What was released before, and the cells of a new answer that come too close to it.

A cell and an earlier one whose rows it contains differ by a set of units. If that set is
not empty and smaller than min_units, subtracting the answers tells about these few: the
later answer is withheld (DESIGN section 5, "Complement"). The same is checked against the
union of earlier cells inside a new one, and of new ones inside an earlier one, which is
how a total gives away the one group that was withheld.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.document import AggregateRule, Policy
from sandbox.disclosure.cell import Cell, Ground
from sandbox.disclosure.recombine import contributes
from sandbox.errors import QueryRejected
from sandbox.history.audit import Audit
from sandbox.history.entry import Label, Past, label_of, read_all
from sandbox.history.units import UnitsCompared
from sandbox.passes.folds import Fold, Merge
from sandbox.passes.holding import Holding
from sandbox.passes.rows import Answer, Rows
from sandbox.plan.block import Block, Unit
from sandbox.plan.expanding import Rows as BaseRows
from sandbox.plan.expanding import rows_of
from sandbox.plan.joint_rows import (
    agree,
    belongs_sql,
    core_of,
    is_public,
    joint_from,
    unit_sql,
)
from sandbox.plan.render import term_sql
from sandbox.plan.scalars import scalar
from sandbox.plan.terms import Ref, refs_of
from sandbox.plan.view_columns import extended
from sandbox.plan.views import base_tables, by_name


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie in one new cell (or none) and one earlier cell (or none)."""

    new: Label | None
    old: Label | None
    n: int
    units: int


class Comparing:
    """A new answer beside the earlier releases that it must not come too close to."""

    def __init__(
        self,
        block: Block,
        policy: Policy,
        rule: AggregateRule,
        pasts: Sequence[Past],
        rows: Rows,
    ) -> None:
        """Ask; `rows` must reach what the block and all of `pasts` read."""
        for past in pasts:
            rows.materialise(past.views, policy)
        policy = extended(policy, [view for past in pasts for view in past.views])
        self._steps: list[_Comparison | Audit | UnitsCompared] = []
        compared: set[Past] = set()
        for mine in rows_of(block, (*block.keys, *block.hidden)):
            alike: dict[Past, BaseRows] = {}
            for past in pasts:
                theirs = next(
                    (r for r in rows_of(past, past.keys) if _agree(mine, r, policy)), None
                )
                if theirs is None:
                    continue
                self._steps += [
                    _Comparison(
                        block, past, unit, mine, theirs, rule.min_units, policy, rows
                    )
                    for unit in block.units
                ]
                if core_of(mine.source, policy) == core_of(theirs.source, policy):
                    compared.add(past)
                if all(_agree(theirs, other, policy) for other in alike.values()):
                    alike[past] = theirs
            if alike:
                self._steps += [
                    Audit(
                        block, mine, alike, unit, rows,
                        policy=policy, min_units=rule.min_units,
                    )
                    for unit in block.units
                ]  # fmt: skip
        for past in pasts:
            if past in compared and not (block.views or past.views):
                continue
            self._steps += [
                UnitsCompared(
                    block, past, unit, rows, policy=policy, min_units=rule.min_units
                )
                for unit in block.units
            ]

    def mark(self, cells: Sequence[Cell]) -> None:
        """Mark the cells that would, beside earlier releases, tell about too few units."""
        for step in self._steps:
            step.mark(cells)


def _agree(one: BaseRows, other: BaseRows, policy: Policy) -> bool:
    return agree(one.source, other.source, policy)


def earlier(
    block: Block, policy: Policy, history: Sequence[str], holding: Holding
) -> list[Past]:
    """Return the releases that a block is compared with, each once.

    Raises QueryRejected where one cannot be read, or read tables that the job lacks.
    """
    found: dict[Past, None] = {}
    for past in (item for text in history for item in read_all(text)):
        if past.fingerprint == block.fingerprint:
            continue
        # What was aggregated does not matter: the same rows were told of.
        found[dataclasses.replace(past, fingerprint="")] = None
    own = _tables(block)
    protected = {name for name in own if _is_protected(name, policy)}
    shared = {name for name in own if not is_public(name, policy)}
    domains = {unit.domain for unit in block.units}
    kept = []
    for past in found:
        read = set(past.base_tables)
        if not holding.holds(read):
            if read & protected:
                raise _not_held()
        elif read & shared or domains & _domains_of(read, policy):
            kept.append(past)
    return kept


def _tables(block: Block) -> set[str]:
    views = by_name(block.views)
    return set(base_tables((*block.tables, *views), views))


def _is_protected(name: str, policy: Policy) -> bool:
    table = policy.table(name)
    return table is None or table.is_protected


def _domains_of(tables: Iterable[str], policy: Policy) -> set[str]:
    found = [policy.table(name) for name in tables]
    return {unit.domain for table in found if table is not None for unit in table.units}


def _not_held() -> QueryRejected:
    # Answering without the comparison would let a differencing pair through.
    return QueryRejected(
        "an earlier release joined this table with one that this grant does not hold, so "
        "the answer cannot be compared with it",
        hint="Ask under a grant whose policy names both tables, or ask the provider.",
        code="history_not_held",
    )


class _Comparison:
    """One new block against one earlier release, for one unit."""

    def __init__(
        self,
        block: Block,
        past: Past,
        unit: Unit,
        new: BaseRows,
        old: BaseRows,
        min_units: int,
        policy: Policy,
        rows: Rows,
    ) -> None:
        self._plan, self._past, self._unit = block, past, unit
        self._policy = policy
        self._new, self._old = new, old
        self._sources = (self._new.source, self._old.source)
        self._min_units = min_units
        self._rows = rows
        self._new_keys = (*block.keys, *block.hidden)
        self._asked = self._ask()

    def mark(self, cells: Sequence[Cell]) -> None:
        """Add the ground HISTORY to cells, smallest first where there is a choice."""
        labelled = {
            label_of(cell): cell
            for cell in cells
            if cell.is_safe and contributes(self._plan, cell)
        }
        if not labelled:
            return
        parts = self._parts()
        for label, cell in labelled.items():
            inside = {
                known
                for released in self._past.released
                if _lies_within(
                    parts, old=released, new=frozenset({label}), old_in_new=True
                )
                for known in released
            }
            rest = [part for part in parts if part.new == label and part.old not in inside]
            if inside and self._is_few(rest, frozenset({label}), inside, new_first=True):
                cell.withhold(Ground.HISTORY)
        for released in sorted(self._past.released, key=str):
            self._protect(released, parts, labelled)
        if self._asks_more_that_is_sensitive():
            self._protect_equal(parts, labelled)

    def _asks_more_that_is_sensitive(self) -> bool:
        new, old = (
            {
                ref
                for node in nodes
                for ref in refs_of(node)
                if _is_sensitive(ref, self._policy)
            }
            for nodes in (
                (self._plan.where, *self._new_keys),
                (self._past.where, *self._past.keys),
            )
        )
        return new != old

    def _protect_equal(self, parts: list[Part], labelled: dict[Label, Cell]) -> None:
        # The same rows with and without a condition on a sensitive column: all hold it.
        for label, cell in labelled.items():
            alone = frozenset({label})
            if any(
                _lies_within(parts, old=released, new=alone, old_in_new=True)
                and _lies_within(parts, old=released, new=alone, old_in_new=False)
                for released in self._past.released
            ):
                cell.withhold(Ground.UNANIMITY)

    def _protect(
        self, released: frozenset[Label], parts: list[Part], labelled: dict[Label, Cell]
    ) -> None:
        inside = [
            label
            for label, cell in labelled.items()
            if cell.is_safe
            and _lies_within(parts, old=released, new=frozenset({label}), old_in_new=False)
        ]
        inside.sort(key=lambda label: (labelled[label].units, str(label)))
        while inside:
            rest = [p for p in parts if p.old in released and p.new not in inside]
            if not self._is_few(rest, released, set(inside), new_first=False):
                return
            labelled[inside.pop(0)].withhold(Ground.HISTORY)

    # --- counting

    def _labelled_sql(self) -> str:
        unit = None
        if self._unit.ref is not None:
            unit = unit_sql(self._new.base(self._unit.ref), self._sources)
        new = [f"{term_sql(t)} AS c{i}" for i, t in enumerate(self._new.keys)]
        old = [f"{term_sql(t)} AS p{i}" for i, t in enumerate(self._old.keys)]
        columns = [
            *new,
            *old,
            f"{belongs_sql(self._sources[0])} AS is_new",
            f"{belongs_sql(self._sources[1])} AS is_old",
            f"{'row_number() OVER ()' if unit is None else unit} AS u",
        ]
        joint = joint_from(self._sources, self._policy)
        condition = "" if unit is None else f" WHERE {unit} IS NOT NULL"
        return f"SELECT {', '.join(columns)} FROM {joint}{condition}"

    def _ask(self) -> Answer:
        fresh = [f"CASE WHEN is_new THEN c{i} END" for i in range(len(self._new_keys))]
        past = [f"CASE WHEN is_old THEN p{i} END" for i in range(len(self._past.keys))]
        names = ", ".join([*fresh, *past, "is_new", "is_old"])
        return self._rows.ask(
            f"SELECT {names}, count(*), count(DISTINCT u) "
            f"FROM ({self._labelled_sql()}) AS l WHERE is_new OR is_old GROUP BY ALL",
            Fold(len(fresh) + len(past) + 2, (Merge.SUM, Merge.SUM)),
        )

    def _parts(self) -> list[Part]:
        width = len(self._new_keys)
        total = width + len(self._past.keys)
        parts = []
        for row in self._asked.rows:
            old = tuple(map(scalar, row[width:total])) if row[total + 1] else None
            new = tuple(map(scalar, row[:width])) if row[total] else None
            n, units = row[total + 2 :]
            assert isinstance(n, int)
            assert isinstance(units, int)
            parts.append(Part(new, old, n, units))
        return parts

    def _is_few(
        self,
        rest: list[Part],
        whole: frozenset[Label],
        without: set[Label],
        *,
        new_first: bool,
    ) -> bool:
        """Whether the units of `rest` are some, but fewer than min_units."""
        if not rest or max(part.units for part in rest) >= self._min_units:
            return False
        upper = sum(part.units for part in rest)
        if self._unit.ref is None or upper < self._min_units:
            return upper < self._min_units
        return self._exact(whole, without, new_first=new_first) < self._min_units

    def _exact(
        self, whole: frozenset[Label], without: set[Label], *, new_first: bool
    ) -> int:
        # Only where neither bound decides: the same unit may stand in several parts.
        values: list[object] = []
        one, other = (("is_new", "c"), ("is_old", "p"))[:: 1 if new_first else -1]
        inside = _any_label(*one, whole, values)
        excluded = _any_label(*other, without, values)
        ((units,),) = self._rows.ask(
            f"SELECT count(DISTINCT u) FROM ({self._labelled_sql()}) AS l "
            f"WHERE ({inside}) AND NOT ({excluded})",
            Fold(0, (Merge.SUM,)),
            values,
        ).rows
        assert isinstance(units, int)
        return units


def _any_label(
    flag: str, prefix: str, labels: Iterable[Label], values: list[object]
) -> str:
    found = []
    for label in sorted(labels, key=str):
        values += label
        equal = [
            f"{prefix}{i}::VARCHAR IS NOT DISTINCT FROM ?::VARCHAR"
            for i in range(len(label))
        ]
        found.append(f"({' AND '.join([flag, *equal])})")
    return " OR ".join(found)


def _lies_within(
    parts: Iterable[Part], *, old: frozenset[Label], new: frozenset[Label], old_in_new: bool
) -> bool:
    """Whether there are rows of the inner set, and all of them are rows of the outer."""
    inner = [p for p in parts if (p.old in old if old_in_new else p.new in new)]
    return bool(inner) and all(
        (p.new in new if old_in_new else p.old in old) for p in inner
    )


def _is_sensitive(ref: Ref, policy: Policy) -> bool:
    table = policy.table(ref.table)
    column = None if table is None else table.column(ref.column)
    return column is not None and column.sensitive
