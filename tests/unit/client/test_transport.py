from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from bonded.config import Config
from bonded.errors import AnswerMalformed, NotAllowed, NotSignedIn, Problem, Unreachable
from bonded.transport import ATTEMPTS, LONGEST_PAUSE_SECONDS, Transport

PROBLEM = {
    "code": "four_eyes",
    "detail": "Someone else decides.",
    "hint": "Ask.",
    "docs": "/d",
}


class Node:
    """A scripted node: answers come one by one, requests and pauses are kept."""

    def __init__(
        self, *answers: httpx.Response | Exception, url: str = "http://localhost"
    ) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        client = httpx.Client(transport=httpx.MockTransport(self._answer))
        config = Config(url, "bnd_t")
        self.transport = Transport(config, client=client, sleep=self.pauses.append)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok(body: Any = None, **headers: str) -> httpx.Response:
    return httpx.Response(200, json={} if body is None else body, headers=headers)


def test_token_goes_with_every_request() -> None:
    node = Node(ok({"a": 1}))

    assert node.transport.get("me", query={"x": "1", "y": None}) == {"a": 1}
    assert str(node.requests[0].url) == "http://localhost/api/v1/me?x=1"
    assert node.requests[0].headers["Authorization"] == "Bearer bnd_t"
    assert node.transport.authorization == {"Authorization": "Bearer bnd_t"}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_reads_are_retried_as_the_node_says(status: int) -> None:
    node = Node(
        httpx.Response(status, headers={"Retry-After": "3"}),
        httpx.Response(status, headers={"Retry-After": "9999"}),
        httpx.Response(status),
        ok(),
    )

    node.transport.get("me")

    assert node.pauses == [3.0, LONGEST_PAUSE_SECONDS, 2.0]


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=10), usegmt=True)
    node = Node(
        httpx.Response(503, headers={"Retry-After": soon}),
        httpx.Response(503, headers={"Retry-After": past}),
        ok(),
    )

    node.transport.get("me")

    assert 7 < node.pauses[0] <= 10
    assert node.pauses[1] == 0.0


def test_attempts_end_with_the_problem() -> None:
    node = Node(*[httpx.Response(503, json={**PROBLEM, "code": "busy"})] * ATTEMPTS)

    with pytest.raises(Problem) as failed:
        node.transport.get("me")

    assert (failed.value.code, failed.value.status) == ("busy", 503)
    assert len(node.requests) == ATTEMPTS


def test_no_answer_is_unreachable_after_all_attempts() -> None:
    node = Node(*[httpx.ConnectError("refused")] * ATTEMPTS)

    with pytest.raises(Unreachable, match=f"tried {ATTEMPTS} times"):
        node.transport.get("me")


def test_post_keeps_its_idempotency_key_over_retries() -> None:
    node = Node(httpx.ReadTimeout("slow"), ok({"id": "1"}))

    node.transport.post("queries", {"sql": "x"})

    first, second = (request.headers["Idempotency-Key"] for request in node.requests)
    assert first == second
    assert len(first) == 36


def test_two_posts_have_two_keys() -> None:
    node = Node(ok(), ok())

    node.transport.post("queries", {})
    node.transport.post("queries", {})

    assert len({request.headers["Idempotency-Key"] for request in node.requests}) == 2


