"""What left: the list, the result as a table, the download, the receipt."""

from __future__ import annotations

import json

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from exchange.queries import selectors
from exchange.queries.releases import release_content, shred_release
from exchange.queries.results import MEDIA_TYPE
from exchange.queries.states import ReleaseState
from exchange.web.access import UserRequest, signed_in
from exchange.web.crumbs import grant_crumbs
from exchange.web.filters import kept
from exchange.web.page import render_fragment, render_page
from exchange.web.results import Table, read_result
from exchange.web.standing import standing_of
from exchange.web.statuses import release_status
from ledger.receipt import dump_receipt

PAGE_SIZE = 20


@signed_in
def listing(request: UserRequest) -> HttpResponse:
    found = selectors.releases_visible_to(request.user).select_related(
        "query__grant__offer__dataset", "query__grant__consumer"
    )
    page = Paginator(found.order_by("-held_at", "id"), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    organisations = standing_of(request.user).where("submit_queries")
    return render_page(
        request,
        "queries/releases.html",
        here="queries:releases",
        page=page,
        keep=kept(request),
        rows=[
            {
                "release": release,
                "status": release_status(release),
                "may_receive": release.state == ReleaseState.AVAILABLE
                and release.query.grant.consumer in organisations,
            }
            for release in page
        ],
    )


@require_POST
@signed_in
def show(request: UserRequest, release_id: str) -> HttpResponse:
    """The result as a table. Reading it here is receiving it, and is recorded as such."""
    release = selectors.release_visible_to(request.user, release_id)
    if release.media_type != MEDIA_TYPE:
        return redirect("queries:detail", release.query_id)
    content = release_content(release=release, by=request.user)
    table: Table = read_result(json.loads(b"".join(content)))
    if request.headers.get("HX-Request"):
        return render_fragment(request, "queries/_result.html", table=table)
    return render_page(
        request,
        "queries/result.html",
        here="queries:releases",
        crumbs=grant_crumbs(release.query.grant),
        table=table,
        release=release,
        query=release.query,
    )


@require_POST
@signed_in
def download(request: UserRequest, release_id: str) -> HttpResponse | StreamingHttpResponse:
    release = selectors.release_visible_to(request.user, release_id)
    content = release_content(release=release, by=request.user)
    response = StreamingHttpResponse(iter(content), content_type=content.media_type)
    response["Content-Disposition"] = f'attachment; filename="{content.filename}"'
    response["Content-Length"] = str(content.size_bytes)
    response["Digest"] = f"sha-256={content.sha256}"
    return response


@require_POST
@signed_in
def shred(request: UserRequest, release_id: str) -> HttpResponse:
    release = selectors.release_visible_to(request.user, release_id)
    shred_release(release=release, by=request.user)
    messages.success(request, _("The result is shredded."), extra_tags="ok")
    return redirect("queries:detail", release.query_id)


@signed_in
def receipt(request: UserRequest, release_id: str) -> HttpResponse:
    release = selectors.release_visible_to(request.user, release_id)
    found = selectors.receipt_of(release)
    if found is None:
        messages.info(
            request,
            _("The receipt is being made: no signed checkpoint covers the record yet."),
            extra_tags="wait",
        )
        return redirect("queries:detail", release.query_id)
    response = HttpResponse(dump_receipt(found), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="receipt-{release.pk}.json"'
    return response
