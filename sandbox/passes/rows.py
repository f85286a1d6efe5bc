"""The protected rows of a job as statements meet them: at once, or part by part.

This is the only way by which stages and history reach base tables. A statement is *asked*
together with how its answers merge (`folds`), and its rows are had when they are first
looked at. Over `Whole` that runs it then, as it stands, and merges nothing. Over `InParts`
everything that was asked meanwhile is run part after part, so that as few rounds over the
data as possible are made, each image opened once in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import duckdb

from policies.document import Policy
from sandbox.passes.facts import Facts
from sandbox.passes.folds import Fold, Merged, Row
from sandbox.passes.members import Members
from sandbox.plan.view_sql import Created, created_by
from sandbox.plan.views import View
from sandbox.quoting import quoted


class Answer:
    """The rows of a statement over all parts; the engine runs it when they are needed."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self._found: tuple[list[Row], tuple[str, ...]] | None = None

    def set(self, rows: list[Row], types: tuple[str, ...]) -> None:
        """Say what was found."""
        self._found = (rows, types)

    @property
    def rows(self) -> list[Row]:
        """Its rows, in no order."""
        return self._both()[0]

    @property
    def types(self) -> tuple[str, ...]:
        """The engine's type of each column."""
        return self._both()[1]

    def _both(self) -> tuple[list[Row], tuple[str, ...]]:
        if self._found is None:
            self._run()
            assert self._found is not None
        return self._found


class Rows(Protocol):
    """Base tables and views, to be asked.

    `facts` are those of the tables that are open; None where not all of them are.

    Every implementation gives for a statement the same rows as the others, in any order;
    raises ResourceExceeded where there are more groups than its fold allows, and
    SumOutOfRange or duckdb.OutOfRangeException where a sum leaves its type.
    """

    facts: Facts | None

    def ask(self, sql: str, fold: Fold, values: Sequence[object] = ()) -> Answer:
        """Return what will be the rows of `sql`, whose columns are as `fold` says."""

    def keep(self, name: str, sql: str) -> None:
        """Keep the rows of `sql` under `name` where `facts` are known."""

    def materialise(self, views: Iterable[View], policy: Policy) -> None:
        """Let each view be read under its name from now on."""


class Whole:
    """Every table of the job open at once, under its name, in one connection."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, facts: Facts | None = None
    ) -> None:
        self._connection = connection
        self.facts = facts
        self._members = None if facts is None else Members(connection, facts)

    def ask(self, sql: str, fold: Fold, values: Sequence[object] = ()) -> Answer:
        """Return the answer; the statement runs as it stands."""

        def run() -> None:
            rows, types = fetched(self._connection, self._looked_up(sql), fold, values)
            if fold.limit is not None:
                fold.check(len(rows))
            answer.set(rows, types)

        answer = Answer(run)
        return answer

    def keep(self, name: str, sql: str) -> None:
        """Keep the rows of `sql` under `name`, in memory, in place of those before."""
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {quoted(name)} AS {self._looked_up(sql)}"
        ).fetchall()

    def materialise(self, views: Iterable[View], policy: Policy) -> None:
        """Make each view in the engine, once; each stands after those it reads."""
        views = tuple(views)
        if not views:
            return
        for made in created_by(views, policy, held=names_in(self._connection)):
            self._connection.execute(made.sql).fetchall()
        if self._members is not None:
            self._members.add(views)

    def _looked_up(self, sql: str) -> str:
        return sql if self._members is None else self._members.looked_up(sql)


def names_in(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the tables and views of an engine."""
    rows = connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
    return {str(row[0]) for row in rows}


def fetched(
    connection: duckdb.DuckDBPyConnection, sql: str, fold: Fold, values: Sequence[object]
) -> tuple[list[Row], tuple[str, ...]]:
    """Run a statement; return rows, as many as `fold` looks at, and types."""
    cursor = connection.execute(sql, list(values)) if values else connection.execute(sql)
    types = tuple(str(item[1]) for item in cursor.description or ())
    most = fold.at_most
    return (cursor.fetchall() if most is None else cursor.fetchmany(most)), types


class Parts(Protocol):
    """The parts of some tables, one open at a time.

    Opening a part closes the one before it. Whatever is read under a table's name is of
    the part that is open.
    """

    count: int

    def open(self, number: int) -> None:
        """Let the tables of part `number` be read under their names."""


class _Asked:
    def __init__(
        self, sql: str, fold: Fold, values: Sequence[object], answer: Answer
    ) -> None:
        self.sql, self.values, self.answer = sql, values, answer
        self.fold = fold
        self.merged = Merged(fold)
        self.types: tuple[str, ...] = ()


class InParts:
    """Tables that do not fit at once, read part after part."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, parts: Parts) -> None:
        self.facts: Facts | None = None
        self._connection, self._parts = connection, parts
        self._views: dict[str, Created] = {}
        self._pending: list[_Asked] = []
        self._open: int | None = None
        self._made: list[Created] = []

    def ask(self, sql: str, fold: Fold, values: Sequence[object] = ()) -> Answer:
        """Return the answer; looking at it runs everything that was asked so far."""
        answer = Answer(self._sweep)
        self._pending.append(_Asked(sql, fold, values, answer))
        return answer

    def keep(self, name: str, sql: str) -> None:  # noqa: ARG002 - nothing is kept
        """Raise AssertionError: rows of one part are not those of the whole."""
        raise AssertionError("rows that come in parts were to be kept")

    def materialise(self, views: Iterable[View], policy: Policy) -> None:
        """Remember each view; it is made in each part where a statement reads it."""
        for made in created_by(views, policy, held=self._views):
            self._views[made.name] = made

    def _sweep(self) -> None:
        pending, self._pending = self._pending, []
        order = list(range(self._parts.count))
        if self._open is not None and self._open == order[-1]:
            order.reverse()  # what is open serves first
        for number in order:
            if self._open != number:
                self._close()
                self._parts.open(number)
                self._open = number
            self._make(item.sql for item in pending)
            for item in pending:
                rows, types = fetched(self._connection, item.sql, item.fold, item.values)
                item.types = item.types or types
                item.merged.add(rows, types)
        for item in pending:
            item.answer.set(item.merged.rows(), item.types)

    def _make(self, statements: Iterable[str]) -> None:
        """Make the views that the statements read, and those that these read."""
        made = {item.name for item in self._made}
        needed: set[str] = set()
        texts = list(statements)
        while texts:
            text = texts.pop()
            for name, view in self._views.items():
                if name in text and name not in needed:
                    needed.add(name)
                    texts.append(view.sql)
        # In the order in which they were told: each after those that it reads.
        for name, view in self._views.items():
            if name in needed - made:
                self._connection.execute(view.sql).fetchall()
                self._made.append(view)

    def close(self) -> None:
        """Drop what was made of the part that is open."""
        self._close()
        self._open = None

    def _close(self) -> None:
        for view in reversed(self._made):
            self._connection.execute(f"DROP {view.kind} {quoted(view.name)}").fetchall()
        self._made = []
