"""Calls of ships at ports, generated: who waited, at which berth, in what weather.

A large port takes a third of all calls; two tiny ones see a handful of ships a year, so
that their cells are about few and are withheld.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from exchange.demo.csv_text import Cell, csv_bytes, sometimes

ROWS = 25_137
VESSELS = 1_500
FIRST_DAY = date(2025, 1, 1)
DAYS = 365
COLUMNS = (
    "vessel_id", "port", "terminal", "cargo", "arrived_on", "waiting_hours",
    "berth_hours", "gross_tonnage", "weather", "delayed",
)  # fmt: skip

_PORTS = {
    "Rotterdam": 340, "Antwerp": 230, "Hamburg": 180, "Valencia": 120,
    "Gdansk": 80, "Koper": 49,
}  # fmt: skip
# Each tiny port is served by a few ships only.
_TINY_PORTS = {"Husum": range(6), "Thyboron": range(6, 10)}
_CARGOES = {"container": 520, "dry bulk": 210, "tanker": 180, "ro-ro": 75, "vehicles": 15}
_RARE_CARGO, _RARE_VESSELS = "livestock", range(20, 26)
_WEATHER = {"calm": 62, "rain": 22, "fog": 9, "storm": 7}
_WEATHER_HOURS = {"calm": 0.0, "rain": 1.0, "fog": 4.0, "storm": 11.0}
_DELAYED_FROM_HOURS = 12


def port_calls_csv(*, seed: int = 2, rows: int = ROWS) -> bytes:
    """The same bytes for the same seed and number of rows."""
    return csv_bytes(COLUMNS, _rows(Random(seed), rows))  # noqa: S311 - data, no secret


def _rows(random: Random, count: int) -> Iterator[tuple[Cell, ...]]:
    tonnage = [round(random.lognormvariate(10.2, 0.7), -2) for _ in range(VESSELS)]
    cargoes = [_pick(random, _CARGOES) for _ in range(VESSELS)]
    for number in _RARE_VESSELS:
        cargoes[number] = _RARE_CARGO
    for _ in range(count):
        vessel = random.randrange(VESSELS)
        port = _pick(random, _PORTS)
        for name, served_by in _TINY_PORTS.items():
            if vessel in served_by and random.random() < 0.5:
                port = name
        weather = _pick(random, _WEATHER)
        queue = random.expovariate(1 / (5.0 if port == "Rotterdam" else 3.5))
        waiting = queue + _WEATHER_HOURS[weather] * random.random()
        berth = 8 + tonnage[vessel] / 4_000 + random.expovariate(1 / 6)
        late = waiting + random.gauss(0, 2) > _DELAYED_FROM_HOURS
        yield (
            f"V{vessel + 9_100_000}",
            port,
            f"T{1 + min(random.randrange(6), random.randrange(6))}",
            cargoes[vessel],
            (FIRST_DAY + timedelta(days=random.randrange(DAYS))).isoformat(),
            sometimes(random, round(waiting, 1), missing=0.02),
            sometimes(random, round(berth, 1), missing=0.03),
            int(tonnage[vessel]),
            sometimes(random, weather, missing=0.04),
            int(late),
        )


def _pick(random: Random, weights: dict[str, int]) -> str:
    return random.choices(list(weights), weights=list(weights.values()))[0]
