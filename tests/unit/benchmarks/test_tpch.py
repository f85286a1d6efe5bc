"""Each benchmark over TPC-H runs, at a scale at which its figures mean nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tpch_data import shards_for

_GENERATOR = Path(sys.executable).with_name("tpchgen-cli")
pytestmark = [
    pytest.mark.sandboxed,
    pytest.mark.skipif(
        not _GENERATOR.exists() and shutil.which("tpchgen-cli") is None,
        reason="tpchgen-cli is not installed",
    ),
]
_ROOT = Path(importlib.util.find_spec("benchmarks").origin).parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tables are kept from one benchmark to the next."""
    return tmp_path_factory.mktemp("benchmarks")


def figures(data: Path, name: str, *more: str) -> dict[tuple[str, str], dict]:
    """Run a benchmark as its user does; its rows by case and metric."""
    out = data / f"{name}.json"
    subprocess.run(
        [
            sys.executable, "-m", "benchmarks", name, "--scale", "0.01", "--runs", "1",
            "--data", str(data), "--json", str(out), *more,
        ],
        check=True,
        capture_output=True,
        cwd=_ROOT,
        # A node of its own has a broker of its own, not the one of this process.
        env={k: v for k, v in os.environ.items() if not k.startswith("BONDED_")},
        timeout=300,
    )  # fmt: skip
    rows = json.loads(out.read_text())["rows"]
    return {(row["case"], row["metric"]): row for row in rows}


def test_sandbox_gives_each_query_all_metrics_and_a_mean(data: Path) -> None:
    found = figures(data, "sandbox", "--only", "q6,q13")

    metrics = {"warm", "like", "cpu", "fresh", "job", "cold", "evicted"}
    assert {m for case, m in found if case == "q13"} == metrics
    assert {m for case, m in found if case == "geometric mean"} == metrics
    assert all(row["value"] > 0 and row["ratio"] > 0 for row in found.values())


def test_unseal_gives_a_rate_with_and_without_digests(data: Path) -> None:
    found = figures(data, "unseal")

    assert {metric for _, metric in found} == {"known", "verified"}
    assert all(row["value"] > 0 for row in found.values())


def test_admitted_releases_some_and_says_why_not_others(data: Path) -> None:
    found = figures(data, "admitted", "--only", "q2,q6")

    assert {metric for case, metric in found if case.startswith("q6")} == {
        "released",
        "worker",
        "cpu",
    }
    notes = json.loads((data / "admitted.json").read_text())["notes"]
    assert any(note.startswith("q2, as it is: refused, ") for note in notes)


def test_native_weighs_tables_beside_images(data: Path) -> None:
    found = figures(data, "native", "--only", "q6")

    assert {m for case, m in found if case == "q6"} == {"images", "native", "load"}
    assert found["all named columns", "images"]["value"] > 0


def test_ingest_times_each_step(data: Path) -> None:
    found = figures(data, "ingest", "--scale", "0.002")

    steps = {case for case, metric in found if metric == "min"}
    assert steps == {"seal, profile, partition", "seal", "profile", "partition"}


def test_size_keeps_other_scales_and_draws_them(data: Path) -> None:
    figures(data, "size", "--scale", "0.01")
    drawing = data / "size.svg"
    found = figures(data, "size", "--scale", "0.02", "--out", str(drawing))

    assert {case for case, _ in found} == {"scale 0.01", "scale 0.02", "slope"}
    assert drawing.read_text().count("<polyline") == 4


@pytest.mark.long
def test_roundtrip_asks_a_node_of_its_own(data: Path) -> None:
    found = figures(data, "roundtrip", "--only", "single,repeat")

    assert {case for case, _ in found} == {"single", "repeat"}
    assert found["repeat", "p50"]["value"] < found["single", "p50"]["value"]


@pytest.mark.parametrize(
    ("rows", "shards"),
    [(0, 1), (999_999, 1), (1_000_000, 2), (6_001_215, 8), (10**9, 64)],
)
def test_shards_for_is_a_power_of_two_of_rows(rows: int, shards: int) -> None:
    assert shards_for(rows) == shards
