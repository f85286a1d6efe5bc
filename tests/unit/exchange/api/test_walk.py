"""The walk of a dataset through the API, over the fake daemon: register to receipt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from exchange.audit.models import AuditEvent
from exchange.audit.services import seal_all
from exchange.audit.signing import verifier_key
from ledger.receipt import load_receipt, verify_receipt
from tests.factories import walk
from tests.factories.parties import OrganisationFactory, bearer, member
from tests.factories.walk import House

API = "/api/v1"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def steward(house: House) -> Client:
    return Client(headers=bearer(house.steward))


@pytest.fixture
def builder(house: House) -> Client:
    return Client(headers=bearer(house.builder))


def post(client: Client, path: str, body: Any = None, **headers: str) -> Any:
    where = path if path.startswith("/") else f"{API}/{path}"
    return client.post(where, body or {}, content_type="application/json", headers=headers)


def published(steward: Client) -> str:
    """Register, upload, policy, partition and publish; the dataset's id comes back."""
    dataset = post(steward, "datasets", {"title": "Milling runs", "table": "runs"})
    assert dataset.status_code == 201
    uploaded = steward.post(
        f"{dataset['Location']}/uploads?filename=runs.csv",
        walk.RUNS.encode(),
        content_type="text/csv",
    )
    assert uploaded.status_code == 202, uploaded.content
    walk.perform_all()
    version = steward.get(uploaded.json()["url"]).json()
    assert version["state"] == "profiled"
    policy = steward.post(
        f"{dataset['Location']}/policies",
        walk.policy_text().encode(),
        content_type="application/yaml",
    )
    assert policy.status_code == 201, policy.content
    assert post(steward, f"{version['url']}/partition").status_code == 202
    walk.perform_all()
    offer = post(steward, f"{version['url']}/publish", {"licence": "CC-BY-4.0"})
    assert offer.status_code == 201, offer.content
    return str(dataset.json()["id"])


def granted(builder: Client, dataset: str, kind: str = "aggregate") -> str:
    licence = "CC-BY-4.0" if kind == "aggregate" else "CDLA-Permissive-2.0"
    answer = post(
        builder,
        "requests",
        {
            "dataset": dataset,
            "kind": kind,
            "purpose": "predictive-maintenance",
            "legal_basis": "not-personal",
            "justification": "To plan the upkeep of mills.",
            "accept_licence": licence,
        },
    )
    assert answer.status_code == 201, answer.content
    assert answer.json()["state"] == "FINALIZED"
    return str(answer.json()["grant"])


def test_walk_from_registration_to_receipt(steward: Client, builder: Client) -> None:
    grant = granted(builder, published(steward))

    submitted = post(builder, "queries", {"grant": grant, "sql": walk.COUNT_BY_TYPE})
    assert submitted.status_code == 202
    operation = builder.get(submitted["Location"])
    assert operation.json()["target"] == submitted.json()["url"]
    assert operation["Retry-After"] == "1"
    walk.perform_all()
    assert builder.get(submitted.json()["url"]).json()["release"]["state"] == "held"
    seal_all()
    query = builder.get(submitted.json()["url"]).json()
    assert (query["state"], query["release"]["state"]) == ("released", "available")
    release = builder.get(query["release"]["url"]).json()
    content = b"".join(builder.get(release["content"]).streaming_content)  # type: ignore[attr-defined]
    receipt = load_receipt(builder.get(release["receipt"]).content)

    verified = verify_receipt(receipt, verifier_key(), content)
    assert verified.result_checked
    assert json.loads(content)["suppressed"] == 1
    assert AuditEvent.objects.filter(type="release:downloaded").count() == 1


def test_walk_of_a_subset(steward: Client, builder: Client) -> None:
    grant = granted(builder, published(steward), "subset")
    order = {"grant": grant, "columns": ["type", "failure"]}

    refused = post(builder, "subsets", {**order, "accept_licence": "MIT"})
    assert refused.json()["code"] == "licence_not_accepted"

    accepted = post(builder, "subsets", {**order, "accept_licence": "CDLA-Permissive-2.0"})
    assert accepted.status_code == 202, accepted.content
    walk.perform_all()
    seal_all()
    query = builder.get(accepted.json()["url"]).json()
    release = builder.get(query["release"]["url"]).json()
    assert (release["kind"], release["rows"]) == ("subset", 50)
    assert release["columns"] == [["type", "VARCHAR"], ["failure", "VARCHAR"]]


def test_refused_query_tells_every_reason(steward: Client, builder: Client) -> None:
    grant = granted(builder, published(steward))

    checked = post(builder, "queries/check", {"grant": grant, "sql": "SELECT * FROM runs"})
    submitted = post(builder, "queries", {"grant": grant, "sql": "SELECT * FROM runs"})
    walk.perform_all()
    query = builder.get(submitted.json()["url"]).json()

    assert checked.json()["verdict"] == "refuse"
    assert (query["state"], query["verdict"]) == ("refused", "refuse")
    assert query["reasons"] == checked.json()["reasons"]
    assert all(reason["message"] and reason["code"] for reason in query["reasons"])


def test_check_finds_the_grant_by_dataset_and_purpose(
    steward: Client, builder: Client
) -> None:
    dataset = published(steward)
    granted(builder, dataset)

    fits = {
        "dataset": dataset,
        "sql": walk.COUNT_BY_TYPE,
        "purpose": "predictive-maintenance",
    }
    checked = post(builder, "queries/check", fits)
    other = post(builder, "queries/check", {**fits, "purpose": "marketing"})

    assert checked.json()["verdict"] == "allow"
    assert (other.status_code, other.json()["code"]) == (422, "grant_missing")


def test_same_idempotency_key_submits_one_query(steward: Client, builder: Client) -> None:
    grant = granted(builder, published(steward))
    body = {"grant": grant, "sql": walk.COUNT_BY_TYPE}

    first = post(builder, "queries", body, **{"Idempotency-Key": "a-key"})
    second = post(builder, "queries", body, **{"Idempotency-Key": "a-key"})
    other = {**body, "sql": "SELECT type, count(*) FROM runs GROUP BY type "}
    third = post(
        builder, "queries", {**other, "sql": "SELECT 1"}, **{"Idempotency-Key": "a-key"}
    )

    assert first.json()["id"] == second.json()["id"]
    assert third.json()["code"] == "idempotency_key_reused"


def test_consumer_sees_no_hidden_figures(steward: Client, builder: Client) -> None:
    dataset = published(steward)

    mine = steward.get(f"{API}/datasets/{dataset}").json()
    theirs = builder.get(f"{API}/datasets/{dataset}").json()

    assert mine["is_mine"]
    assert not theirs["is_mine"]
    assert mine["columns"][0]["null_share"] == 0.0
    assert all(column["null_share"] is None for column in theirs["columns"])
    assert theirs["policy_words"]
    assert {rule["kind"] for rule in theirs["rules"]} == {"aggregate", "subset"}
    assert "limits" in theirs["columns"][0]


def test_reader_outside_sees_neither_query_nor_release(
    steward: Client, builder: Client, house: House
) -> None:
    grant = granted(builder, published(steward))
    submitted = post(builder, "queries", {"grant": grant, "sql": walk.COUNT_BY_TYPE})
    stranger = Client(headers=bearer(member(OrganisationFactory())))

    for path in (submitted.json()["url"], f"{API}/grants/{grant}", submitted["Location"]):
        answer = stranger.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert stranger.get(f"{API}/queries").json()["results"] == []
