"""The demo's data: the same every time, and as uneven as real data is."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date

import pytest

from exchange.demo import machining, port_calls
from exchange.demo.machining import machining_csv
from exchange.demo.port_calls import port_calls_csv

Rows = list[dict[str, str]]


def read(content: bytes) -> Rows:
    return list(csv.DictReader(io.StringIO(content.decode())))


@pytest.fixture(scope="module")
def runs() -> Rows:
    return read(machining_csv())


@pytest.fixture(scope="module")
def calls() -> Rows:
    return read(port_calls_csv())


@pytest.mark.parametrize("generate", [machining_csv, port_calls_csv])
def test_same_seed_same_bytes(generate: Callable[..., bytes]) -> None:
    assert generate(seed=7, rows=300) == generate(seed=7, rows=300)
    assert generate(seed=7, rows=300) != generate(seed=8, rows=300)


def units_behind(rows: Rows, unit: str, column: str) -> dict[str, int]:
    found = defaultdict(set)
    for row in rows:
        found[row[column]].add(row[unit])
    return {value: len(units) for value, units in found.items()}


def test_machining_has_the_promised_shape(runs: Rows) -> None:
    assert len(runs) == machining.ROWS
    assert tuple(runs[0]) == machining.COLUMNS
    assert 350 <= len({run["machine_id"] for run in runs}) <= 400
    types = Counter(run["product_type"] for run in runs)
    assert types["L"] > types["M"] > types["H"] > 0
    days = {date.fromisoformat(run["started_on"]) for run in runs}
    assert {day.month for day in days} == set(range(1, 13))
    assert all(any(run[name] == "" for run in runs) for name in ("torque_nm", "material"))


def test_machining_has_a_material_of_fewer_than_ten_machines(runs: Rows) -> None:
    behind = units_behind(runs, "machine_id", "material")

    assert 0 < behind["beryllium copper"] < 10 < behind["steel"]


def test_machining_fails_more_often_under_strain(runs: Rows) -> None:
    known = [run for run in runs if run["torque_nm"]]
    strained = [
        run for run in known if float(run["torque_nm"]) * int(run["tool_wear_min"]) > 12_000
    ]
    share = sum(run["failure"] == "1" for run in known) / len(known)
    under_strain = sum(run["failure"] == "1" for run in strained) / len(strained)

    assert 0.005 < share < 0.10
    assert under_strain > 5 * share


def test_port_calls_have_the_promised_shape(calls: Rows) -> None:
    assert len(calls) == port_calls.ROWS
    assert tuple(calls[0]) == port_calls.COLUMNS
    assert 1_450 <= len({call["vessel_id"] for call in calls}) <= 1_500
    ports = Counter(call["port"] for call in calls)
    assert ports["Rotterdam"] > len(calls) / 4
    assert all(
        any(call[name] == "" for call in calls) for name in ("weather", "berth_hours")
    )


@pytest.mark.parametrize(
    ("column", "value"), [("port", "Husum"), ("port", "Thyboron"), ("cargo", "livestock")]
)
def test_port_calls_have_rare_cells(calls: Rows, column: str, value: str) -> None:
    assert 0 < units_behind(calls, "vessel_id", column)[value] < 10


def test_port_calls_are_late_more_often_in_a_storm(calls: Rows) -> None:
    def late(weather: str) -> float:
        those = [call for call in calls if call["weather"] == weather]
        return sum(call["delayed"] == "1" for call in those) / len(those)

    assert late("storm") > 2 * late("calm") > 0
