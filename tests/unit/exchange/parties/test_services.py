from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, transaction
from django.test import Client, RequestFactory

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.errors import Conflict, Forbidden, Invalid, NotFound
from exchange.parties import permissions, services, signals
from exchange.parties.models import (
    ApiToken,
    Kind,
    Membership,
    Organisation,
    Role,
    Scope,
    User,
)
from exchange.parties.permissions import GRANTED
from exchange.parties.services import (
    grant_membership,
    issue_token,
    register_organisation,
    register_user,
    revoke_token,
)
from tests.factories.parties import (
    PASSWORD,
    OrganisationFactory,
    UserFactory,
    join,
    member,
)

pytestmark = pytest.mark.django_db
PAIRS = sorted(name for name in vars(permissions) if name.startswith("can_"))


def events() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("type", flat=True))


def test_register_organisation_is_recorded_under_its_own_name() -> None:
    organisation = register_organisation(
        slug="port", name="Port of Bergen", kind=Kind.PROVIDER, by=NODE
    )

    event = AuditEvent.objects.get()
    assert (event.type, event.organisation) == ("party:registered", "port")
    assert event.subject_id == str(organisation.public_id)


def test_register_organisation_twice_is_refused() -> None:
    register_organisation(slug="port", name="Port", kind=Kind.PROVIDER, by=NODE)

    with pytest.raises(Conflict) as caught:
        register_organisation(slug="port", name="Other", kind=Kind.CONSUMER, by=NODE)

    assert caught.value.code == "organisation_exists"
    assert events() == ["party:registered"]


def test_organisation_of_an_unknown_kind_is_refused_by_the_database() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Organisation.objects.create(slug="x", name="X", kind="secret-service")


def test_register_user_can_log_in_and_may_do_nothing() -> None:
    user = register_user(
        username="grace-h", password=PASSWORD, full_name="Ada B. Lovelace", by=NODE
    )

    assert user.check_password(PASSWORD)
    assert (user.first_name, user.last_name) == ("Ada", "B. Lovelace")
    assert not permissions.can_administer(user, OrganisationFactory())
    assert b"Lovelace" not in bytes(AuditEvent.objects.get().entry)
    assert b"grace-h" not in bytes(AuditEvent.objects.get().entry)


@pytest.mark.parametrize(
    "password", ["k4tz", "password1234", "111122223333444", "ada-lovelace"]
)
def test_register_user_with_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        register_user(
            username="ada-lovelace", password=password, full_name="Ada Lovelace", by=NODE
        )

    assert caught.value.code == "password_weak"
    assert password not in caught.value.message
    assert not User.objects.exists()


def test_register_user_twice_is_refused() -> None:
    register_user(username="ada", password=PASSWORD, by=NODE)

    with pytest.raises(Conflict) as caught:
        register_user(username="ada", password=PASSWORD, by=NODE)

    assert caught.value.code == "user_exists"


@pytest.mark.parametrize("role", [r for r in Role if r is not Role.REGULATOR])
@pytest.mark.parametrize("pair", PAIRS)
def test_role_lets_a_person_do_what_it_grants_there_and_nowhere_else(
    role: Role, pair: str
) -> None:
    here, elsewhere = OrganisationFactory(), OrganisationFactory()
    user = member(here, role)
    can = getattr(permissions, pair)
    check = getattr(permissions, f"check_{pair}")
    is_granted = pair.removeprefix("can_") in GRANTED[role]

    assert can(user, here) is is_granted
    assert not can(user, elsewhere)
    with pytest.raises(Forbidden) as caught:
        check(user, elsewhere)
    assert caught.value.code == f"may_not_{pair.removeprefix('can_')}"
    assert not can(AnonymousUser(), here)


def test_inactive_person_may_do_nothing() -> None:
    organisation = OrganisationFactory()
    user = member(organisation)
    User.objects.update(is_active=False)

    assert not permissions.can_administer(User.objects.get(pk=user.pk), organisation)


def test_two_roles_add_up() -> None:
    organisation = OrganisationFactory()
    user = member(organisation, Role.BUILDER)
    join(user, organisation, Role.REVIEWER)
    user = User.objects.get(pk=user.pk)

    assert permissions.can_review(user, organisation)
    assert permissions.can_submit_queries(user, organisation)


def test_regulator_sees_every_case_file_and_may_do_nothing_else() -> None:
    office, provider = OrganisationFactory(regulator=True), OrganisationFactory()
    user = member(office, Role.REGULATOR)
    user = User.objects.get(pk=user.pk)

    assert permissions.sees_all_evidence(user)
    assert permissions.can_view_evidence(user, provider)
    assert not permissions.can_review(user, provider)
    assert not permissions.can_administer(user, office)


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.REGULATOR])
def test_grant_membership_of_a_regulator_elsewhere_is_refused(kind: Kind) -> None:
    user = UserFactory()

    with pytest.raises(Invalid) as caught:
        join(user, OrganisationFactory(kind=kind), Role.REGULATOR)

    assert caught.value.code == "role_not_here"
    assert not permissions.sees_all_evidence(User.objects.get(pk=user.pk))


def test_grant_membership_twice_is_refused() -> None:
    organisation = OrganisationFactory()
    user = member(organisation, Role.BUILDER)

    with pytest.raises(Conflict) as caught:
        join(user, organisation, Role.BUILDER)

    assert caught.value.code == "membership_exists"


