"""What a test does inside a confined worker, by name; see `bypass`."""

from __future__ import annotations

import os


def echo(value: object) -> object:
    """Give `value` back: the bypass works."""
    return value


def identity() -> dict[str, object]:
    """Say who the worker is."""
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "user": os.getuid(),
        "environment": dict(os.environ),
    }
