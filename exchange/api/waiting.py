"""`Prefer: wait=N` (RFC 7240): an act is answered by its outcome, if that comes in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.operations.models import Operation
from exchange.operations.waiting import wait_until, waiters

APPLIED = "Preference-Applied"
PREFER = OpenApiParameter(
    "Prefer",
    location="header",
    description="`wait=N`: answer with the outcome if it comes within N seconds; the node "
    "has a bound of its own, and `Preference-Applied` says for how long it waited",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request may wait for: whether it is there, and how it is shown then."""

    topics: tuple[object, ...]  # what is nudged when it may have come
    is_there: Callable[[], bool]
    show: Callable[[], Response]


def seconds_preferred(request: Request) -> int:
    """The seconds of `wait`, at most the node's; 0 where none are asked for.

    A preference that cannot be read is ignored, as RFC 7240 has it. The first one counts.
    """
    for preference in request.headers.get("Prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            digits = value.strip().strip('"')
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
                return 0
            return min(int(digits), settings.BONDED_WAIT_SECONDS)
    return 0


def outcome_or(
    otherwise: Callable[[], Response], request: Request, outcome: Outcome
) -> Response:
    """The outcome, if the request prefers to wait and it comes in time; else the other.

    The other also, at once, where as many wait already as this process has room for.
    """
    seconds = seconds_preferred(request)
    # The act must be committed, or nobody would work on it.
    if not seconds or connection.in_atomic_block:
        return otherwise()
    with waiters.place() as has_place:
        if not has_place:
            return otherwise()
        is_there = wait_until(outcome.is_there, *outcome.topics, seconds=seconds)
    response = outcome.show() if is_there else otherwise()
    response[APPLIED] = f"wait={seconds}"
    return response


def work_ended(target: object) -> bool:
    """Whether no work on `target` is under way."""
    return not Operation.objects.unfinished().filter(target_id=str(target)).exists()


def shown_at(representation: Any, location: str) -> Response:
    """200 with what stands at `location` now."""
    return Response(representation, headers={"Content-Location": location})
