"""What each role lets a person do for its organisation: guardian's object permissions.

Each `check_can_…` raises Forbidden, each `can_…` asks it. A permission is about a person
and an organisation; what a purpose may see of data is a policy's business, not this one's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from django.contrib.auth.models import AnonymousUser
from guardian.core import ObjectPermissionChecker

from exchange.errors import Forbidden
from exchange.parties.models import Organisation, Role, User

Person = User | AnonymousUser
Check = Callable[[Person, Organisation], None]

GRANTED: Final[Mapping[Role, frozenset[str]]] = MappingProxyType(
    {
        Role.ADMIN: frozenset({"administer", "view_evidence"}),
        Role.STEWARD: frozenset({"manage_datasets", "view_evidence"}),
        Role.BUILDER: frozenset({"request_access", "submit_queries", "view_evidence"}),
        Role.REVIEWER: frozenset({"review", "view_evidence"}),
        Role.REGULATOR: frozenset({"view_evidence"}),
    }
)
SEES_ALL: Final = "parties.view_evidence_of_all"


def _check(user: Person, permission: str, organisation: Organisation, act: str) -> None:
    if not _was_given(user, permission, organisation):
        raise Forbidden(
            f"You may not {act} for {organisation.name}.",
            code=f"may_not_{permission}",
            hint=f"Ask an administrator of {organisation.name} for a role that may.",
        )


def _was_given(user: Person, permission: str, organisation: Organisation) -> bool:
    # Roles are given to people: whoever else may have one (a superuser, a group) is asked
    # for only where that says no.
    if isinstance(user, User):
        own = ObjectPermissionChecker(user).get_user_perms(organisation)
        if own.filter(codename=permission).exists():
            return True
    return user.has_perm(f"parties.{permission}", organisation)


def check_can_administer(user: Person, organisation: Organisation) -> None:
    _check(user, "administer", organisation, "manage members, tokens and keys")


def can_administer(user: Person, organisation: Organisation) -> bool:
    return _holds(check_can_administer, user, organisation)


def check_can_manage_datasets(user: Person, organisation: Organisation) -> None:
    _check(user, "manage_datasets", organisation, "register or publish datasets")


def can_manage_datasets(user: Person, organisation: Organisation) -> bool:
    return _holds(check_can_manage_datasets, user, organisation)


def check_can_request_access(user: Person, organisation: Organisation) -> None:
    _check(user, "request_access", organisation, "request access")


def can_request_access(user: Person, organisation: Organisation) -> bool:
    return _holds(check_can_request_access, user, organisation)


def check_can_submit_queries(user: Person, organisation: Organisation) -> None:
    _check(user, "submit_queries", organisation, "submit queries")


def can_submit_queries(user: Person, organisation: Organisation) -> bool:
    return _holds(check_can_submit_queries, user, organisation)


def check_can_review(user: Person, organisation: Organisation) -> None:
    _check(user, "review", organisation, "review requests and queries")


def can_review(user: Person, organisation: Organisation) -> bool:
    return _holds(check_can_review, user, organisation)


def check_can_view_evidence(user: Person, organisation: Organisation) -> None:
    """Members see their own organisation's evidence; a regulator sees everybody's."""
    if not user.has_perm(SEES_ALL):
        _check(user, "view_evidence", organisation, "see the evidence")


def can_view_evidence(user: Person, organisation: Organisation) -> bool:
    return _holds(check_can_view_evidence, user, organisation)


def sees_all_evidence(user: Person) -> bool:
    return user.has_perm(SEES_ALL)


def _holds(check: Check, user: Person, organisation: Organisation) -> bool:
    try:
        check(user, organisation)
    except Forbidden:
        return False
    return True
