"""Each page for each reader: what they may see, what they are told where they may not."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from exchange.agreements.models import Grant
from exchange.audit.sequencer import seal_all
from exchange.catalogue.services import publish, set_policy
from exchange.parties.models import Kind, Role, User
from exchange.queries.models import Query
from exchange.queries.releases import open_covered
from tests.factories import walk
from tests.factories.parties import OrganisationFactory, UserFactory, member
from tests.factories.walk import House
from tests.unit.exchange.web.conftest import SignedIn

LISTS = (
    "home:home",
    "catalogue:list",
    "agreements:list",
    "queries:list",
    "queries:releases",
    "parties:tokens",
)


@pytest.mark.parametrize("name", LISTS)
def test_lists_empty_give_a_way_forward(db: None, as_user: SignedIn, name: str) -> None:
    """A newcomer of no organisation meets no dead end."""
    response = as_user(UserFactory()).get(reverse(name))

    assert response.status_code == 200
    main = response.content.decode().partition("<main")[2].partition("</main>")[0]
    assert 'href="' in main or "<form" in main


def test_audit_log_is_closed_without_a_role(db: None, as_user: SignedIn) -> None:
    response = as_user(UserFactory()).get(reverse("audit:list"))

    assert response.status_code == 403
    assert "administrator" in response.content.decode()


def test_unknown_address_leads_on(db: None, as_user: SignedIn) -> None:
    response = as_user(UserFactory()).get("/no/such/page/")

    assert response.status_code == 404
    assert reverse("catalogue:list") in response.content.decode()


@pytest.mark.parametrize(
    ("role", "shown", "absent"),
    [
        (Role.STEWARD, "Publish a dataset", "Inbox"),
        (Role.REVIEWER, "Inbox", "Publish a dataset"),
        (Role.BUILDER, "Requests and grants", "Publish a dataset"),
    ],
)
def test_menu_offers_what_the_role_does(
    db: None, as_user: SignedIn, role: Role, shown: str, absent: str
) -> None:
    user = member(OrganisationFactory(), role)

    menu = as_user(user).get(reverse("catalogue:list")).content.decode().split("<main")[0]

    assert shown in menu
    assert absent not in menu


@pytest.fixture
def answered(house: House) -> Query:
    query = walk.answered(house, walk.granted(house))
    seal_all()
    open_covered()
    query.refresh_from_db()
    return query


def _pages_of(query: Query) -> list[str]:
    grant: Grant = query.grant
    dataset = grant.version.dataset
    return [
        reverse("catalogue:detail", args=[dataset.pk]),
        reverse("catalogue:policy", args=[dataset.pk]),
        reverse("agreements:detail", args=[grant.request_id]),
        reverse("agreements:grant", args=[grant.pk]),
        reverse("queries:write", args=[grant.pk]),
        reverse("queries:detail", args=[query.pk]),
        reverse("audit:case", args=[grant.case_id]),
        reverse("audit:list"),
        reverse("audit:cases"),
        reverse("home:home"),
        reverse("catalogue:list"),
        reverse("agreements:list"),
        reverse("queries:list"),
        reverse("queries:releases"),
        reverse("operations:list"),
    ]


@pytest.mark.parametrize("who", ["steward", "reviewer", "builder", "regulator"])
def test_pages_of_a_whole_exchange_open_for_its_parties(
    answered: Query, house: House, regulator: User, as_user: SignedIn, who: str
) -> None:
    user = regulator if who == "regulator" else getattr(house, who)
    client = as_user(user)

    for page in _pages_of(answered):
        assert client.get(page).status_code == 200, page


def test_pages_of_an_exchange_look_absent_to_a_stranger(
    answered: Query, as_user: SignedIn
) -> None:
    client = as_user(member(OrganisationFactory(), Role.BUILDER))
    grant = answered.grant

    for name, key in (
        ("agreements:detail", grant.request_id),
        ("agreements:grant", grant.pk),
        ("queries:write", grant.pk),
        ("queries:detail", answered.pk),
        ("queries:receipt", answered.release.pk),
        ("audit:case", grant.case_id),
    ):
        response = client.get(reverse(name, args=[key]))
        assert response.status_code == 404, name
        assert str(grant.consumer) not in response.content.decode()


def test_result_is_not_shown_to_the_provider(
    answered: Query, house: House, as_user: SignedIn
) -> None:
    client = as_user(house.steward)

    page = client.get(reverse("queries:detail", args=[answered.pk])).content.decode()
    response = client.post(reverse("queries:download", args=[answered.release.pk]))

    assert "Only model builders of Maker may receive the content." in page
    assert response.status_code == 403


LIMITS = {
    "home:home": 25,
    "catalogue:list": 12,
    "agreements:list": 12,
    "queries:list": 12,
    "queries:releases": 12,
    "audit:list": 16,
    "audit:cases": 12,
    "operations:list": 16,
}


@pytest.mark.parametrize("name", LIMITS)
def test_lists_ask_the_same_number_of_questions_whatever_their_length(
    house: House,
    as_user: SignedIn,
    name: str,
    django_assert_max_num_queries: object,
) -> None:
    grant = walk.granted(house)
    walk.answered(house, grant)
    client = as_user(house.builder)
    client.get(reverse(name))
    with django_assert_max_num_queries(LIMITS[name]) as short:  # type: ignore[operator]
        client.get(reverse(name))

    for column in ("failure", "torque"):
        walk.answered(
            house, grant, sql=f"SELECT {column}, count(*) FROM runs GROUP BY {column}"
        )
    seal_all()
    with django_assert_max_num_queries(len(short)) as long:  # type: ignore[operator]
        assert client.get(reverse(name)).status_code == 200
    assert len(long) <= len(short)


def test_pages_are_kept_in_no_cache(db: None, as_user: SignedIn) -> None:
    response = as_user(UserFactory()).get(reverse("home:home"))

    assert response.headers["Cache-Control"] == "private, no-store"


def test_wide_table_of_a_thousand_columns_fits_one_form(
    house: House, as_user: SignedIn
) -> None:
    names = [f"c{n}" for n in range(1000)]
    text = ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n"
    version = walk.profiled(house, walk.registered(house), text)
    fields = {f"role_{n}": "hidden" for n in range(1000)}
    fields |= {f"grid_{n}": "5" for n in range(1000)}

    response = as_user(house.steward).post(
        reverse("publishing:columns", args=[version.pk]), fields
    )

    assert response.status_code == 302


def test_too_many_fields_is_said_not_shown_as_a_fault(
    db: None, as_user: SignedIn, settings: object
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3  # type: ignore[attr-defined]
    fields = {str(n): "x" for n in range(5)}

    response = as_user(UserFactory()).post(reverse("parties:tokens"), fields)

    assert response.status_code == 400
    assert "request_malformed" in response.content.decode()


def test_foreign_host_is_a_bad_request_and_no_fault(db: None, client: Client) -> None:
    client.raise_request_exception = False

    response = client.get(reverse("parties:sign_in"), headers={"host": "evil.example"})

    assert response.status_code == 400


def test_policy_document_has_the_remarks_for_its_provider_alone(
    house: House, as_user: SignedIn
) -> None:
    version, _ = walk.ready(house)
    text = f"# ask the foreman first\n{walk.policy_text(cap=9)}"
    policy = set_policy(dataset=version.dataset, text=text, by=house.steward)
    publish(version=version, policy_version=policy, licence="CC0-1.0", by=house.steward)
    page = reverse("catalogue:policy", args=[version.dataset_id])

    own, other = (
        as_user(user).get(page).content.decode() for user in (house.steward, house.builder)
    )

    assert "foreman" in own
    assert "foreman" not in other
    assert "max_queries_per_day" in other


def test_catalogue_finds_filters_and_pages(house: House, as_user: SignedIn) -> None:
    walk.offered(house)
    client = as_user(house.builder)
    url = reverse("catalogue:list")

    found = client.get(url, {"q": "milling", "provider": "mill"}).content.decode()
    none = client.get(url, {"q": "ships"}).content.decode()
    elsewhere = client.get(url, {"page": "no number"})

    assert "Milling runs" in found
    assert "Aggregates" in found
    assert "Nothing matches" in none
    assert elsewhere.status_code == 200


def test_home_of_an_operator_leads_to_the_node(db: None, as_user: SignedIn) -> None:
    user = member(OrganisationFactory(kind=Kind.OPERATOR), Role.ADMIN)

    page = as_user(user).get(reverse("home:home")).content.decode()

    main = page.partition("<main")[2]
    assert reverse("operations:health") in main
    assert reverse("operations:list") in main
