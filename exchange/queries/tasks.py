"""The handlers that the operations registry calls for queries."""

from __future__ import annotations


def register() -> None:
    """The queries's handlers are known to the operations registry."""
