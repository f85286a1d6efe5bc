"""Hot columns as native tables of the engine, instead of Parquet images: an experiment.

The columns that a query names are loaded once from their images into in-memory tables of a
confined process, which then answers. This is not what the sandbox does: see
docs/measurements.md for what it would cost in isolation.

images    warm, as in `sandbox`; yardstick plain DuckDB on plain Parquet
native    the same statement over native tables
load      seconds of loading them, against one run of the query on plain Parquet
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.engine_process import (
    LIMITS,
    EngineProcess,
    confined_engine,
    plain_engine,
    same_rows,
    sandbox_engine,
)
from benchmarks.options import Options
from benchmarks.report import Report, geometric_mean
from benchmarks.sandbox import CACHE_BYTES, unseal
from benchmarks.tpch_data import Tpch, prepare, say
from benchmarks.tpch_queries import QUERIES
from sandbox.files.images import ImageCache
from sandbox.needs import Need
from sandbox.quoting import quoted

_LOAD = "load"


def run(options: Options) -> Report:
    """Time the queries both ways, and weigh all columns that any of them names."""
    report = Report("native")
    names = [name for name in QUERIES if options.wants(name)]
    ratios: dict[str, list[float]] = {"images": [], "native": []}
    with options.folder() as folder:
        tpch = prepare(options, folder)
        cache = ImageCache(tpch.vault, CACHE_BYTES)
        for name in names:
            say(f"{name} …")
            for metric, ratio in _measure(report, tpch, cache, name, options.runs).items():
                ratios[metric].append(ratio)
        _weigh(report, tpch, cache, "\n".join(QUERIES[name] for name in names))
    for metric, found in ratios.items():
        report.figure("geometric mean", metric, geometric_mean(found), "ratio")
    return report


def _measure(
    report: Report, tpch: Tpch, cache: ImageCache, name: str, runs: int
) -> dict[str, float]:
    sql = QUERIES[name]
    needs = tpch.mentioned(sql)
    lease, images = unseal(cache, tpch, needs)
    plain_tables = {table: tpch.plain[table] for table in needs}
    with (
        lease,
        EngineProcess(plain_engine(plain_tables)) as plain,
        confined_engine(images) as warm,
        _native(images) as native,
    ):
        load = native.ask(_LOAD).seconds
        expected = plain.ask(sql).rows
        for engine in (warm, native):
            if not same_rows(engine.ask(sql).rows, expected):
                raise SystemExit(f"{name}: a result is not plain DuckDB's")
        times: dict[str, list[float]] = {"plain": [], "images": [], "native": []}
        for _ in range(runs):
            times["plain"].append(plain.ask(sql).seconds)
            times["images"].append(warm.ask(sql).seconds)
            times["native"].append(native.ask(sql).seconds)
    least = {metric: min(found) for metric, found in times.items()}
    report.compare(name, "images", least["images"], least["plain"])
    report.compare(name, "native", least["native"], least["plain"])
    report.compare(name, "load", load, least["plain"])
    return {metric: least[metric] / least["plain"] for metric in ("images", "native")}


def _weigh(report: Report, tpch: Tpch, cache: ImageCache, text: str) -> None:
    """Load every column that `text` names, and say what that takes."""
    needs: Mapping[str, Need] = tpch.mentioned(text)
    lease, images = unseal(cache, tpch, needs)
    with lease, _native(images) as native:
        before = native.ask("SELECT 1").peak_bytes
        loaded = native.ask(_LOAD)
        stored = native.ask(
            "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()"
            " WHERE tag IN ('IN_MEMORY_TABLE', 'BASE_TABLE')"
        ).rows[0][0]
        held = sum(os.fstat(image).st_blocks * 512 for image in lease.descriptors)
    report.figure("all named columns", "load", loaded.seconds, "s")
    report.figure("all named columns", "images", held / 1024**2, "MiB")
    report.figure("all named columns", "tables", (stored or 0) / 1024**2, "MiB")
    peak = (loaded.peak_bytes - before) / 1024**2
    report.figure("all named columns", "peak", peak, "MiB")


def _native(images: Mapping[str, Sequence[int]]) -> EngineProcess:
    """Start a confined process that loads its tables when it is told to."""

    def prepare() -> Callable[[str], Sequence[Sequence[Any]]]:
        connection = sandbox_engine(images)()
        return lambda sql: _load(connection, images) if sql == _LOAD else connection(sql)

    keep = [descriptor for shards in images.values() for descriptor in shards]
    return EngineProcess(prepare, keep=keep, confined=True, limits=LIMITS)


def _load(
    ask: Callable[[str], Sequence[Sequence[Any]]], images: Mapping[str, Sequence[int]]
) -> Sequence[Sequence[Any]]:
    for table in images:
        # The table takes the view's name: statements find it in its place.
        ask(f"CREATE TABLE loaded AS SELECT * FROM {quoted(table)}")
        ask(f"DROP VIEW {quoted(table)}")
        ask(f"ALTER TABLE loaded RENAME TO {quoted(table)}")
    return []
