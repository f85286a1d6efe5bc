"""A verdict is the same however it was reached: by rows, by buckets, or unit by unit.

What rows, buckets and samples prove is a matter of speed. Here each question is answered
with all of them, over several files a table and with samples so small that they matter,
and with none of them, every unit told from every other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies.codec import load_policy
from policies.decision import Request, Verdict, decide
from policies.document import Policy
from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.errors import SandboxError
from sandbox.passes import facts as facts_of_tables
from sandbox.passes import members
from sandbox.passes.folds import Fold
from sandbox.passes.holding import AllOpen, Reading
from sandbox.passes.rows import Answer, Rows, Whole
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
        return Whole(self._connection)


class Both:
    """One world, to be asked with proofs and without."""

    def __init__(self, policy: Policy, files: dict[str, Path], folder: Path) -> None:
        self.policy = policy
        self.schemas = schemas(files)
        shards = cut(files, policy, dict.fromkeys(files, _SHARDS), folder / "cut")
        self.paths = {t: [str(path) for path in found] for t, found in shards.items()}
        for table in policy.tables:
            if table.public and table.name in files:
                self.paths[table.name] = _halves(files[table.name])
        self.proving = open_engine(self.paths, LIMITS)
        self.exact = open_engine({n: [str(p)] for n, p in files.items()}, LIMITS)

    def compare(self, sql: str, monkeypatch: pytest.MonkeyPatch) -> str:
        """Return the first difference between the two answers."""
        proved = self.proved(sql)
        with monkeypatch.context() as patch:
            patch.setattr(cells, "buckets_of", lambda *_: None)
            exact = self._ask(sql, self.exact, Unproved(self.exact, self.policy))
        return difference(proved, exact)

    def proved(self, sql: str) -> Released | str:
        """Return the answer with all that proves it, or the code of the refusal."""
        holding = AllOpen(self.proving, self.policy, self.paths)
        return self._ask(sql, self.proving, holding)

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


def _halves(path: Path) -> list[str]:
    """Cut a public table into two files, as a large one is."""
    halves = []
    for number in (0, 1):
        target = path.with_name(f"{path.stem}-half-{number}.parquet")
        duckdb.execute(
            f"COPY (SELECT * EXCLUDE (file_row_number) FROM "
            f"read_parquet('{path}', file_row_number=true) "
            f"WHERE file_row_number % 2 = {number}) TO '{target}' (FORMAT parquet)"
        )
        halves.append(str(target))
    return halves


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Both]:
    folder = tmp_path_factory.mktemp("proofs")

    def of(name: str) -> Both:
        files = WORLDS[name].files(folder / name, planted=True)
        return Both(WORLDS[name].policy, files, folder / name)

    return cache(of)


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_of_tables, "_FEW_ROWS", 200)
    monkeypatch.setattr(members, "_ROWS_PER_VALUE", 0)


def _queries(world: str) -> list[str]:
    every = (*corpora.honest(), *corpora.hostile())
    return list(dict.fromkeys(item.sql for item in every if item.world == world))


@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long, id="all"), pytest.param(23, id="some")]
)
@pytest.mark.parametrize("kept", [0, inside.FEW_ROWS], ids=["read-again", "kept"])
def test_corpus_is_judged_alike(
    worlds: Callable[[str], Both],
    world: str,
    step: int,
    kept: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inside, "FEW_ROWS", kept)
    both = worlds(world)
    found = {sql: both.compare(sql, monkeypatch) for sql in _queries(world)[::step]}

    assert {sql: text for sql, text in found.items() if text} == {}


@example(
    # Why something is withheld is told alike too, where one reason is enough.
    question=Asked(
        table="calls",
        keys=("date_trunc('month', arrived)",),
        conditions=(),
        aggregates=("skewness(delay_hours)",),
        having="",
    ),
    few=0,
)
@given(question=asked(), few=st.sampled_from((0, inside.FEW_ROWS)))
def test_random_question_is_judged_alike(
    worlds: Callable[[str], Both], question: Asked, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inside, "FEW_ROWS", few)
        assert worlds("ships").compare(question.sql, patch) == ""


@pytest.mark.parametrize("most", [1, 3])
def test_that_units_have_fewer_rows_than_they_have_would_be_noticed(
    worlds: Callable[[str], Both], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law is no empty one: with a wrong fact it fails."""
    monkeypatch.setattr(facts_of_tables.Facts, "most_rows", lambda *_: most, raising=True)
    both = worlds("ships")
    found = [both.compare(sql, monkeypatch) for sql in _queries("ships")]

    assert any(found)


