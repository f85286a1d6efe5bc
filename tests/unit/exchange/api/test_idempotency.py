"""The same key acts once; a refusal is kept, a fault is not."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from exchange.api.models import IdempotentAnswer
from exchange.api.tasks import forget
from exchange.catalogue import services
from exchange.catalogue.models import Dataset
from exchange.errors import Unavailable
from tests.factories.parties import bearer
from tests.factories.walk import House, make_house

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/api/v1/datasets"


@pytest.fixture
def house(db: None) -> House:
    return make_house()


@pytest.fixture
def client(house: House) -> Client:
    client = Client(headers=bearer(house.steward))
    client.raise_request_exception = False
    return client


def register(client: Client, title: str, key: str | None) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(
        PATH, {"title": title}, content_type="application/json", headers=headers
    )


def test_second_request_with_the_key_gives_the_first_answer(client: Client) -> None:
    first = register(client, "Mills", "k1")
    second = register(client, "Mills", "k1")

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second["Location"] == first["Location"]
    assert second["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert Dataset.objects.count() == 1


def test_without_a_key_each_request_acts(client: Client) -> None:
    register(client, "Mills", None)
    second = register(client, "Mills", None)

    assert (second.status_code, second.json()["code"]) == (409, "dataset_name_taken")


def test_key_with_another_body_is_refused(client: Client) -> None:
    register(client, "Mills", "k1")
    other = register(client, "Ports", "k1")

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert Dataset.objects.count() == 1


def test_refusal_is_kept_as_an_answer(client: Client) -> None:
    register(client, "Mills", None)
    first = register(client, "Mills", "k1")
    Dataset.objects.all().delete()
    second = register(client, "Mills", "k1")

    assert (first.status_code, second.status_code) == (409, 409)
    assert second.json() == first.json()
    assert second["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("fault", [OperationalError("locked"), Unavailable("away")])
def test_fault_leaves_the_key_free(
    client: Client, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    real = services.register_dataset

    def broken(**fields: Any) -> Any:
        real(**fields)
        raise fault

    monkeypatch.setattr(services, "register_dataset", broken)
    first = register(client, "Mills", "k1")
    monkeypatch.setattr(services, "register_dataset", real)
    assert not Dataset.objects.exists()
    second = register(client, "Mills", "k1")

    assert (first.status_code, second.status_code) == (503, 201)
    assert Dataset.objects.count() == 1


def test_keys_of_two_users_do_not_meet(client: Client, house: House) -> None:
    register(client, "Mills", "k1")
    other = register(Client(headers=bearer(house.builder)), "Mills", "k1")

    assert other.json()["code"] == "may_not_manage_datasets"


@pytest.mark.parametrize("key", ["x" * 201, "tab\there"])
def test_unusable_key_is_refused(client: Client, key: str) -> None:
    answer = register(client, "Mills", key)

    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


def test_forget_old_answers_keeps_those_of_today(client: Client) -> None:
    register(client, "Mills", "k1")
    register(client, "Ports", "k2")
    row = IdempotentAnswer.objects.get(key="k1")
    row.created_at -= timedelta(days=1, seconds=1)
    row.save()

    forget()

    assert [answer.key for answer in IdempotentAnswer.objects.all()] == ["k2"]
    assert "2" in str(IdempotentAnswer.objects.get())


def test_two_requests_at_once_act_once(house: House) -> None:
    headers = bearer(house.steward)
    answers: list[Any] = []

    def ask() -> None:
        answers.append(register(Client(headers=headers), "Mills", "k1"))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer for answer in answers) == 3
    assert Dataset.objects.count() == 1
