"""A model builder's walk over a real node: granian, Celery, sequencer, sandbox daemon.

One test, because one node takes seconds to start; its steps are functions below it.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from bonded import Node, Problem, QueryRefused, cli
from bonded.config import Config
from bonded.transport import Transport

from tests.factories.node import LiveNode, live_node, logs

pytestmark = [pytest.mark.sandboxed]
PURPOSE = "predictive-maintenance"
LICENCE = "CDLA-Permissive-2.0"
ROWS = 3000
POLICY = f"""\
version: 1
tables:
  milling:
    units: [{{domain: machine, column: machine}}]
    columns:
      machine: {{role: unit_key}}
      type: {{role: dimension, values: public}}
      torque: {{role: measure, grid: 5, scale: 2}}
      failure: {{role: label}}
rules:
  - kind: aggregate
    min_units: 10
    aggregates: [count, count_distinct, sum, avg]
    purposes: [{PURPOSE}]
    approval: automatic
  - kind: subset
    columns: [type, torque, failure]
    label: failure
    row_filter: "type = 'L'"
    licence: {LICENCE}
    max_rows: 500
    approval: automatic
"""


def milling() -> pd.DataFrame:
    """Seeded runs of 300 machines; type H stands on five of them only."""
    draw = random.Random(42)
    rows = []
    for _ in range(ROWS):
        machine = draw.randrange(300)
        kind = "H" if machine < 5 else "LM"[machine % 2]
        torque = None if draw.random() < 0.02 else round(draw.gauss(40, 10), 2)
        rows.append((machine, kind, torque, int(draw.random() < 0.04)))
    return pd.DataFrame(rows, columns=["machine", "type", "torque", "failure"])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("live")) as node:
        yield node


@contextmanager
def provider(live: LiveNode) -> Iterator[Transport]:
    transport = Transport(Config(live.url, live.tokens["steward"]))
    yield transport
    transport.close()


def until(transport: Transport, path: str, *states: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while True:
        record = transport.get(path)
        if record["state"] in states:
            return record
        assert record["state"] != "failed", record["error"]
        assert time.monotonic() < deadline, record
        time.sleep(0.2)


def publish(transport: Transport, frame: pd.DataFrame, folder: Path) -> str:
    """The rows are on offer, as Parquet through a raw upload; the dataset's id."""
    path = folder / "milling.parquet"
    frame.to_parquet(path)
    dataset = transport.post("datasets", {"title": "Milling runs", "table": "milling"})[
        "id"
    ]
    with path.open("rb") as file:
        version = transport.upload(
            f"datasets/{dataset}/uploads",
            file,
            content_type="application/vnd.apache.parquet",
            query={"filename": path.name},
        )
    where = f"versions/{version['id']}"
    until(transport, where, "profiled")
    transport.post(f"datasets/{dataset}/policies", {"text": POLICY})
    transport.post(f"{where}/partition")
    until(transport, where, "ready")
    transport.post(f"{where}/publish", {"licence": "CC-BY-4.0"})
    return str(dataset)


