"""The frame of every page: the menu by what the reader does here, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.urls import reverse
from django.utils.translation import gettext as _

from exchange.agreements.selectors import requests_to_decide
from exchange.parties.models import User
from exchange.queries.selectors import queries_to_review
from exchange.web.standing import Standing, standing_of


@dataclass(frozen=True, slots=True)
class Item:
    label: str
    url: str
    is_here: bool
    count: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Shell:
    name: str
    organisations: str
    node: str
    groups: tuple[Group, ...]


def waiting_for(user: User) -> int:
    """How many requests and queries wait for this person's word."""
    if not standing_of(user).may("review"):
        return 0
    return requests_to_decide(user).count() + queries_to_review(user).count()


def shell_for(user: AbstractBaseUser | AnonymousUser, *, here: str) -> Shell:
    """`here` is the URL name of the menu item that the page belongs to."""
    if not user.is_authenticated:
        return Shell("", "", settings.BONDED_NODE_NAME, ())
    person = cast(User, user)
    standing = standing_of(person)
    return Shell(
        name=str(person),
        organisations=", ".join(str(o) for o in standing.organisations)
        or _("no organisation yet"),
        node=settings.BONDED_NODE_NAME,
        groups=tuple(
            Group(
                title,
                tuple(
                    Item(label, reverse(name), name == here, count)
                    for label, name, count in entries
                ),
            )
            for title, entries in _menu(standing, waiting_for(person))
            if entries
        ),
    )


Entries = list[tuple[str, str, int]]


def _menu(standing: Standing, waiting: int) -> Iterator[tuple[str, Entries]]:
    yield (
        "",
        [(_("Home"), "home:home", 0)]
        + ([(_("Inbox"), "agreements:inbox", waiting)] if standing.may("review") else []),
    )
    if standing.may("manage_datasets"):
        yield (
            _("Provide"),
            [
                (_("My datasets"), "catalogue:mine", 0),
                (_("Publish a dataset"), "publishing:start", 0),
            ],
        )
    use: Entries = [(_("Catalogue"), "catalogue:list", 0)]
    if standing.roles:
        use += [
            (_("Requests and grants"), "agreements:list", 0),
            (_("Queries"), "queries:list", 0),
            (_("Releases"), "queries:releases", 0),
        ]
    yield _("Exchange"), use
    if standing.may("view_evidence"):
        evidence: Entries = [
            (_("Audit log"), "audit:list", 0),
            (_("Case files"), "audit:cases", 0),
        ]
        if (
            standing.may("manage_datasets")
            or standing.may("administer")
            or standing.is_regulator
        ):
            evidence.append((_("Keys"), "keys:list", 0))
        yield _("Evidence"), evidence
        yield (
            _("Node"),
            [
                (_("Operations"), "operations:list", 0),
                (_("Health"), "operations:health", 0),
            ],
        )
