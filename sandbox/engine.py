"""One locked DuckDB connection over a set of Parquet images, and nothing else.

What settings alone cannot close (catalogue functions, `query()`, memory of scalar
functions, error texts with values) is closed by the analyser's allow-lists, by running
generated SQL only, and by the process around it (`sandbox.processes.lockdown`).

Connecting costs more than most queries, so that a process which is to be forked may do it
ahead (`keep_ready`): an engine without threads is memory and nothing else, and a fork has
its own copy of it, untouched by any job before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from sandbox.protocol import Limits
from sandbox.quoting import quoted, text_literal

# The engine's own limit is below the process's, so that it usually refuses first, in words.
_ENGINE_SHARE_OF_MEMORY = 0.8
# With these the engine starts no thread when it connects; `open_engine` starts the job's.
_WITHOUT_THREADS = {"threads": "1", "async_threads": "0"}
_DESCRIPTORS = "/proc/self/fd/"
# After the name of a table of several files: its first file alone. No name that a policy
# may have holds a line break.
FIRST_SHARD = "\nfirst shard"

_LOCKED = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "python_enable_replacements = false",  # no Python variable is ever a table
    "enable_progress_bar = false",
    "temp_directory = ''",  # no spilling: COPY inside it would be an exit
    "max_temp_directory_size = '0B'",
    "enable_external_file_cache = false",  # images are in memory: one copy is enough
    "parquet_metadata_cache = true",  # a path never comes to name another image
    "TimeZone = 'UTC'",
)
_ready: list[duckdb.DuckDBPyConnection] = []
# Of those: they end with the process that was forked for one job, and so does their memory.
_until_exit: list[duckdb.DuckDBPyConnection] = []


def keep_ready(count: int) -> None:
    """Connect `count` engines ahead, for forks of this process to open."""
    while len(_ready) < count:
        connection = _connect()
        # The catalogue is built when it is first read; that takes as long as connecting.
        connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
        _ready.append(connection)


def open_engine(
    images: Mapping[str, Sequence[str]],
    limits: Limits,
    *,
    files: Sequence[str] = (),
    any_descriptor: bool = False,
    reuses_paths: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Return a connection in which each table is a view over its Parquet files.

    Afterwards the engine opens no file but those of `images`, and `files` for whoever names
    them; it loads no extension, does not spill, and none of this can be set back. A view is
    no boundary within a file: hand in images that hold only the columns a query may touch.
    With `any_descriptor` it also opens what this process has open, by number: for images
    that come later (`show`). Requires that nothing is open then which no job may read.
    With `reuses_paths` it keeps nothing of a file: a path may name one after another.
    """
    if _ready:
        connection = _ready.pop()
        _until_exit.append(connection)
    else:
        connection = _connect()
    try:
        memory = int(limits.memory_bytes * _ENGINE_SHARE_OF_MEMORY)
        paths = [path for shards in images.values() for path in shards]
        connection.execute(f"SET threads = {int(limits.threads)}")
        connection.execute(f"SET memory_limit = '{memory}B'")
        connection.execute(f"SET allowed_paths = {_list([*paths, *files])}")
        if reuses_paths:
            connection.execute("SET parquet_metadata_cache = false")
        directories = [_DESCRIPTORS] if any_descriptor else []
        connection.execute(f"SET allowed_directories = {_list(directories)}")
        connection.execute("SET enable_external_access = false")
        show(connection, images)
        # Fetched, because an unfinished result blocks `connection.sql`.
        connection.execute("SET lock_configuration = true").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def let_go(connection: duckdb.DuckDBPyConnection) -> None:
    """Close a connection that nobody needs, unless its process is about to end.

    To give every page of an engine back takes as long as a small query.
    """
    if not any(connection is kept for kept in _until_exit):
        connection.close()


def show(
    connection: duckdb.DuckDBPyConnection, images: Mapping[str, Sequence[str]]
) -> None:
    """Make each table the view over these of its files, instead of those before.

    One of several files has a view of the first one besides, named with FIRST_SHARD.
    """
    for table, shards in images.items():
        _show(connection, table, shards)
        if len(shards) > 1:
            _show(connection, table + FIRST_SHARD, shards[:1])


def _show(connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[str]) -> None:
    connection.execute(
        f"CREATE OR REPLACE VIEW {quoted(name)} AS "
        f"SELECT * FROM read_parquet({_list(paths)})"
    )


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=_WITHOUT_THREADS)
    try:
        for setting in _LOCKED:
            connection.execute(f"SET {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def _list(paths: Sequence[str]) -> str:
    return "[" + ", ".join(text_literal(path) for path in paths) + "]"
