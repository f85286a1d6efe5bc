"""The pages of a policy: each reader's own view, versions, what changed, ODRL."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from exchange.catalogue.models import Offer, PolicyVersion
from exchange.catalogue.services import publish, set_policy
from exchange.parties.models import User
from policies.codec import load_policy
from policies.odrl.reading import from_odrl
from policies.odrl.writing import to_odrl
from tests.factories import walk
from tests.factories.walk import House
from tests.unit.exchange.web.conftest import SignedIn

SECRET = (
    walk.policy_text()
    .replace("{role: measure, grid: 5}", "{role: hidden}")
    .replace("[type, torque, failure]", "[type, failure]")
    .replace("    max_rows", '    row_filter: "torque > 5"\n    max_rows')
)


@pytest.fixture
def secret(house: House) -> Offer:
    """An offer whose policy hides the torque, and chooses rows by it."""
    version, _ = walk.ready(house)
    policy = set_policy(dataset=version.dataset, text=SECRET, by=house.steward)
    return publish(
        version=version, policy_version=policy, licence="CC0-1.0", by=house.steward
    )


def page_of(offer: Offer, number: int = 2) -> str:
    return reverse("catalogue:policy_version", args=[offer.dataset_id, number])


@pytest.mark.parametrize(
    ("who", "named"),
    [("steward", True), ("reviewer", True), ("builder", False), ("regulator", True)],
)
def test_policy_names_hidden_columns_to_its_provider_and_to_regulators_alone(
    secret: Offer,
    house: House,
    regulator: User,
    as_user: SignedIn,
    who: str,
    *,
    named: bool,
) -> None:
    client = as_user(regulator if who == "regulator" else getattr(house, who))

    pages = [
        page_of(secret),
        reverse("catalogue:policy", args=[secret.dataset_id]),
        reverse("catalogue:policy_odrl", args=[secret.dataset_id, 2]),
    ]
    for page in pages:
        assert ("torque" in client.get(page).content.decode()) is named, page
    detail = client.get(reverse("catalogue:detail", args=[secret.dataset_id]))
    assert named or "torque" not in detail.content.decode()


def test_policy_hidden_name_is_on_no_page_of_a_consumer_or_of_the_api(
    secret: Offer, house: House, as_user: SignedIn
) -> None:
    access = walk.asked(house, secret, kind="subset")
    client = as_user(house.builder)
    policy = secret.policy_version_id
    pages = [
        reverse("agreements:ask", args=[secret.dataset_id, "subset"]),
        reverse("agreements:detail", args=[access.pk]),
        reverse("agreements:grant", args=[access.grant.pk]),
        reverse("queries:subset", args=[access.grant.pk]),
        reverse("api:dataset", args=[secret.dataset_id]),
        reverse("api:policy", args=[policy]),
        reverse("api:policy", args=[policy]) + "?format=odrl",
        reverse("api:policy-explain", args=[policy]) + "?column=type",
        reverse("api:grant", args=[access.grant.pk]),
    ]

    for page in pages:
        response = client.get(page)
        assert response.status_code == 200, page
        assert "torque" not in response.content.decode(), page


def test_policy_page_says_for_each_column_what_can_be_learned(
    house: House, as_user: SignedIn
) -> None:
    offer = walk.offered(house)

    page = as_user(house.builder).get(page_of(offer, 1)).content.decode()

    assert "What can be learned from each column" in page
    assert "Averages of <code>torque</code>, over groups of at least 10" in page
    assert "Not protected against" in page
    assert 'id="L1"' in page


def test_policy_page_shows_versions_and_what_changed_with_loosening_marked(
    house: House, as_user: SignedIn
) -> None:
    offer = walk.offered(house)
    text = walk.policy_text(cap=9).replace("min_units: 10", "min_units: 20")
    set_policy(dataset=offer.dataset, text=text, by=house.steward)
    client = as_user(house.steward)
    url = reverse("catalogue:compare", args=[offer.dataset_id])

    page = client.get(page_of(offer)).content.decode()
    there = client.get(url, {"old": "1", "new": "2"}).content.decode()
    same = client.get(url, {"old": "2", "new": "2"}).content.decode()

    assert "What changed since version 1" in page
    assert "A group needs 20 units instead of 10." in there
    assert "Queries a day are limited to 9, before to 5." in there
    assert "1 change lets more be learned" in there
    assert ">Loosens<" in there
    assert ">Tightens<" in there
    assert "Nothing changed" in same


@pytest.mark.parametrize("number", ["3", "", "x"])
def test_compare_with_a_version_that_is_not_there_leads_on(
    house: House, as_user: SignedIn, number: str
) -> None:
    offer = walk.offered(house)

    response = as_user(house.steward).get(
        reverse("catalogue:compare", args=[offer.dataset_id]), {"old": "1", "new": number}
    )

    assert response.status_code == 404
    assert "policy_unknown" in response.content.decode()


def test_policy_version_that_was_never_offered_is_absent_for_others(
    house: House, as_user: SignedIn
) -> None:
    offer = walk.offered(house)
    set_policy(dataset=offer.dataset, text=walk.policy_text(cap=9), by=house.steward)

    assert as_user(house.builder).get(page_of(offer)).status_code == 404
    assert as_user(house.steward).get(page_of(offer)).status_code == 200


def test_policy_odrl_is_a_file_that_reads_back(house: House, as_user: SignedIn) -> None:
    offer = walk.offered(house)

    response = as_user(house.builder).get(
        reverse("catalogue:policy_odrl", args=[offer.dataset_id, 1])
    )

    assert response.headers["Content-Type"] == "application/ld+json"
    assert "milling-runs-policy-1.jsonld" in response.headers["Content-Disposition"]
    assert from_odrl(response.content.decode()) == offer.policy_version.policy


def test_policy_pasted_as_odrl_is_set_as_a_document(
    house: House, as_user: SignedIn
) -> None:
    offer = walk.offered(house)
    text = to_odrl(offer.policy_version.policy).replace(
        '"rightOperand": 10', '"rightOperand": 12'
    )
    client = as_user(house.steward)
    url = reverse("publishing:policy", args=[offer.version_id])
    words = reverse("publishing:words", args=[offer.version_id])

    said = client.post(words, {"text": text}).content.decode()
    client.post(url, {"text": text})

    newest = PolicyVersion.objects.first()
    assert newest is not None
    assert "at least 12 units" in said
    assert newest.policy.aggregate_rules[0].min_units == 12
    assert load_policy(newest.source) == newest.policy


def test_policy_pasted_as_foreign_odrl_names_the_json_path(
    house: House, as_user: SignedIn
) -> None:
    offer = walk.offered(house)
    text = to_odrl(offer.policy_version.policy).replace('urn:bonded:odrl:1"', 'urn:x"', 1)

    response = as_user(house.steward).post(
        reverse("publishing:policy", args=[offer.version_id]), {"text": text}
    )

    assert response.status_code == 422
    assert "$.profile" in response.content.decode()


def test_grant_page_says_what_it_lets_be_learned(house: House, as_user: SignedIn) -> None:
    grant = walk.granted(house)

    page = as_user(house.builder).get(reverse("agreements:grant", args=[grant.pk]))

    text = page.content.decode()
    assert "What this grant lets be learned" in text
    assert "Aggregates may leave for predictive maintenance." in text
    assert "Single rows may leave" not in text  # the other rule is not of this grant


REASON = {
    "code": "constant_off_grid",
    "message": "m",
    "hint": "h",
    "line": 1,
    "column": 1,
    "offset": 0,
    "policy_path": "tables.runs.columns.torque",
}


def test_refusal_points_to_the_line_that_its_reader_sees(
    house: House, as_user: SignedIn
) -> None:
    query = walk.answered(house, walk.granted(house))
    type(query).objects.filter(pk=query.pk).update(state="refused", reasons=[REASON])
    source = query.grant.policy_version.source.splitlines()

    for user in (house.steward, house.builder):
        client: Any = as_user(user)
        page = client.get(reverse("queries:detail", args=[query.pk])).content.decode()
        api = client.get(reverse("api:query", args=[query.pk])).json()
        line = api["reasons"][0]["policy_line"]
        policy = client.get(page_of(query.grant.offer, 1)).content.decode()
        shown = policy.partition(f'id="L{line}">')[2].partition("</span>")[0]
        assert f"Policy line {line}" in page
        assert "torque" in shown
        assert user is house.builder or source[line - 1] in shown.replace("&quot;", '"')


def test_reviewer_reads_the_query_in_words(house: House, as_user: SignedIn) -> None:
    access = walk.asked(house, walk.offered(house, aggregate=1))
    from exchange.agreements.services import decide_request

    decide_request(request=access, approve=True, by=house.reviewer)
    access.refresh_from_db()
    query = walk.answered(house, access.grant)

    page = as_user(house.reviewer).get(reverse("queries:detail", args=[query.pk]))

    assert "What this query asks" in page.content.decode()
    assert "It groups by <code>type</code>." in page.content.decode()


def test_review_before_publishing_marks_what_the_new_policy_loosens(
    house: House, as_user: SignedIn
) -> None:
    offer = walk.offered(house)
    text = walk.policy_text().replace("min_units: 10", "min_units: 4")
    client = as_user(house.steward)
    version = offer.version_id

    client.post(reverse("publishing:policy", args=[version]), {"text": text})
    client.post(reverse("publishing:licence", args=[version]), {"licence": "CC-BY-4.0"})
    page = client.get(reverse("publishing:review", args=[version])).content.decode()

    assert "What changes against the policy on offer now" in page
    assert "A group needs 4 units instead of 10." in page
    assert "Loosens" in page
