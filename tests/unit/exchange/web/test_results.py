from __future__ import annotations

from typing import Any

from exchange.web.results import MAX_ROWS_SHOWN, Cell, read_result


def _content(**changes: Any) -> dict[str, Any]:
    return {
        "columns": [{"name": "type", "type": "VARCHAR"}, {"name": "n", "type": "BIGINT"}],
        "rows": [["L", 61200], [None, None], [None, 3]],
        "withheld": [[1, 0], [1, 1]],
        "suppressed": 1,
        "partial": True,
        **changes,
    }


def test_read_result_withheld_is_not_null() -> None:
    table = read_result(_content())

    assert table.rows == (
        (Cell("value", "L"), Cell("number", "61,200", is_number=True)),
        (Cell("withheld"), Cell("withheld", is_number=True)),
        (Cell("null"), Cell("number", "3", is_number=True)),
    )
    assert table.columns == (("type", False), ("n", True))
    assert (table.suppressed, table.partial) == (1, True)


def test_read_result_does_not_round() -> None:
    table = read_result(_content(rows=[["L", 0.1234567890123]], withheld=[]))

    assert table.rows[0][1] == Cell("number", "0.1234567890123", is_number=True)


def test_read_result_long_shows_the_first_rows_and_says_so() -> None:
    table = read_result(_content(rows=[["L", 1]] * (MAX_ROWS_SHOWN + 1), withheld=[]))

    assert len(table.rows) == MAX_ROWS_SHOWN
    assert table.is_cut
    assert table.row_count == MAX_ROWS_SHOWN + 1
