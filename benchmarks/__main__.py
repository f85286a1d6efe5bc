"""`python -m benchmarks NAME [--json OUT]`: run one benchmark and print its table."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

NAMES = ("analyse", "release")


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    report = importlib.import_module(f"benchmarks.{options.name}").run()
    print(report.show())
    if options.json is not None:
        report.save(options.json)


if __name__ == "__main__":
    main()
