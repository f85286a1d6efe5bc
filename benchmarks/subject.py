"""The generated table that benchmarks run over: machine runs, with machines as units."""

from __future__ import annotations

from pathlib import Path

import duckdb

POLICY = """
version: 1
tables:
  runs:
    units: [{domain: machine, column: machine}]
    columns:
      machine: {role: unit_key}
      site: {role: dimension}
      product: {role: dimension}
      started: {role: dimension, grain: month}
      torque: {role: measure, grid: 5, scale: 2}
      wear: {role: measure, grid: 10}
rules:
  - kind: aggregate
    min_units: 10
    dominance: {n: 2, share: 0.9, p_percent: 10}
    aggregates: [count, count_distinct, sum, avg]
    purposes: [maintenance]
    approval: automatic
"""

SCHEMAS = {
    "runs": (
        ("machine", "BIGINT"),
        ("site", "VARCHAR"),
        ("product", "VARCHAR"),
        ("started", "DATE"),
        ("torque", "DOUBLE"),
        ("wear", "BIGINT"),
    )
}


def write_runs(path: Path, rows: int, machines: int) -> None:
    """Write `rows` runs of `machines` machines as plain Parquet; the same for the same."""
    connection = duckdb.connect()
    connection.execute(
        f"""COPY (
            SELECT hash(i) % {machines} AS machine,
                   'S' || (hash(i, 1) % 40)::VARCHAR AS site,
                   'P' || (hash(i, 2) % 25)::VARCHAR AS product,
                   DATE '2025-01-01' + (hash(i, 3) % 365)::INTEGER AS started,
                   round(20 + (hash(i, 4) % 6000) / 100.0, 2) AS torque,
                   (hash(i, 5) % 250)::BIGINT AS wear
            FROM range({rows}) t(i)
        ) TO '{path}' (FORMAT parquet)"""
    )
    connection.close()
