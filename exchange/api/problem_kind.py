"""What a code means to someone who meets it over the API, and hints that many share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means to someone who meets it."""

    status: int
    title: str
    hint: str = ""


AGAIN = "Load it again: it may have changed meanwhile."
LATER = "Try again in a few seconds."
OPERATOR = "Tell the node's operator: this is a fault of the node."
