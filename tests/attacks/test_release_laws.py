"""Laws of what is released, over random queries of the grammar."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import Decision, Request, Verdict, decide
from policies.document import AggregateRule
from sandbox.analyse import analyse
from sandbox.binding.select import Analysis
from sandbox.engine import open_engine
from sandbox.plan.scalars import scalar
from sandbox.protocol import Limits
from sandbox.stages.release import Released, release
from tests.attacks import world
from tests.attacks.grammar import Asked, asked

LIMITS = Limits(memory_bytes=2 * 1024**3)
POLICY = world.policy()
RULE = POLICY.aggregate_rules[0]
Row = tuple[Any, ...]


class Bench:
    """The world in our engine, and in a plain one that knows nothing of protection."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.ours = open_engine({name: [str(path)] for name, path in files.items()}, LIMITS)
        self.plain = duckdb.connect()
        for name, path in files.items():
            self.plain.execute(f"CREATE TABLE {name} AS FROM '{path}'")
        # Rows of nobody are left out, and what is no finite number is no value.
        self.plain.execute("DELETE FROM ships WHERE imo IS NULL")
        self.plain.execute("UPDATE ships SET draught = NULL WHERE NOT isfinite(draught)")
        self.schemas = {
            name: [(r[0], r[1]) for r in self.ours.execute(f"DESCRIBE {name}").fetchall()]
            for name in files
        }

    def analysed(self, sql: str) -> tuple[Analysis, Decision]:
        """Analyse and decide."""
        found = analyse(sql, POLICY, self.schemas, self.ours)
        return found, decide(POLICY, Request(RULE.purposes[0]), found.shape)

    def released(self, found: Analysis, rule: AggregateRule) -> Released:
        """Release without a past."""
        assert found.plan is not None
        return release(found.plan, POLICY, rule, self.ours, history=(), limits=LIMITS)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(world.write_tables(tmp_path_factory.mktemp("world")))


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        if one is None or other is None:
            return one is other
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def _whole(released: Released) -> list[Row]:
    """The rows that were released without anything withheld."""
    pairs = zip(released.rows, released.withheld, strict=True)
    return [row for row, withheld in pairs if not withheld]


def _matches(row: Row, among: Sequence[Row]) -> bool:
    return any(
        all(_is_same(a, b) for a, b in zip(row, other, strict=True)) for other in among
    )


@given(query=asked())
def test_release_what_is_shown_equals_plain_engine(bench: Bench, query: Asked) -> None:
    found, decision = bench.analysed(query.sql)
    assert decision.verdict is Verdict.ALLOW, (query.sql, decision.reasons)

    released = bench.released(found, RULE)

    plain = [
        tuple(scalar(value) for value in row)
        for row in bench.plain.execute(query.sql).fetchall()
    ]
    shown = _whole(released)
    assert all(_matches(row, plain) for row in shown), query.sql
    if not released.partial:
        assert len(shown) == len(plain), query.sql
    width = len(query.keys)
    assert max(Counter(str(row[:width]) for row in shown).values(), default=1) == 1


@given(query=asked())
def test_release_no_count_is_below_the_threshold(bench: Bench, query: Asked) -> None:
    found, _ = bench.analysed(query.sql)
    released = bench.released(found, RULE)

    for row, withheld in zip(released.rows, released.withheld, strict=True):
        for position in query.counts:
            if position not in withheld:
                count = row[position]
                assert isinstance(count, int)
                assert count >= RULE.min_units, query.sql


@given(query=asked(), extra=st.integers(1, 60))
def test_release_stricter_threshold_reveals_no_more(
    bench: Bench, query: Asked, extra: int
) -> None:
    found, _ = bench.analysed(query.sql)
    strict_rule = dataclasses.replace(RULE, min_units=RULE.min_units + extra)
    loose, strict = bench.released(found, RULE), bench.released(found, strict_rule)

    width = len(query.keys)
    known = {str(row[:width]): row for row in loose.rows}
    hidden = {
        str(row[:width]): set(mask)
        for row, mask in zip(loose.rows, loose.withheld, strict=True)
    }
    for row, withheld in zip(strict.rows, strict.withheld, strict=True):
        for position in range(len(row)):
            if position not in withheld:
                key = str(row[:width])
                assert position not in hidden[key], query.sql
                assert row[position] == known[key][position]


@given(query=asked(), share=st.sampled_from(["0.5", "0.3", "0.1"]))
def test_release_stricter_dominance_reveals_no_more(
    bench: Bench, query: Asked, share: str
) -> None:
    found, _ = bench.analysed(query.sql)
    dominance = dataclasses.replace(RULE.dominance, share=Decimal(share))
    strict_rule = dataclasses.replace(RULE, dominance=dominance)
    loose, strict = bench.released(found, RULE), bench.released(found, strict_rule)

    assert all(_matches(row, loose.rows) for row in _whole(strict))


@given(query=asked())
def test_release_twice_gives_the_same(bench: Bench, query: Asked) -> None:
    found, _ = bench.analysed(query.sql)

    first, again = bench.released(found, RULE), bench.released(found, RULE)

    assert first == again
