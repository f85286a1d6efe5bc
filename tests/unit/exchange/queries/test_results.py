from __future__ import annotations

import json
from dataclasses import replace

import pytest

from exchange.queries.results import encode_result
from sandbox.errors import ProtocolError
from sandbox.protocol import ExecuteOutcome

OUTCOME = ExecuteOutcome(
    columns=(("类型", "VARCHAR"), ("mean", "DOUBLE")),
    rows=(("L", 0.1), (None, None)),
    withheld=((), (0,)),
    suppressed=1,
    partial=True,
    fingerprint="f" * 64,
    executed_sql="SELECT 1",
)


def encode(outcome: ExecuteOutcome) -> bytes:
    return encode_result(outcome, dataset_version="v", policy_digest="p")


def test_encode_result_tells_withheld_from_null() -> None:
    result = json.loads(encode(OUTCOME))

    assert result["rows"] == [["L", 0.1], [None, None]]
    assert result["withheld"] == [[1, 0]]
    assert result["columns"][0] == {"name": "类型", "type": "VARCHAR"}


def test_encode_result_leaves_out_what_is_for_the_provider_only() -> None:
    secret = replace(OUTCOME, report=(("dominance", 7),), history="x" * 9, units_covered=9)

    assert encode(secret) == encode(OUTCOME)


@pytest.mark.parametrize(
    "rows", [(("L", 0.1), ("H", None)), (("L", float("nan")), (None, None))]
)
def test_encode_result_refuses_a_withheld_value_and_what_is_no_number(
    rows: tuple[tuple[object, ...], ...],
) -> None:
    with pytest.raises(ProtocolError):
        encode(replace(OUTCOME, rows=rows))  # type: ignore[arg-type]
