"""The organisations and people of the demo. Their passwords are known to everybody."""

from __future__ import annotations

from dataclasses import dataclass

from exchange.audit.actors import NODE
from exchange.parties.models import Kind, Membership, Organisation, Role, User
from exchange.parties.services import (
    grant_membership,
    register_organisation,
    register_user,
)

PASSWORD = "try-bonded-today"  # noqa: S105 - printed for everybody; demo mode only


@dataclass(frozen=True, slots=True)
class Account:
    """One person of the demo: who, where, and what they may do."""

    username: str
    full_name: str
    organisation: str
    role: Role
    can: str


ORGANISATIONS = {
    "machine-tools": ("Machine Tool Association", Kind.PROVIDER),
    "port-authority": ("Port Authority", Kind.PROVIDER),
    "ai-lab": ("AI Lab", Kind.CONSUMER),
    "university": ("University", Kind.CONSUMER),
    "data-authority": ("Data Authority", Kind.REGULATOR),
}
ACCOUNTS = (
    Account("sam", "Sam Novak", "machine-tools", Role.STEWARD, "publish, withdraw"),
    Account("rita", "Rita Stein", "machine-tools", Role.REVIEWER, "decide on requests"),
    Account("paul", "Paul Jansen", "port-authority", Role.STEWARD, "publish, withdraw"),
    Account(
        "vera", "Vera Maas", "port-authority", Role.REVIEWER, "decide; a request waits"
    ),
    Account("bo", "Bo Lind", "ai-lab", Role.BUILDER, "ask, query, download"),
    Account("uma", "Uma Costa", "university", Role.BUILDER, "ask, query, download"),
    Account("reg", "Reg Adler", "data-authority", Role.REGULATOR, "read every case file"),
)


def ensure_people() -> None:
    """Each organisation, account and role of the demo stands; what is there stays."""
    for slug, (name, kind) in ORGANISATIONS.items():
        if not Organisation.objects.filter(slug=slug).exists():
            register_organisation(slug=slug, name=name, kind=kind, by=NODE)
    for account in ACCOUNTS:
        user = User.objects.filter(username=account.username).first() or register_user(
            username=account.username,
            password=PASSWORD,
            full_name=account.full_name,
            by=NODE,
        )
        where = Organisation.objects.get(slug=account.organisation)
        if not Membership.objects.filter(
            user=user, organisation=where, role=account.role
        ).exists():
            grant_membership(user=user, organisation=where, role=account.role, by=NODE)


def person(username: str) -> User:
    """The account of that name, as the database has it now."""
    return User.objects.get(username=username)


def accounts_table() -> str:
    """The accounts as lines of equal columns, for a terminal."""
    rows = [("account", "password", "organisation", "role", "may")]
    rows += [
        (a.username, PASSWORD, ORGANISATIONS[a.organisation][0], str(a.role), a.can)
        for a in ACCOUNTS
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
