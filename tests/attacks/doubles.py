"""Stand-ins for the engine that say what was asked of it."""

from __future__ import annotations

import re
from typing import Any

import duckdb

from sandbox.engine import open_engine
from sandbox.protocol import Limits

PARSER = re.compile(r"SELECT json_serialize_sql\(\?::VARCHAR(, [a-z_]+ := (true|false))*\)")


class ParserOnly:
    """A connection that fails the test when anything but the parser is run."""

    def __init__(self) -> None:
        self._inner = open_engine({}, Limits(memory_bytes=2 * 1024**3))
        self.calls = 0

    def execute(self, sql: str, values: Any = None) -> duckdb.DuckDBPyConnection:
        """Run the parser."""
        self.calls += 1
        assert PARSER.fullmatch(sql), "analysis ran a statement of its own"
        assert len(values) == 1
        return self._inner.execute(sql, values)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"analysis touched the connection's {name}")


class Watched:
    """A connection that passes everything on, and keeps what was not for the parser."""

    def __init__(self, inner: duckdb.DuckDBPyConnection) -> None:
        self._inner = inner
        self.beyond_parser: list[str] = []

    def execute(self, sql: str, values: Any = None) -> duckdb.DuckDBPyConnection:
        """Run the statement; keep it unless it is the parser's."""
        if not PARSER.fullmatch(sql):
            self.beyond_parser.append(sql)
        return (
            self._inner.execute(sql) if values is None else self._inner.execute(sql, values)
        )

    def __getattr__(self, name: str) -> Any:
        self.beyond_parser.append(name)
        return getattr(self._inner, name)
