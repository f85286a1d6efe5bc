"""What drf-spectacular cannot see by itself: tokens, problems, keys of idempotency."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from exchange.api.problems import MEDIA_TYPE
from exchange.api.waiting import APPLIED, PREFER

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Codes are listed at /api/v1/problems.",
    "required": ["type", "title", "status", "detail", "code", "hint", "docs"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was expected and what came"},
        "code": {"type": "string", "description": "stable; never changes its meaning"},
        "hint": {"type": "string", "description": "the way forward"},
        "docs": {"type": "string", "format": "uri-reference"},
        "line": {"type": ["integer", "null"], "description": "of an upload or a policy"},
        "column": {"type": ["string", "null"], "description": "of an upload"},
        "path": {"type": "string", "description": "inside a policy"},
        "errors": {"type": "array", "items": {"type": "object"}},
        "reasons": {"type": "array", "items": {"type": "object"}},
    },
}
REFERENCE = {"$ref": "#/components/schemas/Problem"}
# Uploads need no key (the digest tells), tokens must not have one (see tokens.py).
WITHOUT_KEY = ("/uploads", "/tokens", "/check")


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library registers it untyped
    target_class = "exchange.parties.tokens.TokenAuthentication"
    name = ["bearer", "basic"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "bnd_..."},
            {
                "type": "http",
                "scheme": "basic",
                "description": "any user name, the token as the password; for loaders",
            },
        ]


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Every act says that it may answer with a problem, and which POST takes a key."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for path, methods in result["paths"].items():
        for method, act in methods.items():
            act["responses"]["default"] = {
                "description": "The node refused, or could not.",
                "content": {MEDIA_TYPE: {"schema": REFERENCE}},
            }
            if "202" in act["responses"]:
                _let_wait(act)
            if method == "post" and not path.endswith(WITHOUT_KEY):
                act.setdefault("parameters", []).append(
                    {
                        "in": "header",
                        "name": "Idempotency-Key",
                        "schema": {"type": "string", "maxLength": 200},
                        "description": "the same key and body act once, for a day",
                    }
                )
    return result


def _let_wait(act: dict[str, Any]) -> None:
    """What answers 202 answers 200 with the outcome, for who prefers to wait for it."""
    act.setdefault("parameters", []).append(
        {
            "in": "header",
            "name": PREFER.name,
            "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
            "description": PREFER.description,
        }
    )
    act["responses"]["200"] = {
        **act["responses"]["202"],
        "description": "The outcome came within the time of `Prefer: wait`.",
        "headers": {
            name: {"schema": {"type": "string"}} for name in (APPLIED, "Content-Location")
        },
    }
