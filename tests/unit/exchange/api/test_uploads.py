"""Uploads by every way that clients send them; the bytes are never spooled in clear."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.core.files import uploadhandler
from django.test import Client, RequestFactory
from django.test.client import BOUNDARY, encode_multipart

from exchange.api.errors import HttpProblem
from exchange.api.streams import incoming
from exchange.catalogue.models import Dataset, DatasetVersion
from tests.factories import walk
from tests.factories.parties import bearer
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import House

# Not the constant of Django's test client: that one makes it encode the body itself.
FORM = f"multipart/form-data; boundary={BOUNDARY}"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def steward(house: House) -> Client:
    return Client(headers=bearer(house.steward))


@pytest.fixture
def uploads(house: House) -> str:
    return f"/api/v1/datasets/{walk.registered(house).pk}/uploads"


def form(name: str, content: bytes, **fields: str) -> Any:
    from django.core.files.uploadedfile import SimpleUploadedFile

    return encode_multipart(BOUNDARY, {**fields, "file": SimpleUploadedFile(name, content)})


def test_raw_body_becomes_a_version(steward: Client, uploads: str) -> None:
    answer = steward.post(uploads, walk.RUNS.encode(), content_type="text/csv")

    assert answer.status_code == 202
    version = DatasetVersion.objects.get()
    assert answer.json()["id"] == str(version.pk)
    assert version.content_sha256 == hashlib.sha256(walk.RUNS.encode()).hexdigest()
    assert version.format == "csv"
    assert steward.get(answer["Location"]).json()["state"] == "pending"


def test_put_takes_the_name_from_the_address(steward: Client, uploads: str) -> None:
    answer = steward.put(f"{uploads}/month of may.csv", walk.RUNS.encode())

    assert answer.status_code == 202
    assert DatasetVersion.objects.get().filename == "month of may.csv"


def test_form_is_streamed_and_not_spooled(
    steward: Client, uploads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spool(*_: Any, **__: Any) -> None:
        raise AssertionError("the upload was handed to a file handler")

    monkeypatch.setattr(uploadhandler.MemoryFileUploadHandler, "new_file", spool)
    monkeypatch.setattr(uploadhandler.MemoryFileUploadHandler, "handle_raw_input", spool)

    body = form("runs.csv", walk.RUNS.encode(), note="before the file")
    answer = steward.post(uploads, body, content_type=FORM)

    assert answer.status_code == 202, answer.content
    version = DatasetVersion.objects.get()
    assert version.filename == "runs.csv"
    assert version.content_sha256 == hashlib.sha256(walk.RUNS.encode()).hexdigest()


def test_upload_lies_sealed_in_the_vault(
    steward: Client, uploads: str, daemon: FakeDaemon
) -> None:
    steward.post(uploads, walk.RUNS.encode(), content_type="text/csv")

    stored = [path.read_bytes() for path in daemon.vault.rglob("*") if path.is_file()]
    assert stored
    assert all(b"torque" not in content for content in stored)


def test_options_reach_the_version(steward: Client, uploads: str) -> None:
    options = "?filename=r.txt&format=csv&delimiter=%3B&encoding=gb18030&header=false"
    steward.post(f"{uploads}{options}", b"1;2\n", content_type="application/octet-stream")

    version = DatasetVersion.objects.get()
    assert (version.csv_delimiter, version.csv_encoding) == (";", "gb18030")
    assert not version.csv_header


@pytest.mark.parametrize(
    ("options", "content", "status", "code"),
    [
        ("?format=xlsx", b"a", 400, "fields_invalid"),
        ("?delimiter=x", b"a", 400, "fields_invalid"),
        ("?filename=a.bin", b"a", 422, "upload_format_unknown"),
        ("?filename=a.csv", b"", 422, "upload_empty"),
    ],
)
def test_unusable_upload_is_refused(
    steward: Client, uploads: str, options: str, content: bytes, status: int, code: str
) -> None:
    answer = steward.post(
        f"{uploads}{options}",
        content,
        content_type="application/octet-stream",
        CONTENT_LENGTH=str(len(content)),  # the test client leaves a zero away
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_same_bytes_twice_name_the_earlier_version(steward: Client, uploads: str) -> None:
    steward.post(uploads, walk.RUNS.encode(), content_type="text/csv")
    again = steward.post(uploads, walk.RUNS.encode(), content_type="text/csv")

    assert (again.status_code, again.json()["code"]) == (409, "duplicate_upload")
    assert "1" in again.json()["detail"]


def test_bad_row_shows_line_and_column(steward: Client, uploads: str) -> None:
    answer = steward.post(uploads, b"a,b\n1,2\n3,BAD\n", content_type="text/csv")
    walk.perform_all()

    version = steward.get(answer.json()["url"]).json()
    assert version["state"] == "failed"
    error = version["error"]
    assert (error["code"], error["line"], error["column"]) == ("upload_bad_row", 3, "b")
    assert steward.get(answer["Location"]).json()["error"]["code"] == "upload_bad_row"


def test_failed_version_is_retried(
    steward: Client, uploads: str, daemon: FakeDaemon
) -> None:
    from sandbox.errors import UploadRejected

    daemon.errors.append(UploadRejected("the delimiter is wrong", code="upload_bad_row"))
    answer = steward.post(uploads, walk.RUNS.encode(), content_type="text/csv")
    walk.perform_all()

    where = f"{answer.json()['url']}/retry"
    retried = steward.post(where, {"delimiter": ","}, content_type="application/json")
    walk.perform_all()

    assert retried.status_code == 202
    assert steward.get(answer.json()["url"]).json()["state"] == "profiled"


def test_others_may_not_upload(house: House) -> None:
    dataset = walk.registered(house)
    client = Client(headers=bearer(house.reviewer))

    answer = client.post(
        f"/api/v1/datasets/{dataset.pk}/uploads", b"a\n1\n", content_type="text/csv"
    )

    assert answer.json()["code"] == "may_not_manage_datasets"
    assert not Dataset.objects.get().versions.exists()


def test_browser_session_alone_may_not_upload(house: House, uploads: str) -> None:
    client = Client()
    client.force_login(house.steward, "django.contrib.auth.backends.ModelBackend")

    answer = client.post(uploads, b"a\n1\n", content_type="text/csv")

    assert answer.status_code == 401


def request(body: bytes, content_type: str, **extra: Any) -> Any:
    return RequestFactory().post("/", body, content_type=content_type, **extra)


def test_incoming_without_length_is_refused() -> None:
    asked = request(b"a", "text/csv")
    del asked.META["CONTENT_LENGTH"]

    with pytest.raises(HttpProblem) as refused:
        incoming(asked)

    assert refused.value.code == "length_required"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"x", "multipart/form-data", "body_malformed"),
        (b"x", "multipart/form-data; boundary=" + "b" * 201, "body_malformed"),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            "multipart_without_file",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
            + b"1" * 70_000
            + b"\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
            "body_malformed",
        ),
    ],
)
def test_incoming_refuses_forms_that_are_none(
    body: bytes, content_type: str, code: str
) -> None:
    with pytest.raises(HttpProblem) as refused:
        incoming(request(body, content_type))

    assert refused.value.code == code


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 200_000])
def test_incoming_gives_the_file_of_a_form_whole(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    body = form("../../etc/a\r\n.csv", content[:size])

    file = incoming(request(body, FORM))

    assert b"".join(file.stream) == content[:size]
    assert "/" not in file.filename
    assert Path(file.filename).name == file.filename
