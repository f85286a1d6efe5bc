"""The tables that the examples of docs/ speak of: seeded, with the skew of real ones."""

from __future__ import annotations

import datetime
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MACHINES = 300
ROWS = 3000
FEW = 5  # machines of type H: fewer than the threshold of the examples


def milling() -> pa.Table:
    """Runs of 300 machines, ten each; type H stands on five machines only."""
    draw = random.Random(7)
    rows = []
    for number in range(ROWS):
        machine = number % MACHINES
        torque = None if draw.random() < 0.02 else round(draw.gauss(40, 10), 1)
        rows.append(
            {
                "machine_id": machine,
                "operator": f"person {draw.randrange(90)}",
                "type": "H" if machine < FEW else "LM"[machine % 2],
                "shift": draw.choice(["early", "late", "night"]),
                "torque_nm": torque,
                "tool_wear_min": draw.randrange(0, 260),
                "made_on": datetime.date(2026, draw.randrange(1, 7), draw.randrange(1, 28)),
                "failure": draw.random() < 0.08,
            }
        )
    return pa.Table.from_pylist(rows)


def services() -> pa.Table:
    """One to three services of two machines in three; the third has none."""
    draw = random.Random(8)
    rows = [
        {
            "machine_id": machine,
            "kind": draw.choice(["planned", "repair"]),
            "cost_eur": draw.randrange(40, 900),
            "done_on": datetime.date(2026, draw.randrange(1, 7), draw.randrange(1, 28)),
        }
        for machine in range(MACHINES)
        if machine % 3 != 2
        for _ in range(draw.randrange(1, 4))
    ]
    return pa.Table.from_pylist(rows)


def write_tables(folder: Path) -> dict[str, Path]:
    """Both tables are in `folder`, as Parquet."""
    found = {}
    for name, table in (("milling", milling()), ("services", services())):
        found[name] = folder / f"{name}.parquet"
        pq.write_table(table, found[name])
    return found
