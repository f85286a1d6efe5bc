"""Which process holds a lease, and whether it still lives.

A lease that runs out is proof enough anywhere. On the machine itself a dead process is seen
at once, so that a killed worker costs seconds instead of a lease.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def _boot_id() -> str:
    # Containers may share a host name; the boot id and the PID namespace do not lie.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return f"{boot}/{namespace}"


def _start_ticks(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name may hold spaces and brackets: count from the last bracket.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def this_process() -> str:
    """Return a name that no other process, earlier or later, has on this machine."""
    pid = os.getpid()
    return f"{_boot_id()}#{pid}#{_start_ticks(pid) or ''}"


def is_gone(owner: str) -> bool:
    """Say whether `owner` was a process of this machine and boot, and lives no more.

    False whenever that cannot be known from here.
    """
    boot, _, rest = owner.partition("#")
    pid, _, ticks = rest.partition("#")
    if not boot or boot != _boot_id() or not pid.isdigit() or not ticks:
        return False
    return _start_ticks(int(pid)) != ticks
