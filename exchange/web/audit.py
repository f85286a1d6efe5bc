"""What happened: the log in sentences, the story of one exchange, how to verify it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _

from exchange.agreements.selectors import request_visible_to, requests_visible_to
from exchange.audit import selectors
from exchange.audit.models import AuditEvent
from exchange.audit.signing import SigningKeyUnusable, verifier_key
from exchange.errors import Forbidden, NotFound
from exchange.parties.models import Organisation
from exchange.parties.permissions import sees_all_evidence
from exchange.queries.models import Query
from exchange.web.access import UserRequest, signed_in
from exchange.web.filters import AuditFilter, kept
from exchange.web.page import crumb, problems_of, render_page
from exchange.web.presenters import Line, present
from exchange.web.rules import purpose_words
from exchange.web.standing import standing_of
from exchange.web.statuses import grant_status, query_status, release_status, request_status
from ledger.receipt import dump_receipt

PAGE_SIZE = 50


def events_visible_to(request: UserRequest) -> QuerySet[AuditEvent]:
    """All for a regulator; else what one's organisations did, and the cases they are in."""
    if sees_all_evidence(request.user):
        return AuditEvent.objects.all()
    slugs = [o.slug for o in standing_of(request.user).where("view_evidence")]
    cases = [
        str(pk) for pk in requests_visible_to(request.user).values_list("pk", flat=True)
    ]
    if not slugs:
        raise Forbidden(
            _("Your roles do not include the audit log."),
            hint=_("An administrator of your organisation can grant you a role that does."),
        )
    return AuditEvent.objects.filter(Q(organisation__in=slugs) | Q(case_id__in=cases))


def _names() -> dict[str, str]:
    return dict(Organisation.objects.values_list("slug", "name"))


def _narrowed(events: QuerySet[AuditEvent], chosen: dict[str, Any]) -> QuerySet[AuditEvent]:
    if text := chosen.get("q"):
        events = events.filter(
            Q(actor_name__icontains=text) | Q(case_id=text) | Q(subject_id=text)
        )
    if subject := chosen.get("subject"):
        events = events.filter(type__startswith=f"{subject}:")
    if organisation := chosen.get("organisation"):
        events = events.filter(organisation=organisation)
    if since := chosen.get("since"):
        events = events.filter(at__gte=dt.datetime.combine(since, dt.time.min, dt.UTC))
    if until := chosen.get("until"):
        events = events.filter(
            at__lt=dt.datetime.combine(until + dt.timedelta(days=1), dt.time.min, dt.UTC)
        )
    return events


@signed_in
def listing(request: UserRequest) -> HttpResponse:
    form = AuditFilter(request.GET)
    names = _names()
    form.offer_organisations(names)
    is_sound = form.is_valid()
    chosen = form.cleaned_data
    page = Paginator(
        _narrowed(events_visible_to(request), chosen).order_by("-seq"), PAGE_SIZE
    ).get_page(request.GET.get("page"))
    return render_page(
        request,
        "audit/list.html",
        here="audit:list",
        form=form,
        problems=[] if is_sound else problems_of(form),
        page=page,
        lines=[present(event, names=names) for event in page],
        keep=kept(request),
        is_filtered=any(chosen.values()),
        sees_all=sees_all_evidence(request.user),
        latest=selectors.latest_checkpoint(),
    )


def _event(request: UserRequest, event_id: str) -> AuditEvent:
    event = events_visible_to(request).filter(event_id=event_id).first()
    if event is None:
        raise NotFound(
            _("No such record is here for you."), hint=_("Search for it in the audit log.")
        )
    return event


@signed_in
def event(request: UserRequest, event_id: str) -> HttpResponse:
    """One record with everything it says and its proof."""
    found = _event(request, event_id)
    return render_page(
        request,
        "audit/event.html",
        here="audit:list",
        crumbs=[crumb(_("Audit log"), "audit:list")],
        line=present(found, names=_names()),
        event=found,
        entry=bytes(found.entry).decode(),
        checkpoint=selectors.covering(found),
        leaf=bytes(found.leaf_hash).hex() if found.leaf_hash else "",
    )


