"""What the daemon is asked besides jobs, and what its processes tell each other.

Control messages use the same frames as jobs (`sandbox.codec`). `Start`, `Exit`, `Offered`
and `Wanted` never leave the daemon: the unsealer hands a job without its data keys to the
fork server, the fork server tells the door how a worker ended, and a worker asks the
unsealer for images as it needs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sandbox.protocol import Limits


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
class ProgressQuestion:
    """Asks for the `Progress` of a job; one that is not running is no error."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A job has read `read_bytes` of `all_bytes` of its source, in clear.

    A job that reads its source twice starts again. Both are 0 for one that is not running,
    waits for its turn, or reads nothing.
    """

    read_bytes: int = 0
    all_bytes: int = 0


@dataclass(frozen=True, slots=True)
class KeyQuestion:
    """Asks for the key to which the keys of jobs are encrypted (`sandbox.job_keys`)."""


@dataclass(frozen=True, slots=True)
class KeyOffer:
    """The unsealer's public key; another one after each start."""

    public: bytes


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
    """Fork server to door: the process of this job is gone, or is done with it.

    `cpu_seconds` and `peak_memory_bytes` are what the kernel counted, also of a killed one.
    """

    job_id: str
    ending: Ending
    signal: int | None = None
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """To the fork server: run the job whose frame follows in the same record.

    From the unsealer: a job whose sources have no data keys any more. Descriptors: the
    job's own socket, the worker's end of its image source, then `outputs` files to write;
    the fork server adds the `scratch` files. From the door: an analyse job, with its own
    socket alone.
    """

    job_id: str
    outputs: int
    scratch: int  # empty files in memory that this kind of job needs
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Offered:
    """Unsealer to worker, first of all: what this job may ask for.

    `tables`: name, and for each shard the bytes of its image, estimated where it is not in
    memory. An upload is the table "", its shards are segments of its content. At most
    `budget_bytes` of these may be wanted at once. The keys for what the job writes follow
    as they are, of `key_sizes` bytes each: a message's text would leave copies of them.
    """

    tables: tuple[tuple[str, tuple[int, ...]], ...]
    budget_bytes: int
    key_sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Worker to unsealer: send these images, table by table, in this order.

    The answer is a record of `Done` with so many descriptors, or a `Refusal`.
    """

    tables: tuple[tuple[str, tuple[int, ...]], ...]  # name, indices of shards


Control = (
    HealthQuestion
    | Cancel
    | Forget
    | ProgressQuestion
    | Progress
    | KeyQuestion
    | KeyOffer
    | Done
    | HealthReport
    | Exit
    | Start
    | Offered
    | Wanted
)
