"""Cost against size: TPC-H at scale 1, 3 and 10, each step in seconds, and its slope.

`--only 1,3` measures these scales anew and takes the others from an earlier run with the
same `--data`; `--out FILE.svg` draws what is known. Engine and images together get 4 GiB.

warm     six queries in a confined process, images cached, geometric mean
cold     their first touch: digests, decryption, query
release  two admitted queries through the daemon, warm, geometric mean
ingest   distribution of all rows over encrypted shards, by the product's own writer
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

from benchmarks.admitted import POLICY, Releasing
from benchmarks.daemon import serving
from benchmarks.engine_process import LIMITS, confined_engine
from benchmarks.options import Options
from benchmarks.plot import Point, log_log, slope
from benchmarks.report import Report, Row, geometric_mean
from benchmarks.sandbox import CACHE_BYTES, forget, unseal
from benchmarks.tpch_asked import ASKED
from benchmarks.tpch_data import Tpch, prepare, say
from benchmarks.tpch_queries import QUERIES
from policies.codec import load_policy
from sandbox.errors import SandboxError
from sandbox.files.images import ImageCache

SCALES = (1.0, 3.0, 10.0)
_ASKED = ("q1", "q3", "q6", "q9", "q13", "q18")
_RELEASED = ("q6", "q14")
_MEMORY_BYTES = 4 * 1024**3
_METRICS = ("warm", "cold", "release", "ingest")
_MOST_RUNS = 3

# What was measured at one scale: seconds by metric, and the most memory in GiB.
Measured = dict[str, float]


def run(options: Options) -> Report:
    """Measure the wanted scales, fit a line through all that are known."""
    report = Report("size")
    scales = (options.scale,) if options.scale is not None else SCALES
    with options.folder() as folder:
        known: dict[str, Measured] = _load(folder / "size-points.json")
        for scale in scales:
            if options.wants(f"{scale:g}"):
                known[f"{scale:g}"] = _measure(report, options, folder, scale)
                (folder / "size-points.json").write_text(
                    json.dumps(known), encoding="utf-8"
                )
    series: dict[str, list[Point]] = {}
    for scale, measured in sorted(known.items(), key=lambda item: float(item[0])):
        for metric in _METRICS:
            if metric in measured:
                report.figure(f"scale {scale}", metric, measured[metric], "s")
                series.setdefault(metric, []).append((float(scale), measured[metric]))
        memory = measured["memory"]
        report.figure(f"scale {scale}", "engine + images", memory, "GiB", "<= 4")
    for metric, points in series.items():
        if len(points) > 1:
            fitted = slope(points)
            report.rows.append(Row("slope", metric, fitted, "", target="<= 1.05"))
    if options.out is not None and series:
        drawing = log_log(
            series, title="Cost against size", x_name="TPC-H scale factor", y_name="seconds"
        )
        options.out.write_text(drawing, encoding="utf-8")
        report.note(f"drawn: {options.out.name}; dashes are what linear would be.")
    return report


def _load(path: Path) -> dict[str, Measured]:
    if not path.exists():
        return {}
    known: dict[str, Measured] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _measure(report: Report, options: Options, folder: Path, scale: float) -> Measured:
    say(f"scale {scale:g} …")
    tpch = prepare(options, folder, scale)
    runs = min(options.runs, _MOST_RUNS)
    warm, cold, memory = [], [], 0
    for name in _ASKED:
        say(f"scale {scale:g}, {name} …")
        found = _query(report, tpch, name, runs)
        if found is not None:
            cold.append(found[0])
            warm.append(found[1])
            memory = max(memory, found[2])
    measured = {"ingest": tpch.write_seconds, "memory": memory / 1024**3}
    if warm:
        measured |= {"warm": geometric_mean(warm), "cold": geometric_mean(cold)}
    released = _release(report, tpch, runs)
    if len(released) == len(_RELEASED):
        measured["release"] = geometric_mean(released)
    return measured


def _query(
    report: Report, tpch: Tpch, name: str, runs: int
) -> tuple[float, float, int] | None:
    """Return cold and warm seconds, and the bytes of engine and images together."""
    cache = ImageCache(tpch.vault, CACHE_BYTES)
    started = time.perf_counter()
    lease, images = unseal(cache, tpch, tpch.mentioned(QUERIES[name]))
    unsealed = time.perf_counter() - started
    held = sum(os.fstat(image).st_blocks * 512 for image in lease.descriptors)
    limits = dataclasses.replace(LIMITS, memory_bytes=_MEMORY_BYTES - held)
    try:
        with lease, confined_engine(images, limits) as worker:
            first = worker.ask(QUERIES[name])
            times = [worker.ask(QUERIES[name]) for _ in range(runs)]
    except SystemExit as error:
        last = str(error).strip().splitlines()[-1]
        report.note(f"scale {tpch.scale:g}, {name}: no answer: {last}")
        return None
    finally:
        forget(cache, tpch)
    peak = max(answer.peak_bytes for answer in (first, *times))
    return unsealed + first.seconds, min(answer.seconds for answer in times), peak + held


def _release(report: Report, tpch: Tpch, runs: int) -> list[float]:
    policy = load_policy(POLICY.read_text(encoding="utf-8"))
    found = []
    with serving(tpch.vault) as daemon:
        releasing = Releasing(daemon, tpch, policy)
        for name in _RELEASED:
            say(f"scale {tpch.scale:g}, release {name} …")
            fingerprint, why = releasing.fingerprint(ASKED[name])
            times = []
            try:
                for _ in range(runs + 1):  # the first one unseals
                    started = time.perf_counter()
                    releasing.release(ASKED[name], fingerprint)
                    times.append(time.perf_counter() - started)
            except SandboxError as error:
                report.note(
                    f"scale {tpch.scale:g}, {name}: not released, {error.code}: {why}"
                    f"{error.message}"
                )
                continue
            found.append(min(times))
    return found
