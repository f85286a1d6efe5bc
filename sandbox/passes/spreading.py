"""A protected table of few shards beside one of many: each of its units in one part.

The worker does not know the key of the hash by which units went to shards. But it can see,
in one round over the large tables, in which part each unit of the small one turns up; those
that turn up nowhere go to the first part. So every row of the small table is in exactly one
part, and with it all that it can meet.
"""

from __future__ import annotations

import duckdb

from policies.document import Policy
from sandbox.passes.choosing import Division, needs_more_memory
from sandbox.quoting import quoted

_HOMES = quoted("homes of units")  # with a blank: no table's name


class Spreading:
    """Where the units of the small tables belong."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, policy: Policy, division: Division
    ) -> None:
        self._connection, self._policy = connection, policy
        self._spread = division.spread
        first = division.parts[0]
        self._large = [
            name
            for name in first
            if name not in division.spread and self._is_partitioned(name)
        ]
        self.is_known = False
        self._narrowed = False

    def _is_partitioned(self, name: str) -> bool:
        table = self._policy.table(name)
        return table is not None and table.is_protected

    def _unit(self, name: str) -> str:
        table = self._policy.table(name)
        assert table is not None
        # As text, as the shards' hash takes it.
        return f"CAST({quoted(name)}.{quoted(table.units[0].column)} AS VARCHAR)"

    def learn(self, part: int) -> None:
        """Note the units of the small tables that the part now open has; first to last.

        Raises ResourceExceeded where a unit turns up in two parts: the tables are not
        partitioned alike, and nothing over parts would be right.
        """
        if part == 0:
            self._run(f"CREATE TABLE {_HOMES} (unit VARCHAR, part INTEGER)")
        seen = " UNION ".join(
            f"SELECT {self._unit(name)} AS unit FROM {quoted(name)}" for name in self._large
        )
        small = " UNION ".join(
            f"SELECT {self._unit(name)} AS unit FROM {quoted(name)}"
            for name in self._spread
        )
        self._run(
            f"INSERT INTO {_HOMES} SELECT unit, {part} FROM ({small}) AS small "
            f"WHERE unit IN (SELECT unit FROM ({seen}) AS seen)"
        )
        self.is_known = True
        row = self._connection.execute(
            f"SELECT count(*) = count(DISTINCT unit) FROM {_HOMES}"
        ).fetchone()
        if row is None or not row[0]:
            raise needs_more_memory("its tables are not partitioned alike")

    def narrow(self, part: int) -> None:
        """Leave of each small table, which is open whole, the rows of one part."""
        for name in self._spread:
            kept = _kept(name)
            self._run(
                f"CREATE TABLE {kept} AS SELECT {quoted(name)}.* FROM {quoted(name)} "
                f"LEFT JOIN {_HOMES} AS homes ON {self._unit(name)} = homes.unit "
                f"WHERE coalesce(homes.part, 0) = {part}"
            )
            self._run(f"DROP VIEW {quoted(name)}")
            self._run(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {kept}")
        self._narrowed = True

    def widen(self) -> None:
        """Let go of the rows of the part that was open."""
        if self._narrowed:
            for name in self._spread:
                self._run(f"DROP TABLE {_kept(name)}")
        self._narrowed = False

    def forget(self) -> None:
        """Forget where units belong."""
        if self.is_known:
            self._run(f"DROP TABLE {_HOMES}")
        self.is_known = False

    def _run(self, sql: str) -> None:
        self._connection.execute(sql).fetchall()


def _kept(name: str) -> str:
    return quoted(f"part of {name}")
