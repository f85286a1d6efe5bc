"""Every attempt, by SQL and by Python, against every layer of the lock-down alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.attacks.sandbox import attempts_calls, attempts_files  # noqa: F401 - registers
from tests.attacks.sandbox.attempts import ENTRIES
from tests.attacks.sandbox.attempts_sql import STATEMENTS
from tests.attacks.sandbox.layers import THROUGH

pytestmark = pytest.mark.sandboxed
Row = dict[str, str]

# Machines switch these off for everybody, which is no fault.
SWITCHED_OFF = {
    "ring_of_io",
    "bpf_map",
    "page_faults_of_ones_own",
    "performance_counter",
    "new_user_namespace",
    "keyring",
    "packet_socket",
    "internet_socket_version_6",
}
# What a child that is root does and others do not.
NEEDS_ROOT = {
    "change_the_root",
    "mount_something",
    "become_root",
    "name_the_machine",
    "real_time",
}
# What the filter of ingest lets through, against the one of a query's worker. Landlock
# lets no path of a file system be opened for writing; a file in memory has none, and its
# locks nobody heeds.
LET_THROUGH = {"create_a_file", "write_to_a_file"}
LET_THROUGH_IN_MEMORY = {"open_ones_output_by_its_path", "lock_an_image_of_others"}


@pytest.fixture(scope="module")
def found() -> dict[str, Row]:
    """Name of the attempt to what became of it, by layer."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.attacks.sandbox.layers"],
        capture_output=True,
        check=True,
    )
    rows: dict[str, Row] = {}
    for kind in json.loads(said.stdout).values():
        rows.update(kind)
    return rows


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_attempt_is_stopped_by_each_layer_meant_for_it(entry, found) -> None:  # type: ignore[no-untyped-def]
    row = found[entry.name]

    if entry.baseline and entry.name not in SWITCHED_OFF | NEEDS_ROOT:
        assert row["none"] == THROUGH, "an attempt that never works shows nothing"
    assert row["worker"] != THROUGH
    for layer in entry.by - {"seal"}:
        if layer == "own_user" and os.geteuid() != 0:
            continue
        assert row[layer] != THROUGH, layer
    if entry.name not in LET_THROUGH_IN_MEMORY:
        assert row["worker_of_ingest"] != THROUGH
    if "seal" in entry.by:
        assert THROUGH not in row.values()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.name)
def test_statement_is_stopped_by_each_layer_meant_for_it(statement, found) -> None:  # type: ignore[no-untyped-def]
    row = found[statement.name]

    if statement.baseline:
        assert row["none"] == THROUGH, "an attempt that never works shows nothing"
    for layer in statement.by:
        assert row[layer] != THROUGH, layer
    # Without the engine's own lock: settings give nothing that the process does not hold.
    if statement.by != {"engine"}:
        assert row["worker"] != THROUGH
        assert row["worker_of_ingest"] != THROUGH


def test_filter_of_ingest_lets_through_what_it_is_for_and_nothing_else(
    found: dict[str, Row],
) -> None:
    apart = {
        entry.name
        for entry in ENTRIES
        if found[entry.name]["seccomp"] != THROUGH
        and found[entry.name]["seccomp_of_ingest"] == THROUGH
    }

    assert apart == LET_THROUGH | LET_THROUGH_IN_MEMORY
    for name in LET_THROUGH:
        assert found[name]["landlock"] != THROUGH, name
    for name in LET_THROUGH_IN_MEMORY:
        assert found[name]["worker_of_ingest"] == THROUGH, "ingest could not do its work"


def test_filter_answers_by_itself_and_kills_nobody(found: dict[str, Row]) -> None:
    """Under the filter alone: EPERM, or ENOSYS where the library then does without."""
    for entry in ENTRIES:
        if "seccomp" in entry.by and "seal" not in entry.by:
            assert found[entry.name]["seccomp"] in {"EPERM", "ENOSYS", "ValueError"}, entry
