"""A maker's plants to ask honest questions of: machines, runs, readings, failures, sites.

Runs belong to a machine and to an operator; test pieces are units of their own, row by row.
`planted` puts in what an attacker is after: a site with three machines, one run that used
more energy than all others, an operator who is nearly alone on a product, a failure mode of
two machines, a rare vendor.
"""

from __future__ import annotations

import datetime
import random
from typing import Any

import pyarrow as pa

SEED = 20_261_125
MACHINES = 900
OPERATORS = 260
_SITES = ("Aalen", "Bilbao", "Cork", "Dresden", "Espoo")
_LINES = ("press", "mill", "paint", "weld")
_MODELS = ("M100", "M200", "M300")
_VENDORS = ("Kron", "Ostra", "Velde")
_PRODUCTS = ("gear", "housing", "shaft")
_MODES = ("bearing", "heat", "power", "tool")
_SENSORS = ("temp", "vibration")
_START = datetime.datetime.fromisoformat("2025-01-01T00:00:00")


def tables(*, planted: bool) -> dict[str, pa.Table]:
    """Make every table; the same data each time."""
    chance = random.Random(SEED)
    machines = [_machine(chance, number) for number in range(1, MACHINES + 1)]
    runs = [_run(chance, number) for number in range(1, 7001)]
    failures = [_failure(chance) for _ in range(2600)]
    pieces = [_piece(chance, number) for number in range(1, 3001)]
    if planted:
        for machine in machines[:3]:
            machine["site"] = "Nowhere"
        for machine in machines[50:52]:
            machine["vendor"] = "Rarity"
        runs[10]["energy_kwh"] = 90_000_000.0
        for run in runs[:40]:
            run.update(product="prototype", operator_id=1)
        for failure, number in zip(failures[:2], (5, 6), strict=True):
            failure.update(machine_id=number, mode="sabotage")
    return {
        "machines": pa.Table.from_pylist(machines),
        "runs": pa.Table.from_pylist(runs),
        "readings": pa.Table.from_pylist(_readings(chance, runs)),
        "failures": pa.Table.from_pylist(failures),
        "pieces": pa.Table.from_pylist(pieces),
        "sites": pa.Table.from_pylist(_sites()),
    }


def _machine(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "machine_id": number,
        "serial": f"SN-{number:05}",
        "site": chance.choice(_SITES),
        "line": chance.choice(_LINES),
        "model": chance.choice(_MODELS),
        "vendor": chance.choice(_VENDORS) if chance.random() > 0.08 else None,
        "commissioned": datetime.date(chance.randint(2010, 2023), chance.randint(1, 12), 9),
        "rated_kw": chance.randint(20, 200),
        "price": chance.randint(80, 900) * 1000 + chance.randint(0, 999),
    }


def _run(chance: random.Random, number: int) -> dict[str, Any]:
    parts = chance.randint(20, 400)
    return {
        "run_id": number,
        "machine_id": chance.randint(1, MACHINES - 60),
        "operator_id": chance.randint(1, OPERATORS),
        "started": _START + datetime.timedelta(minutes=chance.randint(0, 480_000)),
        "product": chance.choice(_PRODUCTS),
        "shift": chance.choice(("day", "late", "night")),
        "minutes": round(chance.uniform(30, 480), 1),
        "energy_kwh": round(parts * chance.uniform(0.5, 2.5) + 20, 2),
        "parts": parts,
        "scrap": min(int(chance.expovariate(0.15)), 40),
        "failed": chance.random() < 0.12,
    }


def _readings(chance: random.Random, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for run in runs:
        for sensor in _SENSORS:
            hot = run["failed"] * 6
            value = chance.gauss(62 + hot, 8) if sensor == "temp" else chance.gauss(12, 3)
            rows.append(
                {
                    "machine_id": run["machine_id"],
                    "run_id": run["run_id"],
                    "taken": run["started"] + datetime.timedelta(minutes=7),
                    "sensor": sensor,
                    "value": round(value, 2),
                }
            )
    return rows


def _failure(chance: random.Random) -> dict[str, Any]:
    return {
        "machine_id": chance.randint(1, MACHINES - 100),
        "failed_at": _START.date() + datetime.timedelta(days=chance.randint(0, 333)),
        "mode": chance.choice(_MODES),
        "downtime_h": round(chance.expovariate(0.2) + 0.5, 1),
    }


def _piece(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "udi": number,
        "type": chance.choice("LLLMMH"),
        "torque": round(chance.gauss(40, 10), 1),
        "speed": chance.randint(1200, 2600),
        "wear": chance.randint(0, 249),
        "failure": chance.random() < 0.06,
        "cause": chance.choice(("heat", "power", None, None)),
    }


def _sites() -> list[dict[str, Any]]:
    return [
        {"site": "Aalen", "country": "DE", "altitude": 430},
        {"site": "Bilbao", "country": "ES", "altitude": 19},
        {"site": "Cork", "country": "IE", "altitude": 10},
        {"site": "Dresden", "country": "DE", "altitude": 113},
        {"site": "Espoo", "country": "FI", "altitude": 20},
        {"site": "Nowhere", "country": "FI", "altitude": 3},
    ]
