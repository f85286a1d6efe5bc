"""Idempotency-Key: a POST that is sent twice is acted upon once and answered alike.

The key's row is inserted first and filled last, in one transaction with the act between:
either all three are there or none. A second request with the key waits for the first at
the row's unique index, then gives the kept answer, marked `Idempotency-Replayed: true`.
A refusal is an answer too, so it is kept; an unforeseen error rolls everything back and
leaves the key free.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import Http404
from django.utils import timezone
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.errors import HttpProblem, problem_response
from exchange.api.models import IdempotentAnswer
from exchange.errors import ExchangeError
from policies.errors import PolicyError
from sandbox.errors import SandboxError

KEPT = timedelta(days=1)
MAX_KEY_LENGTH = 200
REPLAYED = "Idempotency-Replayed"
# Errors that are answers. Whatever else is raised is a fault, and faults are not kept.
ANSWERS = (
    HttpProblem,
    ExchangeError,
    PolicyError,
    SandboxError,
    APIException,
    Http404,
    PermissionDenied,
)

View = TypeVar("View", bound=Callable[..., Response])


def idempotency_key(request: Request) -> str:
    """The request's key, or "". Raises HttpProblem if it is none that can be kept."""
    key: str = request.headers.get("Idempotency-Key", "")
    if key and (len(key) > MAX_KEY_LENGTH or not key.isascii() or not key.isprintable()):
        raise HttpProblem(
            "idempotency_key_invalid",
            f"the Idempotency-Key has {len(key)} characters, expected 1 to "
            f"{MAX_KEY_LENGTH} visible ASCII ones",
        )
    return key


def idempotent(act: View) -> View:
    """The view method acts once per Idempotency-Key; without a key it acts as it stands."""

    @functools.wraps(act)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = idempotency_key(request)
        if not key:
            return act(view, request, *args, **kwargs)
        digest = _digest(request)
        try:
            with transaction.atomic():
                row = IdempotentAnswer.objects.create(
                    user=view.reader, key=key, request_sha256=digest
                )
                response = _answer(act, view, request, *args, **kwargs)
                row.status = response.status_code
                row.headers = {
                    name: response[name]
                    for name in ("Location", "Retry-After", "ETag")
                    if name in response
                }
                row.body = response.data
                row.save(update_fields=("status", "headers", "body"))
        except IntegrityError:
            kept = IdempotentAnswer.objects.filter(user=view.reader, key=key).first()
            if kept is None:  # the violated constraint was not ours
                raise
            return _replay(kept, digest)
        return response

    return once  # type: ignore[return-value]  # the view's own type, wrapped


def forget_old_answers() -> int:
    """Answers older than a day are gone; how many comes back."""
    count, _ = IdempotentAnswer.objects.filter(
        created_at__lt=timezone.now() - KEPT
    ).delete()
    return count


def _answer(act: View, view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
    # Caught inside the transaction, so that a refusal commits: the service rolled back its
    # own act, and what it recorded of the refusal beforehand must stay.
    try:
        return act(view, request, *args, **kwargs)
    except ANSWERS as error:
        response = problem_response(error)
        if response.status_code >= 500:
            raise
        return response


def _replay(kept: IdempotentAnswer, digest: str) -> Response:
    if kept.request_sha256 != digest:
        raise HttpProblem(
            "idempotency_key_reused",
            "this Idempotency-Key came before with another method, path or body",
        )
    response = Response(kept.body, status=kept.status, headers=kept.headers)
    if kept.status is not None and kept.status >= 400:
        response.content_type = "application/problem+json"
    response[REPLAYED] = "true"
    return response


def _digest(request: Request) -> str:
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"), default=str)
    text = f"{request.method}\n{request.path}\n{body}"
    return hashlib.sha256(text.encode()).hexdigest()
