"""The node at work: what runs, what failed and may be tried again, how it is guarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from exchange.audit.models import AuditEvent
from exchange.audit.selectors import latest_checkpoint
from exchange.catalogue import sandbox
from exchange.catalogue.forgetting import FORGET
from exchange.catalogue.keywork import ROTATE
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.rekeying import REKEY
from exchange.catalogue.selectors import version_visible_to
from exchange.catalogue.services import retry_version
from exchange.catalogue.uploads import PARTITION, PROFILE
from exchange.errors import NotFound
from exchange.keys.standing import standing
from exchange.operations import services
from exchange.operations.models import Operation, OperationState
from exchange.parties.models import Kind, User
from exchange.queries.selectors import queries_visible_to, query_visible_to
from exchange.queries.services import ANALYSE, RUN, retry_query
from exchange.queries.shredding import SHRED
from exchange.web.access import UserRequest, signed_in
from exchange.web.event_words import size_words
from exchange.web.filters import kept
from exchange.web.page import problem_of, render_page
from exchange.web.standing import standing_of
from exchange.web.statuses import operation_status
from sandbox.errors import SandboxError

PAGE_SIZE = 30


def _is_operator(user: User) -> bool:
    return any(
        organisation.kind == Kind.OPERATOR
        for organisation in standing_of(user).where("administer")
    )


def operations_visible_to(user: User) -> QuerySet[Operation]:
    """All for the operator; for others the work on their own versions and queries."""
    if _is_operator(user):
        return Operation.objects.all()
    own = standing_of(user).organisations
    targets = [
        str(pk)
        for pk in (
            *DatasetVersion.objects.filter(dataset__organisation__in=own)
            .order_by("-created_at")
            .values_list("pk", flat=True)[:1000],
            *(str(organisation.public_id) for organisation in own),
            *queries_visible_to(user)
            .order_by("-submitted_at")
            .values_list("pk", flat=True)[:1000],
        )
    ]
    return Operation.objects.filter(target_id__in=targets)


KIND_WORDS: dict[str, Callable[[], str]] = {
    "catalogue.profile": lambda: _("Read and profile an upload"),
    "catalogue.partition": lambda: _("Partition and encrypt a dataset version"),
    "catalogue.forget": lambda: _("Have the sandbox forget a version"),
    "catalogue.rekey": lambda: _("Write a version anew under a new key"),
    "keys.rotate": lambda: _("Rotate an organisation's key"),
    "queries.shred_organisation": lambda: _("End what stood on an organisation's key"),
    "queries.analyse": lambda: _("Analyse a query"),
    "queries.run": lambda: _("Run a query"),
    "queries.subset": lambda: _("Make a subset package"),
}


def kind_words(kind: str) -> str:
    return KIND_WORDS[kind]() if kind in KIND_WORDS else kind


def _target_url(operation: Operation) -> str:
    stage = operation.kind.partition(".")[0]
    if operation.kind in (FORGET, REKEY, ROTATE, SHRED):
        return reverse("keys:list")
    if stage == "catalogue":
        return reverse("publishing:columns", args=[operation.target_id])
    if stage == "queries":
        return reverse("queries:detail", args=[operation.target_id])
    return ""


@signed_in
def listing(request: UserRequest) -> HttpResponse:
    found = operations_visible_to(request.user)
    state = request.GET.get("state", "")
    if state in OperationState.values:
        found = found.filter(state=state)
    page = Paginator(found.order_by("-created_at", "-pk"), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    return render_page(
        request,
        "operations/list.html",
        here="operations:list",
        page=page,
        keep=kept(request),
        state=state,
        states=OperationState.choices,
        rows=[
            {
                "operation": operation,
                "status": operation_status(operation),
                "what": kind_words(operation.kind),
                "url": _target_url(operation),
                "may_restart": operation.state
                in (OperationState.FAILED, OperationState.CANCELLED),
            }
            for operation in page
        ],
    )


@require_POST
@signed_in
def restart(request: UserRequest, public_id: str) -> HttpResponse:
    """Try failed work again, through the service that owns what it was about."""
    operation = operations_visible_to(request.user).filter(public_id=public_id).first()
    if operation is None:
        raise NotFound(_("No such operation is here for you."))
    if operation.kind in (PROFILE, PARTITION):
        version = version_visible_to(request.user, operation.target_id)
        retry_version(version=version, by=request.user)
    elif operation.kind in (ANALYSE, RUN):
        retry_query(
            query=query_visible_to(request.user, operation.target_id), by=request.user
        )
    else:
        services.restart(operation)
    messages.success(request, _("It is being tried again."), extra_tags="ok")
    return redirect("operations:list")


def layer_words(name: str) -> str:
    """What a layer does; one without words here is shown by its name."""
    words = {
        "landlock": _("Landlock: no file may be opened"),
        "seccomp": _("seccomp: only the system calls that the engine needs"),
        "limits": _("Resource limits on memory, time and output"),
        "worker": _("All layers together, one process for each job, no keys"),
        "namespaces": _("A namespace of its own, without a network"),
        "own_user": _("A user of its own"),
        "cgroup": _("A control group"),
        "memory_lock": _("Memory that holds keys is locked"),
        "no_swap": _("No swap: unsealed columns are never written to a disk"),
    }
    return words.get(name, name.replace("_", " "))


def _facts(report: dict[str, Any]) -> list[tuple[str, Any]]:
    if not report:
        return []
    return [
        (_("Engine"), report["engine"]),
        (_("Workers at most"), report["workers"]),
        (_("Jobs running"), report["running"]),
        (
            _("Unsealed columns in memory"),
            _("%(used)s of at most %(limit)s")
            % {
                "used": size_words(report["cached_bytes"]),
                "limit": size_words(report["cache_limit_bytes"]),
            },
        ),
    ]


@signed_in
def health(request: UserRequest) -> HttpResponse:
    """Whether each part answers, and each layer of the sandbox's lock-down."""
    report: dict[str, Any] = {}
    problem = None
    without_keys = standing.problem()
    try:
        report = sandbox.daemon().health()
    except SandboxError as error:
        problem = problem_of(error)
    counts = dict(
        Operation.objects.values_list("state").annotate(count=Count("pk")).order_by()
    )
    return render_page(
        request,
        "operations/health.html",
        here="operations:health",
        report=report,
        layers=[
            {**layer, "words": layer_words(layer["name"])}
            for layer in report.get("layers", ())
        ],
        facts=_facts(report),
        sandbox_problem=problem,
        key_problem=problem_of(without_keys) if without_keys is not None else None,
        waiting=counts.get(OperationState.PENDING, 0),
        running=counts.get(OperationState.LEASED, 0),
        failed=counts.get(OperationState.FAILED, 0),
        pending_events=AuditEvent.objects.pending().count(),
        latest=latest_checkpoint(),
    )
