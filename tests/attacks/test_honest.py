"""Honest questions are answered, and with what a plain engine says of the same data."""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from typing import Any

import pytest

from sandbox.simulate import Session
from tests.attacks.corpora import honest
from tests.attacks.oracle import Comparison, Question, compare
from tests.attacks.worlds import Stand, stand

LEAST_ANSWERED = 0.97
QUESTIONS = honest()
CLASSES = {
    "count", "group", "filter", "case_bucket", "conditional", "join", "date", "stats",
    "quantile_hist", "post_window", "rollup", "having", "cte", "subquery", "per_unit",
    "union", "pivot", "string", "null", "expr_alias", "model_prep",
}  # fmt: skip
STANDS = [
    ("clinic", False),
    ("clinic", True),
    ("plant", False),
    ("plant", True),
    ("ships", True),
]


class Asked:
    """Every honest question of one stand, asked once."""

    def __init__(self, where: Stand, questions: list[Question]) -> None:
        self.where = where
        self.answers = {
            question.id: where.simulator.answer(question.sql, None, Session())
            for question in questions
        }

    def compared(self, question: Question) -> Comparison:
        """Compare what was released with the plain engine."""
        answer = self.answers[question.id]
        if answer["verdict"] == "refuse":
            return Comparison(skipped="refused")
        return compare(question, answer, self.where.plain, self.where.shuffled)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("worlds")

    @cache
    def of(world: str, planted: bool) -> Asked:
        where = stand(world, folder / f"{world}-{planted}", planted=planted)
        return Asked(where, [q for q in QUESTIONS if q.world == world])

    return of


def test_honest_corpus_covers_every_class() -> None:
    assert len(QUESTIONS) >= 150
    assert {question.kind for question in QUESTIONS} == CLASSES
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize(("world", "planted"), STANDS)
def test_honest_released_values_equal_plain_engine(
    asked: Any, world: str, planted: bool
) -> None:
    stood = asked(world, planted)
    wrong = {
        question.id: faults[0]
        for question in QUESTIONS
        if question.world == world and (faults := stood.compared(question).faults)
    }

    assert not wrong


@pytest.mark.parametrize(("world", "planted"), STANDS)
def test_honest_no_engine_failure(asked: Any, world: str, planted: bool) -> None:
    failed = [
        name
        for name, answer in asked(world, planted).answers.items()
        if any(reason["code"] == "engine_failed" for reason in answer["reasons"])
    ]

    assert not failed


def test_honest_share_answered(asked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asks: Counter[str] = Counter()
    refused: dict[str, list[str]] = {}
    for world, planted in STANDS:
        for question in QUESTIONS:
            if question.world == world:
                asks[question.kind] += 1
                answer = asked(world, planted).answers[question.id]
                if answer["verdict"] == "refuse":
                    refused.setdefault(question.kind, []).append(question.id)
    missed = sum(map(len, refused.values()))
    lines = [f"\nhonest answered: {1 - missed / asks.total():.1%}"]
    for kind, count in sorted(asks.items()):
        names = refused.get(kind, [])
        lines.append(
            f"  {kind:<14}{count - len(names)}/{count} {' '.join(sorted(set(names)))}"
        )
    with capsys.disabled():
        sys.stdout.write("\n".join(lines) + "\n")

    assert missed <= (1 - LEAST_ANSWERED) * asks.total()