@signed_in
def event_receipt(request: UserRequest, event_id: str) -> HttpResponse:
    found = selectors.receipt(_event(request, event_id))
    if found is None:
        raise NotFound(
            _("No signed checkpoint covers this record yet."),
            code="receipt_pending",
            hint=_("The sequencer seals new records every moment. Try again shortly."),
        )
    response = HttpResponse(dump_receipt(found), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="receipt-{event_id}.json"'
    return response


@signed_in
def cases(request: UserRequest) -> HttpResponse:
    """Every exchange the reader may follow, newest first."""
    found = requests_visible_to(request.user).select_related(
        "offer__dataset__organisation", "consumer"
    )
    page = Paginator(found.order_by("-created_at", "id"), 20).get_page(
        request.GET.get("page")
    )
    return render_page(
        request,
        "audit/cases.html",
        here="audit:cases",
        page=page,
        keep=kept(request),
        rows=[
            {
                "case": case,
                "status": request_status(case),
                "purpose": purpose_words(case.purpose),
            }
            for case in page
        ],
    )


@signed_in
def case(request: UserRequest, case_id: str) -> HttpResponse:
    """The whole story of one exchange."""
    access = request_visible_to(request.user, case_id)
    grant = getattr(access, "grant", None)
    queries = (
        list(
            Query.objects.filter(grant=grant)
            .select_related("release", "same_as", "submitted_by")
            .order_by("submitted_at")
        )
        if grant
        else []
    )
    names = _names()
    lines = [present(found, names=names) for found in selectors.timeline(str(access.pk))]
    return render_page(
        request,
        "audit/case.html",
        here="audit:cases",
        crumbs=[crumb(_("Case files"), "audit:cases")],
        access=access,
        grant=grant,
        status=request_status(access),
        grant_status=grant_status(grant, dt.datetime.now(dt.UTC)) if grant else None,
        purpose=purpose_words(access.purpose),
        decisions=access.decisions.select_related("reviewer", "reviewer_organisation"),
        figures=_figures(queries, lines),
        queries=[
            {
                "query": query,
                "status": query_status(query),
                "release": getattr(query, "release", None),
                "release_status": release_status(query.release)
                if hasattr(query, "release")
                else None,
            }
            for query in queries
        ],
        lines=lines,
        verifier=_verifier(),
    )


def _figures(queries: list[Query], lines: list[Line]) -> list[tuple[str, int]]:
    return [
        (_("Records"), len(lines)),
        (_("Sealed in the log"), sum(1 for line in lines if line.index is not None)),
        (_("Queries"), len(queries)),
        (_("Refused"), sum(1 for query in queries if query.state == "refused")),
        (_("Releases"), sum(1 for query in queries if hasattr(query, "release"))),
    ]


def _verifier() -> str:
    try:
        return str(verifier_key())
    except SigningKeyUnusable:
        return ""


@signed_in
def verify(request: UserRequest) -> HttpResponse:
    """What a receipt proves, and the commands that check it without this node."""
    return render_page(
        request,
        "audit/verify.html",
        here="audit:list",
        verifier=_verifier(),
        latest=selectors.latest_checkpoint(),
        may_export=sees_all_evidence(request.user),
    )


@signed_in
def export(request: UserRequest) -> HttpResponse | StreamingHttpResponse:
    """The whole log, to be re-hashed elsewhere."""
    if not sees_all_evidence(request.user):
        raise Forbidden(
            _("Only a regulator exports the whole log."),
            hint=_("Each record of your own cases has a receipt of its own."),
        )
    response = StreamingHttpResponse(
        selectors.export_log(), content_type="application/x-ndjson"
    )
    response["Content-Disposition"] = 'attachment; filename="log.jsonl"'
    return response
