"""A small world to attack: ships, their calls at ports, and machines; seeded, with targets.

What an attacker is after is planted: a port with three ships, a flag with two, the one
ship of a small insurer, a port where every ship is held by one inspector, a giant ship.
"""

from __future__ import annotations

import datetime
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from policies.codec import load_policy
from policies.document import Policy
from sandbox.simulate import Simulator

SEED = 20_260_731
CORPUS = Path(__file__).parent / "corpus"
TABLES = ("ships", "calls", "surveys", "machines", "ports", "watchlist")
_FLAGS = ("Panama", "Liberia", "Malta", "Norway", "Greece")
_INSURERS = ("North", "Gard", "Skuld", "West")
_CARGO = ("ore", "grain", "oil", "steel", "cars")
_PORTS = ("Bergen", "Hamina", "Sines", "Varna", "Gdynia", "Koper")


def _ships(chance: random.Random) -> list[dict[str, Any]]:
    ships = []
    for imo in range(1, 1201):
        ship = {
            "imo": imo if imo % 150 else None,
            "ship_name": f"MV Secret {imo}",
            "flag": chance.choice(_FLAGS),
            "insurer": chance.choice(_INSURERS),
            "built": chance.randint(1975, 2024),
            "tonnage": chance.randint(2, 90) * 1000 + chance.randint(0, 999),
            "draught": round(chance.uniform(4, 18), 2),
            "wage": Decimal(chance.randint(100_000, 900_000)).scaleb(-2),
            "secret_note": f"note {chance.random()}",
        }
        ships.append(ship)
    for ship in ships[:2]:
        ship["flag"] = "Tuvalu"
    ships[4].update(insurer="Obscura", flag="Norway", built=1983, wage=Decimal("77777.77"))
    ships[10].update(tonnage=9_000_000, flag="Malta")
    for ship in ships[20:23]:
        ship["draught"] = None
    ships[30]["draught"] = float("nan")
    ships[31]["draught"] = float("inf")
    for ship in ships[40:43]:
        ship["flag"] = None
    return ships


def _calls(chance: random.Random) -> list[dict[str, Any]]:
    calls = []
    start = datetime.datetime.fromisoformat("2023-01-01T00:00:00")
    for number in range(4000):
        imo = chance.randint(1, 1150)
        port = _PORTS[min(int(chance.expovariate(0.6)), len(_PORTS) - 1)]
        calls.append(
            {
                "call_id": number,
                "imo": imo,
                "agent_id": chance.randint(1, 90),
                "port": port,
                "arrived": start + datetime.timedelta(hours=chance.randint(0, 17_000)),
                "cargo": chance.choice(_CARGO),
                "delay_hours": round(chance.expovariate(0.1), 2),
                "detained": chance.random() < 0.08,
            }
        )
    for call, imo in zip(calls[:3], (7, 8, 9), strict=True):
        call.update(port="Tinyhavn", imo=imo)
    # At Koper the inspector holds every ship; at Varna one agent is nearly everybody.
    for call in calls:
        if call["port"] == "Koper":
            call["detained"] = True
        if call["port"] == "Varna" and chance.random() < 0.97:
            call["agent_id"] = 1
    return calls


def _surveys(chance: random.Random) -> list[dict[str, Any]]:
    # Three ships have no survey: joining surveys leaves them out.
    return [
        {"imo": imo, "grade": chance.choice("ABC"), "cost": chance.randint(1, 90) * 100}
        for imo in range(4, 1201)
    ]


def _machines(chance: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "udi": number,
            "type": chance.choice("LLLMMH"),
            "torque": round(chance.gauss(40, 10), 1),
            "wear": chance.randint(0, 250),
            "failure": chance.random() < 0.04,
            "mode": chance.choice(("heat", "power", None, None)),
        }
        for number in range(3000)
    ]


def _ports() -> list[dict[str, Any]]:
    # Tinyhavn is missing, so an inner join with this table leaves it out.
    return [
        {"port": name, "country": country, "berths": berths, "code": code}
        for code, (name, country, berths) in enumerate(
            (
                ("Bergen", "NO", 41), ("Hamina", "FI", 12), ("Sines", "PT", 17),
                ("Varna", "BG", 23), ("Gdynia", "PL", 30), ("Koper", "SI", 9),
            )
        )
    ]  # fmt: skip


_DECIMALS = {
    "ships": {
        "imo": pa.int64(), "wage": pa.decimal128(12, 2), "draught": pa.float64(),
        "built": pa.int32(), "tonnage": pa.int64(),
    },
}  # fmt: skip


def write_tables(folder: Path) -> dict[str, Path]:
    """Write every table of the world as Parquet; the same bytes of data each time."""
    chance = random.Random(SEED)
    rows = {
        "ships": _ships(chance),
        "calls": _calls(chance),
        "surveys": _surveys(chance),
        "machines": _machines(chance),
        "ports": _ports(),
        "watchlist": [{"imo": imo, "remark": "mine"} for imo in range(1, 6)],
    }
    files = {}
    for name, items in rows.items():
        table = pa.Table.from_pylist(items)
        for column, kind in _DECIMALS.get(name, {}).items():
            index = table.schema.get_field_index(column)
            table = table.set_column(index, column, table[column].cast(kind))
        files[name] = folder / f"{name}.parquet"
        pq.write_table(table, files[name])
    return files


def policy() -> Policy:
    """Return the world's policy."""
    return load_policy((CORPUS / "policy.yaml").read_text(encoding="utf-8"))


def simulator(folder: Path) -> Simulator:
    """Return a simulator over the world's tables."""
    return Simulator(policy(), write_tables(folder))