def test_walk_over_a_real_node(
    live: LiveNode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = milling()
    try:
        with provider(live) as transport:
            publish(transport, frame, tmp_path)
            bad_uploads_say_where(transport)
            same_file_is_refused(transport, tmp_path)
        with Node.connect(live.url, live.tokens["builder"]) as node:
            aggregate_equals_pandas(node, frame)
            later_query_is_compared_with_the_first(node, frame)
            select_star_is_refused(node)
            rows_reach_pandas(node, frame, tmp_path)
        command_line_verifies(live, tmp_path, monkeypatch)
    except Exception:
        capsys.readouterr()
        print(logs(live.home))  # noqa: T201 - shown where the walk fails
        raise


def aggregate_equals_pandas(node: Node, frame: pd.DataFrame) -> None:
    (dataset,) = node.search("milling")
    asked = dataset.request(
        purpose=PURPOSE,
        legal_basis="not-personal",
        justification="To plan the upkeep of mills.",
        accept_licence="CC-BY-4.0",
    )
    assert asked.grant, asked
    sql = (
        "SELECT type, count(*) AS n, avg(torque) AS mean, "
        "count(DISTINCT machine) AS machines FROM milling GROUP BY type ORDER BY type"
    )
    assert dataset.check(sql, purpose=PURPOSE).is_allowed

    result = dataset.query(sql, purpose=PURPOSE)

    shown = result.to_pandas().set_index("type")
    plain = frame.groupby("type").agg(
        n=("type", "size"), mean=("torque", "mean"), machines=("machine", "nunique")
    )
    for kind in ("L", "M"):
        assert shown.loc[kind, "n"] == plain.loc[kind, "n"]
        assert shown.loc[kind, "machines"] == plain.loc[kind, "machines"]
        assert shown.loc[kind, "mean"] == pytest.approx(plain.loc[kind, "mean"], abs=0.01)
    assert result.suppressed == 1
    withheld = [index for index, row in enumerate(result.rows) if row[0] == "H"]
    assert all(result.is_withheld(index, "n") for index in withheld)
    verified = result.receipt.verify()
    assert verified.result_checked
    assert verified.entry.type == "release:held"


def later_query_is_compared_with_the_first(node: Node, frame: pd.DataFrame) -> None:
    """Its columns are others, and those of the first are needed to compare the two."""
    sql = "SELECT failure, sum(torque) AS s, count(*) AS n FROM milling GROUP BY failure"

    result = node.dataset("milling-runs").query(sql)

    shown = result.to_pandas().set_index("failure")
    plain = frame.groupby("failure").agg(s=("torque", "sum"), n=("torque", "size"))
    released = shown[shown["n"].notna()]
    assert len(released) >= 1, shown
    for kind, row in released.iterrows():
        assert row["n"] == plain.loc[kind, "n"]
        assert row["s"] == pytest.approx(plain.loc[kind, "s"], abs=0.01)
    assert result.receipt.verify().result_checked


def select_star_is_refused(node: Node) -> None:
    dataset = node.dataset("milling-runs")
    for sql in ("SELECT * FROM milling", "SELECT 1; SELECT 2", "SELEC type FROM milling"):
        with pytest.raises(QueryRefused) as refused:
            dataset.query(sql)
        assert all(reason.message for reason in refused.value.reasons)


def rows_reach_pandas(node: Node, frame: pd.DataFrame, folder: Path) -> None:
    dataset = node.dataset("milling-runs")
    dataset.request(
        kind="subset",
        purpose=PURPOSE,
        legal_basis="not-personal",
        justification="To train a model.",
        accept_licence=LICENCE,
    )

    package = dataset.subset(["torque", "failure"], accept_licence=LICENCE)

    rows = package.to_pandas()
    by_link = pd.read_parquet(package.url, storage_options=package.storage_options)
    assert rows.equals(by_link)
    assert list(rows.columns) == ["torque", "failure"]
    assert len(rows) == package.rows == 500
    low = frame[frame["type"] == "L"]
    assert set(rows["torque"].dropna()) <= set(low["torque"].dropna())
    path = package.download(folder)
    assert path.stat().st_size == package.size_bytes
    part = httpx.get(
        package.url, headers={**package.storage_options, "Range": "bytes=0-3"}, timeout=30
    )
    assert (part.status_code, part.content) == (206, b"PAR1")
    assert package.receipt.verify().result_checked


def command_line_verifies(
    live: LiveNode, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONDED_CONFIG", str(folder / "settings" / "config.json"))
    monkeypatch.delenv("BONDED_TOKEN", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(live.tokens["regulator"]))
    assert cli.main(["login", live.url, "--token-stdin"]) == 0
    log = folder / "log.jsonl"
    assert cli.main(["audit", "--export", str(log)]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(live.tokens["builder"]))
    assert cli.main(["login", live.url, "--token-stdin"]) == 0
    with Node.connect() as node:
        release = node.fetch(next(node.transport.pages("releases"))["id"])  # type: ignore[arg-type]
        receipt = release.receipt.save(folder / "receipt.json")
    assert cli.main(["verify", str(receipt), "--log", str(log)]) == 0
    altered = bytearray(log.read_bytes())
    altered[len(altered) // 2] ^= 1
    log.write_bytes(altered)
    assert cli.main(["verify", str(receipt), "--log", str(log)]) == 1


def bad_uploads_say_where(transport: Transport) -> None:
    dataset = transport.post("datasets", {"title": "Bad uploads"})["id"]
    lines = [f"{n},{n % 7}" for n in range(20_000)]
    lines[12_345] = "12345,not a number,too many"
    for name, content, code in (
        ("bad.csv", ("a,b\n" + "\n".join(lines)).encode(), "upload_bad_row"),
        ("no.parquet", b"not a Parquet file at all", "upload_not_parquet"),
        ("cut.parquet", b"PAR1" + b"\0" * 400, "upload_truncated"),
    ):
        version = transport.upload(
            f"datasets/{dataset}/uploads",
            io.BytesIO(content),
            content_type="application/octet-stream",
            query={"filename": name},
        )
        failed = _failed(transport, f"versions/{version['id']}")
        assert failed["error"]["code"] == code, failed["error"]
        if code == "upload_bad_row":
            assert failed["error"]["line"] == 12_347


def same_file_is_refused(transport: Transport, folder: Path) -> None:
    (dataset,) = transport.pages("datasets", query={"name": "milling-runs"})
    with (
        (folder / "milling.parquet").open("rb") as file,
        pytest.raises(Problem) as twice,
    ):
        transport.upload(
            f"datasets/{dataset['id']}/uploads",
            file,
            content_type="application/octet-stream",
            query={"filename": "again.parquet"},
        )
    assert twice.value.code == "duplicate_upload"


def _failed(transport: Transport, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (record := transport.get(path))["state"] != "failed":
        assert time.monotonic() < deadline, record
        time.sleep(0.2)
    return record
