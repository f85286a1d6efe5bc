from __future__ import annotations

from typing import Any

import pytest
from bonded.errors import AnswerMalformed, QueryRefused, Reason
from bonded.records import (
    Learning,
    parse_dataset,
    parse_learnings,
    parse_query,
    parse_reasons,
)

DATASET: dict[str, Any] = {
    "id": "1",
    "slug": "runs",
    "title": "Runs",
    "table": "runs",
    "organisation": {"slug": "mill", "name": "Mill"},
    "offer": None,
    "later": "a field of a later version",
}
REASON = {
    "code": "row_output",
    "message": "rows would leave",
    "hint": "Count.",
    "line": 1,
    "column": 8,
}


def test_parse_dataset_takes_what_is_there() -> None:
    dataset = parse_dataset(DATASET)

    assert (dataset.name, dataset.offer, dataset.columns) == ("mill/runs", None, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 1},
        {"organisation": None},
        {"columns": [1]},
        {"keywords": [1]},
        {"title": None},
    ],
)
def test_parse_dataset_refuses_other_types(wrong: dict[str, Any]) -> None:
    with pytest.raises(AnswerMalformed, match="should be"):
        parse_dataset({**DATASET, **wrong})


@pytest.mark.parametrize(
    ("state", "release", "final"),
    [
        ("analysing", None, False),
        ("in_review", None, False),
        ("refused", None, True),
        ("failed", None, True),
        ("held", {"id": "r", "state": "held"}, False),
        ("released", {"id": "r", "state": "available"}, True),
        ("shredded", {"id": "r", "state": "shredded"}, True),
    ],
)
def test_query_is_final(state: str, release: Any, final: bool) -> None:
    query = parse_query({"id": "q", "state": state, "release": release, "reasons": []})

    assert query.is_final is final


def test_query_refused_lists_every_reason_with_place_and_hint() -> None:
    reasons = parse_reasons({"reasons": [REASON, {"code": "b", "message": "m"}]})

    text = str(QueryRefused(reasons))
    other = str(Reason("c", "m", policy_line=7))

    assert reasons[0] == Reason("row_output", "rows would leave", "Count.", 1, 8)
    assert "refused for 2 reasons" in text
    assert "line 1, column 8: rows would leave [row_output]" in text
    assert "→ Count." in text
    assert other == "m [c, policy line 7]"


def test_parse_learnings_lists_audiences() -> None:
    record = {"kind": "aggregate", "audience": "For all", "sentences": ["Counts."]}

    assert parse_learnings({"audiences": [record]}) == (
        Learning("aggregate", "For all", ("Counts.",)),
    )
