"""Every bomb against a real daemon, the policy engine bypassed: ending, time, memory."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import Report
from tests.attacks.sandbox import bombs
from tests.attacks.sandbox.served import LIMITS, RELEASED, Ended, serving_bypassed


def run(out: Path | None) -> None:
    """Run all of them one after another, each followed by a plain statement."""
    report = Report("bombs")
    ended: dict[str, Ended] = {}
    sys.stdout.write(
        f"{report.name} on {report.machine}, {report.versions}\n"
        f"deadline {LIMITS.deadline_seconds} s, memory {LIMITS.memory_bytes >> 20} MiB\n\n"
        f"| bomb | ending | seconds | worker MB | daemon MB | next query |\n"
        "|---|---|---:|---:|---:|---|\n"
    )
    with tempfile.TemporaryDirectory() as folder, serving_bypassed(Path(folder)) as served:
        for name, sql in bombs.everything().items():
            one = ended[name] = served.watch(sql)
            after = served.watch("SELECT 42")
            is_unharmed = after.code == RELEASED and after.rows == (("42",),)
            following = "unharmed" if is_unharmed else after.code
            sys.stdout.write(
                f"| {name} | {one.code} | {one.seconds:.2f} | {one.worker_bytes / 1e6:.0f}"
                f" | {one.daemon_bytes / 1e6:.0f} | {following} |\n"
            )
            sys.stdout.flush()
    endings = Counter(one.code for one in ended.values())
    sys.stdout.write(f"\n{len(ended)} bombs: {dict(endings)}\n")
    sys.stdout.write(
        f"longest {max(one.seconds for one in ended.values()):.2f} s,"
        f" largest worker {max(one.worker_bytes for one in ended.values()) / 1e6:.0f} MB,"
        f" largest daemon {max(one.daemon_bytes for one in ended.values()) / 1e6:.0f} MB\n"
    )
    if out is not None:
        shown = {
            name: {**asdict(one), "rows": len(one.rows)} for name, one in ended.items()
        }
        out.write_text(json.dumps(shown, indent=1), encoding="utf-8")
