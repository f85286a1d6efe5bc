"""Names and texts inside SQL: the one place that decides how they are quoted."""

from __future__ import annotations


def quoted(name: str) -> str:
    """Return an identifier in double quotes, which stops any name from being syntax."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """Return a string constant; standard quoting, no escapes are read by the engine."""
    return "'" + value.replace("'", "''") + "'"
