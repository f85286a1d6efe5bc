"""Laws over random queries of the wider grammar: right if sound, refused if spoilt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given

from sandbox.simulate import Session
from tests.attacks.grammar_wide import Wide, spoilt, wide
from tests.attacks.oracle import Question, compare
from tests.attacks.worlds import Stand, stand

MIN_UNITS = 10


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    return stand("clinic", tmp_path_factory.mktemp("calm"), planted=False)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    return stand("clinic", tmp_path_factory.mktemp("planted"), planted=True)


@given(query=wide())
def test_wide_query_is_answered(calm: Stand, query: Wide) -> None:
    answer = calm.simulator.answer(query.sql, None, Session())

    assert answer["verdict"] in {"allow", "suppress"}, (query.sql, answer["reasons"])


@given(query=wide())
def test_wide_released_values_equal_plain_engine(calm: Stand, query: Wide) -> None:
    answer = calm.simulator.answer(query.sql, None, Session())

    if answer["verdict"] == "refuse":
        return  # whether it may be refused is another law
    question = Question("random", "random", query.sql, "clinic")
    comparison = compare(question, answer, calm.plain, calm.shuffled)
    assert not comparison.faults, (query.sql, comparison.faults)


@given(query=wide())
def test_wide_no_count_is_below_the_threshold(planted: Stand, query: Wide) -> None:
    answer = planted.simulator.answer(query.sql, None, Session())

    assert all(count >= MIN_UNITS for count in _counts(query, answer["rows"])), query.sql


def _counts(query: Wide, rows: list[list[object]]) -> Iterator[int]:
    """Yield the plain counts of an answer; an outer aggregate holds none."""
    if query.after == "outer":
        return
    position = 0 if query.after in {"scalar", "union"} else len(query.keys)
    for row in rows:
        value = row[position] if row else None
        if value is not None:
            assert isinstance(value, int)
            yield value


@given(query=wide())
def test_wide_asked_twice_gives_the_same(planted: Stand, query: Wide) -> None:
    first, again = (planted.simulator.answer(query.sql, None, Session()) for _ in range(2))

    assert first == again


@given(sql=spoilt())
def test_wide_spoilt_query_is_refused(planted: Stand, sql: str) -> None:
    answer = planted.simulator.answer(sql, None, Session())

    assert answer["verdict"] == "refuse", sql
    assert {reason["code"] for reason in answer["reasons"]} != {"engine_failed"}, sql
