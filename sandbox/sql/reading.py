"""What reading the engine's tree shares: findings, places, limits, unknown fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from policies.shape import Finding, Place
from sandbox.sql import syntax
from sandbox.sql.places import Places

MAX_NODES = 20_000
MAX_DEPTH = 60
WHERE = ("class", "type", "alias", "query_location", "query_location_length")
NAMED = ("catalog", "schema", "qualified_name")


class TooComplex(Exception):
    """A tree has more nodes or levels than are read."""


class Reading:
    """Notes on the way through one tree; `findings` collects what has no branch."""

    def __init__(self, sql: str) -> None:
        self._places = Places(sql)
        self._nodes = 0
        self._depth = 0
        self.findings: list[Finding] = []

    # --- findings and places

    def refuse(
        self, code: str, message: str, hint: str, place: Place | None = None
    ) -> None:
        """Leave a finding."""
        self.findings.append(Finding(code, message, hint, place))

    def opaque(self, what: str, node: dict[str, Any], hint: str = "") -> syntax.Opaque:
        """Leave a finding for something without a branch; return its node."""
        place = self.place(node)
        self.refuse(
            "syntax_unavailable", f"{what} is not part of what may be asked", hint, place
        )
        return syntax.Opaque(what, place)

    def place(self, node: dict[str, Any]) -> Place | None:
        """Return where a node stands, or None where the engine does not say."""
        offset = node.get("query_location")
        # Where the engine knows no place it gives a number past every text.
        if not isinstance(offset, int) or not 0 <= offset <= self._places.size_bytes:
            return None
        return self._places.at(offset)

    def unknown_fields(self, node: dict[str, Any], *known: str) -> bool:
        """Leave a finding where a node has a field that is not `known`; say whether."""
        strange = set(node) - set(known)
        if strange:
            self.refuse(
                "syntax_unavailable",
                f"the query uses `{sorted(strange)[0]}`, which the analyser does not know",
                "Write it more plainly.",
                self.place(node),
            )
        return bool(strange)

    @contextmanager
    def level(self) -> Iterator[None]:
        """Go one node further and one level deeper; raises TooComplex past the limits."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise TooComplex(f"has more than {MAX_NODES} parts")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooComplex(f"is nested more than {MAX_DEPTH} deep")
        try:
            yield
        finally:
            self._depth -= 1

    def is_plain_name(self, node: dict[str, Any], name: str) -> bool:
        """Say whether a function stands without a schema or catalogue before it."""
        path = node.get("qualified_name", {}).get("path", [])
        return not node["schema"] and not node["catalog"] and path == [name]
