"""What can go wrong behind the sandbox's door.

SandboxError
├── ProtocolError        a frame, version or field is not one of ours
├── SandboxUnavailable   no daemon answers, or it refused to serve (lock-down incomplete)
├── UploadRejected       an upload is not what it says it is
├── QueryRejected        the worker's own analysis refuses what it was handed
├── ResourceExceeded     memory, output or spill limit
├── DeadlineExceeded     the job's time ran out; it was killed
├── Cancelled            the job was cancelled
├── DistributionCorrupt  a digest, AAD or format check failed: the data was altered
├── KeyUnusable          a data key does not open what it should
├── EngineFailed         the engine raised; its text stays inside
└── WorkerLost           the process died without an outcome
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.protocol import Metering


class SandboxError(Exception):
    """A job has no outcome. `code` is API; `hint` is the way forward; no data in either.

    `metering` is what the job used up to then, where it came so far.
    """

    code = "sandbox_error"
    metering: Metering | None = None

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class ProtocolError(SandboxError):
    """A message is malformed, too long, or of a version this side does not speak."""

    code = "sandbox_protocol"


class SandboxUnavailable(SandboxError):
    """No sandbox daemon serves at the socket."""

    code = "sandbox_unavailable"


class UploadRejected(SandboxError):
    """An upload cannot be read as a table; `code` says which way (`upload_*`)."""

    code = "upload_rejected"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.line = line
        self.column = column


class QueryRejected(SandboxError):
    """The worker's own analysis refuses the query it was handed."""

    code = "query_rejected"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        reasons: tuple[tuple[str, str, str], ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.reasons = reasons  # (code, message, hint) of each


class ResourceExceeded(SandboxError):
    """A job met its memory, output or spill limit."""

    code = "resource_exceeded"


class DeadlineExceeded(SandboxError):
    """A job met its deadline and was killed."""

    code = "deadline_exceeded"


class Cancelled(SandboxError):
    """A job was cancelled by its owner or the operator."""

    code = "cancelled"


class DistributionCorrupt(SandboxError):
    """A stored file fails its digest, its AAD or its format: it was altered."""

    code = "distribution_corrupt"


class KeyUnusable(SandboxError):
    """A key does not open what it should open."""

    code = "key_unusable"


class EngineFailed(SandboxError):
    """The engine raised; what it said quotes values and stays inside."""

    code = "engine_failed"


class WorkerLost(SandboxError):
    """The worker process died without leaving an outcome."""

    code = "worker_lost"
