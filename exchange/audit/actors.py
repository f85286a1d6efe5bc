"""Who acts: a person, through a protocol, or the node itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Actor(Protocol):
    """Whoever an act is laid to. Implementations owe values that never change meaning."""

    @property
    def actor_id(self) -> str: ...

    @property
    def actor_name(self) -> str: ...

    @property
    def actor_organisation(self) -> str:
        """The slug of the organisation on whose behalf they act, or ""."""


@dataclass(frozen=True, slots=True)
class NamedActor:
    actor_id: str
    actor_name: str
    actor_organisation: str = ""


# What the node does by itself: a sweep, a retention date, an automatic decision.
NODE = NamedActor(actor_id="node", actor_name="node")
# Somebody who did not say who they are, or was not believed.
NOBODY = NamedActor(actor_id="nobody", actor_name="nobody")


@dataclass(frozen=True, slots=True)
class Private:
    """Free text or a personal field: the log gets a salted commitment, the row the text."""

    text: str
