"""The way to a published dataset, step by step, and its ways to fail."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from exchange.catalogue.models import Dataset, DatasetVersion, Offer, PolicyVersion
from exchange.catalogue.states import VersionState
from exchange.operations.models import Operation
from tests.factories import walk
from tests.factories.walk import House
from tests.unit.exchange.web.conftest import SignedIn

START = "/publish/"


@pytest.fixture
def client(house: House, as_user: SignedIn) -> Any:
    return as_user(house.steward)


def _form(house: House, text: str = walk.RUNS, name: str = "runs.csv") -> dict[str, Any]:
    return {
        "organisation": house.provider.pk,
        "title": "Milling runs",
        "keywords": "milling, failure , milling",
        "table_name": "runs",
        "file": SimpleUploadedFile(name, text.encode()),
    }


def _profiled(house: House) -> DatasetVersion:
    return walk.profiled(house, walk.registered(house))


def test_start_takes_the_file_in_and_leads_to_its_columns(
    client: Any, house: House
) -> None:
    response = client.post(START, _form(house))

    version = DatasetVersion.objects.get()
    assert response.url == reverse("publishing:columns", args=[version.pk])
    assert version.dataset.keywords == ["failure", "milling"]
    assert version.content_bytes == len(walk.RUNS)


def test_start_by_script_answers_where_to_go(client: Any, house: House) -> None:
    response = client.post(
        START, _form(house), headers={"X-Requested-With": "XMLHttpRequest"}
    )

    assert response.status_code == 201
    assert "/columns/" in response.headers["Location"]


def test_start_without_title_or_file_names_both(client: Any, house: House) -> None:
    response = client.post(START, {"organisation": house.provider.pk})

    page = response.content.decode()
    assert response.status_code == 422
    assert "Give the dataset a title" in page
    assert "Choose a CSV or Parquet file" in page
    assert not Dataset.objects.exists()


def test_start_needs_the_csrf_token(house: House) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(house.steward, backend="django.contrib.auth.backends.ModelBackend")

    response = client.post(START, _form(house))

    assert response.status_code == 403
    assert "csrf_failed" in response.content.decode()
    assert not Dataset.objects.exists()


def test_start_is_not_for_builders(house: House, as_user: SignedIn) -> None:
    response = as_user(house.builder).get(START)

    assert response.status_code == 403
    assert "data steward" in response.content.decode()


def test_start_with_a_file_of_unknown_kind_keeps_the_dataset_and_asks_again(
    client: Any, house: House
) -> None:
    response = client.post(START, _form(house, name="runs.xlsx"))

    dataset = Dataset.objects.get()
    page = response.content.decode()
    assert response.status_code == 422
    assert "upload_format_unknown" in page
    assert f'action="{reverse("publishing:upload", args=[dataset.pk])}"' in page


def test_upload_over_the_limit_says_so(client: Any, house: House, settings: Any) -> None:
    dataset = walk.registered(house)
    settings.BONDED_UPLOAD_BYTES = 100

    response = client.post(
        reverse("publishing:upload", args=[dataset.pk]),
        {"file": SimpleUploadedFile("runs.csv", walk.RUNS.encode())},
    )

    assert response.status_code == 422
    assert "upload_too_large" in response.content.decode()
    assert not DatasetVersion.objects.exists()


def test_upload_twice_names_the_earlier_version(client: Any, house: House) -> None:
    version = _profiled(house)

    response = client.post(
        reverse("publishing:upload", args=[version.dataset_id]),
        {"file": SimpleUploadedFile("again.csv", walk.RUNS.encode())},
    )

    assert response.status_code == 422
    assert "duplicate_upload" in response.content.decode()


def test_columns_waits_while_the_file_is_read(client: Any, house: House) -> None:
    version = walk.uploaded(house, walk.registered(house))
    page = client.get(reverse("publishing:columns", args=[version.pk])).content.decode()
    fragment = client.get(reverse("publishing:progress", args=[version.pk]))

    assert "hx-get" in page
    assert fragment.status_code == 200
    assert "HX-Refresh" not in fragment.headers

    walk.perform_all()

    done = client.get(reverse("publishing:progress", args=[version.pk]))
    assert done.headers["HX-Refresh"] == "true"


def test_progress_tells_how_much_of_the_file_was_read(client: Any, house: House) -> None:
    version = walk.uploaded(house, walk.registered(house))
    Operation.objects.filter(target_id=str(version.pk)).update(progress="37 %")

    fragment = client.get(reverse("publishing:progress", args=[version.pk]))

    assert ">37 %<" in fragment.content.decode()


def test_columns_of_a_bad_file_says_line_column_and_the_way_on(
    client: Any, house: House
) -> None:
    version = walk.profiled(house, walk.registered(house), "id,type\n1,L\n2,BAD\n")

    page = client.get(reverse("publishing:columns", args=[version.pk])).content.decode()

    assert "Line 3, column “type”" in page
    assert "upload_bad_row" in page
    assert reverse("publishing:upload", args=[version.dataset_id]) in page
    assert reverse("publishing:retry", args=[version.pk]) in page


def test_retry_reads_the_same_bytes_again(client: Any, house: House) -> None:
    version = walk.profiled(house, walk.registered(house), "id,type\n1,L\n2,BAD\n")

    client.post(reverse("publishing:retry", args=[version.pk]))

    version.refresh_from_db()
    assert version.state == VersionState.PROFILING


def _roles(version: DatasetVersion, **changes: str) -> dict[str, str]:
    found = {}
    for column in version.columns.all():
        default = "dimension" if column.name == "type" else "measure"
        found[f"role_{column.position}"] = changes.get(column.name, default)
        found[f"grid_{column.position}"] = "5"
    return found


def test_columns_chosen_roles_reach_the_templates(client: Any, house: House) -> None:
    version = _profiled(house)

    response = client.post(
        reverse("publishing:columns", args=[version.pk]),
        _roles(version, id="unit_key", failure="label"),
    )
    page = client.get(response.url).content.decode()

    assert response.url == reverse("publishing:policy", args=[version.pk])
    assert "unit_key" in page
    assert "it may be counted and joined" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"type": "measure"}, "type holds no numbers to aggregate"), ({"id": "king"}, "king")],
)
def test_columns_refuses_a_role_that_cannot_be(
    client: Any, house: House, changes: dict[str, str], message: str
) -> None:
    version = _profiled(house)

    response = client.post(
        reverse("publishing:columns", args=[version.pk]), _roles(version, **changes)
    )

    assert response.status_code == 422
    assert message in response.content.decode()


def test_columns_refuses_a_step_that_is_no_number(client: Any, house: House) -> None:
    version = _profiled(house)
    fields = {name: "-3" if "grid" in name else v for name, v in _roles(version).items()}

    response = client.post(reverse("publishing:columns", args=[version.pk]), fields)

    assert "write the step as a number above 0" in response.content.decode()


def test_policy_is_set_and_the_rows_are_being_encrypted(client: Any, house: House) -> None:
    version = _profiled(house)

    response = client.post(
        reverse("publishing:policy", args=[version.pk]), {"text": walk.policy_text()}
    )

    version.refresh_from_db()
    assert response.url == reverse("publishing:licence", args=[version.pk])
    assert version.state == VersionState.PARTITIONING
    assert PolicyVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("old", "new", "line", "code"),
    [
        ("role: label", "role: king", 9, "policy_unknown_term"),
        ("rules:", "      speed: {role: measure}\nrules:", 10, "policy_column_absent"),
        ("version: 1", "version: 1\n\tx", 2, "policy_syntax"),
    ],
)
def test_policy_with_a_fault_names_its_line(
    client: Any, house: House, old: str, new: str, line: int, code: str
) -> None:
    version = _profiled(house)
    text = walk.policy_text().replace(old, new)

    response = client.post(reverse("publishing:policy", args=[version.pk]), {"text": text})

    page = response.content.decode()
    assert response.status_code == 422
    assert code in page
    assert f'data-line="{line}"' in page
    assert f'data-fault-line="{line}"' in page
    assert not PolicyVersion.objects.exists()
    assert "role: measure" in page  # what was typed is still there


def test_policy_words_say_what_the_text_means_and_keep_nothing(
    client: Any, house: House
) -> None:
    version = _profiled(house)
    url = reverse("publishing:words", args=[version.pk])

    sound = client.post(url, {"text": walk.policy_text()}).content.decode()
    faulty = client.post(url, {"text": "version: 2"}).content.decode()

    assert "Aggregates may leave for predictive maintenance." in sound
    assert "policy_unknown_term" in faulty
    assert not PolicyVersion.objects.exists()


def _to_review(client: Any, version: DatasetVersion, **licence: str) -> Any:
    client.post(
        reverse("publishing:policy", args=[version.pk]), {"text": walk.policy_text()}
    )
    walk.perform_all()
    return client.post(
        reverse("publishing:licence", args=[version.pk]),
        {"licence": "CC-BY-4.0", "attribution": "Mill", **licence},
    )


def test_review_shows_everything_and_publishes(client: Any, house: House) -> None:
    version = _profiled(house)
    response = _to_review(client, version, terms="No resale.")
    page = client.get(response.url).content.decode()

    published = client.post(response.url)

    offer = Offer.objects.get()
    for shown in ("CC-BY-4.0", "No resale.", "Aggregates may leave", "200"):
        assert shown in page
    assert published.url == reverse("catalogue:detail", args=[version.dataset_id])
    assert (offer.licence, offer.terms, offer.attribution) == (
        "CC-BY-4.0",
        "No resale.",
        "Mill",
    )
    assert "Milling runs" in client.get(reverse("catalogue:list")).content.decode()


def test_licence_other_needs_its_identifier(client: Any, house: House) -> None:
    response = _to_review(client, _profiled(house), licence="other")

    assert response.status_code == 422
    assert "Write the identifier of the licence" in response.content.decode()


def test_review_of_an_unknown_licence_says_so(client: Any, house: House) -> None:
    response = _to_review(
        client, _profiled(house), licence="other", other="no such licence!"
    )

    published = client.post(response.url)

    assert published.status_code == 422
    assert "licence_unknown" in published.content.decode()
    assert not Offer.objects.exists()


def test_review_before_the_rows_are_encrypted_waits(client: Any, house: House) -> None:
    version = _profiled(house)
    client.post(
        reverse("publishing:policy", args=[version.pk]), {"text": walk.policy_text()}
    )
    client.post(reverse("publishing:licence", args=[version.pk]), {"licence": "CC-BY-4.0"})

    page = client.get(reverse("publishing:review", args=[version.pk])).content.decode()
    response = client.post(reverse("publishing:review", args=[version.pk]))

    assert "disabled" in page
    assert response.status_code == 422
    assert not Offer.objects.exists()


def test_steps_of_another_organisation_look_absent(house: House, as_user: SignedIn) -> None:
    version = _profiled(house)
    client = as_user(house.builder)

    for step in ("columns", "policy", "licence", "review", "progress"):
        response = client.get(reverse(f"publishing:{step}", args=[version.pk]))
        assert response.status_code == 404, step


def test_withdraw_takes_the_offer_back(client: Any, house: House) -> None:
    offer = walk.offered(house)

    client.post(
        reverse("catalogue:withdraw", args=[offer.version_id]), {"note": "wrong plant"}
    )

    offer.refresh_from_db()
    assert not offer.is_open
    page = client.get(reverse("catalogue:detail", args=[offer.dataset_id])).content.decode()
    assert "Withdrawn" in page


def test_licence_of_a_new_policy_begins_with_the_terms_on_offer(
    client: Any, house: House
) -> None:
    offer = walk.offered(house)

    page = client.get(
        reverse("publishing:licence", args=[offer.version_id])
    ).content.decode()

    assert 'value="CC-BY-4.0" checked' in page


def test_dataset_page_tells_the_provider_of_grants_given(client: Any, house: House) -> None:
    grant = walk.granted(house)

    url = reverse("catalogue:detail", args=[grant.version.dataset_id])
    page = client.get(url).content.decode()

    assert "Grants on this dataset" in page
    assert "You hold a grant" not in page


def test_mine_lists_every_version_with_its_next_step(client: Any, house: House) -> None:
    _profiled(house)
    walk.registered(house, title="Empty so far", table_name="empty")

    page = client.get(reverse("catalogue:mine")).content.decode()

    assert "Draft" in page
    assert "Upload a file" in page


def test_mine_of_nothing_begins_at_publishing(client: Any) -> None:
    assert START in client.get(reverse("catalogue:mine")).content.decode()


def test_policy_page_of_a_dataset_without_one_leads_back(client: Any, house: House) -> None:
    dataset = walk.registered(house)

    response = client.get(reverse("catalogue:policy", args=[dataset.pk]))

    assert response.url == reverse("catalogue:detail", args=[dataset.pk])


def test_start_with_a_name_that_is_taken_says_so(client: Any, house: House) -> None:
    walk.registered(house)

    response = client.post(START, _form(house))

    assert response.status_code == 422
    assert "dataset_name_taken" in response.content.decode()


def test_review_without_terms_goes_back_for_them(client: Any, house: House) -> None:
    version = _profiled(house)
    review = reverse("publishing:review", args=[version.pk])

    assert client.get(review).url == reverse("publishing:policy", args=[version.pk])
