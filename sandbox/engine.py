"""One locked DuckDB connection over a fixed set of Parquet images, and nothing else.

What settings alone cannot close (catalogue functions, `query()`, memory of scalar
functions, error texts with values) is closed by the analyser's allow-lists, by running
generated SQL only, and by the process around it (`sandbox.processes.lockdown`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from sandbox.protocol import Limits
from sandbox.quoting import quoted, text_literal

# The engine's own limit is below the process's, so that it usually refuses first, in words.
_ENGINE_SHARE_OF_MEMORY = 0.8

_LOCKED = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",  # no Python variable is ever a table
    "enable_progress_bar = false",
    "temp_directory = ''",  # no spilling: COPY inside it would be an exit
    "max_temp_directory_size = '0B'",
    "enable_external_file_cache = false",  # a path of ingest holds one image after another
    "allowed_directories = []",
    "TimeZone = 'UTC'",
)


def open_engine(
    images: Mapping[str, Sequence[str]], limits: Limits, *, files: Sequence[str] = ()
) -> duckdb.DuckDBPyConnection:
    """Return a connection in which each table is a view over its Parquet files.

    Afterwards the engine opens no file but those of `images`, and `files` for whoever names
    them; it loads no extension, does not spill, and none of this can be set back. A view is
    no boundary within a file: hand in images that hold only the columns a query may touch.
    """
    connection = duckdb.connect(":memory:")
    try:
        memory = int(limits.memory_bytes * _ENGINE_SHARE_OF_MEMORY)
        paths = [path for shards in images.values() for path in shards]
        for setting in _LOCKED:
            connection.execute(f"SET {setting}")
        connection.execute(f"SET threads = {int(limits.threads)}")
        connection.execute(f"SET memory_limit = '{memory}B'")
        connection.execute(f"SET allowed_paths = {_list([*paths, *files])}")
        connection.execute("SET enable_external_access = false")
        for table, shards in images.items():
            connection.execute(
                f"CREATE VIEW {quoted(table)} AS "
                f"SELECT * FROM read_parquet({_list(shards)})"
            )
        # Fetched, because an unfinished result blocks `connection.sql`.
        connection.execute("SET lock_configuration = true").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _list(paths: Sequence[str]) -> str:
    return "[" + ", ".join(text_literal(path) for path in paths) + "]"
