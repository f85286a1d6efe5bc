"""Statements by the thousand: no crash, named reasons, and the engine saw its parser only.

A fixed sample in every run; 200,000 statements by `./bonded test --long`.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any, cast

import duckdb
import pytest

from policies.decision import Request, Verdict, decide
from policies.document import Policy
from sandbox.analyse import analyse
from sandbox.errors import SandboxError
from sandbox.simulate import Session, Simulator
from tests.attacks import corpora
from tests.attacks.doubles import ParserOnly, Watched
from tests.attacks.mutations import mutate
from tests.attacks.test_fuzz_laws import check_reasons
from tests.attacks.worlds import WORLDS, schemas, stand

Schemas = dict[str, list[tuple[str, str]]]
# What only running can tell: the plan was allowed, then the data or the past refused it.
AT_RUN_TIME = {
    "engine_failed", "query_cap_reached", "history_not_held", "result_types",
    "result_too_large", "reentry_not_scalar", "reentry_withheld", "reentry_too_large",
    "reentry_type", "measure_out_of_range",
}  # fmt: skip
STATEMENTS = {
    world: sorted(
        {question.sql for question in corpora.honest() if question.world == world}
        | {attack.sql for attack in corpora.hostile() if attack.world == world}
    )
    for world in WORLDS
}
LONG, PARTS = 200_000, 8


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Policy, Schemas]]:
    folder = tmp_path_factory.mktemp("worlds")
    return {
        name: (item.policy, schemas(item.files(folder / name, planted=True)))
        for name, item in WORLDS.items()
    }


@pytest.fixture(scope="module")
def parser() -> ParserOnly:
    return ParserOnly()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("watched")

    @cache
    def of(world: str) -> tuple[Simulator, Watched]:
        simulator = stand(world, folder / world, planted=True).simulator
        double = Watched(simulator._connection)
        simulator._connection = cast("duckdb.DuckDBPyConnection", double)
        return simulator, double

    return of


def _check(
    sql: str, setting: tuple[Policy, Schemas], parser: ParserOnly, seed: object
) -> None:
    policy, known = setting
    before = parser.calls
    try:
        found = analyse(sql, policy, known, cast("duckdb.DuckDBPyConnection", parser))
        purpose = policy.aggregate_rules[0].purposes[0]
        decision = decide(policy, Request(purpose), found.shape)
    except SandboxError:
        raise
    except Exception as error:
        raise AssertionError(
            f"{type(error).__name__} by statement {seed}: {sql!r}"
        ) from error
    # The submitted text, and the expression of each derived measure.
    derived = sum(len(table.derived) for table in policy.tables)
    assert parser.calls - before <= 1 + derived
    if decision.verdict is Verdict.REFUSE:
        assert decision.reasons, sql
    else:
        assert found.plan is not None, sql
    check_reasons(decision.reasons, sql)


def _run(count: int, seed: int, settings: Any, parser: ParserOnly) -> None:
    chance = random.Random(seed)
    names = sorted(STATEMENTS)
    for number in range(count):
        world = chance.choice(names)
        sql = mutate(chance, STATEMENTS[world])
        _check(sql, settings[world], parser, (seed, number))


def test_fuzz_sample_gets_named_reasons(settings: Any, parser: ParserOnly) -> None:
    _run(3000, 20_261_124, settings, parser)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_fuzz_many_get_named_reasons(settings: Any, parser: ParserOnly, part: int) -> None:
    _run(LONG // PARTS, part, settings, parser)


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_refused_never_reaches_the_engine(watched: Any, world: str) -> None:
    simulator, double = watched(world)
    for sql in STATEMENTS[world]:
        double.beyond_parser.clear()
        answer = simulator.answer(sql, None, Session())

        codes = {reason["code"] for reason in answer["reasons"]}
        if answer["verdict"] == "refuse" and not codes <= AT_RUN_TIME:
            assert double.beyond_parser == [], (sql, codes)


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_answered_reaches_the_engine(watched: Any, world: str) -> None:
    """The control: the double does see what an answered query runs."""
    simulator, double = watched(world)
    double.beyond_parser.clear()
    table = {"clinic": "patients", "plant": "machines", "ships": "ships"}[world]
    answer = simulator.answer(f"SELECT count(*) FROM {table}", None, Session())

    assert answer["verdict"] == "allow"
    assert double.beyond_parser


@pytest.mark.long
@pytest.mark.parametrize("world", sorted(WORLDS))
def test_simulate_mutated_statement_tells_nothing_of_the_engine(
    watched: Any, world: str
) -> None:
    simulator, double = watched(world)
    chance = random.Random(7)
    for _ in range(4000):
        sql = mutate(chance, STATEMENTS[world])
        double.beyond_parser.clear()
        answer = simulator.answer(sql, None, Session())
        codes = {reason["code"] for reason in answer["reasons"]}
        assert answer["verdict"] in {"allow", "suppress", "refuse"}
        if answer["verdict"] == "refuse":
            assert codes
            assert answer["rows"] == []
            assert codes <= AT_RUN_TIME or double.beyond_parser == [], sql
