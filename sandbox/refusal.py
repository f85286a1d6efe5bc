"""Errors to refusals and back, so that the launcher raises what the worker raised."""

from __future__ import annotations

from sandbox import errors
from sandbox.protocol import Refusal

_BY_CODE: dict[str, type[errors.SandboxError]] = {
    kind.code: kind
    for kind in (
        errors.ProtocolError,
        errors.SandboxUnavailable,
        errors.UploadRejected,
        errors.QueryRejected,
        errors.ResourceExceeded,
        errors.DeadlineExceeded,
        errors.Cancelled,
        errors.DistributionCorrupt,
        errors.KeyUnusable,
        errors.EngineFailed,
        errors.WorkerLost,
    )
}


# Codes that say more than their class does.
_BY_CODE["images_exceed_memory"] = errors.ResourceExceeded
_BY_CODE["image_memory_busy"] = errors.ResourceExceeded
_BY_CODE["transport_key_unknown"] = errors.KeyUnusable


def to_refusal(error: errors.SandboxError) -> Refusal:
    """Return the message that carries `error` out of the sandbox."""
    return Refusal(
        code=error.code,
        message=error.message,
        hint=error.hint,
        line=getattr(error, "line", None),
        column=getattr(error, "column", None),
        reasons=tuple(getattr(error, "reasons", ())),
        metering=error.metering,
    )


def to_error(refusal: Refusal) -> errors.SandboxError:
    """Return the error that `refusal` carries; its `code` is kept."""
    error = _error(refusal)
    error.metering = refusal.metering
    return error


def _error(refusal: Refusal) -> errors.SandboxError:
    if refusal.code.startswith("upload_"):
        return errors.UploadRejected(
            refusal.message,
            hint=refusal.hint,
            code=refusal.code,
            line=refusal.line,
            column=refusal.column,
        )
    kind = _BY_CODE.get(refusal.code)
    if kind is errors.QueryRejected or (kind is None and refusal.reasons):
        return errors.QueryRejected(
            refusal.message, hint=refusal.hint, code=refusal.code, reasons=refusal.reasons
        )
    return (kind or errors.SandboxError)(
        refusal.message, hint=refusal.hint, code=refusal.code
    )
