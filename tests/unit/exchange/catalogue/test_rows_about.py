from __future__ import annotations

import pytest

from exchange.catalogue.models import DatasetVersion


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        (None, None),
        (0, 0),
        (99, 99),
        (104, 100),
        (3_997, 4_000),
        (10_049, 10_000),
        (12_500, 13_000),
    ],
)
def test_rows_about_tells_two_digits(rows: int | None, shown: int | None) -> None:
    assert DatasetVersion(rows=rows).rows_about == shown
