"""`python -m tests.attacks NAME [--json OUT]`: run one attack and print its table."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

NAMES = ("corpus", "bombs", "layers")


def main() -> None:
    """Run the attack that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    importlib.import_module(f"tests.attacks.run_{options.name}").run(options.json)


if __name__ == "__main__":
    main()
