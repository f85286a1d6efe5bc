"""The commands that ask a node for data: check, query, subset, fetch."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bonded.api import Node
from bonded.errors import ConfigInvalid, Problem
from bonded.records import Verdict
from bonded.results import Package, Result
from bonded.terminal import WITHHELD, say, say_json, table

MAX_SQL_BYTES = 1024 * 1024
FETCH_SECONDS = 30.0


def run_check(node: Node, arguments: argparse.Namespace) -> int:
    """What would become of a query."""
    dataset = node.dataset(arguments.dataset)
    verdict = dataset.check(read_sql(arguments.sql), purpose=arguments.purpose or "")
    if arguments.json:
        say_json(verdict)
    else:
        say(*_verdict_in_words(verdict))
    return 1 if verdict.verdict == "refuse" else 0


def _verdict_in_words(verdict: Verdict) -> list[str]:
    first = {
        "allow": "It would run at once.",
        "review": "It would run after reviewers have agreed:",
        "refuse": "It would be refused:",
    }.get(verdict.verdict, verdict.verdict)
    return [first, *(f"  {reason}" for reason in verdict.reasons)]


def run_query(node: Node, arguments: argparse.Namespace) -> None:
    """A query's controlled answer."""
    result = node.dataset(arguments.dataset).query(
        read_sql(arguments.sql), purpose=arguments.purpose, timeout_seconds=arguments.wait
    )
    _show_result(result, arguments)


def _show_result(result: Result, arguments: argparse.Namespace) -> None:
    if arguments.out is not None:
        result.save(arguments.out)
    if arguments.json:
        say_json({"release": result.release_id, **json.loads(result.content)})
        return
    rows = [
        [
            WITHHELD if result.is_withheld(index, column) else _cell(value)
            for column, value in enumerate(row)
        ]
        for index, row in enumerate(result.rows)
    ]
    say(*table([column.name for column in result.columns], rows))
    if result.suppressed:
        say(f"{WITHHELD} withheld in {result.suppressed} rows, to protect who is behind")
    if result.partial:
        say("partial: some figures were computed over a set with withheld cells")
    say(f"release {result.release_id}")


def _cell(value: object) -> str:
    return "NULL" if value is None else str(value)


def run_subset(node: Node, arguments: argparse.Namespace) -> None:
    """Licensed labelled rows in a file."""
    package = node.dataset(arguments.dataset).subset(
        arguments.column,
        accept_licence=arguments.accept_licence,
        purpose=arguments.purpose,
        timeout_seconds=arguments.wait,
    )
    _show_package(package, arguments)


def _show_package(package: Package, arguments: argparse.Namespace) -> None:
    path = package.download(arguments.out or Path())
    if arguments.json:
        say_json({"package": package, "file": str(path)})
        return
    say(
        f"{package.rows:,} rows under {package.licence} in {path}",
        f"release {package.release_id}, sha256 {package.sha256}",
    )


def run_fetch(node: Node, arguments: argparse.Namespace) -> None:
    """What was released, and the proof of it."""
    fetched = _fetch(node, arguments.release)
    if arguments.receipt is not None:
        fetched.receipt.save(arguments.receipt)
    if isinstance(fetched, Package):
        _show_package(fetched, arguments)
    else:
        _show_result(fetched, arguments)
    if arguments.receipt is not None and not arguments.json:
        say(f"receipt in {arguments.receipt} → bonded verify {arguments.receipt}")


def _fetch(node: Node, given: str) -> Result | Package:
    """The release of that id, or what answers the query of that id."""
    try:
        return node.fetch(given)
    except Problem as problem:
        if problem.code != "not_found":
            raise
    return node.released(node.status(given), timeout_seconds=FETCH_SECONDS)


def read_sql(given: str) -> str:
    """The SQL that `given` is or names: `-` the standard input, `@FILE` a file's text."""
    if given == "-":
        return sys.stdin.read(MAX_SQL_BYTES)
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(
            f"{given[1:]} cannot be read as UTF-8 text", hint="check the file's name"
        ) from error
