"""A clinic to ask honest questions of: patients, visits, a trial's arms, public cities.

The schema is that of the shared corpus, so that its queries run here too. `planted` puts in
what an attacker is after (a city of three, a rare diagnosis, one person who is a ward of
her own, a billionaire); without it every plain group is large enough to be answered.
"""

from __future__ import annotations

import datetime
import random
from typing import Any

import pyarrow as pa

SEED = 20_261_124
PATIENTS = 2400
_CITIES = ("Arden", "Brook", "Crane", "Dover", "Elmer")
_DIAGNOSES = ("asthma", "diabetes", "flu", "hypertension", None)
_DEPARTMENTS = ("ER", "GP", "ICU", "Surgery")
_FIRST_DAY = datetime.date.fromisoformat("2024-01-01")


def tables(*, planted: bool) -> dict[str, pa.Table]:
    """Make every table; the same data each time."""
    chance = random.Random(SEED)
    patients = [_patient(chance, number) for number in range(1, PATIENTS + 1)]
    visits = _visits(chance)
    if planted:
        _plant(patients, visits)
    cities = [
        {"city": "Arden", "region": "North", "population": 500_000},
        {"city": "Brook", "region": "North", "population": 200_000},
        {"city": "Crane", "region": "South", "population": 300_000},
        {"city": "Dover", "region": "South", "population": 90_000},
        {"city": "Elmer", "region": "East", "population": 750_000},
        {"city": "Tinyville", "region": "East", "population": 900},
    ]
    cohort = [
        {"patient_id": number, "arm": "treated" if chance.random() < 0.5 else "control"}
        for number in range(1, PATIENTS * 3 // 4)
    ]
    return {
        "patients": _typed(patients, {"age": pa.int32(), "income": pa.float64()}),
        "visits": _typed(visits, {"los_days": pa.int32(), "cost": pa.float64()}),
        "cohort": pa.Table.from_pylist(cohort),
        "cities": pa.Table.from_pylist(cities),
        "my_list": _typed([{"name": "Person 17", "city": "Brook", "age": 67}], {}),
    }


def _patient(chance: random.Random, number: int) -> dict[str, Any]:
    age = chance.randint(18, 89)
    return {
        "id": number,
        "name": f"Person {number}",
        "age": age,
        "city": chance.choice(_CITIES),
        "diagnosis": chance.choices(_DIAGNOSES, weights=(20, 25, 30, 20, 5))[0],
        "income": None
        if chance.random() < 0.05
        else float(15_000 + chance.randint(0, 900) * 100 + age * 200 + number % 97),
    }


def _visits(chance: random.Random) -> list[dict[str, Any]]:
    visits = []
    for number in range(1, 8001):
        los = min(int(chance.expovariate(0.4)), 9)
        visits.append(
            {
                "visit_id": number,
                # Some patients never come, so that outer joins differ from inner ones.
                "patient_id": chance.randint(1, PATIENTS - 300),
                "visit_date": _FIRST_DAY + datetime.timedelta(days=chance.randint(0, 720)),
                "department": chance.choice(_DEPARTMENTS),
                "cost": float(50 + chance.randint(0, 2500) + los * 120),
                "los_days": los,
            }
        )
    return visits


def _plant(patients: list[dict[str, Any]], visits: list[dict[str, Any]]) -> None:
    for patient in patients[:3]:
        patient["city"] = "Tinyville"
    for patient in patients[100:103]:
        patient.update(diagnosis="HIV", city="Arden")
    patients[0]["income"] = 70_000_000.0
    for visit in visits[:30]:
        visit.update(department="Oncology", patient_id=17)


def _typed(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    for column, kind in types.items():
        index = table.schema.get_field_index(column)
        table = table.set_column(index, column, table[column].cast(kind))
    return table
