"""One small query, analysed and run where workers are forked from, over made-up rows.

What Python, the engine and Arrow build when they are first used is then there in every
fork. Its own engines are closed again: nothing of it is in those that jobs get.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from sandbox import analyse, execute
from sandbox.protocol import AnalyseJob, ExecuteJob, Limits, TableSchema

# Without threads: whoever is forked afterwards would lack them, and hold their locks.
_LIMITS = Limits(threads=1, memory_bytes=256 * 1024**2)
_PURPOSE = "official-statistics"
_POLICY = json.dumps(
    {
        "version": 1,
        "tables": {
            "t": {
                "units": [{"domain": "u", "column": "u"}],
                "columns": {
                    "u": {"role": "unit_key"},
                    "k": {"role": "dimension", "values": "public"},
                    "m": {"role": "measure", "grid": 5},
                },
            }
        },
        "rules": [
            {
                "kind": "aggregate",
                "mode": "safe",
                "min_units": 3,
                "aggregates": ["count", "count_distinct", "sum", "avg", "variance"],
                "purposes": [_PURPOSE],
                "approval": "automatic",
            }
        ],
    }
)
_SQL = """
SELECT k, count(*) AS n, sum(m) AS s, avg(m) AS a, count(DISTINCT u) AS d
FROM t WHERE m >= 10 GROUP BY k HAVING count(*) > 2 ORDER BY n DESC
"""
_SCHEMA = TableSchema("t", (("u", "BIGINT"), ("k", "VARCHAR"), ("m", "DOUBLE")))


class _OneImage:
    """An image source over one image, which is there already."""

    def __init__(self, image: int) -> None:
        self.tables: Mapping[str, tuple[int, ...]] = {"t": (os.fstat(image).st_size,)}
        self.budget_bytes = 1024**2
        self._path = f"/proc/self/fd/{image}"

    def open(self, wanted: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        return {table: [self._path for _ in shards] for table, shards in wanted.items()}


def warm_up() -> None:
    """Answer one query from text to cells; leaves no thread and no engine behind."""
    analysed = analyse.run(AnalyseJob("", _SQL, _PURPOSE, _POLICY, (_SCHEMA,), _LIMITS))
    fingerprint = json.loads(analysed.shape)["fingerprint"]
    job = ExecuteJob(
        "", _SQL, _PURPOSE, _POLICY, (), (_SCHEMA,), fingerprint, limits=_LIMITS
    )
    image = os.memfd_create("warm", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(image), "wb") as target:
            pq.write_table(_rows(), target, compression="zstd")
        execute.run(job, _OneImage(image))
    finally:
        os.close(image)


def _rows() -> pa.Table:
    count = 300
    return pa.table(
        {
            "u": list(range(count)),
            "k": ["abc"[i % 3] for i in range(count)],
            "m": [float(i % 50) for i in range(count)],
        }
    )
