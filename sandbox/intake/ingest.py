"""Job kind `profile`: an untrusted upload to a typed, profiled, encrypted staged table.

The upload was written by a stranger: everything here runs in a locked-down worker, and
what the engine says of it (it quotes values) is turned into a place and a sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.engine import open_engine
from sandbox.errors import ResourceExceeded, UploadRejected
from sandbox.files.parquet import encrypted_writer
from sandbox.files.pme import aad_prefix
from sandbox.intake.column_types import ColumnType, infer_types
from sandbox.intake.csv_dialect import (
    MOST_COLUMNS,
    MOST_LINE_BYTES,
    check_names,
    column_names,
    find_delimiter,
    line_of_record,
    quotes_are_odd,
    records,
    reject_ragged,
)
from sandbox.intake.profile import profile_table
from sandbox.intake.recode import to_utf8
from sandbox.protocol import Format, ProfileJob, ProfileOutcome, StoredFile
from sandbox.quoting import quoted, text_literal

_STAGED = "staged"
_BATCH_ROWS = 50_000
# Engine types of Parquet columns -> what they become; types not here are refused by name.
_SIMPLER = {
    "TINYINT": "BIGINT",
    "SMALLINT": "BIGINT",
    "INTEGER": "BIGINT",
    "BIGINT": "BIGINT",
    "UTINYINT": "BIGINT",
    "USMALLINT": "BIGINT",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "FLOAT": "DOUBLE",
    "DOUBLE": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "TIME": "VARCHAR",
    "UUID": "VARCHAR",
    "VARCHAR": "VARCHAR",
}


def profile_upload(
    job: ProfileJob, source: int, output: int, scratch: int | None
) -> ProfileOutcome:
    """Read the upload behind `source`; its table lies encrypted in `output` afterwards.

    Raises UploadRejected with a code (`upload_*`) and, where one record is at fault, its
    line and column.
    """
    if job.format is Format.PARQUET:
        return _from_parquet(job, source, output)
    if scratch is None:
        raise ValueError("a CSV needs a scratch file")
    return _from_csv(job, source, output, scratch)


def _from_csv(job: ProfileJob, source: int, output: int, scratch: int) -> ProfileOutcome:
    text, encoding, warnings = to_utf8(source, scratch, job.csv.encoding)
    delimiter = find_delimiter(text, job.csv.delimiter)
    names, more = column_names(text, delimiter, header=job.csv.header)
    _check_has_rows(text, delimiter, header=job.csv.header)
    if quotes_are_odd(text):
        # The engine takes a last quote that is not closed for the end of the file.
        reject_ragged(text, delimiter, names)
    warnings += more
    path = f"/proc/self/fd/{text}"
    relation = _csv_relation(path, delimiter, names, header=job.csv.header)
    with contextlib.closing(open_engine({}, job.limits, files=[path])) as connection:
        try:
            types, more = infer_types(connection, relation, names)
            warnings += more
            _reject_mistakes(connection, relation, types, text, delimiter, job)
            values = ", ".join(
                f"{column.value} AS {quoted(column.name)}" for column in types
            )
            connection.execute(f"CREATE TABLE {_STAGED} AS SELECT {values} FROM {relation}")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            reject_ragged(text, delimiter, names)
            raise UploadRejected(
                "the file cannot be read as CSV with this delimiter and header",
                code="upload_malformed",
                hint="State delimiter and encoding, and keep one kind of line ending.",
            ) from error
        outcome = _stage(connection, job, output, warnings)
    return _with_dialect(outcome, encoding, delimiter)


def _csv_relation(path: str, delimiter: str, names: Sequence[str], *, header: bool) -> str:
    """The file as a SQL relation of text columns, read in file order."""
    columns = ", ".join(f"{text_literal(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({text_literal(path)}, auto_detect = false,"
        f" delim = {text_literal(delimiter)},"
        " quote = '\"', escape = '\"', comment = '', nullstr = '', strict_mode = true,"
        f" null_padding = false, header = {'true' if header else 'false'},"
        f" max_line_size = {MOST_LINE_BYTES}, compression = 'none', parallel = false,"
        f" columns = {{{columns}}})"
    )


def _check_has_rows(text: int, delimiter: str, *, header: bool) -> None:
    found = records(text, delimiter)
    if header:
        next(found, None)
    if next(found, None) is None:
        raise UploadRejected(
            "the file has a header and no row",
            code="upload_no_rows",
            hint="Upload a file with at least one row below its header.",
        )


def _reject_mistakes(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    types: Sequence[ColumnType],
    text: int,
    delimiter: str,
    job: ProfileJob,
) -> None:
    """Raise `upload_bad_row` for the first record in which a column breaks its type."""
    broken = [column for column in types if column.mistakes]
    if not broken:
        return
    condition = " OR ".join(f"({column.mistakes})" for column in broken)
    which = ", ".join(f"({column.mistakes})" for column in broken)
    found = connection.execute(
        f"SELECT n, {which} FROM (SELECT row_number() OVER () AS n, * FROM {relation})"
        f" WHERE {condition} ORDER BY n LIMIT 1"
    ).fetchall()
    number, *flags = found[0]
    column = broken[flags.index(True)]
    line = line_of_record(text, delimiter, number + (1 if job.csv.header else 0))
    raise UploadRejected(
        f"line {line}, column {column.name}: {_article(column.type)} was expected, as in"
        " nearly every other row; the value is none",
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


def _from_parquet(job: ProfileJob, source: int, output: int) -> ProfileOutcome:
    warnings = _check_parquet(source, job)
    path = f"/proc/self/fd/{source}"
    with contextlib.closing(open_engine({}, job.limits, files=[path])) as connection:
        try:
            relation = f"read_parquet([{text_literal(path)}])"
            described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
            columns = [(str(row[0]), str(row[1])) for row in described]
            values = ", ".join(
                _parquet_value(name, kind, warnings) for name, kind in columns
            )
            connection.execute(f"CREATE TABLE {_STAGED} AS SELECT {values} FROM {relation}")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise _truncated("its pages cannot be read") from error
        return _stage(connection, job, output, warnings)


def _check_parquet(source: int, job: ProfileJob) -> list[str]:
    size = os.fstat(source).st_size
    head, tail = os.pread(source, 4, 0), os.pread(source, 4, max(0, size - 4))
    if size == 0:
        raise UploadRejected(
            "the file is empty", code="upload_empty", hint="Upload a file with rows."
        )
    if b"PARE" in (head, tail):
        raise UploadRejected(
            "the Parquet file is encrypted",
            code="upload_encrypted",
            hint="Upload it in clear over this connection: the node encrypts it itself.",
        )
    if head != b"PAR1":
        raise UploadRejected(
            "the file is not Parquet: its first four bytes are not PAR1",
            code="upload_not_parquet",
            hint="Choose the format CSV, or export the table as Parquet.",
        )
    if size < 12 or tail != b"PAR1":
        raise _truncated("it does not end as Parquet does")
    try:
        with os.fdopen(os.dup(source), "rb") as file:
            metadata = pq.ParquetFile(file).metadata
            schema = metadata.schema.to_arrow_schema()
            unpacked = sum(
                metadata.row_group(group).total_byte_size
                for group in range(metadata.num_row_groups)
            )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _truncated("its footer cannot be read") from error
    if metadata.num_rows == 0:
        raise UploadRejected(
            "the Parquet file has no row",
            code="upload_no_rows",
            hint="Upload one with rows.",
        )
    if unpacked > job.limits.memory_bytes:
        raise ResourceExceeded(
            f"the file unpacks to {unpacked} bytes,"
            f" the job may use {job.limits.memory_bytes}",
            hint="Split it by period, or have the node's operator raise the limit.",
        )
    return _check_schema(schema)


def _check_schema(schema: pa.Schema) -> list[str]:
    if len(schema) > MOST_COLUMNS:
        raise UploadRejected(
            f"the file has {len(schema)} columns, at most {MOST_COLUMNS} are read",
            code="upload_too_many_columns",
            hint="Split the table.",
        )
    check_names(schema.names)
    for field in schema:
        if pa.types.is_nested(field.type):
            raise UploadRejected(
                f"column {field.name} is nested; only flat tables are read",
                code="upload_nested",
                column=field.name,
                hint="Unnest it into columns or rows first.",
            )
    return []


def _parquet_value(name: str, kind: str, warnings: list[str]) -> str:
    if kind.startswith("DECIMAL"):
        simpler = kind
    elif kind.startswith("ENUM"):
        simpler = "VARCHAR"
    elif kind in _SIMPLER:
        simpler = _SIMPLER[kind]
    else:
        raise UploadRejected(
            f"column {name} has the type {kind.split('(')[0]}, which is not read here",
            code="upload_unsupported_type",
            column=name,
            hint="Cast it to a number, text, boolean, date or timestamp, or leave it out.",
        )
    if kind == "TIMESTAMP WITH TIME ZONE":
        warnings.append(f"Column {name} is taken in UTC.")
    return f"CAST({quoted(name)} AS {simpler}) AS {quoted(name)}"


def _truncated(what: str) -> UploadRejected:
    return UploadRejected(
        f"the file begins as Parquet, but {what}: it was cut off or damaged",
        code="upload_truncated",
        hint="Upload it again; compare sizes if it happens twice.",
    )


def _stage(
    connection: duckdb.DuckDBPyConnection,
    job: ProfileJob,
    output: int,
    warnings: Sequence[str],
) -> ProfileOutcome:
    rows, columns = profile_table(connection, _STAGED)
    with os.fdopen(os.dup(output), "wb") as target:
        reader = connection.sql(f"SELECT * FROM {_STAGED}").to_arrow_reader(_BATCH_ROWS)
        writer = encrypted_writer(
            target,
            reader.schema,
            key=job.output_key,
            prefix=aad_prefix(job.version_id, 0),
        )
        for batch in reader:
            writer.write(batch)
        writer.close()
    return ProfileOutcome(
        rows=rows,
        columns=columns,
        staged=StoredFile(job.output, "", 0, rows),  # the door measures the file itself
        warnings=tuple(warnings),
    )


def _with_dialect(outcome: ProfileOutcome, encoding: str, delimiter: str) -> ProfileOutcome:
    return dataclasses.replace(outcome, encoding=encoding, delimiter=delimiter)
