"""`Prefer: wait=N`: the outcome in the same answer, 202 where it does not come in time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.test import Client, RequestFactory
from rest_framework.request import Request

from exchange.agreements.models import Grant
from exchange.agreements.services import decide_request
from exchange.api import queries, waiting
from exchange.operations.waiting import Waiters
from tests.factories import walk
from tests.factories.parties import bearer
from tests.factories.walk import COUNT_BY_TYPE, House

API = "/api/v1"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def builder(house: House) -> Client:
    return Client(headers=bearer(house.builder))


def ask(client: Client, grant: Any, prefer: str = "", sql: str = COUNT_BY_TYPE) -> Any:
    headers = {"Prefer": prefer} if prefer else {}
    return client.post(
        f"{API}/queries",
        {"grant": str(grant.pk), "sql": sql},
        content_type="application/json",
        headers=headers,
    )


def test_answer_is_the_release(house: House, builder: Client) -> None:
    grant = walk.granted(house)
    with walk.node_at_work():
        answer = ask(builder, grant, "wait=20")

    assert answer.status_code == 200, answer.content
    query = answer.json()
    assert answer["Preference-Applied"] == "wait=20"
    assert answer["Content-Location"] == f"{API}/queries/{query['id']}"
    assert query["state"] == "released"
    assert query["release"]["state"] == "available"
    content = builder.get(f"{query['release']['url']}/content")
    assert content.status_code == 200


def test_repeat_and_download_take_few_statements(
    house: House, builder: Client, django_assert_max_num_queries: Any
) -> None:
    grant = walk.granted(house)
    with walk.node_at_work():
        first = ask(builder, grant, "wait=20").json()
    assert first["state"] == "released"

    with django_assert_max_num_queries(18):
        repeat = ask(builder, grant, "wait=20").json()
    with django_assert_max_num_queries(10):
        content = builder.get(f"{repeat['release']['url']}/content")

    assert repeat["same_as"] == first["id"]
    assert content.status_code == 200


def test_answer_is_the_refusal_with_its_reasons(house: House, builder: Client) -> None:
    grant = walk.granted(house)
    with walk.node_at_work():
        answer = ask(builder, grant, "wait=20", "SELECT * FROM runs")

    assert answer.status_code == 200
    assert answer.json()["state"] == "refused"
    assert answer.json()["reasons"]


def test_what_a_reviewer_decides_is_not_waited_for(house: House, builder: Client) -> None:
    request = walk.asked(house, walk.offered(house, aggregate=1))
    decide_request(request=request, approve=True, by=house.reviewer)
    grant = Grant.objects.get(request=request)
    started = time.monotonic()
    with walk.node_at_work():
        answer = ask(builder, grant, "wait=20")

    assert answer.status_code == 202
    assert answer.json()["state"] == "in_review"
    assert time.monotonic() - started < 10


def test_answer_is_202_when_the_time_is_over(house: House, builder: Client) -> None:
    grant = walk.granted(house)
    answer = ask(builder, grant, "wait=1")  # nobody works

    assert answer.status_code == 202
    assert answer["Preference-Applied"] == "wait=1"
    assert answer["Location"].startswith(f"{API}/operations/")
    assert answer["Retry-After"]


def test_without_the_preference_nothing_is_waited_for(
    house: House, builder: Client
) -> None:
    grant = walk.granted(house)
    answer = ask(builder, grant)

    assert answer.status_code == 202
    assert "Preference-Applied" not in answer


def test_who_finds_no_place_is_answered_at_once(
    house: House, builder: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = walk.granted(house)
    monkeypatch.setattr(waiting, "waiters", Waiters(0))
    monkeypatch.setattr(queries, "waiters", Waiters(0))
    started = time.monotonic()
    answer = ask(builder, grant, "wait=20")

    assert answer.status_code == 202
    assert "Preference-Applied" not in answer
    assert time.monotonic() - started < 10


def test_reading_a_query_may_wait_too(house: House, builder: Client) -> None:
    grant = walk.granted(house)
    asked = ask(builder, grant)
    with walk.node_at_work():
        operation = builder.get(asked["Location"], headers={"Prefer": "wait=20"})
        answer = builder.get(asked.json()["url"], headers={"Prefer": "wait=20"})

    assert operation.json()["is_finished"]
    assert answer.json()["state"] == "released"


def test_profile_of_an_upload_may_be_waited_for(house: House) -> None:
    steward = Client(headers=bearer(house.steward))
    dataset = walk.registered(house)
    with walk.node_at_work():
        answer = steward.post(
            f"{API}/datasets/{dataset.pk}/uploads?filename=runs.csv",
            walk.RUNS.encode(),
            content_type="text/csv",
            headers={"Prefer": "respond-async;x=1, wait=20"},
        )

    assert answer.status_code == 200, answer.content
    assert answer.json()["state"] == "profiled"


def test_act_with_an_idempotency_key_commits_before_it_is_waited_for(house: House) -> None:
    steward = Client(headers=bearer(house.steward))
    dataset = walk.registered(house)
    version = walk.profiled(house, dataset)
    walk.with_policy(house, dataset)
    headers = {"Prefer": "wait=20", "Idempotency-Key": "once"}
    where = f"{API}/versions/{version.pk}/partition"
    with walk.node_at_work():
        first = steward.post(where, {}, "application/json", headers=headers)
    again = steward.post(where, {}, "application/json", headers=headers)

    assert (first.status_code, first.json()["state"]) == (200, "ready")
    # What is kept under the key is what the act itself answered.
    assert (again.status_code, again["Idempotency-Replayed"]) == (202, "true")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=7", 7),
        ('return=minimal, wait="7"; x', 7),
        ("WAIT = 7", 7),
        ("wait=7, wait=9", 7),
        ("wait=100000", 30),
        ("wait=99999999999999999999", 0),
        ("wait=-1", 0),
        ("wait", 0),
        ("wait=٣", 0),
        ("respond-async", 0),
        ("", 0),
    ],
)
def test_preference_is_read_as_rfc_7240_writes_it(header: str, seconds: int) -> None:
    asked = Request(RequestFactory().get("/", headers={"Prefer": header}))

    assert waiting.seconds_preferred(asked) == seconds


def test_schema_tells_of_the_preference(builder: Client) -> None:
    answer = builder.get(f"{API}/schema", headers={"Accept": "application/json"})
    schema = json.loads(answer.content)
    act = schema["paths"][f"{API}/queries"]["post"]
    assert {"200", "202"} <= act["responses"].keys()
    assert "Preference-Applied" in act["responses"]["200"]["headers"]
    assert any(given["name"] == "Prefer" for given in act["parameters"])
