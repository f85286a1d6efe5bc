"""What is known of stored columns without reading their rows: bounds, and rows per value.

Bounds are what the engine says of a column, which it mostly takes from statistics in the
footers of the files. How many rows one unit has at most was counted when the table was
distributed, and stands in the footer as well; footers are authenticated with the pages.
Where it is not there, or of another column, it is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb

from sandbox.engine import FIRST_SHARD
from sandbox.files.pme_writer import MOST_ROWS
from sandbox.quoting import quoted, text_literal

_FEW_ROWS = 2**14
# Equal as values where they are equal as stored: no two texts, or dates, are one number.
_ALIKE = {
    "integer": re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER"),
    "text": re.compile("VARCHAR"),
    "date": re.compile("DATE"),
    "uuid": re.compile("UUID"),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a column: whether a value may be missing, and the largest size of a number."""

    may_miss: bool
    largest: Fraction | None  # None: not known, or no end


class Facts:
    """Facts of the tables that are open in one connection."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        paths: Mapping[str, Sequence[str]],
    ) -> None:
        """Requires that each table is the view over its `paths`; one without is counted."""
        self._connection, self._paths = connection, paths
        self._types: dict[str, dict[str, str]] = {}
        self._most: dict[tuple[str, str], int] = {}

    def samples(self, tables: Sequence[str]) -> list[dict[str, str]]:
        """Return what may be read instead of some of the tables, to see some of their rows.

        Relations by table; what comes first has the fewest rows.
        """
        shards = {t: len(self._paths.get(t, ())) for t in tables}
        first = {t: quoted(t + FIRST_SHARD) for t, count in shards.items() if count > 1}
        if not first:
            # Of several it is not known which one has the most rows.
            alone = [t for t, count in shards.items() if count == 1 == len(shards)]
            return [{t: f"(SELECT * FROM {quoted(t)} LIMIT {_FEW_ROWS})"} for t in alone]
        largest = max(first, key=lambda table: shards[table])
        few = f"(SELECT * FROM {first[largest]} LIMIT {_FEW_ROWS})"
        return [{**first, largest: few}, first]

    def rows(self, table: str) -> int:
        """Return how many rows a table has."""
        ((rows,),) = self._ask(f"SELECT count(*) FROM {quoted(table)}")
        return int(rows)

    def most_values(self, table: str, column: str) -> int | None:
        """Return a number of values that a column has no more of; None: not known."""
        if not _ALIKE["integer"].fullmatch(self._type(table, column)):
            return None
        if not self._paths.get(table):
            return None  # without a file it would take a look at all rows
        name = quoted(column)
        ends = self._by_file(table, f"min({name}), max({name})")
        known = [int(end) for pair in ends for end in pair if end is not None]
        return max(known) - min(known) + 1 if known else None

    def bounds(self, table: str, columns: Sequence[str]) -> dict[str, Bounds]:
        """Return the bounds of columns of a table."""
        asked = ", ".join(
            f"count(*) - count({name}), min({name}), max({name})"
            for name in map(quoted, columns)
        )
        found = self._by_file(table, asked)
        return {
            column: Bounds(
                any(row[3 * i] for row in found),
                _largest([end for row in found for end in row[3 * i + 1 : 3 * i + 3]]),
            )
            for i, column in enumerate(columns)
        }

    def most_rows(self, table: str, column: str) -> int:
        """Return a number of rows that no value of a column has more of; 1 at least."""
        key = (table, column)
        if key not in self._most:
            written = self._written(table, column)
            self._most[key] = max(1, self._counted(*key) if written is None else written)
        return self._most[key]

    def equate_as_stored(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        """Whether different values of a column are never equal to one of the other's."""
        types = [self._type(*one), self._type(*other)]
        return any(all(map(kind.fullmatch, types)) for kind in _ALIKE.values())

    def _type(self, table: str, column: str) -> str:
        if table not in self._types:
            described = self._ask(f"DESCRIBE {quoted(table)}")
            self._types[table] = {str(row[0]): str(row[1]) for row in described}
        return self._types[table].get(column, "")

    def _written(self, table: str, column: str) -> int | None:
        """Return what the files say; every file of a table says the same."""
        paths = self._paths.get(table, ())
        if not paths:
            return None
        found = self._ask(
            f"SELECT decode(key_value_metadata[encode({text_literal(MOST_ROWS)})]) "
            f"FROM parquet_metadata({text_literal(paths[0])}) "
            f"WHERE path_in_schema = {text_literal(column)} AND row_group_id = 0"
        )
        values = [str(row[0]) for row in found if row[0] is not None]
        return int(values[0]) if values and values[0].isdecimal() else None

    def _counted(self, table: str, column: str) -> int:
        name = quoted(column)
        ((most,),) = self._ask(
            f"SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM {quoted(table)} "
            f"WHERE {name} IS NOT NULL GROUP BY {name})"
        )
        return int(most)

    def _by_file(self, table: str, asked: str) -> list[tuple[Any, ...]]:
        """Return aggregates of each file of a table; of the table where none is known.

        Of one file the engine looks into the footer, of several into the rows.
        """
        files = [
            f"read_parquet({text_literal(path)})" for path in self._paths.get(table, ())
        ]
        return self._ask(
            " UNION ALL ".join(f"SELECT {asked} FROM {f}" for f in files or [quoted(table)])
        )

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return rows


def _largest(extremes: Sequence[object]) -> Fraction | None:
    sizes = [Fraction(0)]
    for value in extremes:
        if value is None:
            continue  # a file without values
        if isinstance(value, float):
            if not math.isfinite(value):
                return None
        elif not isinstance(value, (int, Decimal)) or isinstance(value, bool):
            return None
        sizes.append(abs(Fraction(value)))
    return max(sizes)
