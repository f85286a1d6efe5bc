"""A CSV's delimiter, its column names, and the line of a record that cannot be read."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from sandbox.errors import UploadRejected

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 200
_SAMPLE_CHARACTERS = 256 * 1024
MOST_COLUMNS = 2000
_MOST_NAME_CHARACTERS = 128
MOST_LINE_BYTES = 2 * 1024**2


def find_delimiter(head: bytes, named: str | None) -> str:
    """Return the delimiter: the one that is stated, or the one that fits most records.

    `head` is how the text begins.
    """
    if named is not None:
        if named not in DELIMITERS:
            raise UploadRejected(
                "a delimiter is one of comma, semicolon, tab and |",
                code="upload_delimiter",
                hint="Leave it out to have it found.",
            )
        return named
    sample = head[:_SAMPLE_CHARACTERS].decode(errors="replace")
    return max(DELIMITERS, key=lambda delimiter: _fit(sample, delimiter))


def _fit(sample: str, delimiter: str) -> tuple[float, int]:
    """How well records agree on a number of columns, and that number; 1 is no fit."""
    widths: Counter[int] = Counter()
    try:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        for record in itertools.islice(reader, _SAMPLE_RECORDS):
            if record:
                widths[len(record)] += 1
    except csv.Error:
        return (0.0, 0)
    if not widths:
        return (0.0, 0)
    width, count = widths.most_common(1)[0]
    return (0.0, 1) if width == 1 else (round(count / widths.total(), 2), width)


def column_names(
    head: bytes, delimiter: str, *, header: bool
) -> tuple[list[str], list[str]]:
    """Return the names of the columns, and warnings; `head` is how the text begins.

    Raises UploadRejected: `upload_duplicate_column`, `upload_column_name`,
    `upload_too_many_columns`, `upload_empty`.
    """
    _, first = next(records(head, delimiter), (1, []))
    if not first:
        raise UploadRejected(
            "the file has no record", code="upload_empty", hint="Upload a file with rows."
        )
    if len(first) > MOST_COLUMNS:
        raise UploadRejected(
            f"the first record has {len(first)} columns, at most {MOST_COLUMNS} are read",
            code="upload_too_many_columns",
            hint="State the delimiter, or split the table.",
        )
    if not header:
        return [f"column_{position + 1}" for position in range(len(first))], []
    names, warnings = [], []
    for position, raw in enumerate(first):
        name = raw.strip()
        if not name:
            name = f"column_{position + 1}"
            warnings.append(f"Column {position + 1} has no name and is called {name}.")
        names.append(name)
    check_names(names)
    return names, warnings


def check_names(names: Sequence[str]) -> None:
    """Refuse names that SQL cannot tell apart, or that no screen can show."""
    seen: set[str] = set()
    for position, name in enumerate(names):
        if len(name) > _MOST_NAME_CHARACTERS or not name.isprintable():
            raise UploadRejected(
                f"the name of column {position + 1} is longer than"
                f" {_MOST_NAME_CHARACTERS} characters or has unprintable ones",
                code="upload_column_name",
                line=1,
                hint="Is the first line really the header? If not, say so.",
            )
        if name.lower() in seen:
            raise UploadRejected(
                f"two columns are called {name} (upper and lower case are the same in SQL)",
                code="upload_duplicate_column",
                line=1,
                column=name,
                hint="Give each column a name of its own.",
            )
        seen.add(name.lower())


def records(
    data: bytes, delimiter: str, *, lines_before: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line on which it begins; blank lines are none.

    Raises UploadRejected `upload_bad_row` where a quote is not closed or a field is longer
    than 2 MiB.
    """
    csv.field_size_limit(MOST_LINE_BYTES)
    line = lines_before + 1
    text = io.TextIOWrapper(
        io.BytesIO(data), encoding="utf-8", errors="replace", newline=""
    )
    with text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise UploadRejected(
                    f"the record that begins on line {line} has a quote that is not closed,"
                    " something behind a closed one, or a field over 2 MiB",
                    code="upload_bad_row",
                    line=line,
                    hint="Correct that line; quotes inside quotes are doubled.",
                ) from error
            if record:
                yield line, record
            line = lines_before + reader.line_num + 1


def reject_ragged(
    data: bytes, delimiter: str, names: Sequence[str], *, lines_before: int
) -> None:
    """Raise `upload_bad_row` for the first record without one field per column, if any."""
    for line, record in records(data, delimiter, lines_before=lines_before):
        if len(record) == len(names):
            continue
        missing = names[len(record)] if len(record) < len(names) else None
        raise UploadRejected(
            f"line {line} has {len(record)} fields, {len(names)} were expected"
            + (f": it ends before column {missing}" if missing else ""),
            code="upload_bad_row",
            line=line,
            column=missing,
            hint="Correct that line, or quote the field that holds a delimiter.",
        )


def line_of_record(
    data: bytes, delimiter: str, number: int, *, lines_before: int
) -> int | None:
    """Return the line on which the record of that number (the first is 1) begins."""
    found = records(data, delimiter, lines_before=lines_before)
    wanted = itertools.islice(found, number - 1, None)
    return next((line for line, _ in wanted), None)
