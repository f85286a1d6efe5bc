"""Runs of machine tools, generated: which wear, torque and heat end in a failure.

Modelled on what shop floors report: few high-quality products, steel almost everywhere,
two materials that hardly anyone cuts, sensors that sometimes say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from exchange.demo.csv_text import Cell, csv_bytes, sometimes

ROWS = 20_163
MACHINES = 400
FIRST_DAY = date(2025, 1, 1)
DAYS = 365
COLUMNS = (
    "machine_id", "site", "product_type", "material", "shift", "started_on",
    "spindle_rpm", "torque_nm", "tool_wear_min", "temperature_k", "failure",
)  # fmt: skip

_SITES = {"Chemnitz": 38, "Brno": 27, "Bilbao": 20, "Tampere": 12, "Porto": 3}
_TYPES = {"L": 60, "M": 30, "H": 10}
_MATERIALS = {
    "steel": 620, "aluminium": 250, "cast iron": 90, "titanium": 38, "inconel": 2,
}  # fmt: skip
_RARE_MATERIAL = "beryllium copper"
_RARE_MACHINES = range(3)  # the only ones that ever cut it
_SHIFTS = {"early": 45, "late": 38, "night": 17}


def machining_csv(*, seed: int = 1, rows: int = ROWS) -> bytes:
    """The same bytes for the same seed and number of rows."""
    return csv_bytes(COLUMNS, _rows(Random(seed), rows))  # noqa: S311 - data, no secret


def _rows(random: Random, count: int) -> Iterator[tuple[Cell, ...]]:
    sites = random.choices(list(_SITES), weights=list(_SITES.values()), k=MACHINES)
    # A few machines run most: the weight of a machine falls with its number.
    weights = [1 / (1 + number / 60) for number in range(MACHINES)]
    for _ in range(count):
        machine = random.choices(range(MACHINES), weights=weights)[0]
        product = _pick(random, _TYPES)
        material = _pick(random, _MATERIALS)
        if machine in _RARE_MACHINES and random.random() < 0.05:
            material = _RARE_MATERIAL
        rpm = round(max(1150, random.gauss(1540, 180)))
        # The faster the spindle, the less torque at the same power.
        torque = max(4.0, random.gauss(40 - (rpm - 1540) * 0.03, 8))
        wear = random.randrange(0, 250)
        heat = random.gauss(309, 1.6) + (torque - 40) * 0.03
        yield (
            f"MT-{machine:04d}",
            sites[machine],
            product,
            sometimes(random, material, missing=0.01),
            _pick(random, _SHIFTS),
            (FIRST_DAY + timedelta(days=random.randrange(DAYS))).isoformat(),
            sometimes(random, rpm, missing=0.005),
            sometimes(random, round(torque, 1), missing=0.02),
            wear,
            sometimes(random, round(heat, 1), missing=0.03),
            int(random.random() < _risk(wear * torque, product)),
        )


def _risk(strain: float, product: str) -> float:
    # Overstrain: near nothing up to about 9,000 min Nm, then steep; earlier for type L.
    limit = {"L": 11_000, "M": 12_000, "H": 13_000}[product]
    return 0.008 + 0.6 / (1 + math.exp(-(strain - limit) / 700))


def _pick(random: Random, weights: dict[str, int]) -> str:
    return random.choices(list(weights), weights=list(weights.values()))[0]
