"""Every error has a line in the table, and a document that helps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404
from django.test import Client
from rest_framework import exceptions as drf

import exchange
import policies
import sandbox
from exchange.api.errors import HttpProblem, problem_of
from exchange.api.problems import HTTP, documented, kind_of
from exchange.errors import Conflict, ExchangeError, Forbidden
from policies.errors import PolicyError, PolicySyntaxError
from sandbox.errors import SandboxError, UploadRejected, WorkerLost

STAGES = (
    "api",
    "queries",
    "agreements",
    "catalogue",
    "operations",
    "keys",
    "parties",
    "audit",
)
FIELDS = {"type", "title", "status", "detail", "code", "hint", "docs"}


def sources() -> Iterator[Path]:
    root = Path(exchange.__file__).parent
    for stage in STAGES:
        yield from (root / stage).rglob("*.py")
    yield root / "transitions.py"
    for package in (policies, sandbox):
        yield from Path(str(package.__file__)).parent.glob("errors.py")


def raised_codes() -> Iterator[str]:
    """Codes written out at a raise: `raise Conflict("...", code="state_changed")`."""
    names = {kind.__name__ for root in (ExchangeError, SandboxError) for kind in tree(root)}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "HttpProblem":
                yield from (
                    str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)
                )
            if node.func.id in names:
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        yield str(keyword.value.value)


def tree(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for kind in root.__subclasses__():
        yield from tree(kind)


def own_codes() -> Iterator[str]:
    for root in (ExchangeError, SandboxError, PolicyError):
        for kind in tree(root):
            module = kind.__module__.split(".")
            if not {"web", "node"} & set(module) and module[0] != "tests":
                yield str(kind.code)  # type: ignore[attr-defined]


def test_every_code_that_is_raised_is_documented() -> None:
    missing = {*raised_codes(), *own_codes()} - documented().keys()

    assert missing == set(), "add a line to exchange/api/stage_problems.py"


@pytest.mark.parametrize("code", sorted(documented()))
def test_documented_code_has_title_and_status(code: str) -> None:
    kind = documented()[code]

    assert kind.title[0].isupper()
    assert not kind.title.endswith(".")
    assert 400 <= kind.status <= 599
    assert kind.hint == "" or kind.hint[-1] in ".`"


ERRORS: list[tuple[Exception, int, str]] = [
    (Conflict("now", code="state_changed"), 409, "state_changed"),
    (Conflict("now", code="of_a_later_service"), 409, "of_a_later_service"),
    (Forbidden("no", code="may_not_review"), 403, "may_not_review"),
    (PolicySyntaxError("bad", line=3), 422, "policy_syntax"),
    (
        UploadRejected("bad", code="upload_bad_row", line=7, column="t"),
        422,
        "upload_bad_row",
    ),
    (UploadRejected("bad", code="upload_new_way"), 422, "upload_new_way"),
    (WorkerLost("gone"), 503, "worker_lost"),
    (HttpProblem("cursor_invalid", "no"), 400, "cursor_invalid"),
    (drf.NotAuthenticated(), 401, "unauthenticated"),
    (drf.AuthenticationFailed(code="token_expired"), 401, "token_expired"),
    (drf.PermissionDenied(), 403, "forbidden"),
    (drf.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
    (drf.NotAcceptable(), 406, "not_acceptable"),
    (drf.UnsupportedMediaType("a/b"), 415, "media_type_unsupported"),
    (drf.ParseError(), 400, "body_malformed"),
    (drf.Throttled(wait=3), 429, "throttled"),
    (drf.APIException(), 500, "internal"),
    (drf.ValidationError({"a": ["wrong"]}), 400, "fields_invalid"),
    (Http404(), 404, "not_found"),
    (PermissionDenied(), 403, "forbidden"),
    (RequestDataTooBig(), 413, "body_too_large"),
    (SuspiciousOperation(), 400, "request_malformed"),
    (OperationalError("database is locked"), 503, "busy"),
    (ZeroDivisionError("secret 4711"), 500, "internal"),
]


@pytest.mark.parametrize(("error", "status", "code"), ERRORS)
def test_problem_of(error: Exception, status: int, code: str) -> None:
    document, _ = problem_of(error)

    assert document.keys() >= FIELDS
    assert (document["status"], document["code"]) == (status, code)
    assert document["detail"]
    assert document["docs"].endswith(f"/problems/{code}")


def test_problem_of_unforeseen_error_says_nothing_of_it() -> None:
    document, _ = problem_of(ZeroDivisionError("secret 4711"))

    assert "4711" not in str(document)


def test_problem_of_upload_names_line_and_column() -> None:
    document, _ = problem_of(
        UploadRejected("bad", code="upload_bad_row", line=7, column="t")
    )

    assert (document["line"], document["column"]) == (7, "t")


def test_problem_of_validation_lists_every_field() -> None:
    error = drf.ValidationError(
        {"a": ["wrong"], "b": {"c": ["worse"]}, "d": [{}, {"e": "x"}]}
    )

    document, _ = problem_of(error)

    assert [entry["field"] for entry in document["errors"]] == ["a", "b.c", "d[1].e"]
    assert document["detail"] == "field `a`: wrong (and 2 more)"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (WorkerLost("gone"), "Retry-After"),
        (OperationalError(), "Retry-After"),
        (drf.Throttled(wait=3), "Retry-After"),
        (drf.NotAuthenticated(), "WWW-Authenticate"),
    ],
)
def test_problem_of_gives_the_header_that_the_status_needs(
    error: Exception, name: str
) -> None:
    _, headers = problem_of(error)

    assert headers[name]


def test_kind_of_an_exception_of_no_package_is_internal() -> None:
    assert kind_of(ValueError(), "whatever") == HTTP["internal"]


@pytest.mark.parametrize("path", ["nowhere", "datasets/nowhere/else", "queries/not-an-id"])
def test_unknown_address_is_a_problem(path: str) -> None:
    answer = Client().get(f"/api/v1/{path}")

    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


def test_docs_of_a_problem_can_be_read_without_a_token() -> None:
    refused = Client().get("/api/v1/datasets")
    page = Client().get(refused.json()["docs"])

    assert refused["Content-Type"] == "application/problem+json"
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert "Bearer" in refused["WWW-Authenticate"]
    assert page.json()["code"] == "unauthenticated"


def test_problem_pages_list_every_code_and_refuse_others() -> None:
    listed: list[dict[str, Any]] = Client().get("/api/v1/problems").json()["results"]

    assert [entry["code"] for entry in listed] == sorted(documented())
    assert Client().get("/api/v1/problems/of_nobody").status_code == 404