_PEOPLE = """
version: 1
tables:
  visits:
    units: [{domain: person, column: person}]
    columns:
      person: {role: unit_key}
      ward: {role: dimension}
      level: {role: dimension}
      day: {role: dimension, grain: day}
      flag: {role: dimension}
  rounds:
    units: [{domain: person, column: person}, {domain: doctor, column: doctor}]
    columns:
      person: {role: unit_key}
      doctor: {role: unit_key}
      flag: {role: dimension}
  wards: {public: true}
rules:
  - kind: aggregate
    min_units: 10
    aggregates: [count]
    purposes: [scientific-research]
    approval: automatic
"""
_TABLES = {
    # Of each odd key 60 people, three of whom are flagged; three are in a ward unknown.
    "visits": """
        SELECT i AS person, CASE WHEN i < 3 THEN 9 ELSE i % 4 END AS ward,
               CASE WHEN i < 60 THEN 'nan'::DOUBLE ELSE i % 3 END AS level,
               CASE WHEN i < 60 THEN DATE 'infinity'
                    WHEN i < 120 THEN DATE '9999-12-31'
                    ELSE DATE '2025-01-01' END AS day,
               i < 3 OR i BETWEEN 100 AND 119 OR i >= 2000 AS flag
        FROM range(4000) AS r(i)""",
    # Nine doctors with flagged rounds, no two in one bucket, none in that of nobody.
    "rounds": """
        WITH nine AS (
            SELECT row_number() OVER () - 1 AS place, any_value(d) AS doctor
            FROM range(1000) AS r(d) GROUP BY hash(d) % 64
            HAVING hash(NULL::BIGINT) % 64 <> any_value(hash(d) % 64) LIMIT 9)
        SELECT i AS person, i % 200 >= 100 AS flag,
               CASE WHEN i % 100 < 9 THEN doctor WHEN NOT flag THEN 2000 + i % 100 END
                   AS doctor
        FROM range(4000) AS r(i) LEFT JOIN nine ON place = i % 100""",
    "wards": "SELECT i AS ward, i < 2 AS is_small FROM range(4) AS r(i)",
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("people")
    files = {name: folder / f"{name}.parquet" for name in _TABLES}
    for name, sql in _TABLES.items():
        duckdb.execute(f"COPY ({sql}) TO '{files[name]}' (FORMAT parquet)")
    return Both(load_policy(_PEOPLE), files, folder)


_LEFT_JOIN = """
SELECT count(*) AS n FROM visits LEFT JOIN wards ON visits.ward = wards.ward
WHERE is_small IS NOT NULL"""


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            "SELECT level, count(*) AS n FROM visits WHERE NOT flag GROUP BY level",
            id="no two keys that are no number are equal",
        ),
        pytest.param(
            "SELECT date_trunc('day', day) AS d, count(*) AS n FROM visits "
            "WHERE NOT flag GROUP BY d",
            id="an infinite date leaves the engine as the last one",
        ),
        pytest.param(
            "SELECT count(*) AS n FROM rounds WHERE NOT flag",
            id="nobody is no doctor",
        ),
        pytest.param(_LEFT_JOIN, id="what some files lack is not missing"),
    ],
)
def test_what_only_looks_alike_proves_nothing(
    people: Both, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a cell outside of whose filter there are some, and too few."""
    assert people.compare(sql, monkeypatch) == ""
    answer = people.proved(sql)
    assert not isinstance(answer, str)
    assert answer.suppressed


@pytest.mark.parametrize(
    ("where", "is_kept_first"), [("ward = 9", True), ("NOT flag", False)]
)
def test_rows_of_cells_too_small_to_prove_are_kept_at_once(
    people: Both, where: str, is_kept_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They will be read again; to keep those of large cells would only cost."""
    asked: list[str] = []
    ask = Whole.ask

    def noting(rows: Whole, sql: str, fold: Fold, values: Sequence[object] = ()) -> Answer:
        asked.append(sql)
        return ask(rows, sql, fold, values)

    monkeypatch.setattr(Whole, "ask", noting)
    people.proved(f"SELECT ward, count(*) AS n FROM visits WHERE {where} GROUP BY ward")
    counting = [sql for sql in asked if sql.startswith("SELECT k0, count(*) AS n FROM")]
    assert ["rows inside the filter" in sql for sql in counting] == [is_kept_first]
