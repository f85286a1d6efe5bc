"""What the command line says to a benchmark."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How a benchmark is to be run.

    `data` keeps generated data for the next run (None: a temporary directory); `only`
    picks parts by name, in each benchmark's own words; `scale` is TPC-H's scale factor or
    the million rows or gigabytes of the benchmark; `runs` how often a case is timed.
    """

    data: Path | None = None
    only: frozenset[str] = frozenset()
    scale: float | None = None
    runs: int = 5
    out: Path | None = None  # where a benchmark that draws puts its drawing

    def wants(self, part: str) -> bool:
        """Whether a part is to be run."""
        return not self.only or part in self.only

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a directory for generated data, kept if the command line named one."""
        if self.data is not None:
            self.data.mkdir(parents=True, exist_ok=True)
            yield self.data
            return
        with tempfile.TemporaryDirectory(prefix="bonded-benchmark-") as folder:
            yield Path(folder)
