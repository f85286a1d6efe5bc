"""The arguments of every command that talks to a node."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bonded import answers, commands
from bonded.api import AGGREGATE, Node
from bonded.session import SUBSET

Subparsers = argparse._SubParsersAction  # argparse names the type no other way
Command = Callable[[Node, argparse.Namespace], int | None]


def add_commands(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """`subparsers` holds every command that needs a node."""
    add = _Adder(subparsers)

    search = add("search", commands.run_search, "find datasets")
    search.add_argument("words", nargs="*", metavar="WORD", help="all must occur")
    search.add_argument("--keyword", help="one keyword, exactly")

    show = add("show", commands.run_show, "a dataset: columns, rules, policy in words")
    show.add_argument("dataset", metavar="DATASET", help="name or id")

    explain = add("explain", commands.run_explain, "what can be learned from a column")
    explain.add_argument("dataset", metavar="DATASET", help="name or id")
    explain.add_argument("column", metavar="COLUMN", help="as `bonded show` lists it")

    request = add("request", commands.run_request, "ask for access")
    request.add_argument("dataset", metavar="DATASET")
    request.add_argument("--purpose", required=True)
    request.add_argument("--legal-basis", required=True, help="for example not-personal")
    request.add_argument("--kind", choices=[AGGREGATE, SUBSET], default=AGGREGATE)
    request.add_argument("--justification", default="", help="what it is for")
    request.add_argument("--column", action="append", default=[], help="may be repeated")
    request.add_argument("--days", type=int, default=30, help="how long (default 30)")
    request.add_argument("--accept-licence", metavar="SPDX", help="the licence's name")

    for name, run, text in (
        ("check", answers.run_check, "say what would become of a query; runs nothing"),
        ("query", answers.run_query, "run a query and print its controlled answer"),
    ):
        query = add(name, run, text)
        query.add_argument("dataset", metavar="DATASET")
        query.add_argument("sql", metavar="SQL", help="text, `-` or `@FILE`")
        query.add_argument("--purpose", help="default: that of your one grant")
        if name == "query":
            _add_waiting(query)
            query.add_argument("--out", type=Path, metavar="FILE", help="keep the result")

    subset = add("subset", answers.run_subset, "licensed labelled rows as a Parquet file")
    subset.add_argument("dataset", metavar="DATASET")
    subset.add_argument("--column", action="append", default=[], help="may be repeated")
    subset.add_argument("--purpose", help="default: that of your one grant")
    subset.add_argument("--accept-licence", metavar="SPDX", help="the licence's name")
    subset.add_argument(
        "--out", type=Path, default=Path(), metavar="FILE", help="or folder"
    )
    _add_waiting(subset)

    fetch = add("fetch", answers.run_fetch, "a release's content and receipt")
    fetch.add_argument("release", metavar="RELEASE", help="id of a release or of a query")
    fetch.add_argument("--out", type=Path, metavar="FILE", help="keep the content")
    fetch.add_argument("--receipt", type=Path, metavar="FILE", help="keep the receipt")

    status = add(
        "status", commands.run_status, "where your requests, grants and queries stand"
    )
    status.add_argument("query", nargs="?", metavar="QUERY", help="id of one query")

    cancel = add("cancel", commands.run_cancel, "end a query that is under way")
    cancel.add_argument("query", metavar="QUERY", help="its id")

    audit = add(
        "audit", commands.run_audit, "audit events, or the whole log for `verify --log`"
    )
    audit.add_argument("--type", help="for example release:downloaded")
    audit.add_argument("--organisation", help="slug")
    audit.add_argument("--case", help="id of the access request it began with")
    audit.add_argument("--since", help="ISO 8601 time")
    audit.add_argument("--until", help="ISO 8601 time")
    audit.add_argument("--limit", type=int, default=50, help="newest first (default 50)")
    audit.add_argument("--export", type=Path, metavar="FILE", help="the log as JSON lines")


class _Adder:
    def __init__(self, subparsers: Subparsers[argparse.ArgumentParser]) -> None:
        self._subparsers = subparsers

    def __call__(self, name: str, run: Command, text: str) -> argparse.ArgumentParser:
        parser = self._subparsers.add_parser(name, help=text, description=text)
        parser.add_argument("--url", help="another node than the one of `bonded login`")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(run=_at_node(run))
        return parser


def _at_node(run: Command) -> Callable[[argparse.Namespace], int | None]:
    def command(arguments: argparse.Namespace) -> int | None:
        with Node.connect(arguments.url) as node:
            return run(node, arguments)

    return command


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=float, default=120.0, metavar="SECONDS", help="default 120"
    )
