"""A version cut by column, under new keys and then under none, by the real sandbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_decryption_properties

from exchange.audit.models import AuditEvent
from exchange.catalogue.column_groups import keys_of as group_keys_of
from exchange.catalogue.ingest import encrypted_table
from exchange.catalogue.models import DatasetVersion
from exchange.catalogue.rekeying import rekey_version
from exchange.errors import Conflict, Refused
from exchange.keys.models import DataKey, KeyPurpose, KeyState
from exchange.keys.services import unwrap
from exchange.operations.models import Operation
from exchange.queries.shredding import keys_of, shred_version, words_for_version
from sandbox.files.pme import aad_prefix
from sandbox.launcher import Daemon
from tests.factories.cut import cut_version, grant_on
from tests.factories.real_sandbox import house, node
from tests.factories.walk import House, answered, log_holds, perform_all

__all__ = ["house", "node"]

pytestmark = [pytest.mark.django_db, pytest.mark.sandboxed]
COUNTS = "SELECT {0}, count(*) FROM runs GROUP BY {0}"
GROUPS = {"", "hidden", "subset"}
ALL_COLUMNS = {"id", "type", "torque", "failure", "name"}


@dataclass(frozen=True)
class Copy:
    """A stored file as a backup has it."""

    version_id: str
    group: str
    shard: int
    name: str
    content: bytes

    def read(self, key: bytes) -> pa.Table | None:
        """Its rows, or None where `key` does not open it."""
        opening = create_decryption_properties(
            footer_key=key, aad_prefix=aad_prefix(self.version_id, self.shard, self.group)
        )
        try:
            return pq.read_table(
                pa.BufferReader(self.content), decryption_properties=opening
            )
        except (OSError, pa.ArrowException):
            return None


def copied(version: DatasetVersion, vault: Path) -> list[Copy]:
    return [
        Copy(
            str(version.pk),
            file.group,
            file.index,
            file.name,
            (vault / file.name).read_bytes(),
        )
        for file in version.files.all()
    ]


def opened(copies: Sequence[Copy], keys: Sequence[bytes]) -> Iterator[tuple[str, pa.Table]]:
    """Group and rows of each copy that one of the keys opens."""
    for copy in copies:
        for key in keys:
            if (table := copy.read(key)) is not None:
                yield copy.group, table


def clear_keys() -> list[bytes]:
    """All that the node can unwrap of anything."""
    return [unwrap(key) for key in DataKey.objects.filter(state=KeyState.ACTIVE)]


def test_rekey_of_a_cut_version_leaves_its_rows_each_group_under_another_key(
    house: House, node: tuple[Daemon, Path]
) -> None:
    version = cut_version(house)
    aggregate = grant_on(house, version, kind="aggregate")
    subset = grant_on(house, version, kind="subset")
    before = copied(version, node[1])
    old_keys = [unwrap(key) for key in keys_of(version).filter(state=KeyState.ACTIVE)]
    rows = dict(opened(before, old_keys))
    assert set(rows) == GROUPS
    assert {n for table in rows.values() for n in table.column_names} == ALL_COLUMNS
    assert answered(house, aggregate).state == "held"

    rekey_version(version=version, by=house.steward)
    perform_all()

    rekeyed = Operation.objects.get(kind="catalogue.rekey")
    assert rekeyed.state == "done", (rekeyed.error_code, rekeyed.error_message)
    version.refresh_from_db()
    after, new_keys = copied(version, node[1]), clear_keys()
    assert {copy.name for copy in before}.isdisjoint(copy.name for copy in after)
    assert dict(opened(after, new_keys)) == rows
    assert list(opened(before, new_keys)) == []
    assert list(opened(after, old_keys)) == []
    assert version.data_key is not None
    its_keys = [unwrap(key) for key in (version.data_key, *group_keys_of(version))]
    assert len({*its_keys, *old_keys}) == 2 * len(GROUPS)
    events = AuditEvent.objects.filter(type="key:rekeyed")
    assert {event.payload["group"] for event in events} == GROUPS
    again = answered(house, aggregate, sql=COUNTS.format("failure"))
    assert again.state == "held", (again.error_code, again.error_message)
    delivered = answered(house, subset, columns=["type", "failure"])
    assert delivered.state == "held", (delivered.error_code, delivered.error_message)
    assert log_holds() > 0


def test_shred_of_a_cut_version_leaves_no_copy_that_anything_opens(
    house: House, node: tuple[Daemon, Path]
) -> None:
    """Of its files before and after a rekey, on the disk, in memory and in a backup."""
    daemon, vault = node
    version = cut_version(house)
    grant = grant_on(house, version, kind="subset")
    copies = copied(version, vault)
    rekey_version(version=version, by=house.steward)
    perform_all()
    version.refresh_from_db()
    copies += copied(version, vault)
    assert {group for group, _ in opened(copies, clear_keys())} == GROUPS
    # Warm: its images, the group's among them, are in the unsealer's memory.
    query = answered(house, grant, columns=["type", "failure"])
    assert query.state == "held", (query.error_code, query.error_message)
    logged = log_holds()

    shred_version(
        version=version, confirmation=words_for_version(version), by=house.steward
    )
    perform_all()

    assert daemon.forget(str(version.pk)) == 0
    assert list((vault / "versions" / str(version.pk)).iterdir()) == []
    its_keys = keys_of(version)
    assert its_keys.filter(purpose=KeyPurpose.VERSION).count() == 2 * len(GROUPS)
    assert {bytes(key.wrapped) for key in its_keys} == {b""}
    assert clear_keys()  # the result's own key stands, and opens none of it
    assert list(opened(copies, clear_keys())) == []
    for copy in copies:  # somebody restores the disk
        (vault / copy.name).write_bytes(copy.content)
    version.refresh_from_db()
    for columns in ({"type"}, {"torque"}, {"name"}):
        with pytest.raises(Conflict) as conflict:
            encrypted_table(version, table="runs", columns=columns)
        assert conflict.value.code == "key_destroyed"
    with pytest.raises(Refused) as refused:
        answered(house, grant, columns=["type"])
    assert refused.value.code == "version_key_destroyed"
    destroyed = AuditEvent.objects.filter(type="key:destroyed")
    of_versions = [event for event in destroyed if event.payload["purpose"] == "version"]
    assert len(of_versions) == 2 * len(GROUPS)
    assert log_holds() > logged
