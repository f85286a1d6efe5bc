"""Lists, filters, conditions, decisions, downloads, tokens and evidence over HTTP."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from exchange.api.audit import EventFilter
from exchange.api.datasets import Datasets
from exchange.api.resource import ReachesThisFar
from exchange.api.urls import urlpatterns
from exchange.audit.models import AuditEvent
from exchange.audit.services import seal_all
from exchange.audit.signing import verifier_key
from exchange.parties.models import ApiToken, Kind, Role, Scope, User
from exchange.queries.models import Query, Release
from exchange.queries.services import submit
from ledger.checkpoint import verify_checkpoint
from ledger.log import verify_log_export
from ledger.receipt import load_receipt, verify_receipt
from tests.factories import walk
from tests.factories.parties import OrganisationFactory, bearer, member
from tests.factories.walk import House

pytestmark = pytest.mark.django_db(transaction=True)
API = "/api/v1"


def client(user: User, *scopes: str) -> Client:
    return Client(headers=bearer(user, *scopes))


def post(asking: Client, path: str, body: Any = None, **headers: str) -> Any:
    return asking.post(path, body or {}, content_type="application/json", headers=headers)


@pytest.fixture
def regulator(house: House) -> User:
    return member(OrganisationFactory(kind=Kind.REGULATOR), Role.REGULATOR)


@pytest.fixture
def release(house: House) -> Release:
    query = walk.answered(house, walk.granted(house))
    seal_all()
    release: Release = Release.objects.get(query=query)
    return release


# --- datasets -------------------------------------------------------------------------


def listed(asking: Client, query: str) -> list[str]:
    rows = asking.get(f"{API}/datasets{query}").json()["results"]
    return [row["slug"] for row in rows]


def test_datasets_are_found_by_words_keyword_name_and_provider(house: House) -> None:
    walk.registered(house, keywords=["milling", "failure"])
    walk.registered(house, title="Port calls", table_name="calls", keywords=["ports"])
    asking = client(house.steward)

    assert listed(asking, "") == ["milling-runs", "port-calls"]
    assert listed(asking, "?search=runs+MILL") == ["milling-runs"]
    assert listed(asking, "?search=runs+port") == []
    assert listed(asking, "?keyword=ports") == ["port-calls"]
    assert listed(asking, "?name=mill/port-calls") == ["port-calls"]
    assert listed(asking, "?name=maker/port-calls") == []
    assert listed(asking, "?name=port-calls") == ["port-calls"]
    assert listed(asking, "?organisation=maker") == []


def test_datasets_are_paged_by_paths(house: House) -> None:
    for n in range(5):
        walk.registered(house, title=f"Set {n}", table_name=f"set_{n}")
    asking = client(house.steward)

    first = asking.get(f"{API}/datasets?page_size=2").json()
    second = asking.get(first["next"]).json()
    third = asking.get(second["next"]).json()

    slugs = [row["slug"] for page in (first, second, third) for row in page["results"]]
    assert slugs == [f"set-{n}" for n in range(5)]
    assert first["next"].startswith(f"{API}/datasets?")
    assert third["next"] is None
    assert asking.get(second["previous"]).json()["results"] == first["results"]


def test_cursor_of_nobody_is_refused(house: House) -> None:
    asking = client(house.steward)

    for path, cursor in (("datasets", "abc"), ("requests", "cD1ub25zZW5zZQ==")):
        answer = asking.get(f"{API}/{path}?cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor_invalid")


def test_dataset_registration_in_another_organisation_is_refused(house: House) -> None:
    body = {"title": "Mills", "organisation": "maker"}

    answer = post(client(house.steward), f"{API}/datasets", body)

    assert answer.json()["code"] == "organisation_unknown"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": "x", "slug": "no spaces"}, "slug"),
        ({"title": "x" * 201}, "title"),
    ],
)
def test_dataset_registration_names_the_field(house: House, body: Any, field: str) -> None:
    answer = post(client(house.steward), f"{API}/datasets", body)

    assert (answer.status_code, answer.json()["code"]) == (400, "fields_invalid")
    assert answer.json()["errors"][0]["field"] == field


def test_body_that_is_no_json_is_refused(house: House) -> None:
    asking = client(house.steward)

    broken = asking.post(f"{API}/datasets", b"{", content_type="application/json")
    other = asking.post(f"{API}/datasets", b"<a/>", content_type="application/xml")

    assert broken.json()["code"] == "body_malformed"
    assert other.json()["code"] == "media_type_unsupported"


def test_representation_that_is_known_is_not_sent_again(house: House) -> None:
    path = f"{API}/datasets/{walk.registered(house).pk}"
    asking = client(house.steward)

    first = asking.get(path)
    again = asking.get(path, headers={"If-None-Match": first["ETag"]})
    other = asking.get(path, headers={"If-None-Match": '"x"'})

    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    assert other.status_code == 200


# --- policies -------------------------------------------------------------------------


def test_policy_is_told_in_words_and_its_text_to_the_provider_only(house: House) -> None:
    offer = walk.offered(house)
    path = f"{API}/policies/{offer.policy_version_id}"

    mine, theirs = client(house.steward).get(path), client(house.builder).get(path)

    assert mine.json()["text"] == walk.policy_text()
    assert theirs.json()["text"] is None
    assert theirs.json()["words"] == mine.json()["words"] != []


def test_policy_that_was_never_offered_is_not_there_for_others(house: House) -> None:
    _, policy = walk.ready(house)
    path = f"{API}/policies/{policy.pk}"

    assert client(house.steward).get(path).status_code == 200
    assert client(house.builder).get(path).json()["code"] == "not_found"


def test_policy_naming_an_absent_column_gives_its_line(house: House) -> None:
    dataset = walk.registered(house)
    walk.profiled(house, dataset)
    text = walk.policy_text().replace("torque", "torsion")

    answer = post(
        client(house.steward), f"{API}/datasets/{dataset.pk}/policies", {"text": text}
    )

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "policy_column_absent")
    assert problem["line"] == 1 + text.splitlines().index(
        next(line for line in text.splitlines() if "torsion" in line)
    )


@pytest.mark.parametrize("content_type", ["text/yaml", "text/plain", "application/yaml"])
def test_policy_text_may_be_sent_as_it_stands(house: House, content_type: str) -> None:
    dataset = walk.registered(house)
    walk.profiled(house, dataset)
    path = f"{API}/datasets/{dataset.pk}/policies"

    answer = client(house.steward).post(
        path, walk.policy_text().encode(), content_type=content_type
    )
    too_long = client(house.steward).post(path, b"#" * 300_000, content_type=content_type)
    no_text = client(house.steward).post(path, b"\xff", content_type=content_type)

    assert answer.status_code == 201
    assert too_long.status_code == 413
    assert no_text.json()["code"] == "body_malformed"
    numbers = [row["number"] for row in client(house.steward).get(path).json()["results"]]
    assert numbers == [1]


def test_starting_policies_are_for_the_provider(house: House) -> None:
    version = walk.profiled(house, walk.registered(house))
    path = f"{API}/versions/{version.pk}/starting-policies"

    texts = client(house.steward).get(path).json()

    assert all(
        text.startswith("version: 1") or "version" in text for text in texts.values()
    )
    assert client(house.reviewer).get(path).json()["code"] == "may_not_manage_datasets"


# --- versions and offers --------------------------------------------------------------


def test_versions_say_what_came_in_to_the_provider_only(house: House) -> None:
    offer = walk.offered(house)
    path = f"{API}/datasets/{offer.dataset_id}/versions"

    mine = client(house.steward).get(path).json()["results"]
    theirs = client(house.builder).get(path).json()["results"]

    assert mine[0]["upload"]["filename"] == "runs.csv"
    assert theirs[0]["upload"] is None
    assert theirs[0]["rows"] == 200
    assert (
        client(house.builder).get(f"{API}/offers/{offer.pk}").json()["licence"]
        == "CC-BY-4.0"
    )


def test_publishing_upon_an_old_reading_is_refused(house: House) -> None:
    version, _ = walk.ready(house)
    path, asking = f"{API}/versions/{version.pk}", client(house.steward)
    etag = asking.get(path)["ETag"]
    first = post(asking, f"{path}/publish", {"licence": "CC0-1.0"}, **{"If-Match": etag})
    second = post(asking, f"{path}/withdraw", {"note": "x"}, **{"If-Match": etag})
    third = post(
        asking, f"{path}/withdraw", {"note": "x"}, **{"If-Match": asking.get(path)["ETag"]}
    )

    assert first.status_code == 201
    assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")
    assert third.json()["state"] == "withdrawn"


def test_publishing_without_a_policy_says_so(house: House) -> None:
    version = walk.profiled(house, walk.registered(house))
    path = f"{API}/versions/{version.pk}/publish"

    answer = post(client(house.steward), path, {"licence": "CC0-1.0"})

    assert answer.json()["code"] == "policy_unknown"


# --- requests and grants --------------------------------------------------------------


def test_request_is_decided_by_named_reviewers(house: House) -> None:
    offer = walk.offered(house, aggregate=2)
    body = {
        "offer": str(offer.pk),
        "purpose": "predictive-maintenance",
        "legal_basis": "not-personal",
        "justification": "To plan.",
        "accept_licence": "CC-BY-4.0",
    }
    asked = post(client(house.builder), f"{API}/requests", body)
    path = asked["Location"]
    assert asked.json()["state"] == "REQUESTED"
    inbox = client(house.reviewer).get(f"{API}/requests?to_decide=true").json()["results"]
    assert [row["id"] for row in inbox] == [asked.json()["id"]]

    own = post(client(house.builder), f"{path}/decide", {"approve": True})
    first = post(client(house.reviewer), f"{path}/decide", {"approve": True, "note": "ok"})
    second = post(client(house.second_reviewer), f"{path}/decide", {"approve": True})

    assert own.status_code == 403
    assert (first.json()["state"], first.json()["approvals"]) == ("REQUESTED", 1)
    assert second.json()["state"] == "FINALIZED"
    assert [d["note"] for d in second.json()["decisions"]] == ["ok", ""]
    grant = client(house.builder).get(f"{API}/grants/{second.json()['grant']}").json()
    assert (grant["state"], grant["runs_left_today"]) == ("active", 5)
    assert grant["rule"]["kind"] == "aggregate"


def test_request_names_a_dataset_or_an_offer(house: House) -> None:
    body = {"purpose": "p", "legal_basis": "not-personal"}

    neither = post(client(house.builder), f"{API}/requests", body)
    without = post(
        client(house.steward),
        f"{API}/requests",
        {**body, "dataset": str(walk.registered(house).pk)},
    )

    assert neither.json()["code"] == "fields_invalid"
    assert without.json()["code"] == "offer_closed"


def test_waiting_request_is_withdrawn(house: House) -> None:
    request = walk.asked(house, walk.offered(house, aggregate=1))

    answer = post(client(house.builder), f"{API}/requests/{request.pk}/withdraw")

    assert answer.json()["state"] == "TERMINATED"


def test_grants_are_filtered_by_state_and_side(house: House) -> None:
    grant = walk.granted(house)
    asking, provider = client(house.builder), client(house.reviewer)

    def count(client_: Client, query: str) -> int:
        return len(client_.get(f"{API}/grants?{query}").json()["results"])

    assert count(asking, "state=active&held=true") == 1
    assert count(provider, "state=active") == 1
    assert count(provider, "held=true") == 0
    assert count(asking, f"dataset={grant.offer.dataset_id}&kind=aggregate") == 1
    assert count(asking, "kind=subset") == 0
    assert count(asking, "state=expired") == 0
    assert asking.get(f"{API}/grants?state=asleep").json()["code"] == "fields_invalid"

    revoked = post(provider, f"{API}/grants/{grant.pk}/revoke", {"note": "misuse"})

    assert revoked.json().get("state") == "revoked", revoked.content
    assert count(asking, "state=active") == 0
    assert count(asking, "state=revoked") == 1


# --- queries and releases -------------------------------------------------------------


def test_failed_query_says_why_and_is_retried(house: House, daemon: Any) -> None:
    from sandbox.errors import WorkerLost

    grant = walk.granted(house)
    daemon.errors.append(WorkerLost("the worker died", hint="Try again."))
    query = walk.answered(house, grant)
    path = f"{API}/queries/{query.pk}"
    failed = client(house.builder).get(path).json()
    retried = post(client(house.builder), f"{path}/retry")
    walk.perform_all()

    assert failed["state"] == "failed", failed
    assert failed["error"]["code"] == "worker_lost"
    assert retried.status_code == 202
    assert Query.objects.get().state == "held"


def test_query_under_way_is_cancelled_and_kept(house: House) -> None:
    query = submit(grant=walk.granted(house), sql=walk.COUNT_BY_TYPE, by=house.builder)
    path = f"{API}/queries/{query.pk}"

    cancelled = post(client(house.builder), f"{path}/cancel")
    walk.perform_all()
    again = post(client(house.builder), f"{path}/cancel")

    assert cancelled.json()["error"]["code"] == "cancelled"
    assert client(house.builder).get(path).json()["state"] == "failed"
    assert (again.status_code, again.json()["code"]) == (409, "illegal_move")


def test_release_is_shredded_before_its_time(house: House, release: Release) -> None:
    path = f"{API}/releases/{release.pk}"

    others = post(client(house.steward), f"{path}/shred")
    mine = post(client(house.builder), f"{path}/shred")

    assert others.json()["code"] == "may_not_submit_queries"
    assert mine.json()["state"] == "shredded"
    assert client(house.builder).get(f"{path}/content").status_code == 404


def test_query_in_review_waits_for_another_organisation(house: House) -> None:
    offer = walk.offered(house, aggregate=1)
    request = walk.asked(house, offer)
    post(client(house.reviewer), f"{API}/requests/{request.pk}/decide", {"approve": True})
    request.refresh_from_db()
    query = walk.answered(house, request.grant)
    path = f"{API}/queries/{query.pk}"

    inbox = client(house.reviewer).get(f"{API}/queries?to_review=true").json()["results"]
    own = post(client(house.builder), f"{path}/review", {"approve": True})
    reviewed = post(
        client(house.reviewer), f"{path}/review", {"approve": True, "note": "fine"}
    )

    assert [row["id"] for row in inbox] == [str(query.pk)]
    assert own.status_code == 403
    assert reviewed.json()["state"] == "approved"
    assert reviewed.json()["reviews"][0]["note"] == "fine"


def test_content_is_held_until_a_checkpoint_covers_it(house: House) -> None:
    query = walk.answered(house, walk.granted(house))
    release = Release.objects.get(query=query)
    asking = client(house.builder)

    held = asking.get(f"{API}/releases/{release.pk}/content")
    receipt = asking.get(f"{API}/releases/{release.pk}/receipt")
    seal_all()

    assert (held.status_code, held.json()["code"]) == (409, "release_held")
    assert receipt.json()["code"] == "receipt_pending"
    assert asking.get(f"{API}/releases/{release.pk}/content").status_code == 200


def downloads() -> int:
    return AuditEvent.objects.filter(type="release:downloaded").count()


def test_content_by_head_range_and_condition(house: House, release: Release) -> None:
    asking, path = client(house.builder), f"{API}/releases/{release.pk}/content"

    head = asking.head(path)
    known = asking.get(path, headers={"If-None-Match": head["ETag"]})
    outside = asking.get(path, headers={"Range": "bytes=99999-"})
    assert downloads() == 0
    part = asking.get(path, headers={"Range": "bytes=0-9"})
    whole = asking.get(path, headers={"Accept": "application/vnd.apache.parquet"})

    content = b"".join(whole.streaming_content)  # type: ignore[attr-defined]
    assert head["Content-Length"] == str(len(content)) == whole["Content-Length"]
    assert (known.status_code, outside.status_code) == (304, 416)
    assert outside["Content-Range"] == f"bytes */{len(content)}"
    assert b"".join(part.streaming_content) == content[:10]  # type: ignore[attr-defined]
    assert (part.status_code, whole.status_code) == (206, 200)
    assert downloads() == 2


def test_content_with_the_token_as_basic_password(house: House, release: Release) -> None:
    token = bearer(house.builder)["Authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"anybody:{token}".encode()).decode()

    answer = Client(headers={"Authorization": f"Basic {basic}"}).get(
        f"{API}/releases/{release.pk}/content"
    )

    assert answer.status_code == 200


def test_content_is_for_the_consumer_and_needs_the_scope(
    house: House, release: Release
) -> None:
    path = f"{API}/releases/{release.pk}/content"

    provider = client(house.steward).get(path)
    short = client(house.builder, "catalogue:read").get(path)

    assert provider.json()["code"] == "may_not_submit_queries"
    assert (short.status_code, short.json()["code"]) == (403, "token_scope")
    assert downloads() == 0


def test_release_report_is_for_the_provider(house: House, release: Release) -> None:
    path = f"{API}/releases/{release.pk}"

    assert client(house.steward).get(path).json()["report"] == [["threshold", 1]]
    assert client(house.builder).get(path).json()["report"] is None


def test_shredded_content_is_gone_and_its_record_stays(
    house: House, release: Release
) -> None:
    from exchange.queries.releases import shred_release

    shred_release(release=release, by=house.builder)
    asking, path = client(house.builder), f"{API}/releases/{release.pk}"

    assert asking.get(f"{path}/content").json()["code"] == "release_shredded"
    assert asking.get(path).json()["state"] == "shredded"
    assert asking.get(f"{path}/receipt").status_code == 200


def test_operation_of_others_is_not_there(house: House, release: Release) -> None:
    location = (
        client(house.builder).get(f"{API}/queries/{release.query_id}").json()["operation"]
    )
    stranger = client(member(OrganisationFactory()))

    assert client(house.builder).get(location).json()["state"] == "done"
    assert stranger.get(location).json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["queries", "policies"])
def test_body_nested_too_deeply_is_malformed(house: House, path: str) -> None:
    if path == "policies":
        path = f"datasets/{walk.registered(house).pk}/policies"
    asking = client(house.steward)
    asking.raise_request_exception = False

    answer = asking.post(f"{API}/{path}", "[" * 100_000, content_type="application/json")

    assert (answer.status_code, answer.json()["code"]) == (400, "body_malformed")


# --- tokens ---------------------------------------------------------------------------


def test_token_is_made_used_and_revoked(house: House) -> None:
    asking = client(house.builder)
    made = post(asking, f"{API}/tokens", {"name": "ci", "scopes": ["catalogue:read"]})
    secret = made.json()["token"]
    mine = Client(headers={"Authorization": f"Bearer {secret}"})

    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    assert mine.get(f"{API}/me").json()["token"]["name"] == "ci"
    further = post(mine, f"{API}/tokens", {"name": "x", "scopes": ["queries:write"]})
    assert further.json()["code"] == "token_scope"
    assert "token" not in asking.get(made["Location"]).json()
    assert asking.delete(made["Location"]).status_code == 204
    refused = mine.get(f"{API}/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")
    assert secret not in json.dumps(asking.get(f"{API}/tokens").json())


def test_token_made_by_a_token_ends_with_it_at_the_latest(house: House) -> None:
    asking = client(house.builder)
    end = timezone.now() + timedelta(hours=5)
    ApiToken.objects.update(expires_at=end)

    fields = {"name": "ci", "scopes": ["catalogue:read"], "expires_in_days": 365}
    post(asking, f"{API}/tokens", fields)

    assert ApiToken.objects.get(name="ci").expires_at == end


def test_expired_token_says_so(house: House) -> None:
    asking = client(house.builder)
    then = timezone.now() - timedelta(days=2)
    ApiToken.objects.update(created_at=then, expires_at=then + timedelta(days=1))

    answer = asking.get(f"{API}/me")

    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


def test_token_of_another_is_not_there(house: House) -> None:
    made = post(
        client(house.builder), f"{API}/tokens", {"name": "ci", "scopes": ["catalogue:read"]}
    )

    assert client(house.steward).get(made["Location"]).status_code == 404
    assert client(house.steward).delete(made["Location"]).status_code == 404


def test_me_tells_roles_and_what_they_allow(house: House) -> None:
    me = client(house.builder).get(f"{API}/me").json()

    assert me["organisations"][0]["slug"] == "maker"
    assert me["organisations"][0]["roles"] == ["builder"]
    assert "submit_queries" in me["organisations"][0]["may"]
    assert not me["sees_all_evidence"]


def test_browser_session_reads_and_needs_the_csrf_token_to_write(house: House) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(house.builder, "django.contrib.auth.backends.ModelBackend")

    assert browser.get(f"{API}/me").json()["token"] is None
    refused = post(browser, f"{API}/tokens", {"name": "x", "scopes": ["catalogue:read"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


# --- evidence -------------------------------------------------------------------------


def test_regulator_sees_every_event_and_filters_them(
    house: House, release: Release, regulator: User
) -> None:
    asking = client(regulator)

    def types(query: str) -> set[str]:
        rows = asking.get(f"{API}/audit/events?page_size=200{query}").json()["results"]
        return {row["type"] for row in rows}

    case = str(release.query.grant.case_id)
    assert "token:issued" in types("")
    assert types("&type=release:held") == {"release:held"}
    assert "grant:issued" in types(f"&case={case}")
    assert "token:issued" not in types(f"&case={case}")
    assert types(f"&actor={house.builder.public_id}&type=query:submitted") == {
        "query:submitted"
    }
    assert types("&since=2999-01-01T00:00:00Z") == set()
    assert types("&until=2999-01-01T00:00:00Z") == types("")
    assert types(f"&subject={release.pk}&organisation=mill") == {
        "release:held",
        "release:available",
    }
    unknown = asking.get(f"{API}/audit/events?type=release:eaten").json()
    assert (unknown["code"], unknown["errors"][0]["field"]) == ("fields_invalid", "type")


def test_filters_of_events_all_have_a_field() -> None:
    assert set(EventFilter().fields) == set(EventFilter.FIELDS)


def test_members_see_their_own_cases_only(house: House, release: Release) -> None:
    stranger = member(OrganisationFactory())

    def subjects(user: User) -> set[str]:
        rows = client(user).get(f"{API}/audit/events?page_size=200").json()["results"]
        return {row["subject_id"] for row in rows}

    assert str(release.pk) in subjects(house.builder)
    assert str(release.pk) in subjects(house.steward)
    assert str(release.pk) not in subjects(stranger)
    event = AuditEvent.objects.get(type="release:held")
    path = f"{API}/audit/events/{event.event_id}"
    assert client(house.builder).get(path).json()["index"] == event.index
    assert client(stranger).get(path).json()["code"] == "not_found"


def test_receipt_and_export_verify_with_the_open_key(
    house: House, release: Release, regulator: User
) -> None:
    event = AuditEvent.objects.get(type="release:held")
    asking = client(regulator)
    key_text = Client().get(f"{API}/log/key").content.decode().strip()
    note = Client().get(f"{API}/log/checkpoint").content.decode()

    receipt = load_receipt(
        asking.get(f"{API}/audit/events/{event.event_id}/receipt").content
    )
    export = b"".join(asking.get(f"{API}/audit/export").streaming_content)  # type: ignore[attr-defined]

    assert key_text == str(verifier_key())
    checkpoint = verify_checkpoint(note, verifier_key())
    assert verify_receipt(receipt, verifier_key()).index == event.index
    lines = export.splitlines(keepends=True)
    assert verify_log_export(iter(lines), verifier_key()).checkpoint == checkpoint


def test_export_is_for_a_regulator(house: House, release: Release, regulator: User) -> None:
    answer = client(house.steward).get(f"{API}/audit/export")
    wrong = client(regulator).get(f"{API}/audit/export?size=9999")
    nonsense = client(regulator).get(f"{API}/audit/export?size=many")

    assert answer.json()["code"] == "may_not_view_evidence_of_all"
    assert wrong.json()["code"] == "checkpoint_unknown"
    assert nonsense.json()["code"] == "fields_invalid"


def test_event_that_is_not_sealed_has_no_receipt_yet(house: House, regulator: User) -> None:
    event = AuditEvent.objects.order_by("-seq").first()
    assert event is not None

    answer = client(regulator).get(f"{API}/audit/events/{event.event_id}/receipt")
    nothing = Client().get(f"{API}/log/checkpoint")

    assert answer.json()["code"] == "receipt_pending"
    assert nothing.json()["code"] == "log_empty"


# --- scopes ---------------------------------------------------------------------------


def test_every_action_names_its_scope_and_one_that_does_not_is_for_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = {
        (route.callback.cls, action)
        for route in urlpatterns
        for action in getattr(route.callback, "actions", {}).values()
    }
    guarded = [
        (cls, action) for cls, action in actions if ReachesThisFar in cls.permission_classes
    ]
    assert all(action in cls.scopes for cls, action in guarded)
    assert len(guarded) >= 35

    monkeypatch.setattr(Datasets, "scopes", {})
    answer = client(house.steward).get(f"{API}/datasets")

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("scope", list(Scope))
def test_token_reaches_what_its_scope_says_and_no_further(
    house: House, scope: Scope
) -> None:
    asking = client(house.builder, scope)
    reads = ("datasets", "requests", "grants", "queries", "releases")

    statuses = {asking.get(f"{API}/{name}").status_code for name in reads}
    evidence = asking.get(f"{API}/audit/events").status_code
    writes = {
        Scope.DATASETS_WRITE: post(asking, f"{API}/datasets"),
        Scope.REQUESTS_WRITE: post(asking, f"{API}/requests"),
        Scope.QUERIES_WRITE: post(asking, f"{API}/queries"),
    }

    assert statuses == {200 if scope is Scope.CATALOGUE_READ else 403}
    assert evidence == (200 if scope is Scope.EVIDENCE_READ else 403)
    for needed, answer in writes.items():
        assert answer.status_code == (400 if scope is needed else 403)


# --- cost and description -------------------------------------------------------------


def queries_of(asking: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert asking.get(path).status_code == 200
    return len(captured)


def test_lists_cost_the_same_however_long_they_are(house: House) -> None:
    grant = walk.granted(house)
    walk.answered(house, grant)
    seal_all()
    asking = client(house.builder)
    paths = [
        f"{API}/{name}"
        for name in ("datasets", "requests", "grants", "queries", "releases")
    ]
    paths += [f"{API}/audit/events", f"{API}/datasets/{grant.offer.dataset_id}/versions"]
    for path in paths:
        asking.get(path)
    before = {path: queries_of(asking, path) for path in paths}

    walk.answered(house, grant, sql="SELECT failure, count(*) FROM runs GROUP BY failure")
    walk.asked(house, grant.offer, kind="subset")
    dataset = walk.registered(house, title="More", table_name="more")
    walk.profiled(house, dataset, walk.RUNS + "999,L,1,0\n")
    walk.profiled(house, grant.offer.dataset, walk.RUNS + "998,L,1,0\n")

    assert {path: queries_of(asking, path) for path in paths} == before
    assert max(before.values()) <= 20


def test_entrance_leads_to_addresses_that_answer(house: House) -> None:
    links = Client().get(f"{API}/").json()["links"]
    seal_all()

    for path in links.values():
        assert client(house.builder).get(path).status_code == 200, path


def test_openapi_document_describes_every_address() -> None:
    from drf_spectacular.validation import validate_schema

    document = Client().get(f"{API}/schema", headers={"Accept": "application/json"}).json()

    validate_schema(document)  # type: ignore[no-untyped-call]
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) >= 40
    for path, methods in document["paths"].items():
        for method, act in methods.items():
            assert act.get("description"), (method, path)
            assert "default" in act["responses"]


def test_regulator_sees_a_release_and_downloads_none(
    release: Release, regulator: User
) -> None:
    outsider = member(OrganisationFactory(kind=Kind.CONSUMER), Role.BUILDER)
    path = f"{API}/releases/{release.pk}/content"

    seen, unseen = client(regulator).get(path), client(outsider).get(path)

    assert (seen.status_code, seen.json()["code"]) == (403, "may_not_submit_queries")
    assert unseen.status_code == 404


def test_regulator_sees_a_grant_and_asks_nothing_under_it(
    release: Release, regulator: User
) -> None:
    outsider = member(OrganisationFactory(kind=Kind.CONSUMER), Role.BUILDER)
    asked = {"grant": str(release.query.grant_id), "sql": "SELECT count(*) FROM runs"}

    seen = post(client(regulator), f"{API}/queries", asked)
    unseen = post(client(outsider), f"{API}/queries", asked)

    assert (seen.status_code, seen.json()["code"]) == (403, "may_not_submit_queries")
    assert unseen.status_code == 404
