"""Which columns a text can name: what is found fast is what the plain pattern finds."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import needs

_PLAIN = re.compile(r"(\bselect|\bdistinct|\ball|[,.])\s*\*|\bnatural\b")
_PIECES = [
    *("select", "distinct", "all", "natural", "count(", ")", "*", ",", ".", "x", "_", "é"),
    *(" ", "\n", "\t", "\u2003", "\x1f", "1", '"'),
]


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_star_is_found_where_the_plain_pattern_finds_it(text: str) -> None:
    assert needs._names_all(text) == (_PLAIN.search(text) is not None)


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("SELECT * FROM runs", True),
        ("select runs . * from runs", True),
        ("select a, count(*) from runs NATURAL JOIN sites", True),
        ("select count(*), sum(torque) from runs", False),
        ('select "Torque" from runs', True),
        ("select tallies from naturally", False),
    ],
)
def test_text_names_a_column_by_its_name_or_by_all(text: str, *, is_named: bool) -> None:
    mentioned = needs._Text(text).may_mention("wear")
    assert mentioned == (is_named and "Torque" not in text)
    assert needs._Text(text).may_mention("torque") == (is_named or "torque" in text)


def test_long_history_is_read_once_and_not_column_by_column() -> None:
    text = '["All",["Ref","runs","site","text",null],[["P1"]],["count(*)"]]' * 10_000
    began = time.process_time()

    found = needs._Text(text)
    mentioned = [name for name in map(str, range(50)) if found.may_mention(f"c{name}")]

    assert mentioned == []
    # The plain pattern takes 50 times 60 ms here.
    assert time.process_time() - began < 1.0
