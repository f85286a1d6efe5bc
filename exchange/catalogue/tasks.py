"""The handlers that the operations registry calls for the catalogue."""

from __future__ import annotations


def register() -> None:
    """The catalogue's handlers are known to the operations registry."""
