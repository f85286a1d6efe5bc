"""The 22 queries of TPC-H as the sandbox executes them, against plain DuckDB.

Ours: the product's vault, unsealer's image cache, confined process and locked engine.
Yardstick: DuckDB on plain Parquet with the same codec, in the page cache, connection open.
Both in processes of their own with two threads; timed in turn, each minimum of `runs`.

warm     images cached; the query in a confined process whose engine is connected
like     warm, against plain Parquet that has the vault's encodings too: the sandbox alone
cpu      processor seconds of warm: what a busy machine disturbs least
fresh    images cached; the first query of a confined process, as each job has one
job      fresh, with fork, lock-down, connecting and the answer's way back
cold     cache dropped before: digests, decryption of the named columns, and the first query
evicted  cold, but the files' digests are known from an earlier touch
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import truediv

from benchmarks.engine_process import (
    EngineProcess,
    confined_engine,
    plain_engine,
    same_rows,
)
from benchmarks.options import Options
from benchmarks.report import Report, geometric_mean
from benchmarks.tpch_data import Tpch, prepare, say
from benchmarks.tpch_queries import QUERIES
from sandbox.files.images import ImageCache, Lease, Wanted
from sandbox.needs import Need

CACHE_BYTES = 16 * 1024**3


# Metric -> what it should be for each query, and for the geometric mean.
_METRICS = {
    "warm": ("<= 1.5", "<= 1.1"),
    "like": ("", ""),
    "cpu": ("", ""),
    "fresh": ("", ""),
    "job": ("", ""),
    "cold": ("", "<= 1.6"),
    "evicted": ("", ""),
}


@dataclass(slots=True)
class _Times:
    """Seconds of one query by metric, and those of plain DuckDB."""

    ours: dict[str, list[float]] = field(
        default_factory=lambda: {metric: [] for metric in _METRICS}
    )
    plain: list[float] = field(default_factory=list)
    plain_cpu: list[float] = field(default_factory=list)
    plain_like: list[float] = field(default_factory=list)

    def ask_plain(self, engine: EngineProcess, sql: str) -> None:
        answer = engine.ask(sql)
        self.plain.append(answer.seconds)
        self.plain_cpu.append(answer.cpu_seconds)

    def pair(self, metric: str) -> tuple[float, float]:
        """Return the least of ours and of the yardstick's."""
        yardstick = {"cpu": self.plain_cpu, "like": self.plain_like}.get(metric, self.plain)
        return min(self.ours[metric]), min(yardstick)


def run(options: Options) -> Report:
    """Time every query in every way; SystemExit if one result is not plain DuckDB's."""
    report = Report("sandbox")
    names = [name for name in QUERIES if options.wants(name)]
    with options.folder() as folder:
        tpch = prepare(options, folder)
        measured = {name: _measure(tpch, name, options.runs) for name in names}
    for name, times in measured.items():
        for metric, (target, _) in _METRICS.items():
            report.compare(name, metric, *times.pair(metric), target)
    for metric, (_, target) in _METRICS.items():
        pairs = [times.pair(metric) for times in measured.values()]
        means = [geometric_mean(side) for side in zip(*pairs, strict=True)]
        report.compare("geometric mean", metric, means[0], means[1], target)
    worst = max(measured, key=lambda name: truediv(*measured[name].pair("warm")))
    report.compare(f"worst: {worst}", "warm", *measured[worst].pair("warm"), "<= 1.5")
    report.note(
        f"TPC-H scale {tpch.scale:g}, {len(measured)} queries, minimum of {options.runs},"
        " in turn; every result was equal to plain DuckDB's."
    )
    return report


def _measure(tpch: Tpch, name: str, runs: int) -> _Times:
    say(f"{name} …")
    sql, times = QUERIES[name], _Times()
    needs = tpch.mentioned(sql)
    with (
        EngineProcess(plain_engine({table: tpch.plain[table] for table in needs})) as plain,
        EngineProcess(
            plain_engine({table: tpch.encoded[table] for table in needs})
        ) as like,
    ):
        like.ask(sql)
        expected = plain.ask(sql).rows
        cache = ImageCache(tpch.vault, CACHE_BYTES)
        lease, images = unseal(cache, tpch, needs)
        with confined_engine(images) as warm:
            if not same_rows(warm.ask(sql).rows, expected):
                raise SystemExit(f"{name}: the sandbox's result is not plain DuckDB's")
            for _ in range(runs):
                times.ask_plain(plain, sql)
                answer = warm.ask(sql)
                times.ours["warm"].append(answer.seconds)
                times.ours["like"].append(answer.seconds)
                times.plain_like.append(like.ask(sql).seconds)
                times.ours["cpu"].append(answer.cpu_seconds)
        for _ in range(runs):
            times.ask_plain(plain, sql)
            _one_job(images, sql, times)
        lease.close()
        for _ in range(runs):
            times.ask_plain(plain, sql)
            forget(cache, tpch)
            cache = ImageCache(tpch.vault, CACHE_BYTES)
            times.ours["cold"].append(_first_touch(cache, tpch, sql))
            forget(cache, tpch)
            times.ours["evicted"].append(_first_touch(cache, tpch, sql))
    forget(cache, tpch)
    return times


def _first_touch(cache: ImageCache, tpch: Tpch, sql: str) -> float:
    """Seconds of unsealing plus the query; its process is there before, as in a pool."""
    started = time.perf_counter()
    lease, images = unseal(cache, tpch, tpch.mentioned(sql))
    unsealed = time.perf_counter() - started
    with confined_engine(images) as worker:
        asked = worker.ask(sql).seconds
    lease.close()
    return unsealed + asked


def _one_job(images: Mapping[str, Sequence[int]], sql: str, times: _Times) -> None:
    started = time.perf_counter()
    with confined_engine(images) as worker:
        times.ours["fresh"].append(worker.ask(sql).seconds)
        times.ours["job"].append(time.perf_counter() - started)


def forget(cache: ImageCache, tpch: Tpch) -> None:
    """Drop every image of the tables."""
    for table in tpch.tables.values():
        cache.forget(table.version_id)


def unseal(
    cache: ImageCache, tpch: Tpch, needs: Mapping[str, Need]
) -> tuple[Lease, dict[str, tuple[int, ...]]]:
    """Return the lease on images of the columns that are needed, and them by table."""
    wanted = [
        Wanted(tpch.tables[table], need, tuple(range(len(tpch.tables[table].files))))
        for table, need in needs.items()
    ]
    lease = cache.lease(wanted)
    rest = iter(lease.descriptors)
    images = {item.table.table: tuple(islice(rest, len(item.shards))) for item in wanted}
    return lease, images
