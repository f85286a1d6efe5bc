"""Whatever text comes: a verdict with named reasons, and the engine saw its parser only."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import cast

import duckdb
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import Request, Verdict, decide
from policies.reasons import Reason
from sandbox.analyse import analyse
from sandbox.simulate import Session, Simulator
from tests.attacks import world
from tests.attacks.doubles import ParserOnly
from tests.attacks.grammar import asked

POLICY = world.policy()
PURPOSE = POLICY.aggregate_rules[0].purposes[0]
_CODE = re.compile(r"[a-z][a-z0-9_]*")
# What only the engine says; a message of ours that holds it was passed on from there.
_ENGINE_WORDS = re.compile(
    r"(Binder|Parser|Catalog|Conversion|Invalid Input|Out of Range|Internal|Serialization)"
    r" Error|LINE \d+:|duckdb|Traceback|Candidate|Did you mean",
    re.IGNORECASE,
)
# Values of the world: no message may quote one that the query did not write itself.
_SECRETS = (
    "Obscura", "Tinyhavn", "Tuvalu", "MV Secret", "77777.77", "9000000",
    "Person 17", "Tinyville", "70000000", "SN-000", "Rarity", "sabotage",
)  # fmt: skip


def _corpus() -> list[str]:
    found = yaml.safe_load((world.CORPUS / "hostile.yaml").read_text(encoding="utf-8"))
    return [sql for group in found["classes"] for sql in group["queries"]]


CORPUS = _corpus()
_PIECES = sorted({piece for sql in CORPUS for piece in re.findall(r"\w+|\W", sql)})


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw a query of the corpus or the grammar with a few pieces changed."""
    sql = draw(st.one_of(st.sampled_from(CORPUS), asked().map(lambda query: query.sql)))
    chance = random.Random(draw(st.integers(0, 2**32)))
    pieces = re.findall(r"\w+|\W", sql) or [""]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(pieces))
        other = chance.choice(pieces)
        match chance.randrange(5):
            case 0:
                pieces[at] = ""
            case 1:
                pieces[at] = chance.choice(_PIECES)
            case 2:
                pieces.insert(at, other)
            case 3:
                pieces[at], pieces[-1] = pieces[-1], pieces[at]
            case _:
                start = chance.randrange(len(pieces))
                pieces[at:at] = pieces[start : start + chance.randint(1, 6)]
    return "".join(pieces)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return world.simulator(tmp_path_factory.mktemp("world"))


SCHEMAS = {
    "ships": [
        ("imo", "BIGINT"), ("ship_name", "VARCHAR"), ("flag", "VARCHAR"),
        ("insurer", "VARCHAR"), ("built", "INTEGER"), ("tonnage", "BIGINT"),
        ("draught", "DOUBLE"), ("wage", "DECIMAL(12,2)"), ("secret_note", "VARCHAR"),
    ],
    "calls": [
        ("call_id", "BIGINT"), ("imo", "BIGINT"), ("agent_id", "BIGINT"),
        ("port", "VARCHAR"), ("arrived", "TIMESTAMP"), ("cargo", "VARCHAR"),
        ("delay_hours", "DOUBLE"), ("detained", "BOOLEAN"),
    ],
    "surveys": [("imo", "BIGINT"), ("grade", "VARCHAR"), ("cost", "BIGINT")],
    "machines": [
        ("udi", "BIGINT"), ("type", "VARCHAR"), ("torque", "DOUBLE"), ("wear", "BIGINT"),
        ("failure", "BOOLEAN"), ("mode", "VARCHAR"),
    ],
    "ports": [
        ("port", "VARCHAR"), ("country", "VARCHAR"), ("berths", "BIGINT"),
        ("code", "BIGINT"),
    ],
    "watchlist": [("imo", "BIGINT"), ("remark", "VARCHAR")],
}  # fmt: skip


def check_reasons(reasons: Sequence[Reason], sql: str) -> None:
    """Check that reasons are named, say something, and quote neither engine nor data."""
    for reason in reasons:
        assert _CODE.fullmatch(reason.code)
        assert reason.message
        said = f"{reason.message} {reason.hint}"
        # A name that the query wrote is said back: `duckdb_tables` is no table.
        own = re.sub(r"`[^`]*`", "", said)
        assert not _ENGINE_WORDS.search(own), said
        assert all(secret not in said or secret in sql for secret in _SECRETS), said


