"""A reason for a verdict: stable code, a sentence, a way forward, the place in the SQL."""

from __future__ import annotations

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
