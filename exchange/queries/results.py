"""The bytes of an aggregate result: canonical JSON, so that its digest can be recomputed.

    {"columns": [{"name", "type"}], "dataset_version", "fingerprint", "partial",
     "policy_digest", "rows": [[...]], "suppressed", "withheld": [[row, column], ...]}

A withheld cell is null in `rows` and listed in `withheld`; any other null is a null.
"""

from __future__ import annotations

import json

from sandbox.errors import ProtocolError
from sandbox.protocol import ExecuteOutcome

MEDIA_TYPE = "application/json"


def encode_result(
    outcome: ExecuteOutcome, *, dataset_version: str, policy_digest: str
) -> bytes:
    """The result as it is stored, digested and downloaded; equal outcomes give equal bytes.

    ProtocolError where a cell is no JSON value, or a withheld one carries a value.
    """
    withheld = [
        [row, column] for row, columns in enumerate(outcome.withheld) for column in columns
    ]
    if any(outcome.rows[row][column] is not None for row, column in withheld):
        raise ProtocolError("a withheld cell came with a value")
    document = {
        "columns": [{"name": name, "type": type_} for name, type_ in outcome.columns],
        "dataset_version": dataset_version,
        "fingerprint": outcome.fingerprint,
        "partial": outcome.partial,
        "policy_digest": policy_digest,
        "rows": [list(row) for row in outcome.rows],
        "suppressed": outcome.suppressed,
        "withheld": withheld,
    }
    try:
        text = json.dumps(
            document,
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise ProtocolError(
            "a result cell is no finite number, text, flag or null"
        ) from error
    return text.encode()
