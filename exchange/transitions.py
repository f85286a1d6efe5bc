"""Moves between states: a legal-move table, a compare-and-set, and an event, in one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar, cast

from django.db import models, transaction

from exchange.audit.actors import Actor
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.errors import Conflict

Moves = Mapping[Any, frozenset[Any]]


class Stateful(Protocol):
    """A model with a `state` field and the table of its legal moves in `MOVES`."""

    MOVES: ClassVar[Moves]
    state: Any
    pk: Any


S = TypeVar("S", bound=models.Model)


def check_can_move(obj: models.Model, to: StrEnum) -> None:
    """Raise Conflict (`illegal_move`) unless the table lets `obj` go to `to`."""
    row = cast(Stateful, obj)
    allowed = row.MOVES.get(row.state, frozenset())
    if to not in allowed:
        names = ", ".join(sorted(str(s) for s in allowed)) or "nowhere"
        raise Conflict(
            f"{obj._meta.verbose_name} is {row.state} and cannot become {to}; "
            f"from here it goes to: {names}",
            code="illegal_move",
            hint="Load it again: somebody may have moved it meanwhile.",
        )


def advance(
    obj: S,
    *,
    to: StrEnum,
    by: Actor,
    event: EventType | None = None,
    case_id: str | None = None,
    changes: Mapping[str, Any] | None = None,
    **payload: Any,
) -> S:
    """Move `obj` to state `to`, set `changes`, and record `event`, all or nothing.

    The move is one UPDATE that asks for the state `obj` was loaded with, so of two callers
    one wins; the other gets Conflict (`state_changed`). `obj` is up to date afterwards.
    `event=None` is for steps inside an act whose event is written by another move.
    """
    check_can_move(obj, to)
    row = cast(Stateful, obj)
    # One statement holds or does not by itself; with an event, both hold or neither.
    with transaction.atomic() if event is not None else nullcontext():
        manager = type(obj)._default_manager
        moved = manager.filter(pk=obj.pk, state=row.state).update(
            state=to, **(changes or {})
        )
        if moved != 1:
            raise Conflict(
                f"{obj._meta.verbose_name} is no longer {row.state}",
                code="state_changed",
                hint="Load it again and decide anew.",
            )
        if event is not None:
            record(type=event, actor=by, subject=obj, case_id=case_id, **payload)
    for name, value in {"state": to, **(changes or {})}.items():
        setattr(obj, name, value)
    return obj
