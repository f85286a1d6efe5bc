"""What the signed-in person is: their organisations, and which acts to offer them.

This decides what a page offers, never what it allows: the services ask the permissions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from exchange.parties.models import Organisation, Role, User
from exchange.parties.permissions import GRANTED


@dataclass(frozen=True, slots=True)
class Standing:
    roles: tuple[tuple[Organisation, Role], ...]

    @property
    def organisations(self) -> tuple[Organisation, ...]:
        return tuple(dict.fromkeys(organisation for organisation, _ in self.roles))

    @property
    def is_regulator(self) -> bool:
        return any(role is Role.REGULATOR for _, role in self.roles)

    def where(self, permission: str) -> tuple[Organisation, ...]:
        """The organisations for which their roles include the act."""
        return tuple(
            dict.fromkeys(
                organisation
                for organisation, role in self.roles
                if permission in GRANTED[role]
            )
        )

    def may(self, permission: str) -> bool:
        return bool(self.where(permission))


def standing_of(user: AbstractBaseUser | AnonymousUser) -> Standing:
    """Read once per request: the answer is kept on the user object."""
    if not user.is_authenticated:
        return Standing(())
    person = cast(User, user)
    known = person.__dict__.get("_standing")
    if known is None:
        known = Standing(
            tuple(
                (membership.organisation, Role(membership.role))
                for membership in person.memberships.select_related(
                    "organisation"
                ).order_by("pk")
            )
        )
        person.__dict__["_standing"] = known
    return cast(Standing, known)
