"""What the daemon is asked besides jobs, and what its processes tell each other.

Control messages use the same frames as jobs (`sandbox.codec`). `Start` and `Exit` never
leave the daemon: the unsealer hands a job without its data keys to the fork server, and
the fork server tells the door how a worker ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class HealthQuestion:
    """Asks for a `HealthReport`."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Asks that a job be killed; a job that is not running is no error."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Asks that no image of a dataset version stay in memory: revoked, key destroyed."""

    version_id: str


@dataclass(frozen=True, slots=True)
class Done:
    """A `Cancel` or `Forget` was carried out; `count` jobs or images were affected."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the lock-down, as the self-check found it."""

    name: str
    required: bool
    on: bool
    reason: str = ""  # why it is off, or what it rests on


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The daemon serves; how its workers are confined and how busy it is."""

    layers: tuple[Layer, ...]
    workers: int
    running: int
    cached_bytes: int
    cache_limit_bytes: int
    engine: str


class Ending(StrEnum):
    """How a worker process ended."""

    FINISHED = "finished"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    MEMORY = "memory"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Exit:
    """Fork server to door: the worker of this job is gone."""

    job_id: str
    ending: Ending
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Unsealer to fork server: run this; descriptors follow in the order named here.

    First the job's own socket, then `outputs` files to write, then the images of each
    table in turn. `job` is a frame of the job with every data key of a source blanked.
    """

    job: bytes
    outputs: int
    images: tuple[tuple[str, int], ...]  # table, number of descriptors


Control = HealthQuestion | Cancel | Forget | Done | HealthReport | Exit | Start
