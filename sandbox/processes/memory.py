"""What keeps keys from leaving memory: no swap, no dump, and wiped when they were used."""

from __future__ import annotations

import resource
from pathlib import Path

from sandbox.control import Layer
from sandbox.processes import syscalls

_SWAPS = Path("/proc/swaps")


def wipe(key: bytes) -> None:
    """Overwrite the key's bytes where they lie. Nobody may use the object any more.

    Python has no other way to take a value back. What copied it before (the cipher's round
    keys, which OpenSSL clears; what a message was read from) is not reached by this.
    """
    # Empty and one-byte objects are shared by all of the interpreter; keys have 32.
    if len(key) > 1:
        syscalls.clear_bytes(key)


def forbid_core_files() -> None:
    """Leave no core file, whatever the machine's settings say."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    syscalls.forbid_dumps()


def allow_many_images() -> None:
    """Have as many descriptors as the machine allows: each image is one, held open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_in_memory() -> tuple[Layer, ...]:
    """Lock this process's memory where it may; say what was reached, for the health page.

    Pages that are touched later are locked too. Images are no part of the process's own
    memory: they are safe from swap where the machine has none.
    """
    try:
        syscalls.lock_all_memory()
        locked = Layer("memory_lock", required=False, on=True)
    except OSError as error:
        reason = f"mlockall: {error.strerror}; raise the memory lock limit"
        locked = Layer("memory_lock", required=False, on=False, reason=reason)
    lines = _SWAPS.read_text().splitlines() if _SWAPS.exists() else []
    swaps = max(0, len(lines) - 1)
    reason = f"{swaps} swap areas: encrypt them, or turn them off" if swaps else ""
    return locked, Layer("no_swap", required=False, on=not swaps, reason=reason)
