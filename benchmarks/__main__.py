"""`python -m benchmarks NAME [--json OUT]`: run one benchmark and print its table."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.options import Options

NAMES = (
    "analyse",
    "release",
    "sandbox",
    "unseal",
    "admitted",
    "native",
    "roundtrip",
    "ingest",
    "size",
)


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--data", type=Path, help="keep generated data here for next time")
    parser.add_argument("--only", default="", help="parts to run, with commas between")
    parser.add_argument("--scale", type=float, help="TPC-H scale factor, or size")
    parser.add_argument("--runs", type=int, default=5, help="how often each case is timed")
    parser.add_argument("--out", type=Path, help="where a drawing goes (size)")
    given = parser.parse_args()
    options = Options(
        data=given.data.absolute() if given.data else None,
        only=frozenset(part for part in given.only.split(",") if part),
        scale=given.scale,
        runs=given.runs,
        out=given.out,
    )
    report = importlib.import_module(f"benchmarks.{given.name}").run(options)
    print(report.show())
    if given.json is not None:
        report.save(given.json)


if __name__ == "__main__":
    main()
