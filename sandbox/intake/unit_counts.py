"""How many units a table has, and how many rows the one with the most has, by column.

The table comes a file at a time. Units are told apart by value, as queries group them;
those of several columns are one where they are the same as text: a domain may have them in
several types.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from sandbox.quoting import quoted


class UnitCounts:
    """Counts of some columns' values, NULL left out; kept in tables of the engine."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str]
    ) -> None:
        self._connection = connection
        self._columns = tuple(columns)
        self._is_empty = True

    def add(self, relation: str) -> None:
        """Count the rows of a SQL relation as well."""
        for place, column in enumerate(self._columns):
            unit = quoted(column)
            parts = (
                f"SELECT {unit} AS u, count(*) AS c FROM {relation}"
                f" WHERE {unit} IS NOT NULL GROUP BY {unit}"
            )
            if not self._is_empty:
                parts = (
                    "SELECT u, sum(c)::BIGINT AS c FROM"
                    f" (SELECT u, c FROM {_table(place)} UNION ALL {parts}) GROUP BY u"
                )
            self._connection.execute(f"CREATE OR REPLACE TABLE {_table(place)} AS {parts}")
        self._is_empty = False

    def units(self) -> int:
        """Return how many different units there are in all columns together."""
        every = " UNION ALL ".join(
            f"SELECT CAST(u AS VARCHAR) AS u FROM {_table(place)}"
            for place in range(len(self._columns))
        )
        return self._number(f"SELECT count(DISTINCT u) FROM ({every})")

    def most_rows(self) -> dict[str, int]:
        """Return by column the most rows that one unit has; 0 where there is none."""
        return {
            column: self._number(f"SELECT coalesce(max(c), 0) FROM {_table(place)}")
            for place, column in enumerate(self._columns)
        }

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchall()[0][0])


def _table(place: int) -> str:
    return f"units_{place}"
