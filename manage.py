#!/usr/bin/env python
"""The node's command line. `simulate` is answered before Django is even imported."""

from __future__ import annotations

import os
import sys


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code."""
    if argv[1:2] == ["simulate"]:
        # The simulator needs no settings, no secret and no database: a provider may try a
        # policy on local files before any node exists.
        from sandbox.simulate import main as simulate

        return simulate(argv[2:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(argv)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
