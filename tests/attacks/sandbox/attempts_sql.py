"""Attempts by SQL: on files, network, extensions, settings, and the layers against each.

`{secret}`, `{folder}`, `{pid}` and `{port}` are filled in. What only looks at the engine's
own catalogue is not here: it shows a worker nothing but its own job.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """One attempt: SQL that gets through when it raises nothing."""

    name: str
    sql: str
    by: frozenset[str]
    baseline: bool = True


def _all(by: str, *statements: tuple[str, str], baseline: bool = True) -> list[Statement]:
    layers = frozenset(by.split())
    return [Statement(name, sql, layers, baseline) for name, sql in statements]


STATEMENTS: tuple[Statement, ...] = (
    *_all(
        "engine landlock",
        ("read_text", "SELECT content FROM read_text('{secret}')"),
        ("read_blob", "SELECT content FROM read_blob('{secret}')"),
        ("read_csv", "SELECT * FROM read_csv('{secret}', columns={{'a': 'VARCHAR'}})"),
        ("read_json", "SELECT * FROM read_json('{folder}/values.json')"),
        ("read_parquet", "SELECT * FROM read_parquet('{folder}/other.parquet')"),
        ("parquet_metadata", "SELECT * FROM parquet_metadata('{folder}/other.parquet')"),
        ("path_as_table", "SELECT * FROM '{folder}/other.parquet'"),
        ("own_environment", "SELECT content FROM read_text('/proc/self/environ')"),
        ("environment_of_another", "SELECT content FROM read_text('/proc/{pid}/environ')"),
        (
            "out_of_descriptors",
            "SELECT content FROM read_text('/proc/self/fd/{up}{secret}')",
        ),
        ("copy_from", "CREATE TABLE t(a VARCHAR); COPY t FROM '{secret}'"),
        ("sniff", "SELECT * FROM sniff_csv('{folder}/values.csv')"),
    ),
    *_all(
        "engine landlock seccomp",
        ("copy_to", "COPY (SELECT 1) TO '{folder}/out.csv'"),
        ("copy_parquet", "COPY (SELECT 1 a) TO '{folder}/out.parquet' (FORMAT parquet)"),
        (
            "copy_parts",
            "COPY (SELECT 1 a, 2 b) TO '{folder}/parts' (FORMAT csv, PARTITION_BY (a))",
        ),
        ("export", "EXPORT DATABASE '{folder}/export'"),
        ("attach", "ATTACH '{folder}/new.db' AS o; CREATE TABLE o.t(a INT)"),
    ),
    *_all(
        "engine",
        ("install", "INSTALL httpfs"),
        ("install_from_file", "INSTALL '{folder}/evil.duckdb_extension'"),
        ("load", "LOAD '{folder}/evil.duckdb_extension'"),
        ("http", "SELECT * FROM read_parquet('http://127.0.0.1:{port}/x.parquet')"),
        ("object_store", "SELECT * FROM read_parquet('s3://bucket/x.parquet')"),
        ("attach_over_network", "ATTACH 'host=127.0.0.1 port={port}' AS p (TYPE postgres)"),
        baseline=False,
    ),
    *_all(
        "engine",
        ("allowed_paths", "SET allowed_paths = ['{secret}']"),
        ("allowed_directories", "SET allowed_directories = ['/']"),
        ("unlock", "SET lock_configuration = false"),
        ("unlock_by_reset", "RESET lock_configuration"),
        ("more_memory", "SET memory_limit = '100GB'"),
        ("more_memory_by_pragma", "PRAGMA memory_limit = '100GB'"),
        ("more_threads", "SET threads = 64"),
        ("temporary_files", "SET temp_directory = '{folder}'"),
        ("temporary_files_global", "SET GLOBAL temp_directory = '{folder}'"),
        ("reset_temporary_files", "RESET temp_directory"),
        ("log_to_file", "SET log_query_path = '{folder}/log'"),
        ("spill_of_the_file_cache", "SET external_file_cache_spill = true"),
        ("repository", "SET custom_extension_repository = '{folder}'"),
        ("home", "SET home_directory = '{folder}'"),
        ("extensions_from", "SET extension_directory = '{folder}'"),
        ("load_by_need", "SET autoload_known_extensions = true"),
        ("secrets_from", "SET secret_directory = '{folder}'"),
        ("python_tables", "SET python_enable_replacements = true"),
        ("file_cache", "SET enable_external_file_cache = true"),
    ),
    *_all(
        "engine",
        ("access", "SET enable_external_access = true"),
        ("unsigned", "SET allow_unsigned_extensions = true"),
        ("community", "SET allow_community_extensions = true"),
        ("secret_kept", "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')"),
        baseline=False,
    ),
)
