"""A verdict is the same however it was reached: by rows, by buckets, or unit by unit.

What rows, buckets and samples prove is a matter of speed. Here each question is answered
with all of them, over several files a table and with samples so small that they matter,
and with none of them, every unit told from every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import Request, Verdict, decide
from policies.document import Policy
from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.errors import SandboxError
from sandbox.passes import facts as facts_of_tables
from sandbox.passes.holding import AllOpen, Reading
from sandbox.passes.rows import Rows, Whole
from sandbox.stages import cells, inside
from sandbox.stages.release import Released, release_held
from tests.attacks import corpora
from tests.attacks.grammar import Asked, asked
from tests.attacks.parts import LIMITS, cut
from tests.attacks.test_parts import difference
from tests.attacks.worlds import WORLDS, schemas

_SHARDS = 4


class Unproved(AllOpen):
    """Tables of which nothing is known ahead."""

    def rows_for(self, readings: Sequence[Reading]) -> Rows:
        """Return the rows of all tables, without facts."""
        rows = Whole(self._connection, self._facts)
        rows.facts = None
        return rows


class Both:
    """One world, to be asked with proofs and without."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        world = WORLDS[name]
        files = world.files(folder, planted=True)
        self.policy: Policy = world.policy
        self.schemas = schemas(files)
        shards = cut(files, self.policy, dict.fromkeys(files, _SHARDS), folder / "cut")
        self.paths = {
            table: [str(path) for path in found] for table, found in shards.items()
        }
        self.proving = open_engine(self.paths, LIMITS)
        self.exact = open_engine({n: [str(p)] for n, p in files.items()}, LIMITS)

    def compare(self, sql: str, monkeypatch: pytest.MonkeyPatch) -> str:
        """Return the first difference between the two answers."""
        proved = self._ask(
            sql, self.proving, AllOpen(self.proving, self.policy, self.paths)
        )
        with monkeypatch.context() as patch:
            patch.setattr(cells, "buckets_of", lambda *_: None)
            exact = self._ask(sql, self.exact, Unproved(self.exact, self.policy))
        return difference(proved, exact)

    def _ask(
        self, sql: str, connection: duckdb.DuckDBPyConnection, holding: AllOpen
    ) -> Released | str:
        found = analyse(sql, self.policy, self.schemas, connection)
        rule = self.policy.aggregate_rules[0]
        decision = decide(self.policy, Request(rule.purposes[0]), found.shape)
        if decision.verdict is Verdict.REFUSE or found.plan is None:
            return "refused by policy"
        assert decision.rule is not None
        try:
            return release_held(
                found.plan, self.policy, decision.rule, holding, history=(), limits=LIMITS
            )
        except SandboxError as error:
            return error.code


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("proofs")
    made: dict[str, Both] = {}

    def of(name: str) -> Both:
        if name not in made:
            made[name] = Both(name, folder / name)
        return made[name]

    return of


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_of_tables, "_FEW_ROWS", 200)


def _queries(world: str) -> list[str]:
    every = (*corpora.honest(), *corpora.hostile())
    return list(dict.fromkeys(item.sql for item in every if item.world == world))


@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long, id="all"), pytest.param(23, id="some")]
)
@pytest.mark.parametrize("kept", [0, inside.FEW_ROWS], ids=["read-again", "kept"])
def test_corpus_is_judged_alike(
    worlds: Any, world: str, step: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "FEW_ROWS", kept)
    both = worlds(world)
    found = {sql: both.compare(sql, monkeypatch) for sql in _queries(world)[::step]}

    assert {sql: text for sql, text in found.items() if text} == {}


@given(question=asked(), few=st.sampled_from((0, inside.FEW_ROWS)))
def test_random_question_is_judged_alike(worlds: Any, question: Asked, few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inside, "FEW_ROWS", few)
        assert worlds("ships").compare(question.sql, patch) == ""


@pytest.mark.parametrize("most", [1, 3])
def test_that_units_have_fewer_rows_than_they_have_would_be_noticed(
    worlds: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law is no empty one: with a wrong fact it fails."""
    monkeypatch.setattr(facts_of_tables.Facts, "most_rows", lambda *_: most, raising=True)
    both = worlds("ships")
    found = [both.compare(sql, monkeypatch) for sql in _queries("ships")]

    assert any(found)
