"""One benchmark's figures: timed in turn with a yardstick, printed as ratios."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `ratio` is value over yardstick, where there is a yardstick.

    `target` says what the figure should be, as "<= 1.1" or ">= 15"; it is judged by
    `is_met` of the ratio if there is one, else of the value.
    """

    case: str
    metric: str
    value: float
    unit: str
    yardstick: float | None = None
    ratio: float | None = None
    target: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if not self.target:
            return None
        relation, bound = self.target.split()
        figure = self.value if self.ratio is None else self.ratio
        return figure <= float(bound) if relation == "<=" else figure >= float(bound)


@dataclass(slots=True)
class Report:
    """All figures of one run, and what must be said with them."""

    name: str
    machine: str = field(
        default_factory=lambda: (
            f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores"
        )
    )
    versions: dict[str, str] = field(
        default_factory=lambda: {
            "python": platform.python_version(),
            **{name: version(name) for name in ("duckdb", "pyarrow")},
        }
    )
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def pair(
        self,
        case: str,
        ours: Callable[[], object],
        yardstick: Callable[[], object],
        *,
        runs: int = 7,
    ) -> None:
        """Time both in turn after one warm-up each; keep min, median and max."""
        mine, theirs = [], []
        for turn in range(runs + 1):
            a, b = seconds(ours), seconds(yardstick)
            if turn:
                mine.append(a)
                theirs.append(b)
        for metric, pick in (("min", min), ("median", statistics.median), ("max", max)):
            self.compare(case, metric, float(pick(mine)), float(pick(theirs)))

    def compare(
        self, case: str, metric: str, ours: float, yardstick: float, target: str = ""
    ) -> None:
        """Add a pair of durations in seconds."""
        ratio = ours / yardstick
        self.rows.append(
            Row(case, metric, ours * 1e3, "ms", yardstick * 1e3, ratio, target)
        )

    def figure(
        self, case: str, metric: str, value: float, unit: str, target: str = ""
    ) -> None:
        """Add a figure that stands by itself."""
        self.rows.append(Row(case, metric, value, unit, target=target))

    def note(self, text: str) -> None:
        """Have the table followed by a line of words."""
        self.notes.append(text)

    def show(self) -> str:
        """Return the table as text."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        lines = [f"{self.name} on {self.machine}; {versions}"]
        lines.append(
            f"{'case':<40} {'metric':<16} {'ours':>10} {'unit':<6}"
            f" {'yardstick':>10} {'ratio':>7}  target"
        )
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, *self.notes])

    def save(self, path: Path) -> None:
        """Write the figures as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def _line(row: Row) -> str:
    yardstick = "" if row.yardstick is None else f"{row.yardstick:.2f}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = {None: "", True: f"{row.target} met", False: f"{row.target} MISSED"}[row.is_met]
    return (
        f"{row.case:<40} {row.metric:<16} {row.value:>10.2f} {row.unit:<6}"
        f" {yardstick:>10} {ratio:>7}  {met}"
    ).rstrip()


def geometric_mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean. Requires at least one ratio, all above 0."""
    return math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))


def seconds(run: Callable[[], object]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
