"""Which code analyses: a digest of it, for what older code found is not its finding."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("policies", "sandbox")


@cache
def code_revision() -> str:
    """Return a digest of the policies' and the sandbox's code and of the engine's version.

    Read once in a process: a node is restarted when its code is replaced.
    """
    digest = hashlib.sha256(version("duckdb").encode())
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(_ROOT)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
