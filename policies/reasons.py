"""A reason for a verdict: stable code, a sentence, a way forward, and where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.shape import Place


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a query is refused or waits; `code` is API, the sentence is not."""

    code: str
    message: str
    hint: str = ""
    place: Place | None = None
    policy_path: str = ""  # such as `tables.patients.columns.name`
    policy_line: int | None = None  # 1-based, in the text whose lines the caller gave


def line_of(path: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of the part of a policy at `path`, or of what it is part of.

    `lines` is what `composing.line_numbers` says of a text; None where it holds nothing
    on the way from `path` to the root, as where there is no path.
    """
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path) if path else None
