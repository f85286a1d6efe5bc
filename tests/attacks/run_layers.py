"""Which layer stops what on this machine: every attempt under each layer alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.report import Report
from sandbox.processes.selfcheck import check_lockdown
from tests.attacks.sandbox.layers import THROUGH, WORKERS, cells, matrix


def run(out: Path | None) -> None:
    """Print the self-check's layers and the table of attempts, as Markdown."""
    layers = check_lockdown()
    found = matrix()
    lines = [f"{(report := Report('layers')).name} on {report.machine}, {report.versions}"]
    lines += ["", "| layer | required | on | what it rests on |", "|---|---|---|---|"]
    lines += [
        f"| {layer.name} | {'yes' if layer.required else 'no'}"
        f" | {'yes' if layer.on else 'no'} | {layer.reason} |"
        for layer in layers
    ]
    for kind, rows in found.items():
        names = list(next(iter(rows.values())))
        lines += ["", f"**{kind}**", "", f"| attempt | {' | '.join(names)} |"]
        lines += ["|---|" + "---|" * len(names)]
        lines += [
            f"| {name.replace('_', ' ')} | {' | '.join(cells(row, names))} |"
            for name, row in rows.items()
        ]
    lines += ["", f"{sum(map(len, found.values()))} attempts"]
    for worker in WORKERS:
        through = [
            name
            for rows in found.values()
            for name, row in rows.items()
            if row[worker] == THROUGH
        ]
        lines += ["", f"through a whole {worker}: {', '.join(through) or 'none'}"]
    sys.stdout.write("\n".join(lines) + "\n")
    if out is not None:
        out.write_text(json.dumps(found, indent=1), encoding="utf-8")
