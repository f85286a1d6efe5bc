"""HTTP to one node: a token on every request, bounded retries, problems as errors.

A request is retried when doing it twice equals doing it once: it is a read, a delete, or
carries an Idempotency-Key. Waiting follows Retry-After where the node gives one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx

from bonded.config import Config
from bonded.errors import AnswerMalformed, Unreachable, problem_from

API = "/api/v1"
ATTEMPTS = 4
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 30.0  # in one request; a transport's timeout is longer
RETRIED_STATUS = frozenset({429, 502, 503, 504})
REPEATABLE_METHODS = frozenset({"GET", "HEAD", "DELETE"})

Json = dict[str, object]
Query = Mapping[str, str | int | None]


class Transport:
    """A connection pool to one node. Not shared between threads that close it."""

    def __init__(
        self,
        config: Config,
        *,
        timeout_seconds: float = 60.0,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = config.url
        self._sleep = sleep
        self._client = client or httpx.Client(timeout=timeout_seconds)
        # Redirects are not followed: a token goes to the address it was given for.
        self._client.follow_redirects = False
        self._client.headers["User-Agent"] = "bonded-client/0.1"
        if config.token:
            self._client.headers["Authorization"] = f"Bearer {config.token}"

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries this reader's token, for libraries that fetch by URL."""
        value = self._client.headers.get("Authorization")
        return {"Authorization": value} if value else {}

    def close(self) -> None:
        """No connection is left open."""
        self._client.close()

    def get(
        self, path: str, *, query: Query | None = None, wait_seconds: float = 0
    ) -> Json:
        """The JSON object at `path`; as it is in the end, if that is within the time."""
        headers = _preferring(wait_seconds)
        return _json_object(self._send("GET", path, query=query, headers=headers))

    def pages(self, path: str, *, query: Query | None = None) -> Iterator[Json]:
        """Every record of a list, page after page, in the node's order."""
        address: str | None = path
        while address is not None:
            page = self.get(address, query=query)
            query = None  # the next page's address carries it
            results = page.get("results")
            if not isinstance(results, list):
                raise AnswerMalformed("a list answer has no `results`")
            yield from (record for record in results if isinstance(record, dict))
            following = page.get("next")
            address = following if isinstance(following, str) else None

    def post(
        self,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        wait_seconds: float = 0,
    ) -> Json:
        """What the node answers to `body`; sent under a fresh Idempotency-Key.

        With `wait_seconds` that is the outcome, where the node waits and it comes in time.
        """
        response = self._send(
            "POST",
            path,
            json_body=body or {},
            headers={
                "Idempotency-Key": str(uuid.uuid4()),
                **_preferring(wait_seconds),
            },
        )
        return _json_object(response) if response.content else {}

    def delete(self, path: str) -> None:
        """The resource at `path` is gone."""
        self._send("DELETE", path)

    def upload(self, path: str, file: BinaryIO, *, content_type: str, query: Query) -> Json:
        """The file's bytes are at the node; streamed, not held in memory, not retried."""
        response = self._send(
            "POST",
            path,
            query=query,
            content=file,  # httpx takes its length: the node wants a Content-Length
            headers={"Content-Type": content_type},
        )
        return _json_object(response)

    def text(self, path: str, *, query: Query | None = None) -> str:
        """The text at `path`."""
        return self._send("GET", path, query=query).text

    def content(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        """All bytes at `path`, and the answer's headers."""
        response = self._send("GET", path)
        return response.content, response.headers

    @contextmanager
    def stream(self, path: str, *, query: Query | None = None) -> Iterator[httpx.Response]:
        """An open answer whose body the caller reads piece by piece."""
        request = self._client.build_request(
            "GET", self._address(path), params=_bare(query)
        )
        response = self._attempt(lambda: self._client.send(request, stream=True))
        try:
            _raise_for_problem(response)
            yield response
        except httpx.TransportError as error:
            raise Unreachable(
                f"the connection to {self._base} broke while reading"
            ) from error
        finally:
            response.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        json_body: Mapping[str, object] | None = None,
        content: BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        headers = dict(headers or {})
        repeatable = method in REPEATABLE_METHODS or "Idempotency-Key" in headers

        def send() -> httpx.Response:
            return self._client.request(
                method,
                self._address(path),
                params=_bare(query),
                json=json_body,
                content=content,
                headers=headers,
            )

        response = self._attempt(send, attempts=ATTEMPTS if repeatable else 1)
        _raise_for_problem(response)
        return response

    def _attempt(
        self, send: Callable[[], httpx.Response], *, attempts: int = ATTEMPTS
    ) -> httpx.Response:
        for attempt in range(1, attempts + 1):
            pause = min(LONGEST_PAUSE_SECONDS, 0.25 * 2**attempt)
            try:
                response = send()
            except httpx.TransportError as error:
                if attempt == attempts:
                    raise Unreachable(
                        f"no answer from {self._base} ({type(error).__name__}), "
                        f"tried {attempt} time{'s' if attempt > 1 else ''}",
                        hint="is the node running, and is the address right?",
                    ) from error
            else:
                if response.status_code not in RETRIED_STATUS or attempt == attempts:
                    return response
                response.close()
                pause = _retry_after(response, default=pause)
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _address(self, path: str) -> str:
        """The absolute address of `path`; the node's own links must be of this node.

        A path with a leading slash is a link that the node gave; others are ours.
        """
        ours = urlsplit(self._base)
        if path.startswith("/") and not path.startswith("//"):
            return f"{ours.scheme}://{ours.netloc}{path}"
        if "//" not in path:
            return f"{self._base}{API}/{path}"
        theirs = urlsplit(path)
        if (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise AnswerMalformed(
                f"the node pointed to another address ({theirs.scheme}://{theirs.netloc}), "
                "which gets no token",
                hint=f"log in with the address the node gives itself, not {self._base}",
            )
        return path


def _preferring(wait_seconds: float) -> dict[str, str]:
    # Less than what a request may take at all, or the answer would come to nobody.
    seconds = int(min(wait_seconds, LONGEST_WAIT_SECONDS))
    return {"Prefer": f"wait={seconds}"} if seconds > 0 else {}


def _bare(query: Query | None) -> dict[str, str | int] | None:
    # None, not {}: httpx drops the query of an address when params is an empty mapping.
    kept = {key: value for key, value in (query or {}).items() if value is not None}
    return kept or None


def _retry_after(response: httpx.Response, *, default: float) -> float:
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return min(LONGEST_PAUSE_SECONDS, float(value))
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError):
        return default
    return min(LONGEST_PAUSE_SECONDS, max(0.0, seconds))


def _raise_for_problem(response: httpx.Response) -> None:
    if response.is_success or response.status_code == 304:
        return
    response.read()
    document: object = None
    if "json" in response.headers.get("Content-Type", ""):
        try:
            document = json.loads(response.content)
        except ValueError:
            document = None
    fields = document if isinstance(document, dict) else {}
    raise problem_from(fields, status=response.status_code)


def _json_object(response: httpx.Response) -> Json:
    try:
        document = response.json()
    except ValueError as error:
        raise AnswerMalformed(
            f"expected JSON, got {response.headers.get('Content-Type', 'nothing')}",
            hint="is this the address of a Bonded node?",
        ) from error
    if not isinstance(document, dict):
        raise AnswerMalformed("expected a JSON object, got another JSON value")
    return document
