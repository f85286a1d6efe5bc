"""The table of everything that can go wrong over the API: one line a code.

A code is API and never changes its meaning; its status and title stand here. The sentence
(what was expected, what came) is the error's own, and so is the hint where it has one; the
table's hint is the way forward for the code in general, and is what the page at
`problems/<code>` says. tests/unit/exchange/api/test_problems.py fails when a code that
the packages raise is not in the table.
"""

from __future__ import annotations

from exchange import errors as exchange_errors
from exchange.api.problem_kind import AGAIN, LATER, OPERATOR, Kind
from exchange.api.stage_problems import STAGES
from policies.errors import PolicyError
from sandbox import errors as sandbox_errors

__all__ = [
    "BY_CLASS",
    "HTTP",
    "MEDIA_TYPE",
    "STAGES",
    "TABLE",
    "Kind",
    "documented",
    "kind_of",
]

MEDIA_TYPE = "application/problem+json"

# By class, for the root codes and for any code that a later service adds.
BY_CLASS: dict[type[Exception], Kind] = {
    exchange_errors.Unauthenticated: Kind(401, "Not signed in", "Send a valid token."),
    exchange_errors.Forbidden: Kind(403, "Not allowed"),
    exchange_errors.NotFound: Kind(404, "Not found"),
    exchange_errors.Invalid: Kind(422, "Not what was expected"),
    exchange_errors.Conflict: Kind(409, "Not possible in this state", AGAIN),
    exchange_errors.Refused: Kind(422, "Refused by a rule"),
    exchange_errors.LimitReached: Kind(429, "A limit is reached", "Wait, then try again."),
    exchange_errors.Unavailable: Kind(503, "Not available now", LATER),
    PolicyError: Kind(422, "The policy cannot be used", "Correct the line that is named."),
    sandbox_errors.ProtocolError: Kind(500, "The sandbox was not understood", OPERATOR),
    sandbox_errors.SandboxUnavailable: Kind(503, "No sandbox serves", LATER),
    sandbox_errors.UploadRejected: Kind(422, "The upload cannot be read as a table"),
    sandbox_errors.QueryRejected: Kind(422, "The query cannot be run as written"),
    sandbox_errors.ResourceExceeded: Kind(
        422, "The work needs more than a job may use", "Ask for fewer groups or columns."
    ),
    sandbox_errors.DeadlineExceeded: Kind(
        422,
        "The work took too long and was stopped",
        "Ask for less at once, then try again.",
    ),
    sandbox_errors.Cancelled: Kind(409, "The work was cancelled", "Submit it again."),
    sandbox_errors.DistributionCorrupt: Kind(500, "Stored data was altered", OPERATOR),
    sandbox_errors.KeyUnusable: Kind(500, "Stored data cannot be opened", OPERATOR),
    sandbox_errors.EngineFailed: Kind(
        422,
        "The engine could not finish the query",
        "What it said may quote values, so it stays inside; simplify the query.",
    ),
    sandbox_errors.WorkerLost: Kind(503, "The sandbox's worker was lost", LATER),
    sandbox_errors.SandboxError: Kind(500, "The sandbox failed", OPERATOR),
    exchange_errors.ExchangeError: Kind(500, "The exchange failed", OPERATOR),
}

# What HTTP itself can say, raised by this package.
HTTP: dict[str, Kind] = {
    "unauthenticated": Kind(
        401,
        "Not signed in",
        "Send `Authorization: Bearer TOKEN`; tokens are made on the "
        "page Tokens or by POST /api/v1/tokens.",
    ),
    "forbidden": Kind(403, "Not allowed", "Ask an administrator of the organisation."),
    "not_found": Kind(
        404,
        "Not found",
        "What you may not see looks like what is not there: check the "
        "address, or ask its owner for access.",
    ),
    "method_not_allowed": Kind(405, "No such act here", "See the Allow header."),
    "not_acceptable": Kind(406, "No such representation", "Accept application/json."),
    "body_malformed": Kind(
        400, "The body cannot be read", "Send one JSON object in UTF-8."
    ),
    "fields_invalid": Kind(400, "Some fields are not right", "See `errors`, one a field."),
    "filter_invalid": Kind(400, "A filter is not right", "See `errors`, one a parameter."),
    "cursor_invalid": Kind(
        400, "The cursor is not one of ours", "Start at the first page."
    ),
    "media_type_unsupported": Kind(415, "The body is of another type", "See Accept-Post."),
    "length_required": Kind(
        411, "The upload does not say its length", "Send a Content-Length (not chunked)."
    ),
    "body_too_large": Kind(
        413, "The body is too large", "Use the upload address for data."
    ),
    "request_malformed": Kind(400, "The request cannot be used"),
    "precondition_failed": Kind(412, "It is no longer what you read", AGAIN),
    "range_not_satisfiable": Kind(416, "The range lies outside the content"),
    "multipart_without_file": Kind(
        400, "The form has no file", "Send a part named `file`."
    ),
    "idempotency_key_reused": Kind(
        422, "The key was used for another request", "Make a fresh key for each act."
    ),
    "idempotency_key_invalid": Kind(
        400, "The key is not usable", "Send 1 to 200 visible ASCII characters, e.g. a UUID."
    ),
    "throttled": Kind(429, "Too many requests", "Wait as Retry-After says."),
    "busy": Kind(503, "The node is busy", LATER),
    "internal": Kind(500, "The node failed", OPERATOR),
}

TABLE: dict[str, Kind] = {**STAGES, **HTTP}


def kind_of(error: Exception, code: str) -> Kind:
    """What the table says of `code`, else of the nearest class of `error`."""
    listed = TABLE.get(code)
    if listed is not None:
        return listed
    for ancestor in type(error).__mro__:
        if ancestor in BY_CLASS:
            return BY_CLASS[ancestor]
    return TABLE["internal"]


def documented() -> dict[str, Kind]:
    """Every code with its meaning, by code: what the documentation pages list."""
    roots = {vars(kind)["code"]: entry for kind, entry in BY_CLASS.items()}
    return dict(sorted({**roots, **TABLE}.items()))
