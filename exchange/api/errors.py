"""Errors become problem documents (RFC 9457), in this one place.

Every problem has `code`, `detail` (the sentence), `hint` (the way forward) and `docs` (a
page at this node that explains the code). An error that nobody foresaw says nothing of
itself to the caller; its traceback goes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import reverse
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from exchange.api.problems import MEDIA_TYPE, TABLE, Kind, kind_of
from exchange.errors import ExchangeError
from policies.errors import PolicyError
from sandbox.errors import SandboxError, UploadRejected

logger = logging.getLogger("exchange.api")

DRF_CODES: dict[type[drf.APIException], str] = {
    drf.NotAuthenticated: "unauthenticated",
    drf.AuthenticationFailed: "unauthenticated",
    drf.PermissionDenied: "forbidden",
    drf.NotFound: "not_found",
    drf.MethodNotAllowed: "method_not_allowed",
    drf.NotAcceptable: "not_acceptable",
    drf.UnsupportedMediaType: "media_type_unsupported",
    drf.ParseError: "body_malformed",
    drf.Throttled: "throttled",
}
RETRY_AFTER_SECONDS = 2


class HttpProblem(Exception):
    """A problem of HTTP itself: `code` is in problems.HTTP, its status comes from there."""

    def __init__(
        self, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def problem_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """The answer for `error`; nothing of the failed request's transaction stays."""
    set_rollback()
    return problem_response(error)


def problem_response(error: Exception) -> Response:
    """The problem document for `error` as an answer."""
    document, headers = problem_of(error)
    response = Response(document, status=document["status"], headers=headers)
    response.content_type = MEDIA_TYPE
    return response


def problem_of(error: Exception) -> tuple[dict[str, Any], dict[str, str]]:
    """The document and headers for `error`. An unforeseen one is logged."""
    match error:
        case HttpProblem():
            return _document(TABLE[error.code], error.code, error.message), error.headers
        case PolicyError() | SandboxError() | ExchangeError():
            return _ours(error)
        case drf.ValidationError():
            return _validation(error), {}
        case drf.APIException():
            return _drf(error)
        case Http404():
            message = "there is nothing at this address, or not for this reader"
            return _document(TABLE["not_found"], "not_found", message), {}
        case PermissionDenied():
            message = "this is not the holder's of this token to do"
            return _document(TABLE["forbidden"], "forbidden", message), {}
        case RequestDataTooBig():
            message = "the body is larger than a request of this kind may be"
            return _document(TABLE["body_too_large"], "body_too_large", message), {}
        case SuspiciousOperation():
            message = "the request carries something that no client of ours sends"
            return _document(TABLE["request_malformed"], "request_malformed", message), {}
        case OperationalError():
            logger.warning("the database did not answer in time", exc_info=error)
            message = "the node's database did not answer in time; nothing was done"
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return _document(TABLE["busy"], "busy", message), retry
        case _:
            logger.error("a request failed", exc_info=error)
            message = "the node met an error that it did not foresee"
            return _document(TABLE["internal"], "internal", message), {}


def _ours(
    error: PolicyError | SandboxError | ExchangeError,
) -> tuple[dict[str, Any], dict[str, str]]:
    kind = kind_of(error, error.code)
    document = _document(kind, error.code, error.message, hint=error.hint)
    if isinstance(error, PolicyError):
        document |= {"line": error.line, "column": error.column, "path": error.path}
    if isinstance(error, UploadRejected):
        document |= {"line": error.line, "column": error.column}
    reasons = getattr(error, "reasons", None)
    if reasons:
        document["reasons"] = [dict(reason) for reason in reasons]
    if kind.status >= 500:
        logger.error("answered %d %s", kind.status, error.code, exc_info=error)
    headers = {}
    if kind.status in {429, 503}:
        headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_AFTER_SECONDS))
    if kind.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="bonded"'
    return document, headers


def _drf(error: drf.APIException) -> tuple[dict[str, Any], dict[str, str]]:
    fallback = next(
        (code for kind, code in DRF_CODES.items() if isinstance(error, kind)), "internal"
    )
    # A credential that fails may say how (expired, revoked, unknown) by a code of its own.
    own = error.get_codes()
    code = own if isinstance(own, str) and own in TABLE else fallback
    headers = {}
    if isinstance(error, drf.NotAuthenticated | drf.AuthenticationFailed):
        headers["WWW-Authenticate"] = getattr(error, "auth_header", 'Bearer realm="bonded"')
    if isinstance(error, drf.Throttled):
        headers["Retry-After"] = str(int(getattr(error, "wait", None) or 0) + 1)
    hint = str(getattr(error, "hint", ""))
    return _document(TABLE[code], code, str(error.detail), hint=hint), headers


def _validation(error: drf.ValidationError) -> dict[str, Any]:
    listed = list(_field_errors("", error.detail))
    first = listed[0] if listed else {"field": "", "message": "the body is not valid"}
    where = f"field `{first['field']}`: " if first["field"] else ""
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    document = _document(
        TABLE["fields_invalid"], "fields_invalid", f"{where}{first['message']}{more}"
    )
    document["errors"] = listed
    return document


def _field_errors(path: str, detail: object) -> Iterator[dict[str, str]]:
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            yield from _field_errors(".".join(filter(None, (path, name))), inner)
    elif isinstance(detail, list | tuple):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list | tuple)
            yield from _field_errors(f"{path}[{index}]" if nested else path, inner)
    else:
        code = str(getattr(detail, "code", "invalid"))
        yield {"field": path, "message": str(detail), "code": code}


def _document(kind: Kind, code: str, detail: str, *, hint: str = "") -> dict[str, Any]:
    docs = reverse("api:problem", args=[code])
    return {
        "type": docs,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "hint": hint or kind.hint,
        "docs": docs,
    }


def unknown_address(request: HttpRequest, rest: str) -> JsonResponse:
    """A problem document for an address below the API that is none of ours."""
    document, _ = problem_of(Http404())
    return JsonResponse(document, status=404, content_type=MEDIA_TYPE)
