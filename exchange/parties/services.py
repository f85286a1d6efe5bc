"""Register organisations and people, say what they may do, and hand out tokens."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from guardian.shortcuts import assign_perm

from exchange.audit.actors import Actor, Private
from exchange.audit.events import EventType
from exchange.audit.services import record
from exchange.errors import Conflict, Invalid, NotFound
from exchange.parties.models import (
    ApiToken,
    Kind,
    Membership,
    Organisation,
    Role,
    Scope,
    User,
)
from exchange.parties.permissions import GRANTED, SEES_ALL
from exchange.parties.secret_tokens import PREFIX, digest_of, new_secret

MAX_TOKEN_DAYS = 365


def register_organisation(*, slug: str, name: str, kind: Kind, by: Actor) -> Organisation:
    """Add an organisation. Raises Conflict (`organisation_exists`) for a taken slug."""
    try:
        with transaction.atomic():
            organisation = Organisation.objects.create(
                slug=slug, name=name, kind=Kind(kind)
            )
            record(
                type=EventType.PARTY_REGISTERED,
                actor=by,
                subject=organisation,
                organisation=slug,
                kind=str(organisation.kind),
                slug=slug,
            )
    except IntegrityError as error:
        raise Conflict(
            f"An organisation with the short name {slug} exists already.",
            code="organisation_exists",
            hint="Choose another short name.",
        ) from error
    return organisation


def register_user(
    *, username: str, password: str, by: Actor, full_name: str = "", email: str = ""
) -> User:
    """Add a person who can log in with `password`; they may do nothing yet.

    Raises Invalid (`password_weak`), Conflict (`user_exists`).
    """
    first, _, last = full_name.partition(" ")
    user = User(username=username, first_name=first, last_name=last, email=email)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(
            "The password is too weak: " + " ".join(error.messages), code="password_weak"
        ) from error
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            record(
                type=EventType.PARTY_REGISTERED,
                actor=by,
                subject=user,
                kind="user",
                username=Private(username),
            )
    except IntegrityError as error:
        raise Conflict(
            "A user with this name exists already.",
            code="user_exists",
            hint="Choose another user name.",
        ) from error
    return user


def grant_membership(
    *, user: User, organisation: Organisation, role: Role, by: Actor
) -> Membership:
    """Give `user` a role in `organisation` and the permissions that go with it.

    The role of regulator exists only in a regulator's organisation, where it opens every
    case file of the node. Raises Invalid (`role_not_here`), Conflict (`membership_exists`).
    """
    role = Role(role)
    if role is Role.REGULATOR and organisation.kind != Kind.REGULATOR:
        raise Invalid(
            f"{organisation.name} is a {organisation.kind}; the role of regulator exists "
            "only in a regulator's organisation.",
            code="role_not_here",
            hint="Grant another role, or add the person to the regulator's organisation.",
        )
    try:
        with transaction.atomic():
            membership = Membership.objects.create(
                user=user, organisation=organisation, role=role
            )
            for permission in sorted(GRANTED[role]):
                assign_perm(f"parties.{permission}", user, organisation)
            if role is Role.REGULATOR:
                assign_perm(SEES_ALL, user)
            record(
                type=EventType.MEMBERSHIP_GRANTED,
                actor=by,
                subject=organisation,
                organisation=organisation.slug,
                role=str(role),
                member=str(user.public_id),
            )
    except IntegrityError as error:
        raise Conflict(
            f"This person is {role.label} of {organisation.name} already.",
            code="membership_exists",
        ) from error
    user.__dict__.pop("organisation", None)  # a cached property over memberships
    return membership


def issue_token(
    *,
    user: User,
    name: str,
    scopes: Iterable[Scope | str],
    expires_in_days: int,
    not_after: dt.datetime | None = None,
    by: Actor,
) -> tuple[ApiToken, str]:
    """Return a new token and its secret text, which is kept nowhere.

    It ends in `expires_in_days`, or at `not_after` where that is sooner.
    Requires 1 <= expires_in_days <= 365 and at least one known scope, else Invalid
    (`token_lifetime`, `token_scope_unknown`, `token_scope_missing`).
    """
    if not 1 <= expires_in_days <= MAX_TOKEN_DAYS:
        raise Invalid(
            f"A token lives 1 to {MAX_TOKEN_DAYS} days; {expires_in_days} were asked for.",
            code="token_lifetime",
        )
    known = {str(s) for s in Scope}
    wanted = sorted({str(s) for s in scopes})
    unknown = [s for s in wanted if s not in known]
    if unknown:
        raise Invalid(
            f"Unknown scope: {', '.join(unknown)}.",
            code="token_scope_unknown",
            hint=f"Scopes are {', '.join(sorted(known))}.",
        )
    if not wanted:
        raise Invalid(
            "A token needs at least one scope.",
            code="token_scope_missing",
            hint=f"Scopes are {', '.join(sorted(known))}.",
        )
    secret = new_secret()
    now = timezone.now()
    ends = now + dt.timedelta(days=expires_in_days)
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user,
            name=name,
            prefix=secret[: len(PREFIX) + 4],
            digest=digest_of(secret),
            scopes=wanted,
            created_at=now,
            expires_at=ends if not_after is None else min(ends, not_after),
        )
        record(
            type=EventType.TOKEN_ISSUED,
            actor=by,
            subject=token,
            scopes=wanted,
            expires_at=token.expires_at.isoformat(),
            prefix=token.prefix,
            owner=str(user.public_id),
        )
    return token, secret


def revoke_token(*, token: ApiToken, by: Actor) -> ApiToken:
    """Make a token useless from now on. Raises NotFound (`token_not_active`) next time."""
    now = timezone.now()
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
            raise NotFound("This token is revoked already.", code="token_not_active")
        record(
            type=EventType.TOKEN_REVOKED,
            actor=by,
            subject=token,
            prefix=token.prefix,
            owner=token.user.actor_id,
        )
    token.revoked_at = now
    return token
