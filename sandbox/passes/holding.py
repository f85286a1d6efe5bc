"""The tables of a job: open at once where they fit, else in parts for each block."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import duckdb
import pyarrow as pa

from policies.document import Policy
from sandbox.binding.derived import add_derived
from sandbox.engine import show
from sandbox.errors import ResourceExceeded
from sandbox.passes.alignment import Alignment, Misaligned
from sandbox.passes.choosing import Division, divided, everything, needs_more_memory
from sandbox.passes.facts import Facts
from sandbox.passes.rows import InParts, Rows, Whole, names_in
from sandbox.passes.spreading import Spreading
from sandbox.plan.joint_rows import Join
from sandbox.plan.terms import Kind, Predicate, Term, kind_of_type
from sandbox.plan.views import View, by_name
from sandbox.quoting import quoted


class ImageSource(Protocol):
    """The images of a job's tables, to be opened as they are needed.

    `tables` has the bytes of each shard's image; at most `budget_bytes` are to be open at
    once. A path names one image only, for as long as the job runs.
    """

    @property
    def tables(self) -> Mapping[str, tuple[int, ...]]:
        """Bytes of each shard's image, by table."""

    @property
    def budget_bytes(self) -> int:
        """What may be open at once."""

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return the paths of exactly these; whatever was opened before is closed."""


class Reading(Protocol):
    """What has rows: a block, or an earlier release."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables and views in FROM."""

    @property
    def joins(self) -> tuple[Join, ...]:
        """The equalities that join them."""

    @property
    def views(self) -> tuple[View, ...]:
        """The views that it reads, each after those it reads."""

    @property
    def nodes(self) -> tuple[Term | Predicate, ...]:
        """Its filter and keys."""

    @property
    def base_tables(self) -> tuple[str, ...]:
        """The tables of the policy that it reads, in FROM, views and semi-joins."""


class Holding(Protocol):
    """The tables that a job may read.

    Every implementation gives the same rows for the same statements; what it cannot read
    within its memory it refuses with ResourceExceeded (`needs_more_memory`).
    """

    def holds(self, tables: Iterable[str]) -> bool:
        """Whether the job has all of `tables`."""

    def rows_for(self, readings: Sequence[Reading]) -> Rows:
        """Return the rows of all that the readings read, until the next call."""

    def public(self, name: str) -> pa.Table:
        """Return the rows of a public table; ends what `rows_for` gave."""


class AllOpen:
    """Tables that are open in a connection, all of them."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        policy: Policy,
        paths: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Requires that tables with `paths` are views over these files."""
        self._connection = connection
        self._facts = Facts(connection, paths or {})
        add_derived(policy, connection)

    def holds(self, tables: Iterable[str]) -> bool:
        """Whether the job has all of `tables`."""
        return set(tables) <= names_in(self._connection)

    def rows_for(self, readings: Sequence[Reading]) -> Rows:  # noqa: ARG002 - all are open
        """Return the rows of all tables."""
        return Whole(self._connection, self._facts)

    def public(self, name: str) -> pa.Table:
        """Return the rows of a public table."""
        return self._connection.table(name).to_arrow_table()


