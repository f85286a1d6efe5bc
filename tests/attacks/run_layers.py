"""Which layer stops what on this machine: every attempt under each layer alone.

Then what no worker may do, inside each kind of worker that a daemon starts.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Report
from sandbox.processes import forbidden
from sandbox.processes.selfcheck import check_lockdown
from tests.attacks.sandbox.layers import LAYERS, THROUGH, WORKERS, cells, matrix
from tests.attacks.sandbox.served import serving_bypassed

Table = dict[str, dict[str, str]]
# Kinds of attempts that stand in one line of docs/threats.md.
_SUMMED = {
    "read files, /proc, directories": "read",
    "write, create, rename, change files": "write",
    "change sealed images, send descriptors": "descriptors",
    "network: TCP, UDP, Unix, netlink, raw": "network",
    "new processes and programs": "spawn",
    "signals, memory, descriptors of others": "processes",
    "kernel: io_uring, BPF, keys, new code …": "kernel",
    "more memory, files, threads than given": "limits",
    "SQL on files, extensions, settings": "SQL",
}


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
    lines += ["", *_summary(found), "", *_in_real_workers()]
    sys.stdout.write("\n".join(lines) + "\n")
    if out is not None:
        out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _summary(found: dict[str, Table]) -> list[str]:
    """How many attempts of each kind each layer stops: the table of docs/threats.md."""
    names = [*LAYERS, "engine"]
    lines = [f"| attempts | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for title, kind in _SUMMED.items():
        shown = []
        for name in names:
            tried = [row[name] for row in found[kind].values() if name in row]
            stopped = sum(what != THROUGH for what in tried)
            shown.append(f"{stopped} of {len(tried)}" if tried else "")
        lines.append(f"| {title} | {' | '.join(shown)} |")
    return lines


def _in_real_workers() -> list[str]:
    """The same for what each kind of worker of a daemon may not do, one job an attempt."""
    kinds = ("query", "profile", "partition")
    lines = ["| forbidden to workers | query | profile | partition |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder, serving_bypassed(Path(folder)) as served:
        for attack in dict.fromkeys(forbidden.WORKER_ATTACKS):
            name = attack.__name__
            said = [
                served.act("attempt", name)
                if kind == "query"
                else served.act_in_ingest(kind, "attempt", name)
                for kind in kinds
            ]
            lines.append(f"| {name.strip('_').replace('_', ' ')} | {' | '.join(said)} |")
    return lines
