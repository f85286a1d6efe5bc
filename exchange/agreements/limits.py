"""What one run under a grant may use: the node's defaults, or the provider's own words.

A provider may lower or raise each limit of a grant, up to the node's maxima. A grant
holds only what was said: an operator who changes a default changes it for all the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from django.conf import settings
from django.db import transaction

from exchange.agreements.models import Grant
from exchange.agreements.reviewing import check_may_decide
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.errors import Conflict, Invalid
from exchange.parties.models import User
from exchange.parties.permissions import can_manage_datasets

# The names of limits, in the grant's JSON and in the API.
NAMES: Final = ("seconds", "memory_mb", "output_mb")
LEAST: Final[Mapping[str, int]] = {"seconds": 1, "memory_mb": 256, "output_mb": 1}


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run may use before it is stopped; it spills nothing to the disk."""

    seconds: int
    memory_mb: int
    output_mb: int

    def words(self) -> dict[str, int]:
        """The limits by name, as records hold them."""
        return asdict(self)


def node_defaults() -> RunLimits:
    """What a run may use where its grant says nothing."""
    return RunLimits(
        min(settings.BONDED_RUN_SECONDS, settings.BONDED_RUN_SECONDS_MAX),
        min(settings.BONDED_RUN_MEMORY_MB, settings.BONDED_RUN_MEMORY_MB_MAX),
        min(settings.BONDED_RUN_OUTPUT_MB, settings.BONDED_RUN_OUTPUT_MB_MAX),
    )


def node_maxima() -> RunLimits:
    """The most that a provider may allow."""
    return RunLimits(
        settings.BONDED_RUN_SECONDS_MAX,
        settings.BONDED_RUN_MEMORY_MB_MAX,
        settings.BONDED_RUN_OUTPUT_MB_MAX,
    )


def limits_of(grant: Grant) -> RunLimits:
    """What a run under the grant may use now: its own limits or the node's.

    An operator who lowers a maximum lowers it for grants that were given more, too.
    """
    defaults, maxima = node_defaults().words(), node_maxima().words()
    said = {name: grant.limits.get(name, defaults[name]) for name in NAMES}
    return RunLimits(**{name: min(said[name], maxima[name]) for name in NAMES})


def checked(limits: Mapping[str, int | None] | None) -> dict[str, int]:
    """The limits that are said, each known and in range; Invalid `limit_out_of_range`."""
    said = {name: value for name, value in (limits or {}).items() if value is not None}
    maxima = node_maxima().words()
    for name, value in said.items():
        if name not in NAMES:
            raise Invalid(
                f"a grant has no limit called {name[:40]}",
                code="limit_unknown",
                hint=f"Its limits are {', '.join(NAMES)}.",
            )
        if not LEAST[name] <= value <= maxima[name]:
            raise Invalid(
                f"{name} is {value}; this node allows {LEAST[name]} to {maxima[name]}",
                code="limit_out_of_range",
                hint="Choose one in that range, or have the node's operator raise it.",
            )
    return said


def strictest(words: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Of what several reviewers said, the smallest of each limit."""
    found: dict[str, int] = {}
    for said in words:
        for name, value in said.items():
            found[name] = min(value, found.get(name, value))
    return found


def set_limits(*, grant: Grant, limits: Mapping[str, int | None], by: User) -> Grant:
    """Runs that begin from now on may use this; recorded. None: the node's default.

    For the provider's stewards and reviewers. Invalid `limit_unknown`,
    `limit_out_of_range`; Conflict `grant_revoked`.
    """
    if not can_manage_datasets(by, grant.provider):
        check_may_decide(by, provider=grant.provider, consumer=grant.consumer, asker=None)
    said = checked(limits)
    with transaction.atomic():
        changed = Grant.objects.filter(pk=grant.pk, revoked_at=None).update(limits=said)
        if changed != 1:
            raise Conflict("the grant is revoked already", code="grant_revoked")
        grant.limits = said
        record(
            type=EventType.GRANT_LIMITED,
            actor=by,
            subject=grant,
            case_id=grant.case_id,
            organisation=grant.provider.slug,
            limits=limits_of(grant).words(),
        )
    return grant