class OpenInParts:
    """Tables that do not all fit: what a block reads is opened, in parts if need be."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, policy: Policy, source: ImageSource
    ) -> None:
        self._connection, self._policy, self._source = connection, policy, source
        self._rows: InParts | None = None
        self._parts: _OpenParts | None = None

    def holds(self, tables: Iterable[str]) -> bool:
        """Whether the job has all of `tables`."""
        return set(tables) <= set(self._source.tables)

    def rows_for(self, readings: Sequence[Reading]) -> Rows:
        """Return the rows of what the readings read; raises ResourceExceeded."""
        self._end()
        names = sorted({name for reading in readings for name in reading.base_tables})
        division = self._division(names, readings)
        self._parts = _OpenParts(self._connection, self._policy, self._source, division)
        self._rows = InParts(self._connection, self._parts)
        return self._rows

    def public(self, name: str) -> pa.Table:
        """Return the rows of a public table."""
        self._end()
        if sum(self._source.tables[name]) > self._source.budget_bytes:
            raise needs_more_memory("the public tables that it reads do not fit at once")
        division = everything(self._source.tables, [name])
        parts = _OpenParts(self._connection, self._policy, self._source, division)
        parts.open(0)
        rows = self._connection.table(name).to_arrow_table()
        parts.close()
        return rows

    def _division(self, names: Collection[str], readings: Sequence[Reading]) -> Division:
        sizes, budget = self._source.tables, self._source.budget_bytes
        if sum(sum(sizes[name]) for name in names) <= budget:
            return everything(sizes, names)
        try:
            units = _aligned(readings, self._policy)
        except Misaligned as error:
            raise _not_aligned(error) from None
        partitioned = [name for name in names if units[name] is not None]
        return self._divided(
            partitioned=partitioned,
            whole=[name for name in names if units[name] is None],
            spreads=all(units[name] for name in partitioned),
        )

    def _divided(
        self, *, partitioned: Sequence[str], whole: Sequence[str], spreads: bool
    ) -> Division:
        return divided(
            self._source.tables,
            partitioned=partitioned,
            whole=whole,
            budget_bytes=self._source.budget_bytes,
            spreads=spreads,
        )

    def _end(self) -> None:
        if self._rows is not None:
            self._rows.close()
        if self._parts is not None:
            self._parts.close()
        self._rows = self._parts = None


def _not_aligned(error: Misaligned) -> ResourceExceeded:
    return needs_more_memory(f"it has {error}, so it cannot be read in parts")


def fits(source: ImageSource) -> bool:
    """Whether every table of a job can be open at once."""
    return sum(map(sum, source.tables.values())) <= source.budget_bytes


def _aligned(
    readings: Sequence[Reading], policy: Policy
) -> dict[str, frozenset[tuple[str, str]] | None]:
    """Return what names the part of each base table; raises Misaligned."""
    found: dict[str, frozenset[tuple[str, str]] | None] = {}
    for reading in readings:
        alignment = Alignment(policy, by_name(reading.views))
        alignment.check_from(reading.tables, reading.joins)
        alignment.check_members(reading.nodes)
        for view in reading.views:
            alignment.units(view.name)
        found.update((name, alignment.units(name)) for name in reading.base_tables)
    protected = [units for units in found.values() if units is not None]
    if not protected:
        raise Misaligned("no table that is partitioned")
    if len(protected) > 1 and not all(protected):
        raise Misaligned("rows that are each their own unit beside others")
    return found


class _OpenParts:
    """The parts of a division, opened as views over their images."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        policy: Policy,
        source: ImageSource,
        division: Division,
    ) -> None:
        self._connection, self._policy, self._source = connection, policy, source
        self._division = division
        self._spreading = Spreading(connection, policy, division)
        self._shown: set[str] = set()
        self.count = len(division.parts)

    def open(self, number: int) -> None:
        """Let the tables of part `number` be read under their names."""
        if self._division.spread and not self._spreading.is_known:
            for part, wanted in enumerate(self._division.parts):
                self._show(wanted)
                self._spreading.learn(part)
        self._show(self._division.parts[number])
        self._check_units()
        self._spreading.narrow(number)
        add_derived(self._policy, self._connection)

    def _show(self, wanted: Mapping[str, Sequence[int]]) -> None:
        self._hide()
        paths = self._source.open(wanted)
        show(self._connection, paths)
        self._shown = set(paths)

    def _check_units(self) -> None:
        """Raise ResourceExceeded where equal units may lie in different parts.

        Shards go by the unit's text: 5 and 5.0 are equal, and their texts are not.
        """
        kinds = set()
        for name in self._shown if self.count > 1 else ():
            table = self._policy.table(name)
            if table is not None and table.is_protected and table.units:
                unit = quoted(table.units[0].column)
                described = self._connection.execute(
                    f"DESCRIBE SELECT {unit} FROM {quoted(name)}"
                ).fetchall()
                kind = str(described[0][1])
                kinds.add(Kind.INTEGER if kind_of_type(kind)[0] is Kind.INTEGER else kind)
        if len(kinds) > 1:
            raise needs_more_memory("the units of its tables are of different types")

    def _hide(self) -> None:
        self._spreading.widen()
        for name in self._shown:
            # A table with derived measures is read through a view of its own.
            for home in ("temp", "memory"):
                self._connection.execute(
                    f"DROP VIEW IF EXISTS {home}.main.{quoted(name)}"
                ).fetchall()
        self._shown = set()

    def close(self) -> None:
        """Forget what was open."""
        self._hide()
        self._spreading.forget()
