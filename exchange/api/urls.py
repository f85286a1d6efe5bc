"""Addresses of version 1. Names are `resource` or `resource-act`, under `api:`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponseBase
from django.urls import URLPattern, path

from exchange.api import documentation as about
from exchange.api import log
from exchange.api.audit import Events
from exchange.api.datasets import Datasets
from exchange.api.errors import unknown_address
from exchange.api.grants import Grants
from exchange.api.health import Health
from exchange.api.keys import Keys
from exchange.api.operations import Operations
from exchange.api.policies import Policies
from exchange.api.queries import Queries
from exchange.api.releases import Releases
from exchange.api.requests import Requests
from exchange.api.resource import Resource
from exchange.api.tokens import Myself, Tokens
from exchange.api.uploads import Uploads
from exchange.api.versions import Offers, Versions

app_name = "api"
View = Callable[..., HttpResponseBase]


def at(route: str, resource: type[Resource], name: str, **acts: str) -> URLPattern:
    """`resource` at `route`: `get="list"` says that its `list` answers GET."""
    view: View = resource.as_view({**acts})
    return path(route, view, name=name)


def acts(resource: type[Resource], plural: str, singular: str, *names: str) -> list[Any]:
    """POST `plural/<id>/<act>` for each act."""
    return [
        at(
            f"{plural}/<uuid:pk>/{name.replace('_', '-')}",
            resource,
            f"{singular}-{name.replace('_', '-')}",
            post=name,
        )
        for name in names
    ]


urlpatterns = [
    path("", about.Entrance.as_view(), name="entrance"),
    path("schema", about.Schema.as_view(), name="schema"),
    path("problems", about.Problems.as_view(), name="problems"),
    path("problems/<str:code>", about.ProblemPage.as_view(), name="problem"),
    path("health", Health.as_view(), name="health"),
    path("log/checkpoint", log.CheckpointView.as_view(), name="log-checkpoint"),
    path("log/key", log.VerifierKeyView.as_view(), name="log-key"),
    at("me", Myself, "me", get="retrieve"),
    at("tokens", Tokens, "tokens", get="list", post="create"),
    at("tokens/<uuid:pk>", Tokens, "token", get="retrieve", delete="destroy"),
    at("datasets", Datasets, "datasets", get="list", post="create"),
    at("datasets/<uuid:pk>", Datasets, "dataset", get="retrieve"),
    at("datasets/<uuid:pk>/uploads", Uploads, "uploads", post="create"),
    at("datasets/<uuid:pk>/uploads/<str:filename>", Uploads, "upload", put="put"),
    at("datasets/<uuid:pk>/versions", Versions, "versions", get="list"),
    at("datasets/<uuid:pk>/policies", Policies, "policies", get="list", post="create"),
    at("policies/<uuid:pk>", Policies, "policy", get="retrieve"),
    at(
        "policies/<uuid:pk>/differences",
        Policies,
        "policy-differences",
        get="differences",
    ),
    at("policies/<uuid:pk>/explain", Policies, "policy-explain", get="explain"),
    at("versions/<uuid:pk>", Versions, "version", get="retrieve"),
    at(
        "versions/<uuid:pk>/starting-policies",
        Versions,
        "version-starting-policies",
        get="starting_policies",
    ),
    *acts(Versions, "versions", "version", "retry", "partition", "publish", "withdraw"),
    at("versions/<uuid:pk>/rotate-key", Keys, "version-rotate-key", post="rotate_version"),
    at(
        "versions/<uuid:pk>/destroy-key",
        Keys,
        "version-destroy-key",
        post="destroy_version",
    ),
    at("keys", Keys, "keys", get="list"),
    at("keys/organisation", Keys, "organisation-key", get="organisation"),
    at("keys/organisation/rotate", Keys, "organisation-key-rotate", post="rotate"),
    at("keys/organisation/destroy", Keys, "organisation-key-destroy", post="destroy_all"),
    at("offers/<uuid:pk>", Offers, "offer", get="retrieve"),
    at("requests", Requests, "requests", get="list", post="create"),
    at("requests/<uuid:pk>", Requests, "request", get="retrieve"),
    *acts(Requests, "requests", "request", "decide", "withdraw"),
    at("grants", Grants, "grants", get="list"),
    at("grants/<uuid:pk>", Grants, "grant", get="retrieve"),
    *acts(Grants, "grants", "grant", "revoke", "limits"),
    at("queries", Queries, "queries", get="list", post="create"),
    at("queries/check", Queries, "query-check", post="check"),
    at("queries/<uuid:pk>", Queries, "query", get="retrieve"),
    *acts(Queries, "queries", "query", "retry", "cancel", "review"),
    at("subsets", Queries, "subsets", post="create_subset"),
    at("releases", Releases, "releases", get="list"),
    at("releases/<uuid:pk>", Releases, "release", get="retrieve"),
    at("releases/<uuid:pk>/content", Releases, "release-content", get="content"),
    at("releases/<uuid:pk>/receipt", Releases, "release-receipt", get="receipt"),
    *acts(Releases, "releases", "release", "shred"),
    at("operations/<uuid:pk>", Operations, "operation", get="retrieve"),
    at("audit/events", Events, "events", get="list"),
    at("audit/events/<uuid:pk>", Events, "event", get="retrieve"),
    at("audit/events/<uuid:pk>/receipt", Events, "event-receipt", get="receipt"),
    at("audit/export", Events, "audit-export", get="export"),
    path("<path:rest>", unknown_address),
]
