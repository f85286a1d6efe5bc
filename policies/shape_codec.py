"""QueryShape as canonical JSON and back: what crosses from the sandbox to the exchange."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from policies.errors import PolicySyntaxError
from policies.shape import ColumnUse, Finding, JoinUse, Place, QueryShape, Usage


def shape_to_json(shape: QueryShape) -> str:
    """Write a shape; equal shapes give equal text."""
    return json.dumps(
        asdict(shape), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


def shape_from_json(text: str) -> QueryShape:
    """Read what `shape_to_json` wrote; raises PolicySyntaxError on anything else."""
    try:
        data = json.loads(text)
        return QueryShape(
            tables=tuple(map(str, data["tables"])),
            uses=tuple(
                ColumnUse(**{**use, "usage": Usage(use["usage"]), "place": _place(use)})
                for use in data["uses"]
            ),
            joins=tuple(JoinUse(**{**j, "place": _place(j)}) for j in data["joins"]),
            aggregates=tuple(map(str, data["aggregates"])),
            findings=tuple(Finding(**{**f, "place": _place(f)}) for f in data["findings"]),
            fingerprint=str(data["fingerprint"]),
            outputs=tuple(map(str, data["outputs"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PolicySyntaxError("the text is no query shape of this version") from error


def _place(item: dict[str, Any]) -> Place | None:
    place = item["place"]
    return None if place is None else Place(**place)