def _check_analysis(sql: str) -> None:
    guarded = ParserOnly()
    found = analyse(sql, POLICY, SCHEMAS, cast("duckdb.DuckDBPyConnection", guarded))
    decision = decide(POLICY, Request(PURPOSE), found.shape)

    assert guarded.calls <= 1
    if decision.verdict is Verdict.REFUSE:
        assert decision.reasons, sql
    else:
        assert found.plan is not None
    check_reasons(decision.reasons, sql)


@given(sql=mutated())
def test_analyse_mutated_query_gets_named_reasons(sql: str) -> None:
    _check_analysis(sql)


@given(sql=st.text(max_size=60))
def test_analyse_any_text_gets_named_reasons(sql: str) -> None:
    _check_analysis(sql)


@given(sql=st.lists(st.sampled_from(_PIECES), max_size=25).map(" ".join))
def test_analyse_any_words_get_named_reasons(sql: str) -> None:
    _check_analysis(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 5000 + "1" + ")" * 5000 + " FROM ships",
        "SELECT count(*) FROM ships WHERE " + "NOT " * 5000 + "detained",
        "SELECT count(*) FROM ships WHERE " + " AND ".join(["flag = 'a'"] * 20_000),
        "SELECT count(*) FROM ships WHERE flag IN (" + ", ".join(["'a'"] * 20_000) + ")",
        "SELECT " + ", ".join(["count(*)"] * 5_000) + " FROM ships",
        "SELECT " + "-" * 2 + " 1\n",
        "SELECT 1" + "0" * 90_000 + " FROM ships",
        "SELECT count(*) FROM ships WHERE built < 1e999999",
        "SELECT count(*) FROM ships WHERE built < " + "9" * 50_000,
        "SELECT count(*) * 1e999999 FROM ships",
        "SELECT count(*) FROM ships -- " + "x" * 200_000,
        "SELECT \ud7ff, '\U0010ffff' FROM ships",
        "SELECT count(*)\x00 FROM ships",
        "\ufeffSELECT count(*) FROM ships",
        "SELECT count(*) FROM ships\u3000WHERE flag\u00a0= 'Malta'",
        "SELECT count(*) FROM ships WHERE flag = e'\\x00'",
        "SELECT count(*) FROM ships WHERE flag = $$Malta$$",
        "SELECT count(*) FROM ships WHERE \"flag\"\"x\" = 'a'",
        "SELECT count(*) AS \"a\"\"b; DROP TABLE ships\" FROM ships",
        "SELECT count(*) FROM ships WHERE flag = 'a'' OR ''1''=''1'",
    ],
)  # fmt: skip
def test_analyse_extreme_text_gets_named_reasons(sql: str) -> None:
    _check_analysis(sql)


@given(sql=mutated())
def test_simulate_mutated_query_never_shows_engine_text(
    simulator: Simulator, sql: str
) -> None:
    answer = simulator.answer(sql, None, Session())

    assert answer["verdict"] in {"allow", "suppress", "refuse"}
    if answer["verdict"] == "refuse":
        assert answer["reasons"]
        assert answer["rows"] == []
    for reason in answer["reasons"]:
        said = f"{reason['message']} {reason['hint']}"
        assert not _ENGINE_WORDS.search(said), said
        assert all(secret not in said or secret in sql for secret in _SECRETS), said
    # A value is shown for a target only if the query wrote it into its own answer.
    shown = str(answer["rows"])
    assert all(secret not in shown or secret in sql for secret in _SECRETS), shown


def test_simulate_engine_failure_is_named_not_quoted(simulator: Simulator) -> None:
    answer = simulator.answer(
        "SELECT upper(count(*)) + 1 FROM ships",
        None,
        Session(),
    )

    assert [reason["code"] for reason in answer["reasons"]] == ["result_types"]
    assert not _ENGINE_WORDS.search(str(answer["reasons"]))
