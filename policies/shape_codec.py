"""QueryShape as canonical JSON and back: what crosses from the sandbox to the exchange.

Reading is strict to the type of each field: a text "false" where a flag belongs would be
true to whoever decides on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from policies.errors import PolicySyntaxError
from policies.shape import ColumnUse, Finding, JoinUse, Place, QueryShape, Usage

T = TypeVar("T")


def shape_to_json(shape: QueryShape) -> str:
    """Write a shape; equal shapes give equal text."""
    return json.dumps(
        asdict(shape), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


def shape_from_json(text: str) -> QueryShape:
    """Read what `shape_to_json` wrote; raises PolicySyntaxError on anything else."""
    try:
        return _shape(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PolicySyntaxError(
            "the text is no query shape of this version",
            hint="Analyse the query again with the sandbox of this node's version.",
        ) from error


def _shape(data: Any) -> QueryShape:
    fields = _only(
        data,
        "tables",
        "uses",
        "joins",
        "aggregates",
        "findings",
        "fingerprint",
        "outputs",
        "froms",
    )
    return QueryShape(
        tables=_list(fields["tables"], _text),
        uses=_list(fields["uses"], _use),
        joins=_list(fields["joins"], _join),
        aggregates=_list(fields["aggregates"], _text),
        findings=_list(fields["findings"], _finding),
        fingerprint=_text(fields["fingerprint"]),
        outputs=_list(fields["outputs"], _text),
        froms=_list(fields["froms"], lambda group: _list(group, _text)),
    )


def _use(data: Any) -> ColumnUse:
    fields = _only(
        data, "table", "column", "usage", "place", "aggregate", "on_grid", "detail"
    )
    aggregate, on_grid = fields["aggregate"], fields["on_grid"]
    return ColumnUse(
        table=_text(fields["table"]),
        column=_text(fields["column"]),
        usage=Usage(fields["usage"]),
        place=_place(fields["place"]),
        aggregate=None if aggregate is None else _text(aggregate),
        on_grid=_exactly(bool, on_grid),
        detail=_text(fields["detail"]),
    )


def _join(data: Any) -> JoinUse:
    fields = _only(
        data, "left_table", "left_column", "right_table", "right_column", "kind", "place"
    )
    place = _place(fields.pop("place"))
    return JoinUse(**{key: _text(value) for key, value in fields.items()}, place=place)


def _finding(data: Any) -> Finding:
    fields = _only(data, "code", "message", "hint", "place")
    place = _place(fields.pop("place"))
    return Finding(**{key: _text(value) for key, value in fields.items()}, place=place)


def _place(data: Any) -> Place | None:
    if data is None:
        return None
    fields = _only(data, "offset", "line", "column")
    return Place(**{key: _exactly(int, value) for key, value in fields.items()})


def _only(data: Any, *names: str) -> dict[str, Any]:
    if not isinstance(data, dict) or set(data) != set(names):
        raise TypeError("not exactly the fields of this version")
    return data


def _list(data: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(read(item) for item in _exactly(list, data))


def _text(data: Any) -> str:
    return _exactly(str, data)


def _exactly(kind: type[T], data: Any) -> T:
    # Not isinstance: True is an int to it.
    if type(data) is not kind:
        raise TypeError(f"not {kind.__name__}")
    return data
