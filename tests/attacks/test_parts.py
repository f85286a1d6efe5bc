"""What is released from tables read in parts is what is released from them whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from policies.decision import Request, Verdict, decide
from sandbox.analyse import analyse
from sandbox.engine import open_engine
from sandbox.errors import SandboxError
from sandbox.passes.holding import AllOpen, Holding
from sandbox.stages.release import Released, release_held
from tests.attacks import corpora
from tests.attacks.parts import LIMITS, FileImages, Forced, cut, engine
from tests.attacks.worlds import WORLDS, schemas

# Which corpora is asked in how many parts: each query once, all of these ways between them.
WAYS = (2, 4, 8)
LARGE = {"patients": 8, "visits": 8, "ships": 8, "calls": 8, "surveys": 8, "machines": 8}


class Two:
    """One world, whole and in parts."""

    def __init__(self, name: str, folder: Path) -> None:
        world = WORLDS[name]
        folder.mkdir(parents=True)
        files = world.files(folder, planted=True)
        self.policy = world.policy
        self.schemas = schemas(files)
        self.whole = open_engine({n: [str(p)] for n, p in files.items()}, LIMITS)
        every = dict.fromkeys(files, 8)
        self.cut = cut(files, self.policy, every, folder / "cut")
        # One table of each world of one shard: its units are found, not hashed.
        small = {**every, next(n for n in files if n in LARGE): 1}
        self.uneven = cut(files, self.policy, small, folder / "uneven")

    def compare(self, sqls: Sequence[str], number: int, *, uneven: bool = False) -> str:
        """Ask both ways, in one session each; return the first difference."""
        past: tuple[list[str], list[str]] = ([], [])
        for sql in sqls:
            source = FileImages(self.uneven if uneven else self.cut)
            parts = engine()
            whole = self._ask(sql, self.whole, AllOpen(self.whole, self.policy), past[0])
            forced = Forced(parts, self.policy, source, number)
            cut = self._ask(sql, parts, forced, past[1])
            if cut == "needs_more_memory" and not isinstance(whole, str):
                return "refused"
            if difference(whole, cut):
                return f"{sql}: {difference(whole, cut)}"
            for history, answer in zip(past, (whole, cut), strict=True):
                if not isinstance(answer, str):
                    history.append(answer.history)
            parts.close()
            source.close()
        return ""

    def _ask(
        self,
        sql: str,
        connection: duckdb.DuckDBPyConnection,
        holding: Holding,
        history: Sequence[str],
    ) -> Released | str:
        found = analyse(sql, self.policy, self.schemas, connection)
        rules = self.policy.aggregate_rules
        decision = decide(self.policy, Request(rules[0].purposes[0]), found.shape)
        if decision.verdict is Verdict.REFUSE or found.plan is None:
            return "refused by policy"
        assert decision.rule is not None
        try:
            return release_held(
                found.plan,
                self.policy,
                decision.rule,
                holding,
                history=history,
                limits=LIMITS,
            )
        except SandboxError as error:
            return error.code


def difference(whole: Released | str, parts: Released | str) -> str:
    """Return the first field in which two answers differ, with both values."""
    if isinstance(whole, str) or isinstance(parts, str):
        return "" if whole == parts else f"{whole!r:.300} and {parts!r:.300}"
    for field in Released.__dataclass_fields__:
        one, other = getattr(whole, field), getattr(parts, field)
        if one != other:
            return f"{field}: {one!r:.500} and {other!r:.500}"
    return ""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("parts")
    made: dict[str, Two] = {}

    def of(name: str) -> Two:
        if name not in made:
            made[name] = Two(name, folder / name)
        return made[name]

    return of


def _queries(world: str) -> list[str]:
    asked = [item.sql for item in corpora.honest() if item.world == world]
    asked += [item.sql for item in corpora.hostile() if item.world == world]
    return list(dict.fromkeys(asked))


# Of which classes none can be read in parts: their tables have two units in each row.
REFUSED = {"plant": 90, "ships": 30, "clinic": 5}


@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.long, id="all"), pytest.param(7, id="some")]
)
def test_corpus_in_parts_is_as_whole(worlds: Any, world: str, step: int) -> None:
    """Each query once, in 2, 4 or 8 parts, with tables of as many shards and of fewer."""
    two, wrong = worlds(world), {}
    refused = []
    for place, sql in enumerate(_queries(world)[::step]):
        found = two.compare([sql], WAYS[place % len(WAYS)], uneven=place % 2 == 1)
        if found == "refused":
            refused.append(sql)
        elif found:
            wrong[sql] = found

    assert wrong == {}
    assert len(refused) <= REFUSED[world], refused


def _sessions() -> list[Any]:
    found = [
        pytest.param("ships", session["steps"], id=session["name"].replace(" ", "_"))
        for session in corpora.read(corpora.CORPUS / "sessions.yaml")["sessions"]
    ]
    return found + [
        pytest.param(item.world, item.steps, id=item.name.replace(" ", "_"))
        for item in corpora.series()
    ]


@pytest.mark.parametrize(("world", "steps"), _sessions())
def test_session_in_parts_is_as_whole(worlds: Any, world: str, steps: list[str]) -> None:
    number = WAYS[len(steps[-1]) % len(WAYS)]

    assert worlds(world).compare(steps, number) in ("", "refused")
