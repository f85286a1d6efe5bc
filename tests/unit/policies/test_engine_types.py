"""Engine types fall into coarse kinds; what is not known is OTHER."""

from __future__ import annotations

import pytest

from policies.engine_types import Kind, kind_of


@pytest.mark.parametrize(
    ("engine_type", "kind"),
    [
        ("BIGINT", Kind.INTEGER),
        ("uhugeint", Kind.INTEGER),
        ("DECIMAL(18,3)", Kind.DECIMAL),
        ("DECIMAL (18, 3)", Kind.DECIMAL),
        ("DECIMAL", Kind.DECIMAL),
        ("DOUBLE", Kind.FLOAT),
        ("FLOAT", Kind.FLOAT),
        ("VARCHAR", Kind.TEXT),
        ("VARCHAR(20)", Kind.TEXT),
        ("ENUM('a', 'b')", Kind.TEXT),
        ("DATE", Kind.DATE),
        ("TIMESTAMP WITH  TIME ZONE", Kind.DATE),
        ("BOOLEAN", Kind.BOOLEAN),
        ("DECIMAL(9,2)[]", Kind.OTHER),
        ("INTEGER[3]", Kind.OTHER),
        ("STRUCT(a INTEGER)", Kind.OTHER),
        ("BLOB", Kind.OTHER),
        ("", Kind.OTHER),
    ],
)
def test_kind_of(engine_type: str, kind: Kind) -> None:
    assert kind_of(engine_type) is kind


def test_kind_is_number_holds_for_three() -> None:
    assert {kind for kind in Kind if kind.is_number} == {
        Kind.INTEGER,
        Kind.DECIMAL,
        Kind.FLOAT,
    }
