"""One benchmark's figures: timed in turn with a yardstick, printed as ratios."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `ratio` is value over yardstick, of the medians."""

    case: str
    metric: str
    value: float
    unit: str
    yardstick: float
    ratio: float


@dataclass(slots=True)
class Report:
    """All figures of one run."""

    name: str
    machine: str = field(
        default_factory=lambda: f"{platform.machine()} {platform.system()}"
    )
    versions: dict[str, str] = field(
        default_factory=lambda: {
            "python": platform.python_version(),
            **{name: version(name) for name in ("duckdb", "pyarrow")},
        }
    )
    rows: list[Row] = field(default_factory=list)

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
            a, b = _seconds(ours), _seconds(yardstick)
            if turn:
                mine.append(a)
                theirs.append(b)
        for metric, pick in (("min", min), ("median", statistics.median), ("max", max)):
            value, base = float(pick(mine)), float(pick(theirs))
            self.rows.append(Row(case, metric, value * 1e3, "ms", base * 1e3, value / base))

    def show(self) -> str:
        """Return the table as text."""
        lines = [f"{self.name} on {self.machine}, {self.versions}"]
        lines.append(
            f"{'case':<44}{'metric':<8}{'ours ms':>10}{'yardstick':>11}{'ratio':>8}"
        )
        lines += [
            f"{r.case:<44}{r.metric:<8}{r.value:>10.2f}{r.yardstick:>11.2f}{r.ratio:>8.2f}"
            for r in self.rows
        ]
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the figures as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
