"""Asking, deciding, querying, receiving: the pages of one exchange."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.urls import reverse

from exchange.agreements.models import AccessRequest, Grant
from exchange.agreements.states import NegotiationState
from exchange.audit.models import AuditEvent
from exchange.audit.sequencer import seal_all
from exchange.parties.models import Kind, Role
from exchange.queries.models import Query
from exchange.queries.releases import open_covered
from exchange.queries.states import QueryState
from ledger.receipt import load_receipt
from sandbox.errors import EngineFailed, SandboxUnavailable
from tests.factories import walk
from tests.factories.parties import OrganisationFactory, member
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import House
from tests.unit.exchange.web.conftest import SignedIn


def _ask(house: House, **changes: Any) -> dict[str, Any]:
    return {
        "consumer": house.consumer.pk,
        "purpose": "predictive-maintenance",
        "legal_basis": "not-personal",
        "justification": "To plan the upkeep of mills.",
        "duration_days": "30",
        "accept": "on",
        **changes,
    }


def test_ask_is_granted_at_once_where_the_policy_says_so(
    house: House, as_user: SignedIn
) -> None:
    offer = walk.offered(house)
    url = reverse("agreements:ask", args=[offer.dataset_id, "aggregate"])

    response = as_user(house.builder).post(url, _ask(house))

    access = AccessRequest.objects.get()
    assert response.url == reverse("agreements:detail", args=[access.pk])
    assert access.state == NegotiationState.FINALIZED
    assert access.grant is not None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("purpose", "", "Choose a purpose"),
        ("legal_basis", "", "Choose the legal basis"),
        ("justification", " ", "Say why you need it"),
        ("duration_days", "soon", "Write a whole number of days"),
        ("accept", "", "Accept the licence, or leave the request"),
    ],
)
def test_ask_names_each_missing_answer(
    house: House, as_user: SignedIn, field: str, value: str, message: str
) -> None:
    offer = walk.offered(house)
    url = reverse("agreements:ask", args=[offer.dataset_id, "aggregate"])

    response = as_user(house.builder).post(url, _ask(house, **{field: value}))

    page = response.content.decode()
    assert response.status_code == 422
    assert page.count(message) == 2  # in the summary, and at the field
    assert f'href="#id_{field}"' in page


@pytest.mark.parametrize("who", ["steward", "reviewer"])
def test_ask_is_not_for_those_who_may_not(
    house: House, as_user: SignedIn, who: str
) -> None:
    offer = walk.offered(house)

    page = as_user(getattr(house, who)).get(
        reverse("agreements:ask", args=[offer.dataset_id, "aggregate"])
    )

    assert page.status_code == 409
    assert "nothing_to_request" in page.content.decode()


def test_ask_of_an_unknown_kind_leads_back(house: House, as_user: SignedIn) -> None:
    offer = walk.offered(house)

    page = as_user(house.builder).get(
        reverse("agreements:ask", args=[offer.dataset_id, "everything"])
    )

    assert page.status_code == 409


def _waiting(house: House) -> AccessRequest:
    return walk.asked(house, walk.offered(house, subset=2), kind="subset")


def test_inbox_holds_what_waits_for_a_reviewer(house: House, as_user: SignedIn) -> None:
    access = _waiting(house)

    page = as_user(house.reviewer).get(reverse("agreements:inbox")).content.decode()

    assert reverse("agreements:detail", args=[access.pk]) in page
    assert '<span class="side-count">1' in page


def test_decide_needs_both_reviewers_and_then_grants(
    house: House, as_user: SignedIn
) -> None:
    access = _waiting(house)
    url = reverse("agreements:detail", args=[access.pk])

    as_user(house.reviewer).post(url, {"decision": "approve", "note": "fine"})
    between = as_user(house.reviewer).get(url).content.decode()
    as_user(house.second_reviewer).post(url, {"decision": "approve"})

    access.refresh_from_db()
    assert "You have decided already" in between
    assert "1 approval is still missing" in between
    assert access.state == NegotiationState.FINALIZED


def test_decide_reject_needs_a_reason_and_shows_it_to_the_requester(
    house: House, as_user: SignedIn
) -> None:
    access = _waiting(house)
    url = reverse("agreements:detail", args=[access.pk])
    client = as_user(house.reviewer)

    without = client.post(url, {"decision": "reject"})
    client.post(url, {"decision": "reject", "note": "Columns too fine."})

    assert without.status_code == 422
    page = as_user(house.builder).get(url).content.decode()
    assert "Columns too fine." in page
    assert "The request ended without a grant" in page


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("builder", "Four eyes: you made this request"),
        ("colleague", "Four eyes: nobody of Maker may decide"),
        ("steward", "Reviewers of Mill decide this request."),
    ],
)
def test_decide_explains_why_somebody_may_not(
    house: House, as_user: SignedIn, who: str, why: str
) -> None:
    access = _waiting(house)
    user = (
        member(house.consumer, Role.REVIEWER) if who == "colleague" else getattr(house, who)
    )
    client = as_user(user)
    url = reverse("agreements:detail", args=[access.pk])

    page = client.get(url).content.decode()
    forced = client.post(url, {"decision": "approve"})

    assert why in page
    assert "Record my decision" not in page
    assert forced.status_code in {403, 422}
    assert not access.decisions.exists()


def test_withdraw_ends_an_own_request(house: House, as_user: SignedIn) -> None:
    access = _waiting(house)

    as_user(house.builder).post(reverse("agreements:withdraw", args=[access.pk]))

    access.refresh_from_db()
    assert access.state == NegotiationState.TERMINATED


def test_revoke_is_said_on_the_grant(house: House, as_user: SignedIn) -> None:
    grant = walk.granted(house)

    as_user(house.reviewer).post(
        reverse("agreements:revoke", args=[grant.pk]), {"note": "breach"}
    )

    page = as_user(house.builder).get(reverse("queries:write", args=[grant.pk])).content
    assert "Nothing runs under this grant now" in page.decode()


def _check(client: Any, grant: Grant, sql: str, **headers: str) -> str:
    url = reverse("queries:check", args=[grant.pk])
    return str(client.post(url, {"sql": sql}, headers=headers).content.decode())


def test_check_shows_every_reason_with_the_way_forward(
    house: House, as_user: SignedIn
) -> None:
    grant = walk.granted(house)
    client = as_user(house.builder)

    refused = _check(client, grant, "SELECT * FROM runs", **{"HX-Request": "true"})
    allowed = _check(client, grant, walk.COUNT_BY_TYPE, **{"HX-Request": "true"})

    assert refused.count("row_level_output") == 4
    assert refused.count("Way forward:") == 4
    assert "<html" not in refused
    assert "This query may run" in allowed
    assert not Query.objects.exists()


def test_check_works_without_scripts_too(house: House, as_user: SignedIn) -> None:
    grant = walk.granted(house)

    page = _check(as_user(house.builder), grant, "SELECT * FROM runs")

    assert "<html" in page
    assert "row_level_output" in page


def test_check_while_the_sandbox_is_away_says_what_to_do(
    house: House, as_user: SignedIn, daemon: FakeDaemon
) -> None:
    grant = walk.granted(house)
    daemon.errors = [SandboxUnavailable("no daemon answers", hint="Start the node.")]

    page = _check(as_user(house.builder), grant, walk.COUNT_BY_TYPE)

    assert "sandbox_unavailable" in page
    assert "Start the node." in page


def _submitted(house: House, as_user: SignedIn, sql: str, **policy: Any) -> Query:
    grant = walk.granted(house, **policy)
    response = as_user(house.builder).post(
        reverse("queries:write", args=[grant.pk]), {"sql": sql, "key": "k1"}
    )
    assert response.status_code == 302
    return Query.objects.get()


def test_run_follows_the_query_to_its_release(house: House, as_user: SignedIn) -> None:
    client = as_user(house.builder)
    query = _submitted(house, as_user, walk.COUNT_BY_TYPE)
    url = reverse("queries:detail", args=[query.pk])

    before = client.get(url).content.decode()
    walk.perform_all()
    seal_all()
    open_covered()
    done = client.get(reverse("queries:progress", args=[query.pk]))
    after = client.get(url).content.decode()

    assert "hx-get" in before
    assert done.headers["HX-Refresh"] == "true"
    assert "Show the result" in after


def test_run_twice_by_a_double_click_is_one_query(house: House, as_user: SignedIn) -> None:
    grant = walk.granted(house)
    client = as_user(house.builder)
    url = reverse("queries:write", args=[grant.pk])
    fields = {"sql": walk.COUNT_BY_TYPE, "key": "once"}

    assert client.post(url, fields).url == client.post(url, fields).url
    assert Query.objects.count() == 1


def test_run_without_sql_says_so(house: House, as_user: SignedIn) -> None:
    grant = walk.granted(house)

    response = as_user(house.builder).post(
        reverse("queries:write", args=[grant.pk]), {"sql": "  ", "key": "k"}
    )

    assert response.status_code == 422


def test_refused_query_shows_its_reasons(house: House, as_user: SignedIn) -> None:
    query = _submitted(house, as_user, "SELECT * FROM runs")
    walk.perform_all()

    page = as_user(house.builder).get(reverse("queries:detail", args=[query.pk])).content

    assert "Refused, for 4 reasons" in page.decode()


def test_failed_query_can_be_tried_again(
    house: House, as_user: SignedIn, daemon: FakeDaemon
) -> None:
    query = _submitted(house, as_user, walk.COUNT_BY_TYPE)
    daemon.errors = [EngineFailed("the engine failed", hint="Try again.")]
    walk.perform_all()
    client = as_user(house.builder)
    url = reverse("queries:detail", args=[query.pk])

    page = client.get(url).content.decode()
    listed = client.get(reverse("operations:list")).content.decode()
    client.post(reverse("queries:retry", args=[query.pk]))

    query.refresh_from_db()
    assert "engine_failed" in page
    assert "engine_failed" in listed
    assert query.state in {QueryState.ANALYSING, QueryState.APPROVED}


def test_operation_failed_is_restarted_from_its_page(
    house: House, as_user: SignedIn, daemon: FakeDaemon
) -> None:
    query = _submitted(house, as_user, walk.COUNT_BY_TYPE)
    daemon.errors = [EngineFailed("the engine failed")]
    walk.perform_all()
    client = as_user(house.builder)
    page = client.get(reverse("operations:list")).content.decode()
    place = page.partition('action="/operations/')[2].partition('"')[0]

    response = client.post(f"/operations/{place}")

    query.refresh_from_db()
    assert response.status_code == 302
    assert query.state in {QueryState.ANALYSING, QueryState.APPROVED}


def test_review_of_a_query_is_by_reviewers_of_the_provider(
    house: House, as_user: SignedIn
) -> None:
    query = _submitted_for_review(house)
    url = reverse("queries:detail", args=[query.pk])

    own = as_user(house.builder).get(url).content.decode()
    as_user(house.reviewer).post(url, {"decision": "approve", "note": "sound"})

    query.refresh_from_db()
    assert "Four eyes: you submitted this query" in own
    assert query.state == QueryState.APPROVED


def _submitted_for_review(house: House) -> Query:
    access = walk.asked(house, walk.offered(house, aggregate=1))
    if access.state == NegotiationState.REQUESTED:
        from exchange.agreements.services import decide_request

        access = decide_request(request=access, approve=True, by=house.reviewer)
    query = walk.answered(house, access.grant)
    assert query.state == QueryState.IN_REVIEW
    return query


@pytest.fixture
def released(house: House) -> Query:
    query = walk.answered(house, walk.granted(house))
    seal_all()
    open_covered()
    query.refresh_from_db()
    return query


def test_show_marks_withheld_cells_and_records_the_reading(
    released: Query, house: House, as_user: SignedIn
) -> None:
    page = as_user(house.builder).post(
        reverse("queries:show", args=[released.release.pk]), headers={"HX-Request": "true"}
    )

    text = page.content.decode()
    assert text.count('<td class="withheld') == 2
    assert '<td class="num">' in text
    assert "withheld in 1 row" in text
    assert AuditEvent.objects.filter(type="release:downloaded").count() == 1


def test_show_is_no_get(released: Query, house: House, as_user: SignedIn) -> None:
    url = reverse("queries:show", args=[released.release.pk])

    assert as_user(house.builder).get(url).status_code == 405


def test_download_is_the_bytes_that_the_record_names(
    released: Query, house: House, as_user: SignedIn
) -> None:
    response = as_user(house.builder).post(
        reverse("queries:download", args=[released.release.pk])
    )

    content = b"".join(response.streaming_content)
    assert json.loads(content)["suppressed"] == 1
    assert response.headers["Content-Length"] == str(len(content))
    assert "attachment" in response.headers["Content-Disposition"]


def test_receipt_of_a_release_names_its_digest(
    released: Query, house: House, as_user: SignedIn
) -> None:
    response = as_user(house.builder).get(
        reverse("queries:receipt", args=[released.release.pk])
    )

    receipt = load_receipt(response.content)
    assert receipt.content_sha256 == released.release.content_sha256


def test_receipt_before_a_checkpoint_says_to_wait(house: House, as_user: SignedIn) -> None:
    query = walk.answered(house, walk.granted(house))

    response = as_user(house.builder).get(
        reverse("queries:receipt", args=[query.release.pk]), follow=True
    )

    assert "no signed checkpoint covers the record yet" in response.content.decode()


def test_subset_takes_columns_and_an_accepted_licence(
    house: House, as_user: SignedIn
) -> None:
    grant = walk.granted(house, kind="subset")
    client = as_user(house.builder)
    url = reverse("queries:subset", args=[grant.pk])

    page = client.get(url).content.decode()
    without = client.post(url, {"columns": ["type"], "key": "a"})
    response = client.post(
        url, {"columns": ["type", "failure"], "accept": "on", "key": "b"}
    )
    walk.perform_all()
    seal_all()
    open_covered()
    package = client.get(response.url).content.decode()

    assert "failure (label)" in page
    assert without.status_code == 422
    assert "Accept the licence to receive rows under it" in without.content.decode()
    assert "read_parquet" in package
    assert Query.objects.get().columns == ["type", "failure"]


def test_editor_of_a_subset_grant_is_the_subset_page(
    house: House, as_user: SignedIn
) -> None:
    grant = walk.granted(house, kind="subset")

    response = as_user(house.builder).get(reverse("queries:write", args=[grant.pk]))

    assert response.url == reverse("queries:subset", args=[grant.pk])


def test_case_file_tells_the_whole_story(
    released: Query, house: House, regulator: Any, as_user: SignedIn
) -> None:
    page = (
        as_user(regulator)
        .get(reverse("audit:case", args=[released.grant.case_id]))
        .content.decode()
    )

    for sentence in (
        "asked for access, for predictive maintenance",
        "The policy granted the request",
        "The grant was issued",
        "submitted a query",
        "the policy allows it",
        "has run: 3 rows, something withheld in 1 row",
        "A signed checkpoint covers",
    ):
        assert sentence in page
    assert reverse("queries:receipt", args=[released.release.pk]) in page
    assert "bonded verify" in page


def test_audit_filters_narrow_the_list(
    released: Query, house: House, regulator: Any, as_user: SignedIn
) -> None:
    client = as_user(regulator)
    url = reverse("audit:list")

    queries = client.get(url, {"subject": "query"}).content.decode()
    nothing = client.get(url, {"q": "nobody of that name"}).content.decode()
    wrong = client.get(url, {"since": "yesterday"})

    assert "submitted a query" in queries
    assert "registered the dataset" not in queries
    assert "No record matches" in nothing
    assert "Write the date as year-month-day" in wrong.content.decode()


def test_audit_shows_a_party_its_own_cases_only(
    released: Query, house: House, as_user: SignedIn
) -> None:
    outsider = member(OrganisationFactory(slug="third"), Role.ADMIN)

    own = as_user(house.builder).get(reverse("audit:list")).content.decode()
    other = as_user(outsider).get(reverse("audit:list")).content.decode()

    assert "submitted a query" in own
    assert "submitted a query" not in other


def test_event_page_has_the_proof_and_the_receipt(
    released: Query, regulator: Any, as_user: SignedIn
) -> None:
    event = AuditEvent.objects.get(type="release:held")
    client = as_user(regulator)

    page = client.get(reverse("audit:event", args=[event.event_id])).content.decode()
    receipt = client.get(reverse("audit:event_receipt", args=[event.event_id]))

    assert "Leaf hash" in page
    assert load_receipt(receipt.content).index == event.index


def test_export_of_the_log_is_for_regulators(
    released: Query, house: House, regulator: Any, as_user: SignedIn
) -> None:
    url = reverse("audit:export")

    assert as_user(house.builder).get(url).status_code == 403
    exported = as_user(regulator).get(url)
    lines = b"".join(exported.streaming_content).splitlines()
    assert len(lines) == 1 + AuditEvent.objects.sealed().count()


def test_health_reports_each_layer(
    house: House, as_user: SignedIn, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {
        "layers": [
            {"name": "landlock", "required": True, "on": True, "reason": "ABI 4"},
            {"name": "cgroup", "required": False, "on": False, "reason": "not writable"},
        ],
        "workers": 2,
        "running": 0,
        "cached_bytes": 1,
        "cache_limit_bytes": 2_000_000,
        "engine": "DuckDB 2.0.0",
    }
    monkeypatch.setattr(daemon, "health", lambda: report, raising=False)
    operator = member(OrganisationFactory(kind=Kind.OPERATOR), Role.ADMIN)

    page = as_user(operator).get(reverse("operations:health")).content.decode()

    assert "Landlock: no file may be opened" in page
    assert "not writable" in page
    assert "2.0 MB" in page


def test_health_without_a_sandbox_says_what_is_down(
    house: House, as_user: SignedIn, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> dict[str, Any]:
        raise SandboxUnavailable("no sandbox daemon answers", hint="Start the node.")

    monkeypatch.setattr(daemon, "health", gone, raising=False)

    page = as_user(house.steward).get(reverse("operations:health")).content.decode()

    assert "Nothing can be read or run" in page
    assert "Start the node." in page


def test_review_is_refused_to_those_of_the_consumer_and_said_why(
    house: House, as_user: SignedIn
) -> None:
    query = _submitted_for_review(house)
    url = reverse("queries:detail", args=[query.pk])
    colleague = member(house.consumer, Role.REVIEWER)

    page = as_user(colleague).get(url).content.decode()
    forced = as_user(colleague).post(url, {"decision": "approve"})
    undecided = as_user(house.reviewer).post(url, {})
    steward = as_user(house.steward).get(url).content.decode()

    assert "nobody of Maker may review what it asked" in page
    assert forced.status_code in {403, 422}
    assert "Choose approve or reject" in undecided.content.decode()
    assert "Reviewers of Mill look at this query." in steward


def test_ask_twice_says_that_one_is_open(house: House, as_user: SignedIn) -> None:
    access = _waiting(house)
    url = reverse("agreements:ask", args=[access.offer.dataset_id, "subset"])

    response = as_user(house.builder).post(url, _ask(house, columns=["type"]))

    assert response.status_code == 422
    assert "request_already_open" in response.content.decode()


def test_ask_for_what_is_no_longer_on_offer_leads_on(
    house: House, as_user: SignedIn
) -> None:
    dataset = walk.registered(house)

    page = as_user(house.steward).get(
        reverse("agreements:ask", args=[dataset.pk, "aggregate"])
    )

    assert "offer_closed" in page.content.decode()


def test_query_under_a_revoked_grant_is_refused_in_place(
    house: House, as_user: SignedIn
) -> None:
    from exchange.agreements.services import revoke_grant

    grant = walk.granted(house, kind="subset")
    revoke_grant(grant=grant, note="over", by=house.reviewer)
    client = as_user(house.builder)

    subset = client.post(
        reverse("queries:subset", args=[grant.pk]), {"columns": ["type"], "accept": "on"}
    )

    assert subset.status_code == 422
    assert "grant_revoked" in subset.content.decode()


def test_change_and_run_again_begins_with_the_query(
    released: Query, house: House, as_user: SignedIn
) -> None:
    url = reverse("queries:write", args=[released.grant_id])

    page = as_user(house.builder).get(url, {"again": str(released.pk)}).content.decode()

    assert "count(*) FROM runs GROUP BY type" in page


def test_audit_filters_by_organisation_and_days(
    released: Query, house: House, regulator: Any, as_user: SignedIn
) -> None:
    client = as_user(regulator)
    url = reverse("audit:list")

    mill = client.get(url, {"organisation": "mill", "subject": "grant"}).content.decode()
    past = client.get(url, {"until": "2020-01-01"}).content.decode()
    since = client.get(url, {"since": "2020-01-01", "subject": "grant"}).content.decode()

    assert "The grant was issued" in mill
    assert "No record matches" in past
    assert "The grant was issued" in since


def test_event_of_others_looks_absent(released: Query, as_user: SignedIn) -> None:
    outsider = member(OrganisationFactory(slug="third"), Role.ADMIN)
    event = AuditEvent.objects.get(type="release:held")

    response = as_user(outsider).get(reverse("audit:event", args=[event.event_id]))

    assert response.status_code == 404


def test_event_receipt_before_a_checkpoint_says_to_wait(
    house: House, regulator: Any, as_user: SignedIn
) -> None:
    event = AuditEvent.objects.order_by("-seq").first()
    assert event is not None

    response = as_user(regulator).get(reverse("audit:event_receipt", args=[event.event_id]))

    assert response.status_code == 404
    assert "receipt_pending" in response.content.decode()


def test_operations_are_filtered_and_foreign_ones_absent(
    released: Query, house: House, as_user: SignedIn
) -> None:
    from exchange.operations.models import Operation

    operation = Operation.objects.first()
    assert operation is not None
    operator = member(OrganisationFactory(kind=Kind.OPERATOR), Role.ADMIN)
    outsider = member(OrganisationFactory(slug="third"), Role.ADMIN)
    restart = reverse("operations:restart", args=[operation.public_id])

    all_of_them = as_user(operator).get(reverse("operations:list")).content.decode()
    failed = as_user(operator).get(reverse("operations:list"), {"state": "failed"})

    assert "Read and profile an upload" in all_of_them
    assert "No operation is in this state" in failed.content.decode()
    assert as_user(outsider).post(restart).status_code == 404


def test_package_of_rows_is_not_shown_as_a_table(house: House, as_user: SignedIn) -> None:
    grant = walk.granted(house, kind="subset")
    query = walk.answered(house, grant, columns=["type"])
    seal_all()
    open_covered()

    response = as_user(house.builder).post(reverse("queries:show", args=[query.release.pk]))

    assert response.url == reverse("queries:detail", args=[query.pk])
    assert not AuditEvent.objects.filter(type="release:downloaded").exists()


def test_query_under_way_is_cancelled_from_its_page(
    house: House, as_user: SignedIn
) -> None:
    query = _submitted(house, as_user, walk.COUNT_BY_TYPE)
    client = as_user(house.builder)
    url = reverse("queries:detail", args=[query.pk])

    offered = client.get(url).content.decode()
    client.post(reverse("queries:cancel", args=[query.pk]))
    page = client.get(url).content.decode()

    assert "Cancel the query" in offered
    assert "The query was cancelled" in page
    assert "Cancel the query" not in page


def test_result_is_shredded_from_its_page(
    released: Query, house: House, as_user: SignedIn
) -> None:
    client = as_user(house.builder)

    response = client.post(
        reverse("queries:shred", args=[released.release.pk]), follow=True
    )

    page = response.content.decode()
    assert "The result is shredded" in page
    assert "Show the result" not in page
    assert (
        client.get(reverse("queries:receipt", args=[released.release.pk])).status_code
        == 200
    )


def test_result_is_not_shredded_by_the_provider(
    released: Query, house: House, as_user: SignedIn
) -> None:
    response = as_user(house.steward).post(
        reverse("queries:shred", args=[released.release.pk])
    )

    released.release.refresh_from_db()
    assert response.status_code == 403
    assert released.release.state == "available"
