"""Hostile queries of the wider grammar: each with its verdict, and nothing told by sums.

Each secret has its control: the plain engine's answer to the same text tells it, so that a
query that attacks nothing is found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import duckdb
import pytest

from sandbox.simulate import Session
from tests.attacks.corpora import ALLOWED, Attack, Series, hostile, read, series
from tests.attacks.derive import tells
from tests.attacks.world import CORPUS
from tests.attacks.worlds import Stand, stand

ATTACKS = hostile("hostile-*.yaml")
SECRETS = [attack for attack in ATTACKS if attack.secret]


def _marked(attacks: Sequence[Attack]) -> list[Any]:
    """Parametrise; what is known to get through has its mark, and the reason beside it."""
    return [
        pytest.param(
            attack,
            id=attack.id,
            marks=[pytest.mark.xfail(strict=False, reason=attack.open)]
            if attack.open
            else [],
        )
        for attack in attacks
    ]


@pytest.fixture(scope="module")
def stands(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("worlds")

    @cache
    def of(world: str) -> Stand:
        return stand(world, folder / world, planted=True)

    return of


@pytest.fixture(scope="module")
def asked(stands: Any) -> Any:
    """Ask each query once: several laws are about the same answer."""

    @cache
    def of(attack: Attack) -> dict[str, Any]:
        answer = stands(attack.world).simulator.answer(attack.sql, None, Session())
        assert isinstance(answer, dict)
        return answer

    return of


def _secret(where: Stand, sql: str) -> Any:
    return where.plain.execute(sql).fetchall()[0][0]


def test_hostile_wide_is_large_enough() -> None:
    assert len(ATTACKS) >= 120
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", _marked(ATTACKS))
def test_hostile_wide_gets_its_verdict(asked: Any, attack: Attack) -> None:
    answer = asked(attack)

    assert answer["verdict"] in ALLOWED[attack.expected], answer
    codes = {reason["code"] for reason in answer["reasons"]}
    assert codes
    assert "engine_failed" not in codes
    if answer["verdict"] == "refuse":
        assert codes & (attack.codes or codes)
        assert answer["rows"] == []


@pytest.mark.parametrize("attack", _marked(SECRETS))
def test_hostile_wide_does_not_tell_the_secret(
    stands: Any, asked: Any, attack: Attack
) -> None:
    secret = _secret(stands(attack.world), attack.secret)
    answer = asked(attack)

    assert not tells(secret, answer["rows"]), answer


@pytest.mark.parametrize("attack", SECRETS, ids=lambda attack: attack.id)
def test_hostile_wide_plain_engine_tells_the_secret(stands: Any, attack: Attack) -> None:
    where = stands(attack.world)
    secret = _secret(where, attack.secret)

    assert tells(secret, where.plain.execute(attack.sql).fetchall())


@pytest.mark.parametrize("session", series(), ids=lambda session: session.name)
def test_session_wide_does_not_tell_the_secret(stands: Any, session: Series) -> None:
    where = stands(session.world)
    secret = _secret(where, session.secret)
    past = Session()
    answers = [where.simulator.answer(sql, None, past) for sql in session.steps]

    assert not tells(secret, [row for answer in answers for row in answer["rows"]]), answers


@pytest.mark.parametrize("session", series(), ids=lambda session: session.name)
def test_session_wide_plain_engine_tells_the_secret(stands: Any, session: Series) -> None:
    where = stands(session.world)
    rows = [row for sql in session.steps for row in where.plain.execute(sql).fetchall()]

    assert tells(_secret(where, session.secret), rows)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_hostile_wide_says_nothing_of_the_engine(asked: Any, attack: Attack) -> None:
    answer = asked(attack)
    said = " ".join(f"{r['message']} {r['hint']}" for r in answer["reasons"])

    assert not any(word in said for word in ("Error:", "LINE 1", "duckdb", "Traceback"))
    assert all(
        secret not in said or secret in attack.sql
        for secret in ("Person 17", "Tinyville", "70000000", "SN-000", "Rarity")
    )


@pytest.mark.parametrize(
    "twin", read(CORPUS / "twins-wide.yaml")["twins"], ids=lambda twin: twin["sql"]
)
def test_twins_wide_few_and_none_look_alike(stands: Any, twin: dict[str, str]) -> None:
    simulator = stands(twin["world"]).simulator
    answers = [
        simulator.answer(twin["sql"].format(twin[who]), None, Session())
        for who in ("few", "none")
    ]

    # `withheld_by` is for the provider; a consumer never sees it.
    for answer in answers:
        answer.pop("withheld_by", None)
    assert answers[0] == answers[1]


def _singles(steps: Sequence[str], where: Stand) -> bool:
    """Whether each step gives one number."""
    found = [where.plain.execute(sql).fetchall() for sql in steps]
    return all(len(rows) == 1 and len(rows[0]) == 1 for rows in found)


@pytest.mark.parametrize(
    "form",
    [
        "SELECT ({}) - ({}) AS x",
        "({}) UNION ALL ({})",
        "SELECT * FROM ({}) a, ({}) b",
        "SELECT lag(x) OVER (ORDER BY x) - x FROM (({}) UNION ALL ({})) t(x)",
        "WITH a AS ({}), b AS ({}) SELECT * FROM b, a",
    ],
)
@pytest.mark.parametrize("session", series(), ids=lambda session: session.name)
def test_session_in_one_query_does_not_tell_the_secret(
    stands: Any, session: Series, form: str
) -> None:
    where = stands(session.world)
    if not _singles(session.steps, where):
        pytest.skip("its steps give more than one number each")
    sql = form.format(*session.steps)
    answer = where.simulator.answer(sql, None, Session())
    secret = _secret(where, session.secret)

    assert tells(secret, where.plain.execute(sql).fetchall()), "the control"
    assert answer["verdict"] in {"suppress", "refuse"}, sql
    assert not tells(secret, answer["rows"]), (sql, answer)


def test_plain_engine_is_no_simulator() -> None:
    """The control of the controls: a query that tells nothing is seen to tell nothing."""
    rows = duckdb.sql("SELECT 1, 2, 3").fetchall()

    assert not tells(70_000_000, rows)
    assert tells(70_000_000, [(69_000_000,), (1_000_000,)])
    assert tells("Tinyville", [("Tinyville", 3)])
