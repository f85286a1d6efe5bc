"""Tables of several times a job's budget, through a real daemon."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.protocol import (
    AnalyseJob,
    EncryptedTable,
    ExecuteJob,
    ExecuteOutcome,
    SubsetJob,
    SubsetOutcome,
    TableSchema,
)
from tests.unit.sandbox.daemon_fixture import POLICY as MILL
from tests.unit.sandbox.daemon_fixture import PURPOSE, Served, serving

ROWS = 390_000
POLICY = MILL.replace("max_rows: 100", "max_rows: 5000")
SQL = "SELECT type, count(*) AS n, sum(torque) AS t FROM mill GROUP BY type ORDER BY type"


def _csv() -> bytes:
    # By chance, for what goes up in steps is encoded to nothing; the same each time.
    chance = random.Random(7)
    scattered = [chance.getrandbits(64) for _ in range(ROWS)]
    lines = [
        f"{x >> 20},{'LMH'[i % 3]},{(x >> 8) % 500 / 10},{i % 7 == 0:d}"
        for i, x in enumerate(scattered)
    ]
    return ("id,type,torque,fail\n" + "\n".join(lines) + "\n").encode()


def _job(
    served: Served, table: EncryptedTable, schema: TableSchema, sql: str
) -> ExecuteJob:
    analysed = served.client.run(AnalyseJob("a", sql, PURPOSE, POLICY, (schema,)))
    fingerprint = json.loads(analysed.shape)["fingerprint"]  # type: ignore[union-attr]
    return ExecuteJob("e", sql, PURPOSE, POLICY, (table,), (schema,), fingerprint)


def _answers(
    served: Served, table: EncryptedTable, schema: TableSchema, turn: str
) -> tuple[ExecuteOutcome, SubsetOutcome]:
    released = served.client.run(_job(served, table, schema, SQL))
    package = served.client.run(
        SubsetJob(
            f"s-{turn}", POLICY, 0, ("id", "torque"), table, schema, 5000, (),
            f"package-{turn}", b"k" * 32, b"p" * 32,
        )
    )  # fmt: skip
    assert isinstance(released, ExecuteOutcome)
    assert isinstance(package, SubsetOutcome)
    return released, package


def test_tables_beyond_the_budget_are_answered_as_if_they_fitted(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        table, outcome = served.publish(_csv(), "large", shards=8)
        whole, whole_package = _answers(served, table, outcome.schema, "whole")
    with serving(tmp_path, more=("--job-images-mb", "1")) as served:
        cut, cut_package = _answers(served, table, outcome.schema, "cut")

    assert whole.metering.bytes_scanned > 2 * 2**20, "several times what may be open"
    assert [row[:2] for row in cut.rows] == [(kind, ROWS // 3) for kind in "HLM"]
    for field in ("rows", "withheld", "history", "executed_sql", "suppressed", "report"):
        assert getattr(cut, field) == getattr(whole, field)
    assert cut_package.rows == 5000
    assert cut_package.content_sha256 == whole_package.content_sha256


def test_rows_that_cannot_be_read_in_parts_are_refused_by_name(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        table, outcome = served.publish(_csv(), "one", shards=1)
    with (
        serving(tmp_path, more=("--job-images-mb", "1")) as served,
        pytest.raises(SandboxError) as raised,
    ):
        served.client.run(_job(served, table, outcome.schema, SQL))

    assert raised.value.code == "needs_more_memory"
    assert raised.value.hint
