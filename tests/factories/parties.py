"""Rows of the parties app; where an act is meant, its service is called."""

from __future__ import annotations

from typing import Any

import factory

from exchange.audit.actors import NODE
from exchange.parties.models import Kind, Membership, Organisation, Role, User
from exchange.parties.services import grant_membership, issue_token

PASSWORD = "correct horse battery staple"


class OrganisationFactory(factory.django.DjangoModelFactory[Organisation]):
    class Meta:
        model = Organisation

    class Params:
        consumer = factory.Trait(kind=Kind.CONSUMER)
        regulator = factory.Trait(kind=Kind.REGULATOR)

    slug = factory.Sequence(lambda n: f"organisation-{n}")
    name = factory.Sequence(lambda n: f"Organisation {n}")
    kind = Kind.PROVIDER


class UserFactory(factory.django.DjangoModelFactory[User]):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user{n}")
    first_name = "Ada"
    last_name = factory.Sequence(lambda n: f"Number {n}")
    # Hashing by scrypt for each row would be most of the suite's time.
    password = "!"


def member(
    organisation: Organisation | None = None, role: Role = Role.ADMIN, **fields: Any
) -> User:
    """Return a new user with a role, and its permissions, in `organisation`."""
    user: User = UserFactory(**fields)
    join(user, organisation or OrganisationFactory(), role)
    return user


def join(user: User, organisation: Organisation, role: Role) -> Membership:
    return grant_membership(user=user, organisation=organisation, role=role, by=NODE)


def bearer(user: User, *scopes: str) -> dict[str, str]:
    """Return request headers with a fresh token of `user`."""
    from exchange.parties.models import Scope

    _, secret = issue_token(
        user=user, name="test", scopes=scopes or list(Scope), expires_in_days=1, by=user
    )
    return {"Authorization": f"Bearer {secret}"}