def test_upload_is_streamed_with_its_length_and_not_retried() -> None:
    node = Node(httpx.ConnectError("broken"))
    with pytest.raises(Unreachable, match="tried 1 time\n"):
        node.transport.upload("u", io.BytesIO(b"a" * 9), content_type="text/csv", query={})

    assert node.requests[0].headers["Content-Length"] == "9"
    assert "Transfer-Encoding" not in node.requests[0].headers


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, NotSignedIn), (403, NotAllowed), (409, Problem), (500, Problem)],
)
def test_problem_prints_sentence_and_hint(status: int, kind: type[Problem]) -> None:
    node = Node(httpx.Response(status, json=PROBLEM))

    with pytest.raises(kind) as refused:
        node.transport.get("me")

    assert type(refused.value) is kind
    assert str(refused.value) == "Someone else decides.\n  → Ask."
    assert (refused.value.code, refused.value.docs) == ("four_eyes", "/d")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>nginx</html>"),
        httpx.Response(404, content=b"{", headers={"Content-Type": "application/json"}),
        httpx.Response(404, json=[1]),
        httpx.Response(404, json={"detail": 4}),
        httpx.Response(302, headers={"Location": "http://elsewhere/"}),
    ],
)
def test_answer_without_a_problem_document_is_told_by_its_status(
    answer: httpx.Response,
) -> None:
    with pytest.raises(Problem, match=f"answered {answer.status_code}") as refused:
        Node(answer).transport.get("me")

    assert refused.value.code == "unknown"


def test_redirect_is_not_followed() -> None:
    node = Node(httpx.Response(302, headers={"Location": "http://elsewhere/"}))

    with pytest.raises(Problem):
        node.transport.get("me")

    assert len(node.requests) == 1


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])]
)
def test_answer_that_is_no_object_is_malformed(answer: httpx.Response) -> None:
    with pytest.raises(AnswerMalformed, match="JSON"):
        Node(answer).transport.get("me")


def test_pages_follow_the_nodes_links() -> None:
    node = Node(
        ok({"results": [{"n": 1}], "next": "/api/v1/datasets?cursor=c%3D"}),
        ok({"results": [{"n": 2}], "next": None}),
        url="http://localhost/prefix",
    )

    found = list(node.transport.pages("datasets", query={"search": "a"}))

    assert found == [{"n": 1}, {"n": 2}]
    assert [str(request.url) for request in node.requests] == [
        "http://localhost/prefix/api/v1/datasets?search=a",
        "http://localhost/api/v1/datasets?cursor=c%3D",
    ]


def test_page_without_results_is_malformed() -> None:
    with pytest.raises(AnswerMalformed, match="results"):
        list(Node(ok({"a": 1})).transport.pages("datasets"))


@pytest.mark.parametrize(
    "link", ["http://evil.example/x", "https://localhost/x", "//evil/x"]
)
def test_link_to_another_address_gets_no_token(link: str) -> None:
    node = Node(ok({"results": [], "next": link}))

    with pytest.raises(AnswerMalformed, match="another address"):
        list(node.transport.pages("datasets"))

    assert len(node.requests) == 1


def test_link_of_the_node_itself_is_followed() -> None:
    node = Node(ok({"results": [], "next": "http://localhost/x"}), ok({"results": []}))

    assert list(node.transport.pages("datasets")) == []


def test_delete_text_and_content() -> None:
    node = Node(
        httpx.Response(204),
        httpx.Response(200, text="key"),
        httpx.Response(200, content=b"abc", headers={"X-A": "1"}),
        httpx.Response(204),
    )

    node.transport.delete("tokens/1")
    assert node.transport.text("log/key") == "key"
    content, headers = node.transport.content("releases/1/content")
    assert (content, headers["X-A"]) == (b"abc", "1")
    assert node.transport.post("nothing") == {}


class Broken(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("gone")


def test_stream_that_breaks_is_unreachable() -> None:
    node = Node(httpx.Response(200, stream=Broken()))

    with (
        pytest.raises(Unreachable, match="broke while reading"),
        node.transport.stream("x") as answer,
    ):
        list(answer.iter_bytes())


def test_stream_of_a_problem_is_the_problem() -> None:
    node = Node(httpx.Response(404, json=PROBLEM))

    with pytest.raises(Problem, match="Someone else"), node.transport.stream("x"):
        pass


def test_close_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()

    node.transport.close()

    with pytest.raises(RuntimeError, match="closed"):
        node.transport.get("me")
