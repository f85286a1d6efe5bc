"""Why a CSV is refused: the line and the column of what is at fault, never its value."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from sandbox.errors import UploadRejected
from sandbox.intake.chunks import Chunk, malformed
from sandbox.intake.column_types import ColumnType
from sandbox.intake.csv_columns import Column
from sandbox.intake.csv_dialect import line_of_record, reject_ragged
from sandbox.intake.recode import Text

Broken = Sequence[tuple[Column, ColumnType]]


def why_unreadable(
    chunk: Chunk, text: Text, delimiter: str, names: Sequence[str]
) -> UploadRejected:
    """Return why the engine could not read a chunk: its line if it can be named."""
    base = text.lines_before(chunk.position)
    try:
        reject_ragged(chunk.read(), delimiter, names, lines_before=base)
    except UploadRejected as rejected:
        return rejected
    return malformed()


def first_mistake(
    connection: duckdb.DuckDBPyConnection, relation: str, broken: Broken
) -> tuple[int, Column, ColumnType] | None:
    """Return the first record of a chunk in which a column breaks the type beside it.

    Its number (the first is 1), the column and the type.
    """
    which = ", ".join(f"({found.mistakes})" for _, found in broken)
    anything = " OR ".join(f"({found.mistakes})" for _, found in broken)
    rows = connection.execute(
        f"SELECT n, {which} FROM (SELECT row_number() OVER () AS n, *"
        f" FROM {relation}) WHERE {anything} ORDER BY n LIMIT 1"
    ).fetchall()
    if not rows:
        return None
    number, *flags = rows[0]
    return (number, *broken[flags.index(True)])


def bad_value(
    data: bytes,
    delimiter: str,
    mistake: tuple[int, Column, ColumnType],
    *,
    header: bool,
    lines_before: int,
) -> UploadRejected:
    """Return the refusal of a chunk with the bytes `data` for such a record."""
    number, column, found = mistake
    number += int(header)
    line = line_of_record(data, delimiter, number, lines_before=lines_before)
    return UploadRejected(
        f"line {line}, column {column.name}: {_article(found.type)} was"
        " expected, as in nearly every other row; the value is none",
        code="upload_bad_row",
        line=line,
        column=column.name,
        hint="Correct that value, or leave it empty; nothing was published.",
    )


def _article(kind: str) -> str:
    if kind == "BIGINT":
        return "a whole number"
    if kind in ("DATE", "TIMESTAMP"):
        return f"a {kind.lower()}"
    return "true or false" if kind == "BOOLEAN" else "a number"
