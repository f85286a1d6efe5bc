"""A sandbox daemon without processes: the same door, small tables, a few queries known.

It reads and writes the vault as the real one does (digests checked, seals opened, outputs
written once), and raises the same errors; `tests/journeys/test_walk.py` takes the same walk
through the real daemon, so that the two agree.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.codec import load_policy
from policies.shape import ColumnUse, Finding, QueryShape, Usage
from policies.shape_codec import shape_to_json
from sandbox.control import Progress
from sandbox.errors import (
    DistributionCorrupt,
    ProtocolError,
    QueryRejected,
    SandboxError,
    UploadRejected,
)
from sandbox.files.sealing import SealReader, SealWriter
from sandbox.protocol import (
    AnalyseJob,
    AnalyseOutcome,
    ColumnProfile,
    EncryptedTable,
    ExecuteJob,
    ExecuteOutcome,
    Job,
    Outcome,
    PartitionJob,
    PartitionOutcome,
    ProfileJob,
    ProfileOutcome,
    RekeyJob,
    RekeyOutcome,
    StoredFile,
    SubsetJob,
    SubsetOutcome,
    TableSchema,
)

_COUNTS = re.compile(
    r"SELECT (\w+), count\(\*\)(?: AS n)? FROM (\w+) GROUP BY \1;?\s*\Z", re.I
)
Rows = list[dict[str, str]]


@dataclass
class FakeDaemon:
    """What `sandbox.launcher.Daemon` is to the exchange; `jobs` tells what was asked."""

    vault: Path
    jobs: list[Job] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    # How far every job is, where jobs take long enough to be asked.
    read: Progress | None = None
    # Raised instead of the next outcomes, one each.
    errors: list[SandboxError] = field(default_factory=list)
    # Raised instead of the next confirmations of `forget`.
    deaf: list[SandboxError] = field(default_factory=list)
    # Called with each job before its outcome comes back: what happens meanwhile.
    meanwhile: Callable[[Job], None] | None = None

    def run(self, job: Job, *, meanwhile: Callable[[], None] | None = None) -> Outcome:
        self.jobs.append(job)
        if meanwhile is not None and self.read is not None:
            meanwhile()
        if self.errors:
            raise self.errors.pop(0)
        works: dict[type, Callable[[Any], Outcome]] = {
            ProfileJob: self._profile,
            PartitionJob: self._partition,
            AnalyseJob: _analyse,
            ExecuteJob: self._execute,
            SubsetJob: self._subset,
            RekeyJob: self._rekey,
        }
        outcome = works[type(job)](job)
        if self.meanwhile is not None:
            self.meanwhile(job)
        return outcome

    def cancel(self, job_id: str) -> bool:
        self.cancelled.append(job_id)
        return True

    def progress(self, job_id: str) -> Progress:
        assert any(job.job_id == job_id for job in self.jobs)
        return self.read or Progress()

    def forget(self, version_id: str) -> int:
        if self.deaf:
            raise self.deaf.pop(0)
        self.forgotten.append(version_id)
        return 1

    def _profile(self, job: ProfileJob) -> ProfileOutcome:
        content = self._read(job.source.file, job.source.key, pinned=False)
        if job.format == "parquet":
            raise UploadRejected("the file is no Parquet", code="upload_not_parquet")
        rows = list(csv.DictReader(io.StringIO(content.decode()), strict=True))
        if not rows:
            raise UploadRejected("the file has no row", code="upload_no_rows")
        for number, row in enumerate(rows, start=2):
            for name, value in row.items():
                if value == "BAD":
                    raise UploadRejected(
                        "a value does not fit its column",
                        code="upload_bad_row",
                        line=number,
                        column=name,
                    )
        staged = self._write(
            job.outputs[0], job.output_key, json.dumps(rows).encode(), len(rows)
        )
        return ProfileOutcome(
            rows=len(rows),
            columns=tuple(_profiled(name, rows) for name in rows[0]),
            staged=(staged,),
            encoding="utf-8",
            delimiter=",",
        )

    def _partition(self, job: PartitionJob) -> PartitionOutcome:
        rows = self._rows(job.source)
        apart = {name for group in job.groups for name in group.columns}
        kept = [name for name in rows[0] if name not in apart]
        shares = _shares(rows, job.units, len(job.outputs))
        units = {tuple(row[name] for name in job.units) for row in rows}
        return PartitionOutcome(
            files=self._write_shares(job.outputs, job.output_key, shares, kept),
            groups=tuple(
                self._write_shares(group.outputs, group.key, shares, group.columns)
                for group in job.groups
            ),
            rows=len(rows),
            units=len(units) if job.units else len(rows),
            schema=TableSchema(job.source.table, ()),
        )

    def _execute(self, job: ExecuteJob) -> ExecuteOutcome:
        shape = _shape(job.sql, job.schemas)
        if shape.fingerprint != job.fingerprint:
            raise QueryRejected("the plan is not the one that was approved")
        found = _COUNTS.match(job.sql)
        assert found is not None
        rule = load_policy(job.policy).aggregate_rules[0]
        (table,) = job.tables
        counts = Counter(row[found.group(1)] for row in self._rows(table))
        kept = {key: n for key, n in counts.items() if n >= rule.min_units}
        rows = tuple((key, n) for key, n in sorted(kept.items()))
        small = len(counts) - len(kept)
        return ExecuteOutcome(
            columns=((found.group(1), "VARCHAR"), ("n", "BIGINT")),
            rows=rows + (((None, None),) if small else ()),
            withheld=((),) * len(rows) + (((0, 1),) if small else ()),
            suppressed=1 if small else 0,
            partial=bool(small),
            fingerprint=shape.fingerprint,
            executed_sql=job.sql,
            history=f"{job.fingerprint[:8]} after {len(job.history)}",
            report=(("threshold", small),),
            units_covered=sum(counts.values()),
        )

    def _subset(self, job: SubsetJob) -> SubsetOutcome:
        rows = [{name: row[name] for name in job.columns} for row in self._rows(job.table)][
            : job.max_rows
        ]
        content = json.dumps({"rows": rows, "metadata": dict(job.metadata)}).encode()
        return SubsetOutcome(
            package=self._write(job.output, job.output_key, content, len(rows)),
            content_sha256=hashlib.sha256(content).hexdigest(),
            content_bytes=len(content),
            rows=len(rows),
            columns=tuple((name, "VARCHAR") for name in job.columns),
        )

    def _rekey(self, job: RekeyJob) -> RekeyOutcome:
        written = [
            self._write(name, job.output_key, self._read(file, job.key), file.rows)
            for file, name in zip(job.files, job.outputs, strict=True)
        ]
        return RekeyOutcome(files=tuple(written))

    def _rows(self, table: EncryptedTable) -> Rows:
        rows: Rows = []
        for shard, file in enumerate(table.files):
            parts = [json.loads(self._read(file, table.key))]
            for group in table.groups:
                parts.append(json.loads(self._read(group.files[shard], group.key)))
            rows += [
                {name: value for part in row for name, value in part.items()}
                for row in zip(*parts, strict=True)
            ]
        return rows

    def _write_shares(
        self, names: Sequence[str], key: bytes, shares: list[Rows], columns: Sequence[str]
    ) -> tuple[StoredFile, ...]:
        files = []
        for name, share in zip(names, shares, strict=True):
            part = [{column: row[column] for column in columns} for row in share]
            files.append(self._write(name, key, json.dumps(part).encode(), len(part)))
        return tuple(files)

    def _read(self, file: StoredFile, key: bytes, *, pinned: bool = True) -> bytes:
        path = self.vault / file.name
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != file.sha256 or len(data) != file.size_bytes:
            raise DistributionCorrupt("a stored file is not what was stored")
        if file.footer_sha256 != (_end_of(data) if pinned else ""):
            raise DistributionCorrupt("a stored file came without its footer's digest")
        reader = SealReader(io.BytesIO(data), key, file.name)
        return reader.read_range(0, reader.size)

    def _write(self, name: str, key: bytes, content: bytes, rows: int) -> StoredFile:
        path = self.vault / name
        if path.exists():
            raise ProtocolError("an output's vault name is taken; outputs are written once")
        with path.open("xb") as file, SealWriter(file, key, name) as writer:
            writer.write(content)
        footer = _end_of(path.read_bytes())
        return StoredFile(name, writer.sealed_sha256, writer.sealed_size, rows, footer)


def _end_of(data: bytes) -> str:
    """What stands for the digest of a footer here."""
    return hashlib.sha256(data[-8:]).hexdigest()


def _profiled(name: str, rows: Rows) -> ColumnProfile:
    values = [row[name] for row in rows]
    is_number = all(re.fullmatch(r"-?\d+", value) for value in values)
    return ColumnProfile(
        name=name,
        type="BIGINT" if is_number else "VARCHAR",
        null_share=0.0,
        distinct=len(set(values)),
        proposed_roles=("measure",) if is_number else ("dimension",),
        proposed_grid="5" if is_number else None,
        reason="few different values",
    )


def _shares(rows: Rows, units: tuple[str, ...], count: int) -> list[Rows]:
    shares: list[Rows] = [[] for _ in range(count)]
    for index, row in enumerate(rows):
        unit = "|".join(row[name] for name in units) if units else str(index)
        digest = hashlib.sha256(unit.encode()).digest()
        shares[int.from_bytes(digest[:4], "big") % count].append(row)
    return shares


def _analyse(job: AnalyseJob) -> AnalyseOutcome:
    shape = _shape(job.sql, job.schemas)
    return AnalyseOutcome(
        shape=shape_to_json(shape), executed_sql=job.sql if shape.fingerprint else ""
    )


def _shape(sql: str, schemas: tuple[TableSchema, ...]) -> QueryShape:
    if sql.count(";") > 1 or not sql.lower().startswith("select"):
        return QueryShape(
            findings=(Finding("sql_syntax", "one SELECT was expected", "Write one."),)
        )
    found = _COUNTS.match(" ".join(sql.split()))
    if found is None:
        (schema,) = schemas
        return QueryShape(
            tables=(schema.table,),
            uses=tuple(
                ColumnUse(schema.table, name, Usage.ROW_OUTPUT)
                for name, _ in schema.columns
            ),
        )
    column, table = found.groups()
    return QueryShape(
        tables=(table,),
        uses=(ColumnUse(table, column, Usage.GROUP_KEY),),
        aggregates=("count",),
        fingerprint=hashlib.sha256(f"{table}/{column}".encode()).hexdigest(),
        outputs=(column, "n"),
    )
