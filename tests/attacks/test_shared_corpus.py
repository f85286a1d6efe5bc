"""The corpus that lies outside the project, where it is there: `BONDED_SHARED` names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.codec import load_policy
from sandbox.simulate import Session, Simulator

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("BONDED_SHARED", ROOT.parent / "shared"))
CORPUS = SHARED / "corpus"
# Refused, as this grammar is smaller than the corpus: windows, CTEs, subqueries, outer
# joins, statistics, ROLLUP. The number may only fall.
REFUSED_HONEST = 19

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(),
    reason="no corpus folder: set BONDED_SHARED to the folder that holds `corpus`",
)


def _queries(name: str) -> list[dict[str, Any]]:
    text = (CORPUS / f"{name}.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)["queries"]
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    policy = load_policy((CORPUS / "policy.yaml").read_text(encoding="utf-8"))
    tables = {path.stem: path for path in sorted((CORPUS / "tables").glob("*.parquet"))}
    return Simulator(policy, tables)


@pytest.mark.parametrize("in_session", [False, True])
def test_hostile_corpus_each_gets_its_verdict(
    simulator: Simulator, *, in_session: bool
) -> None:
    session = Session()
    wrong = []
    for query in _queries("hostile"):
        answer = simulator.answer(
            query["sql"], query.get("purpose"), session if in_session else Session()
        )
        allowed = {"refuse": {"refuse"}, "suppress": {"suppress", "refuse"}}.get(
            query["expected"], {"allow", "suppress"}
        )
        if answer["verdict"] not in allowed:
            wrong.append((query["id"], query["expected"], answer["verdict"]))

    assert wrong == []


def test_honest_corpus_refuses_no_more_than_the_grammar_lacks(simulator: Simulator) -> None:
    answers = [simulator.answer(q["sql"], None, Session()) for q in _queries("honest")]
    refused = [answer for answer in answers if answer["verdict"] == "refuse"]

    assert len(refused) <= REFUSED_HONEST
    codes = {reason["code"] for answer in refused for reason in answer["reasons"]}
    assert "engine_failed" not in codes