def test_grant_membership_is_recorded_without_a_name() -> None:
    user = member()

    event = AuditEvent.objects.get()
    assert event.payload == {"role": "admin", "member": str(user.public_id)}


def test_user_acts_for_the_organisation_joined_first() -> None:
    user = UserFactory(first_name="Ada", last_name="Lovelace")
    assert user.actor_organisation == ""

    first, second = OrganisationFactory(slug="first"), OrganisationFactory(slug="second")
    join(user, first, Role.BUILDER)
    join(user, second, Role.ADMIN)

    assert (user.actor_organisation, user.actor_name) == ("first", "Ada Lovelace")


@pytest.mark.parametrize(
    ("scopes", "days", "code"),
    [
        (["queries:write"], 0, "token_lifetime"),
        (["queries:write"], 366, "token_lifetime"),
        ([], 1, "token_scope_missing"),
        (["queries:write", "root"], 1, "token_scope_unknown"),
    ],
)
def test_issue_token_that_asks_too_much_is_refused(
    scopes: list[str], days: int, code: str
) -> None:
    user = UserFactory()

    with pytest.raises(Invalid) as caught:
        issue_token(user=user, name="t", scopes=scopes, expires_in_days=days, by=user)

    assert caught.value.code == code
    assert not ApiToken.objects.exists()


def test_issue_token_keeps_a_digest_and_no_secret() -> None:
    user = member()

    token, secret = issue_token(
        user=user,
        name="notebook",
        scopes=[Scope.QUERIES_WRITE],
        expires_in_days=30,
        by=user,
    )

    assert secret.startswith("bnd_")
    assert len(secret) >= 47
    assert secret.startswith(token.prefix)
    rows = repr(list(ApiToken.objects.values())) + repr(list(AuditEvent.objects.values()))
    assert secret not in rows
    assert secret[8:] not in rows
    assert AuditEvent.objects.get(type="token:issued").payload["scopes"] == [
        "queries:write"
    ]


def test_revoke_token_twice_is_refused() -> None:
    user = UserFactory()
    token, _ = issue_token(
        user=user, name="t", scopes=[Scope.QUERIES_WRITE], expires_in_days=1, by=user
    )

    revoke_token(token=token, by=user)

    with pytest.raises(NotFound):
        revoke_token(token=token, by=user)
    assert events().count("token:revoked") == 1


def _browser(**credentials: str) -> bool:
    from django.contrib.auth import authenticate, login
    from django.contrib.sessions.backends.db import SessionStore

    request = RequestFactory().post("/login/")
    request.session = SessionStore()
    user = authenticate(request, **credentials)
    if user is None:
        return False
    login(request, user)
    return True


def test_login_is_recorded() -> None:
    user = register_user(username="ada", password=PASSWORD, by=NODE)

    assert _browser(username="ada", password=PASSWORD)

    event = AuditEvent.objects.get(type="login:succeeded")
    assert (event.actor_id, event.subject_id) == (str(user.public_id),) * 2


def test_login_that_failed_is_recorded_without_what_was_typed() -> None:
    register_user(username="ada", password=PASSWORD, by=NODE)

    assert not _browser(username="my-password-by-mistake", password="wrong")

    event = AuditEvent.objects.get(type="login:failed")
    assert event.actor_id == "nobody"
    assert b"mistake" not in bytes(event.entry)
    assert b"wrong" not in bytes(event.entry)


def test_login_whose_event_cannot_be_written_did_not_happen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = register_user(username="ada", password=PASSWORD, by=NODE)
    monkeypatch.setattr(signals, "record", _broken)
    client = Client()

    with pytest.raises(RuntimeError):
        client.force_login(user)

    assert "_auth_user_id" not in client.session


def _issued() -> ApiToken:
    user = UserFactory(username="owner")
    return issue_token(
        user=user, name="t", scopes=[Scope.QUERIES_WRITE], expires_in_days=1, by=user
    )[0]


@pytest.mark.parametrize(
    "act",
    [
        lambda: register_organisation(slug="x", name="X", kind=Kind.PROVIDER, by=NODE),
        lambda: register_user(username="new", password=PASSWORD, by=NODE),
        lambda: grant_membership(
            user=User.objects.get(username="owner"),
            organisation=Organisation.objects.get(slug="home"),
            role=Role.ADMIN,
            by=NODE,
        ),
        lambda: issue_token(
            user=User.objects.get(username="owner"),
            name="second",
            scopes=[Scope.QUERIES_WRITE],
            expires_in_days=1,
            by=NODE,
        ),
        lambda: revoke_token(token=ApiToken.objects.get(), by=NODE),
    ],
    ids=["organisation", "user", "membership", "token", "revocation"],
)
def test_act_whose_event_cannot_be_written_did_not_happen(
    act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from guardian.models import UserObjectPermission

    _issued()
    OrganisationFactory(slug="home")

    def everything() -> list[list[Any]]:
        models = (
            Organisation,
            User,
            Membership,
            ApiToken,
            UserObjectPermission,
            AuditEvent,
        )
        return [list(m._default_manager.order_by("pk").values()) for m in models]

    before = everything()
    monkeypatch.setattr(services, "record", _broken)
    with pytest.raises(RuntimeError):
        act()

    assert everything() == before


def _broken(**kwargs: object) -> None:
    raise RuntimeError("the log cannot be written")
