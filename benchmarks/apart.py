"""Work in a process of its own, so that the benchmark's own process stays without threads.

A sandbox worker must be forked from a process with one thread; an engine or Arrow in this
one would start more, and warm memory that a worker does not have.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from typing import Any


def apart(work: Callable[[], Any]) -> Any:
    """Return what `work` returns, as JSON has it; SystemExit if it fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            data = json.dumps(work()).encode()
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(data)
            status = 0
        except BaseException:  # noqa: BLE001 - a child must not return into its parent's code
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"a part of the benchmark failed (status {status}); see above")
    return json.loads(data)
