"""A body that was cut off is no body: neither a shorter table, nor a shorter form."""

from __future__ import annotations

import io
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.states import VersionState
from exchange.parties.models import Scope
from exchange.parties.services import issue_token
from exchange.whole_body import BodyCutOff, WholeBody
from tests.factories import walk
from tests.factories.walk import House

FORM = (
    '--cut\r\nContent-Disposition: form-data; name="file"; filename="runs.csv"\r\n'
    "Content-Type: text/csv\r\n\r\n"
)


class Trickle(io.BytesIO):
    """Hands out three bytes at most, as a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3 if size is None or size < 0 else min(size, 3))


def test_read_waits_for_all_that_was_asked_for() -> None:
    body = WholeBody(Trickle(b"0123456789"), 10)

    assert [body.read(4), body.read(4), body.read(4), body.read(4)] == [
        b"0123",
        b"4567",
        b"89",
        b"",
    ]


def test_readline_is_as_whole_as_read() -> None:
    body = WholeBody(Trickle(b"first\nsecond"), 20)

    assert body.readline() == b"first\n"
    with pytest.raises(BodyCutOff):
        body.readline()


@pytest.mark.parametrize("size", [-1, 4, 11])
def test_read_of_a_body_that_was_cut_off_fails(size: int) -> None:
    body = WholeBody(Trickle(b"012"), 11)

    with pytest.raises(BodyCutOff):
        body.read(size)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "start", "rows", "versions"),
    [
        ("text/csv", "", 1, ["upload_interrupted"]),
        ("multipart/form-data; boundary=cut", FORM, 1, []),
        ("multipart/form-data; boundary=cut", FORM, 100, ["upload_interrupted"]),
    ],
    ids=["raw", "form before its file", "form within its file"],
)
def test_upload_that_was_cut_off_is_no_table(
    house: House, kind: str, start: str, rows: int, versions: list[str]
) -> None:
    from exchange.wsgi import application

    dataset = walk.registered(house)
    _token, secret = issue_token(
        user=house.steward,
        name="t",
        scopes=[Scope.DATASETS_WRITE],
        expires_in_days=1,
        by=house.steward,
    )
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/api/v1/datasets/{dataset.pk}/uploads",
        "QUERY_STRING": "filename=runs.csv",
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": "1000000",
        "HTTP_HOST": "localhost",
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "wsgi.input": io.BytesIO((start + walk.RUNS * rows).encode()),
    }
    setup_testing_defaults(environ)
    statuses: list[str] = []

    application(environ, lambda status, _headers: statuses.append(status))

    found = list(DatasetVersion.objects.all())
    assert [version.error_code for version in found] == versions
    assert all(version.state == VersionState.FAILED for version in found)
    assert statuses[0].startswith("4")
