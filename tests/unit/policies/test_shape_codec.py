"""A shape crosses as JSON and is read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import PolicySyntaxError
from policies.shape import ColumnUse, Finding, JoinUse, Place, QueryShape, Usage
from policies.shape_codec import shape_from_json, shape_to_json
from tests.unit.policies.policy_values import example, shapes

SHAPE = QueryShape(
    tables=("patients",),
    uses=(
        ColumnUse("patients", "age", Usage.GROUP_BIN, Place(7, 1, 8), None, True, "5"),
        ColumnUse("patients", "income", Usage.AGGREGATE, None, "avg", False),
    ),
    joins=(JoinUse("patients", "id", "visits", "patient_id", "inner", Place(1, 2, 3)),),
    aggregates=("avg",),
    findings=(Finding("sql_syntax", "broken", "mend it"),),
    fingerprint="f" * 64,
    outputs=("alter", "名"),
)


def test_shape_from_json_of_shape_to_json_is_equal() -> None:
    assert shape_from_json(shape_to_json(SHAPE)) == SHAPE


@given(shape=st.deferred(lambda: shapes(example())))
def test_shape_from_json_round_trip(shape: QueryShape) -> None:
    text = shape_to_json(shape)

    assert shape_from_json(text) == shape
    assert shape_to_json(shape_from_json(text)) == text


def altered(*path: str | int, to: Any) -> str:
    data: Any = json.loads(shape_to_json(SHAPE))
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        altered("more", to=1),
        altered("tables", to="patients"),
        altered("tables", to=[1]),
        altered("fingerprint", to=None),
        altered("uses", 0, "usage", to="invented"),
        altered("uses", 0, "on_grid", to="false"),
        altered("uses", 0, "on_grid", to=1),
        altered("uses", 0, "aggregate", to=["avg"]),
        altered("uses", 0, "place", "line", to=True),
        altered("uses", 0, "place", "line", to="1"),
        altered("uses", 0, to=None),
        altered("joins", 0, "kind", to=2),
        altered("findings", 0, "code", to=None),
    ],
)
def test_shape_from_json_anything_else_is_refused(text: str) -> None:
    with pytest.raises(PolicySyntaxError) as caught:
        shape_from_json(text)

    assert caught.value.hint
