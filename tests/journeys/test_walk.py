"""The whole walk of a dataset through the real sandbox daemon, by the services."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from django.apps import apps

from exchange.audit.services import seal_all
from exchange.audit.signing import verifier_key
from exchange.catalogue.rekeying import rekey_version
from exchange.catalogue.services import partition_version
from exchange.errors import Refused
from exchange.keys.models import DataKey, KeyState
from exchange.keys.services import unwrap
from exchange.operations.models import Operation
from exchange.queries import releases, selectors
from exchange.queries.models import Query, Release
from exchange.queries.services import dry_run
from exchange.queries.shredding import shred_version, words_for_version
from ledger.errors import LedgerError
from ledger.receipt import verify_receipt
from sandbox.launcher import Daemon
from tests.factories.real_sandbox import house, node
from tests.factories.walk import (
    House,
    answered,
    granted,
    perform_all,
    profiled,
    registered,
    with_policy,
)
from tests.unit.sandbox import key_search

__all__ = ["house", "node"]

pytestmark = [pytest.mark.django_db, pytest.mark.sandboxed]


def test_walk_from_upload_to_a_verified_download(house: House) -> None:
    """What is downloaded is what the rows say; the receipt proves it and nothing else."""
    grant = granted(house)

    query = answered(house, grant)

    assert query.state == "held", (query.error_code, query.error_message, query.reasons)
    release = opened(query)
    content = b"".join(releases.release_content(release=release, by=house.builder))
    cells = {row[0]: row[1] for row in json.loads(content)["rows"]}
    expected = Counter("H" if n < 3 else "LM"[n % 2] for n in range(200))
    assert cells["L"] == expected["L"]
    assert cells["M"] == expected["M"]
    assert cells.get("H") is None
    receipt = selectors.receipt_of(release)
    assert receipt is not None
    assert verify_receipt(receipt, verifier_key(), content).result_checked
    with pytest.raises(LedgerError):
        verify_receipt(receipt, verifier_key(), content.replace(b"200", b"201") + b" ")


def test_walk_repeats_the_answer_and_runs_a_second_question(house: House) -> None:
    grant = granted(house)
    first = answered(house, grant)

    repeat = answered(house, grant)
    other = answered(
        house, grant, sql="SELECT type, avg(torque) AS mean FROM runs GROUP BY type"
    )

    assert repeat.same_as == first
    assert other.state == "held", (other.error_code, other.error_message, other.reasons)
    assert Release.objects.count() == 2


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM runs", "SELEC 1", "SELECT 1; SELECT 2", "SELECT id FROM runs LIMIT 1"],
)
def test_walk_refuses_as_a_value_with_a_way_forward(sql: str, house: House) -> None:
    grant = granted(house)

    query = answered(house, grant, sql=sql)

    assert query.state == "refused", (query.error_code, query.error_message)
    assert all(reason["code"] and reason["message"] for reason in query.reasons)
    assert dry_run(grant=grant, sql=sql, by=house.builder).verdict == "refuse"
    assert not Release.objects.exists()


def test_walk_of_a_subset_ends_in_parquet_under_its_licence(house: House) -> None:
    grant = granted(house, kind="subset")

    query = answered(house, grant, columns=["type", "failure"])

    assert query.state == "held", (query.error_code, query.error_message, query.reasons)
    content = releases.release_content(release=opened(query), by=house.builder)
    table = pq.read_table(io.BytesIO(b"".join(content)))
    assert table.column_names == ["type", "failure"]
    assert table.num_rows == 50
    assert table.schema.metadata[b"bonded.licence"] == b"CDLA-Permissive-2.0"


def test_walk_stops_at_a_bad_row_and_says_where(house: House) -> None:
    text = "id,type,torque,failure\n" + "1,L,5,0\n" * 50 + "2,L\n"

    version = profiled(house, registered(house), text)

    assert version.state == "failed"
    assert version.error_code.startswith("upload_")
    assert version.error_line == 52
    assert not version.columns.exists()


def test_walk_notices_a_shard_that_was_altered(
    house: House, node: tuple[Daemon, Path]
) -> None:
    grant = granted(house)
    (shard,) = grant.version.files.all()
    path = node[1] / shard.name
    data = bytearray(path.read_bytes())
    # In every column, whichever is read; not in the footer, which has a digest of its own.
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for place in range(20, footer, 40):
        data[place] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))

    query = answered(house, grant)

    assert (query.state, query.error_code) == ("failed", "distribution_corrupt")
    assert not Release.objects.exists()


def test_walk_partitions_by_unit_and_keeps_no_upload(
    house: House, node: tuple[Daemon, Path]
) -> None:
    dataset = registered(house)
    version = profiled(house, dataset)
    policy = with_policy(house, dataset)

    partition_version(version=version, policy_version=policy, by=house.steward)
    perform_all()

    version.refresh_from_db()
    assert (version.state, version.unit_count) == ("ready", 200), version.error_message
    left = [p.name for p in (node[1] / "versions" / str(version.pk)).iterdir()]
    assert all(name.startswith("shard-") for name in left)


def opened(query: Query) -> Release:
    seal_all()
    releases.open_covered()
    return Release.objects.get(query=query)


def test_walk_goes_on_after_its_files_were_written_anew_and_ends_with_their_key(
    house: House, node: tuple[Daemon, Path]
) -> None:
    """Rekeyed by the real sandbox: it answers on. Shredded: no image, file or answer."""
    daemon, vault = node
    grant = granted(house)
    version = grant.version
    first = answered(house, grant)
    before = set(version.files.values_list("sha256", flat=True))

    rekey_version(version=version, by=house.steward)
    perform_all()

    rekeyed = Operation.objects.get(kind="catalogue.rekey")
    assert rekeyed.state == "done", (rekeyed.error_code, rekeyed.error_message)
    assert before.isdisjoint(version.files.values_list("sha256", flat=True))
    by_failure = "SELECT type, avg(torque) AS mean FROM runs GROUP BY type"
    second = answered(house, grant, sql=by_failure)
    assert (first.state, second.state) == ("held", "held"), second.error_message

    shred_version(
        version=version, confirmation=words_for_version(version), by=house.steward
    )
    perform_all()

    assert list((vault / "versions" / str(version.pk)).iterdir()) == []
    assert daemon.forget(str(version.pk)) == 0
    with pytest.raises(Refused) as caught:
        answered(house, grant, sql="SELECT failure, count(*) FROM runs GROUP BY failure")
    assert caught.value.code == "version_key_destroyed"
    assert b"".join(releases.release_content(release=opened(first), by=house.builder))


def test_walk_leaves_no_key_on_the_disk_and_none_in_the_database(
    house: House, node: tuple[Daemon, Path]
) -> None:
    """Of the keys that opened the data on the way; here they are unwrapped to look for."""
    query = answered(house, granted(house))
    assert query.state == "held"
    keys = [unwrap(key) for key in DataKey.objects.filter(state=KeyState.ACTIVE)]
    assert len(keys) >= 2  # the version's and the result's

    rows = "\n".join(
        repr(row)
        for model in apps.get_models()
        for row in model._default_manager.values_list()
    )
    assert "torque" in rows  # the rows are there
    database = rows.encode() + b"".join(
        bytes(value)
        for model in apps.get_models()
        for row in model._default_manager.values_list()
        for value in row
        if isinstance(value, bytes | memoryview)
    )

    assert key_search.count_in(database, keys) == 0
    _, vault = node
    assert any(vault.rglob("shard-*"))
    for place in (vault.parent, Path(os.environ["BONDED_HOME"])):
        assert key_search.in_files(place, keys) == []
