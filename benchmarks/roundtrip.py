"""From a model builder's question to the released aggregate in hand, over HTTP.

A whole node with a million rows of 50,000 machines. Each figure starts before the request
is sent and ends when the released cells have been read; `Prefer: wait` is asked for, and
where an answer does not come with it, the client asks again every 10 ms.

single     one client, questions that were not asked before
repeat     the same text again and again
reworded   the same canonical plan in another text each time
sustained  four clients for 30 seconds, questions that were not asked before
"""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from itertools import count

import httpx

from benchmarks.node import Served, running_node
from benchmarks.options import Options
from benchmarks.report import Report
from benchmarks.tpch_data import say

_ROWS, _UNITS = 1_000_000, 50_000
_CLIENTS, _SECONDS = 4, 30.0
_ASKED_PER_RUN = 12  # --runs 5 asks 60 times
_AGGREGATES = (
    "sum(wear) AS w",
    "avg(torque) AS t",
    "count(*) AS n, sum(torque) AS s",
    "count(DISTINCT machine) AS m",
)


def run(options: Options) -> Report:
    """Start a node, ask it, stop it."""
    report = Report("roundtrip")
    rows = int(_ROWS * (options.scale or 1.0))
    with options.folder() as folder:
        home = folder / f"node-{uuid.uuid4().hex[:8]}"
        home.mkdir()
        say("starting a node and publishing the table …")
        with running_node(home, rows=rows, units=max(1000, rows // 20)) as served:
            questions = _questions()
            asked = max(3, _ASKED_PER_RUN * options.runs)
            if options.wants("single"):
                _single(report, served, questions, asked)
            if options.wants("repeat"):
                _repeat(report, served, questions, asked)
            if options.wants("reworded"):
                _reworded(report, served, questions, asked)
            if options.wants("sustained"):
                _sustained(report, served, questions, min(_SECONDS, 6.0 * options.runs))
            report.note(
                f"{rows} rows, {served.stores}, {next(questions)[0]} questions asked."
            )
    return report


def _single(
    report: Report, served: Served, questions: Iterator[tuple[int, str]], asked: int
) -> None:
    with served.client() as client:
        for _ in range(3):
            _ask(client, served.grant, next(questions)[1])
        times = [_ask(client, served.grant, next(questions)[1]) for _ in range(asked)]
    _show(report, "single", times, "<= 120")


def _repeat(
    report: Report, served: Served, questions: Iterator[tuple[int, str]], asked: int
) -> None:
    sql = next(questions)[1]
    with served.client() as client:
        _ask(client, served.grant, sql)
        times = [_ask(client, served.grant, sql) for _ in range(asked)]
    _show(report, "repeat", times, "<= 30")


def _reworded(
    report: Report, served: Served, questions: Iterator[tuple[int, str]], asked: int
) -> None:
    sql = next(questions)[1]
    with served.client() as client:
        _ask(client, served.grant, sql)
        times = [
            _ask(client, served.grant, f"{sql} -- {number}") for number in range(asked)
        ]
    _show(report, "reworded", times, "<= 30")


def _sustained(
    report: Report, served: Served, questions: Iterator[tuple[int, str]], duration: float
) -> None:
    lock, times, errors = threading.Lock(), list[float](), list[str]()
    stop = time.monotonic() + duration

    def work() -> None:
        with served.client() as client:
            while time.monotonic() < stop and not errors:
                with lock:
                    _, sql = next(questions)
                try:
                    taken = _ask(client, served.grant, sql)
                except (httpx.HTTPError, SystemExit) as error:
                    errors.append(str(error))
                    return
                times.append(taken)

    started = time.monotonic()
    clients = [threading.Thread(target=work) for _ in range(_CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    if errors:
        report.note(f"sustained ended early: {errors[0]}")
    rate = len(times) / (time.monotonic() - started)
    report.figure("sustained", "released", rate, "1/s", ">= 15")
    if times:
        _show(report, "sustained", times, "")


def _show(report: Report, case: str, times: Sequence[float], target: str) -> None:
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    report.figure(case, "min", ordered[0] * 1e3, "ms")
    report.figure(case, "p50", statistics.median(ordered) * 1e3, "ms", target)
    report.figure(case, "p95", p95 * 1e3, "ms")


def _ask(client: httpx.Client, grant: str, sql: str) -> float:
    """Return the seconds from the question to the cells; SystemExit if it is refused."""
    started = time.perf_counter()
    response = client.post(
        "/api/v1/queries",
        json={"grant": grant, "sql": sql},
        headers={"Idempotency-Key": str(uuid.uuid4()), "Prefer": "wait=20"},
    )
    if response.is_error:
        raise SystemExit(f"the node answered {response.status_code}: {response.text}")
    query = response.json()
    while not (query.get("release") and query["release"]["state"] == "available"):
        if query["state"] in ("refused", "failed"):
            raise SystemExit(f"the query was {query['state']}: {query['reasons']}")
        time.sleep(0.01)
        query = client.get(f"/api/v1/queries/{query['id']}").json()
    content = client.get(query["release"]["url"] + "/content")
    if content.is_error or not content.content:
        raise SystemExit(f"the release's content answered {content.status_code}")
    return time.perf_counter() - started


def _questions() -> Iterator[tuple[int, str]]:
    """Different canonical plans: 40 sites by 12 months by 4 aggregates, over and over."""
    for number in count():
        site, month = number % 40, number // 40 % 12 + 1
        aggregate = _AGGREGATES[number // 480 % len(_AGGREGATES)]
        sql = (
            f"SELECT product, {aggregate} FROM runs WHERE site = 'S{site}' AND"
            f" date_trunc('month', started) = DATE '2025-{month:02d}-01' GROUP BY product"
        )
        yield number, sql
