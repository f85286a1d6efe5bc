"""What kind of values an engine type holds, as far as a policy cares."""

from __future__ import annotations

from enum import StrEnum

_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "BIGNUM",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
}  # fmt: skip
_FLOATS = {"DOUBLE", "FLOAT", "REAL"}
_TEXTS = {"VARCHAR", "TEXT", "CHAR", "UUID"}
_DATES = {
    "DATE", "DATETIME", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS",
    "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip


class Kind(StrEnum):
    """A coarse type: decides which limits of a column make sense."""

    INTEGER = "whole numbers"
    DECIMAL = "decimal numbers"
    FLOAT = "floating-point numbers"
    DATE = "dates"
    TEXT = "text"
    BOOLEAN = "true or false"
    OTHER = "values of another kind"

    @property
    def is_number(self) -> bool:
        """Whether grids and sums make sense."""
        return self in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)


def kind_of(engine_type: str) -> Kind:
    """Return the kind of an engine type such as `DECIMAL(18,3)`; unknown ones are OTHER."""
    whole = " ".join(engine_type.upper().split())
    if whole.endswith("]"):
        return Kind.OTHER  # an array of anything: `DECIMAL(9,2)[]`
    name, bracket, _ = whole.partition("(")
    if not bracket:
        plain = {
            **dict.fromkeys(_INTEGERS, Kind.INTEGER),
            **dict.fromkeys(_FLOATS, Kind.FLOAT),
            **dict.fromkeys(_TEXTS, Kind.TEXT),
            **dict.fromkeys(_DATES, Kind.DATE),
            "BOOLEAN": Kind.BOOLEAN,
            "DECIMAL": Kind.DECIMAL,
        }
        return plain.get(name, Kind.OTHER)
    return {"DECIMAL": Kind.DECIMAL, "ENUM": Kind.TEXT, "VARCHAR": Kind.TEXT}.get(
        name.strip(), Kind.OTHER
    )
