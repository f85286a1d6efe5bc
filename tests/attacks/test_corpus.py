"""Hostile queries, each with the verdict it must get, over a world of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.simulate import Session, Simulator
from tests.attacks import world


def _load(name: str) -> dict[str, Any]:
    found = yaml.safe_load((world.CORPUS / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def _hostile() -> list[Any]:
    return [
        pytest.param(group, sql, id=f"{group['name']}-{number:02}")
        for group in _load("hostile.yaml")["classes"]
        for number, sql in enumerate(group["queries"], start=1)
    ]


def _sessions() -> list[Any]:
    return [
        pytest.param(session["steps"], id=session["name"].replace(" ", "_"))
        for session in _load("sessions.yaml")["sessions"]
    ]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return world.simulator(tmp_path_factory.mktemp("world"))


def test_corpus_is_large_enough() -> None:
    assert len(_hostile()) >= 120


@pytest.mark.parametrize(("group", "sql"), _hostile())
def test_hostile_query_gets_its_verdict(
    simulator: Simulator, group: dict[str, Any], sql: str
) -> None:
    answer = simulator.answer(sql, None, Session())

    allowed = {"suppress": {"suppress", "refuse"}}.get(
        group["expected"], {group["expected"]}
    )
    assert answer["verdict"] in allowed, answer
    codes = {reason["code"] for reason in answer["reasons"]}
    if answer["verdict"] == "refuse":
        assert codes & set(group.get("codes", codes))
        assert "engine_failed" not in codes
        assert all(reason["message"] and reason["code"] for reason in answer["reasons"])


@pytest.mark.parametrize("steps", _sessions())
def test_session_last_answer_is_withheld(simulator: Simulator, steps: list[str]) -> None:
    session = Session()
    answers = [simulator.answer(sql, None, session) for sql in steps]
    alone = simulator.answer(steps[-1], None, Session())

    assert answers[0]["verdict"] in {"allow", "suppress"}
    assert answers[0]["rows"]
    assert answers[-1]["verdict"] == "suppress"
    shown = [value for row in answers[-1]["rows"] for value in row if value is not None]
    before = [value for row in alone["rows"] for value in row if value is not None]
    assert len(shown) < len(before), "alone it is answered, after the others it is not"


def _twins() -> list[Any]:
    return [
        pytest.param(twin["sql"], twin["few"], twin["none"], id=f"twins-{number:02}")
        for number, twin in enumerate(_load("twins.yaml")["twins"], start=1)
    ]


@pytest.mark.parametrize(("sql", "few", "none"), _twins())
def test_twins_few_and_none_look_alike(
    simulator: Simulator, sql: str, few: str, none: str
) -> None:
    answers = [simulator.answer(sql.format(name), None, Session()) for name in (few, none)]

    # `withheld_by` is for the provider; a consumer never sees it.
    seen = ("verdict", "columns", "rows", "suppressed", "partial")
    assert len({str([answer[key] for key in seen]) for answer in answers}) == 1, answers


def test_world_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (world.write_tables(tmp_path / name) for name in ("a", "b"))

    assert all(first[k].read_bytes() == second[k].read_bytes() for k in first)
