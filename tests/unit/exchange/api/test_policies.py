"""Policies by the API: ODRL both ways, differences, explanations, lines of a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from exchange.catalogue.models import Offer
from exchange.catalogue.services import set_policy
from exchange.parties.models import User
from policies.odrl.reading import from_odrl
from policies.odrl.writing import to_odrl
from tests.factories import walk
from tests.factories.walk import House

pytestmark = pytest.mark.django_db
API = "/api/v1"
LD = "application/ld+json"


def client(user: User) -> APIClient:
    found = APIClient()
    found.force_authenticate(user)
    return found


@pytest.fixture
def offer(house: House) -> Offer:
    return walk.offered(house)


@pytest.mark.parametrize(("query", "headers"), [("?format=odrl", {}), ("", {"Accept": LD})])
def test_policy_is_had_as_odrl(
    offer: Offer, house: House, query: str, headers: dict[str, str]
) -> None:
    path = f"{API}/policies/{offer.policy_version_id}{query}"

    found = client(house.builder).get(path, headers=headers)

    assert found.status_code == 200
    assert found["Content-Type"] == LD
    assert from_odrl(found.content.decode()) == offer.policy_version.policy


def test_policy_as_odrl_has_a_tag_of_its_own(offer: Offer, house: House) -> None:
    path, asking = f"{API}/policies/{offer.policy_version_id}", client(house.builder)
    odrl, plain = asking.get(f"{path}?format=odrl"), asking.get(path)

    again = asking.get(f"{path}?format=odrl", headers={"If-None-Match": odrl["ETag"]})

    assert again.status_code == 304
    assert odrl["ETag"] != plain["ETag"]


def test_policy_sent_as_odrl_becomes_a_version(offer: Offer, house: House) -> None:
    text = to_odrl(offer.policy_version.policy).replace(
        '"rightOperand": 10', '"rightOperand": 12'
    )
    path = f"{API}/datasets/{offer.dataset_id}/policies"

    found = client(house.steward).post(path, data=text, content_type=LD)

    assert found.status_code == 201
    assert found.json()["number"] == 2
    assert any("at least 12 units" in line for line in found.json()["words"])


def test_policy_sent_as_foreign_odrl_names_the_json_path(
    offer: Offer, house: House
) -> None:
    text = to_odrl(offer.policy_version.policy).replace("bonded:minUnits", "odrl:spatial")
    path = f"{API}/datasets/{offer.dataset_id}/policies"

    found = client(house.steward).post(path, data=text, content_type=LD)

    assert found.status_code == 422
    assert found.json()["code"] == "policy_unknown_term"
    assert found.json()["path"].endswith(".leftOperand")


def test_policy_of_a_megabyte_is_refused(offer: Offer, house: House) -> None:
    path = f"{API}/datasets/{offer.dataset_id}/policies"

    for kind, size in (("application/yaml", 2**20), (LD, 2**23)):
        found = client(house.steward).post(path, data="#" * size, content_type=kind)
        assert found.json()["code"] == "body_too_large", kind


def test_policy_fault_names_line_and_column(offer: Offer, house: House) -> None:
    path = f"{API}/datasets/{offer.dataset_id}/policies"

    found = client(house.steward).post(
        path, data="version: 1\ntabels: {}\n", content_type="application/yaml"
    )

    assert (found.json()["line"], found.json()["column"]) == (2, 1)
    assert found.json()["hint"].startswith("Did you mean `tables`?")


def test_policy_differences_say_what_loosens(offer: Offer, house: House) -> None:
    text = walk.policy_text().replace("min_units: 10", "min_units: 5")
    new = set_policy(dataset=offer.dataset, text=text, by=house.steward)
    old, asking = offer.policy_version_id, client(house.steward)

    found = asking.get(f"{API}/policies/{new.pk}/differences?since={old}").json()
    back = asking.get(f"{API}/policies/{old}/differences?since={new.pk}").json()

    assert (found["old"], found["new"], found["loosens"]) == (1, 2, True)
    assert found["differences"] == [
        {
            "sentence": "A group needs 5 units instead of 10.",
            "effect": "loosens",
            "path": "rules[0].min_units",
        }
    ]
    assert back["loosens"] is False


@pytest.mark.parametrize("since", ["", "?since=x", "?since=" + "0" * 32])
def test_policy_differences_with_nothing_are_refused(
    offer: Offer, house: House, since: str
) -> None:
    path = f"{API}/policies/{offer.policy_version_id}/differences{since}"

    assert client(house.steward).get(path).status_code in {400, 404, 422}


def test_policy_column_is_explained_by_audience(offer: Offer, house: House) -> None:
    path = f"{API}/policies/{offer.policy_version_id}/explain"
    asking = client(house.builder)

    torque = asking.get(f"{path}?column=torque").json()
    nothing = asking.get(f"{path}?column=secret").json()

    kinds = [item["kind"] for item in torque["audiences"]]
    assert kinds == ["aggregate", "subset"]
    assert "Averages of `torque`" in torque["audiences"][0]["sentences"][0]
    assert torque["audiences"][0]["not_protected"]
    assert nothing["audiences"] == []
    assert asking.get(f"{path}?column=a&table=b").json()["code"] == "policy_unknown_term"


def test_grant_says_what_it_lets_be_learned(house: House) -> None:
    grant = walk.granted(house)

    found: Any = client(house.builder).get(f"{API}/grants/{grant.pk}").json()

    words = " ".join(found["effective_policy"]["runs"])
    assert "Aggregates may leave for predictive maintenance." in words
    assert "Single rows may leave" not in words


def test_grant_of_rows_says_its_columns_only(house: House) -> None:
    grant = walk.granted(house, kind="subset")

    found: Any = client(house.builder).get(f"{API}/grants/{grant.pk}").json()

    words = " ".join(found["effective_policy"]["runs"])
    assert "Single rows may leave" in words
    assert "Aggregates may leave" not in words
