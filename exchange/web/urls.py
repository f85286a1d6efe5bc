"""The web pages, one namespace for each stage."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from django.views.i18n import set_language

from exchange.web import (
    agreements,
    asking,
    audit,
    catalogue,
    grants,
    home,
    keys,
    operations,
    parties,
    policies,
    publishing,
    publishing_policy,
    publishing_steps,
    queries,
    releases,
    subsets,
    writing,
)

Patterns = list[URLPattern | URLResolver]

_home: Patterns = [
    path("", home.home, name="home"),
    path("language/", set_language, name="language"),
]

_parties: Patterns = [
    path("login/", parties.sign_in, name="sign_in"),
    path("logout/", parties.sign_out, name="sign_out"),
    path("tokens/", parties.tokens, name="tokens"),
    path("tokens/<uuid:public_id>/revoke/", parties.revoke, name="revoke"),
]

_catalogue: Patterns = [
    path("catalogue/", catalogue.catalogue, name="list"),
    path("datasets/", catalogue.mine, name="mine"),
    path("datasets/<uuid:dataset_id>/", catalogue.detail, name="detail"),
    path("datasets/<uuid:dataset_id>/policy/", policies.document, name="policy"),
    path(
        "datasets/<uuid:dataset_id>/policy/<int:number>/",
        policies.document,
        name="policy_version",
    ),
    path(
        "datasets/<uuid:dataset_id>/policy/<int:number>/odrl/",
        policies.odrl,
        name="policy_odrl",
    ),
    path("datasets/<uuid:dataset_id>/policy/compare/", policies.compare, name="compare"),
    path("versions/<uuid:version_id>/withdraw/", catalogue.withdraw, name="withdraw"),
]

_publishing: Patterns = [
    path("publish/", publishing.start, name="start"),
    path("datasets/<uuid:dataset_id>/upload/", publishing.upload, name="upload"),
    path("versions/<uuid:version_id>/columns/", publishing_steps.columns, name="columns"),
    path(
        "versions/<uuid:version_id>/progress/", publishing_steps.progress, name="progress"
    ),
    path("versions/<uuid:version_id>/retry/", publishing_steps.retry, name="retry"),
    path("versions/<uuid:version_id>/policy/", publishing_policy.policy, name="policy"),
    path(
        "versions/<uuid:version_id>/policy/words/",
        publishing_policy.policy_words_now,
        name="words",
    ),
    path("versions/<uuid:version_id>/licence/", publishing_steps.licence, name="licence"),
    path("versions/<uuid:version_id>/review/", publishing_steps.review, name="review"),
]

_agreements: Patterns = [
    path("inbox/", agreements.inbox, name="inbox"),
    path("requests/", agreements.listing, name="list"),
    path("datasets/<uuid:dataset_id>/request/<slug:kind>/", asking.ask, name="ask"),
    path("requests/<uuid:request_id>/", agreements.detail, name="detail"),
    path("requests/<uuid:request_id>/withdraw/", agreements.withdraw, name="withdraw"),
    path("grants/<uuid:grant_id>/", grants.grant, name="grant"),
    path("grants/<uuid:grant_id>/limits/", grants.limits, name="limits"),
    path("grants/<uuid:grant_id>/revoke/", grants.revoke, name="revoke"),
]

_queries: Patterns = [
    path("queries/", queries.listing, name="list"),
    path("queries/<uuid:query_id>/", queries.detail, name="detail"),
    path("queries/<uuid:query_id>/progress/", queries.progress, name="progress"),
    path("queries/<uuid:query_id>/retry/", queries.retry, name="retry"),
    path("queries/<uuid:query_id>/cancel/", queries.cancel, name="cancel"),
    path("grants/<uuid:grant_id>/query/", writing.write, name="write"),
    path("grants/<uuid:grant_id>/check/", writing.check, name="check"),
    path("grants/<uuid:grant_id>/rows/", subsets.subset, name="subset"),
    path("releases/", releases.listing, name="releases"),
    path("releases/<uuid:release_id>/show/", releases.show, name="show"),
    path("releases/<uuid:release_id>/download/", releases.download, name="download"),
    path("releases/<uuid:release_id>/shred/", releases.shred, name="shred"),
    path("releases/<uuid:release_id>/receipt/", releases.receipt, name="receipt"),
]

_audit: Patterns = [
    path("audit/", audit.listing, name="list"),
    path("audit/log.jsonl", audit.export, name="export"),
    path("audit/<uuid:event_id>/", audit.event, name="event"),
    path("audit/<uuid:event_id>/receipt/", audit.event_receipt, name="event_receipt"),
    path("cases/", audit.cases, name="cases"),
    path("cases/<uuid:case_id>/", audit.case, name="case"),
    path("verify/", audit.verify, name="verify"),
]

_operations: Patterns = [
    path("operations/", operations.listing, name="list"),
    path("operations/<uuid:public_id>/restart/", operations.restart, name="restart"),
    path("health/", operations.health, name="health"),
]

_keys: Patterns = [
    path("keys/", keys.listing, name="list"),
    path("keys/<slug:slug>/rotate/", keys.rotate, name="rotate"),
    path("keys/<slug:slug>/destroy/", keys.destroy_organisation, name="destroy"),
    path(
        "versions/<uuid:version_id>/key/rotate/", keys.rotate_version, name="rotate_version"
    ),
    path(
        "versions/<uuid:version_id>/key/destroy/",
        keys.destroy_version,
        name="destroy_version",
    ),
]

urlpatterns: Patterns = [
    path("", include((_home, "home"))),
    path("", include((_parties, "parties"))),
    path("", include((_catalogue, "catalogue"))),
    path("", include((_publishing, "publishing"))),
    path("", include((_agreements, "agreements"))),
    path("", include((_queries, "queries"))),
    path("", include((_audit, "audit"))),
    path("", include((_keys, "keys"))),
    path("", include((_operations, "operations"))),
]
