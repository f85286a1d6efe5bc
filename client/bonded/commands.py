"""The commands that look around and ask, from search to audit."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from bonded.api import Node
from bonded.records import QueryStatus, Rule
from bonded.session import SUBSET
from bonded.terminal import say, say_json, table

NEWEST = 50  # queries that `bonded status` lists


def run_search(node: Node, arguments: argparse.Namespace) -> None:
    """Datasets in which all words occur."""
    filters = {"keyword": arguments.keyword} if arguments.keyword else {}
    found = node.search(" ".join(arguments.words), **filters)
    if arguments.json:
        say_json([dataset.listed for dataset in found])
        return
    rows = [
        (
            dataset.name,
            dataset.title,
            "" if dataset.listed.rows is None else f"{dataset.listed.rows:,}",
            dataset.listed.licence or "not on offer",
        )
        for dataset in found
    ]
    say(*table(("name", "title", "rows", "licence"), rows))
    say(f"{len(found)} found" + ("" if found else "; try fewer words"))


def run_show(node: Node, arguments: argparse.Namespace) -> None:
    """All that this reader may know of a dataset."""
    dataset = node.dataset(arguments.dataset)
    if arguments.json:
        say_json(dataset.info)
        return
    info = dataset.info
    say(f"{info.title} ({info.name}), by {info.organisation}", info.description, "")
    offered = f"version {info.version}, {info.rows:,} rows" if info.rows else "not on offer"
    say(f"table in SQL: {info.table}; {offered}; licence: {info.licence or 'none'}", "")
    say(
        *table(
            ("column", "type", "roles", "limits"),
            [(c.name, c.type, ", ".join(c.roles), c.limits) for c in info.columns],
        ),
        "",
    )
    say(*(f"- {sentence}" for sentence in info.policy), "")
    say(*(_rule_in_words(rule) for rule in info.rules))
    held = dataset.grants()
    say(*(f"you hold: {g.kind} for {g.purpose} until {g.ends_at}" for g in held))
    if not held:
        say(f"you hold no grant → bonded request {info.name} --help")


def _rule_in_words(rule: Rule) -> str:
    purposes = ", ".join(rule.purposes) or "any purpose"
    who = (
        f"{rule.reviewers} reviewers decide" if rule.reviewers else "decided automatically"
    )
    if rule.kind == SUBSET:
        return f"rows for {purposes}: up to {rule.max_rows}, under {rule.licence}; {who}"
    return f"aggregates for {purposes}: cells of {rule.min_units} or more; {who}"


def run_explain(node: Node, arguments: argparse.Namespace) -> None:
    """What each audience can learn from a column."""
    learned = node.dataset(arguments.dataset).explain(arguments.column)
    if arguments.json:
        say_json(learned)
        return
    for item in learned:
        say(item.audience, *(f"- {sentence}" for sentence in item.sentences))
        if item.not_protected:
            say("Not protected against", *(f"- {line}" for line in item.not_protected))
        say("")
    if not learned:
        say("nothing: no query may refer to it, and no rows carry it")


def run_request(node: Node, arguments: argparse.Namespace) -> None:
    """A request for access lies at the node."""
    request = node.dataset(arguments.dataset).request(
        purpose=arguments.purpose,
        legal_basis=arguments.legal_basis,
        kind=arguments.kind,
        justification=arguments.justification,
        columns=arguments.column,
        days=arguments.days,
        accept_licence=arguments.accept_licence,
    )
    if arguments.json:
        say_json(request)
    elif request.grant:
        say(f"Granted: {request.grant} for {request.purpose}.")
    else:
        say(
            f"Request {request.id} is {request.state.lower()}.",
            "  → reviewers decide; look again by `bonded status`",
        )


def run_status(node: Node, arguments: argparse.Namespace) -> None:
    """Where things stand."""
    if arguments.query:
        status = node.status(arguments.query)
        say_json(status) if arguments.json else say(*_status_in_words(status))
        return
    requests, grants = node.requests(), node.grants()
    queries = list(islice(node.queries(), NEWEST))
    if arguments.json:
        say_json({"requests": requests, "grants": grants, "queries": queries})
        return
    say(
        "Requests",
        *table(
            ("id", "kind", "purpose", "state"),
            [(r.id, r.kind, r.purpose, r.state.lower()) for r in requests],
        ),
        "",
    )
    say(
        "Grants",
        *table(
            ("id", "dataset", "kind", "purpose", "state", "until"),
            [(g.id, g.dataset_name, g.kind, g.purpose, g.state, g.ends_at) for g in grants],
        ),
        "",
    )
    say(
        "Queries",
        *table(
            ("id", "dataset", "kind", "state"),
            [(q.id, q.dataset, q.kind, q.state.replace("_", " ")) for q in queries],
        ),
    )


def _status_in_words(status: QueryStatus) -> list[str]:
    lines = [f"{status.kind} on {status.dataset}: {status.state.replace('_', ' ')}"]
    lines += [f"  {reason}" for reason in status.reasons]
    if status.error is not None:
        lines.append(f"  {status.error}")
    if status.release is not None:
        lines.append(f"  release {status.release} ({status.release_state})")
        lines.append(f"    → bonded fetch {status.release}")
    return lines


def run_cancel(node: Node, arguments: argparse.Namespace) -> None:
    """A query under way is ended."""
    status = node.cancel(arguments.query)
    say_json(status) if arguments.json else say(*_status_in_words(status))


def run_audit(node: Node, arguments: argparse.Namespace) -> None:
    """Audit events, or an export of the log."""
    if arguments.export is not None:
        size = _export(node, arguments.export)
        say(f"{size:,} bytes in {arguments.export}")
        return
    names = ("type", "organisation", "case", "since", "until")
    filters = {name: getattr(arguments, name) for name in names}
    events = node.events(limit=arguments.limit, **filters)
    if arguments.json:
        say_json(events)
        return
    say(
        *table(
            ("index", "at", "type", "actor", "subject"),
            [
                (
                    "pending" if event.get("index") is None else str(event["index"]),
                    str(event.get("at")),
                    str(event.get("type")),
                    str(event.get("actor_name")),
                    f"{event.get('subject_type')} {event.get('subject_id')}",
                )
                for event in events
            ],
        )
    )


def _export(node: Node, path: Path) -> int:
    size = 0
    part = path.with_name(f".{path.name}.part")
    with ExitStack() as stack:
        stack.callback(part.unlink, missing_ok=True)
        answer = stack.enter_context(node.transport.stream("audit/export"))
        with part.open("wb") as file:
            for chunk in answer.iter_bytes():
                size += file.write(chunk)
        part.replace(path)
    return size
