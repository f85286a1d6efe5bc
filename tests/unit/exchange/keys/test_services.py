from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.errors import Conflict
from exchange.keys import organisation_keys, services, shredding
from exchange.keys.models import DataKey, KeyPurpose, KeyState, OrganisationKey
from exchange.keys.provider import KeyUnusable, MemoryKeyring, Wrapped
from exchange.keys.rotation import rotate_organisation
from exchange.keys.services import derive, destroy, issue_data_key, unwrap
from exchange.keys.shredding import destroy_organisation_keys
from exchange.parties.models import Organisation
from tests.factories.parties import OrganisationFactory

pytestmark = pytest.mark.django_db


def issue(organisation: Organisation | None = None, subject: str = "v1") -> DataKey:
    return issue_data_key(
        organisation=organisation or OrganisationFactory(),
        purpose=KeyPurpose.VERSION,
        subject=("datasetversion", subject),
        by=NODE,
    )


def events() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("type", flat=True))


def test_issue_data_key_gives_each_subject_a_key_of_its_own() -> None:
    organisation = OrganisationFactory()
    first, second = issue(organisation, "v1"), issue(organisation, "v2")

    assert len(unwrap(first)) == 32
    assert unwrap(first) == unwrap(DataKey.objects.get(pk=first.pk))
    assert unwrap(first) != unwrap(second)
    assert OrganisationKey.objects.count() == 1
    assert events()[-3:] == ["key:issued"] * 3


def test_issue_data_key_stores_no_clear_byte() -> None:
    data_key = issue()
    clear = unwrap(data_key)

    dump = connection.connection if connection.vendor == "sqlite" else None
    rows = list(DataKey.objects.values()) + list(OrganisationKey.objects.values())
    rows += list(AuditEvent.objects.values())
    text = "\n".join(dump.iterdump()) if dump else repr(rows)
    assert clear.hex() not in text.lower()
    assert clear not in b"".join(bytes(row["wrapped"]) for row in rows if "wrapped" in row)


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": KeyPurpose.RESULT},
        {"subject_id": "v2"},
        {"subject_type": "release"},
        {"public_id": "11111111-1111-1111-1111-111111111111"},
    ],
)
def test_unwrap_of_a_row_that_was_edited_is_refused(change: dict[str, Any]) -> None:
    data_key = issue()
    DataKey.objects.filter(pk=data_key.pk).update(**change)

    with pytest.raises(KeyUnusable):
        unwrap(data_key)


def test_unwrap_of_wrapped_bytes_moved_to_another_row_is_refused() -> None:
    organisation = OrganisationFactory()
    first, second = issue(organisation, "v1"), issue(organisation, "v2")
    DataKey.objects.filter(pk=second.pk).update(wrapped=first.wrapped)

    with pytest.raises(KeyUnusable):
        unwrap(second)


def test_destroy_leaves_nothing_to_open() -> None:
    data_key, stale = issue(), None
    stale = DataKey.objects.get(pk=data_key.pk)

    destroy(data_key, by=NODE)

    assert bytes(DataKey.objects.get().wrapped) == b""
    for row in (data_key, stale):
        with pytest.raises(Conflict) as caught:
            unwrap(row)
        assert caught.value.code == "key_destroyed"
    with pytest.raises(Conflict):
        destroy(data_key, by=NODE)
    assert events().count("key:destroyed") == 1


def test_rotate_organisation_keeps_data_keys_and_destroys_the_old_organisation_key() -> (
    None
):
    organisation = OrganisationFactory()
    kept, gone = issue(organisation, "v1"), issue(organisation, "v2")
    clear, wrapped = unwrap(kept), bytes(kept.wrapped)
    destroy(gone, by=NODE)

    new = rotate_organisation(organisation=organisation, by=NODE)

    assert unwrap(kept) == clear
    assert bytes(DataKey.objects.get(pk=kept.pk).wrapped) != wrapped
    assert new.generation == 2
    old = OrganisationKey.objects.get(generation=1)
    assert (old.state, bytes(old.wrapped)) == (KeyState.DESTROYED, b"")
    assert events()[-3:] == ["key:issued", "key:rewrapped", "key:destroyed"]


def test_rotate_organisation_leaves_other_organisations_alone() -> None:
    organisation, other = OrganisationFactory(), issue()
    issue(organisation)
    before = bytes(other.wrapped)

    rotate_organisation(organisation=organisation, by=NODE)

    assert bytes(DataKey.objects.get(pk=other.pk).wrapped) == before


def test_rotate_organisation_without_a_key_is_refused() -> None:
    with pytest.raises(Conflict) as caught:
        rotate_organisation(organisation=OrganisationFactory(), by=NODE)

    assert caught.value.code == "key_not_issued"


def test_derive_is_one_key_per_label_and_organisation_for_ever() -> None:
    organisation, other = OrganisationFactory(), OrganisationFactory()
    first = derive(organisation, "shards/person")

    rotate_organisation(organisation=organisation, by=NODE)

    assert derive(organisation, "shards/person") == first
    keys = {first, derive(organisation, "shards/ship"), derive(other, "shards/person")}
    assert {len(k) for k in keys} == {32}
    assert len(keys) == 3


def test_derivation_root_of_an_organisation_is_one() -> None:
    organisation = OrganisationFactory()
    derive(organisation, "x")

    with pytest.raises(IntegrityError), transaction.atomic():
        issue_data_key(
            organisation=organisation,
            purpose=KeyPurpose.DERIVATION,
            subject=organisation,
            by=NODE,
        )


def test_active_key_of_an_organisation_is_one() -> None:
    organisation = OrganisationFactory()
    issue(organisation)

    with pytest.raises(IntegrityError), transaction.atomic():
        OrganisationKey.objects.create(
            organisation=organisation, generation=2, wrapped=b"x", provider_ref="r"
        )


@pytest.mark.parametrize("model", [DataKey, OrganisationKey])
def test_destroyed_key_with_bytes_left_is_refused_by_the_database(model: Any) -> None:
    issue()

    with pytest.raises(IntegrityError), transaction.atomic():
        model.objects.update(state=KeyState.DESTROYED)


@pytest.mark.parametrize(
    "act",
    [
        lambda o: issue_data_key(
            organisation=o, purpose=KeyPurpose.RESULT, subject=("release", "9"), by=NODE
        ),
        lambda o: rotate_organisation(organisation=o, by=NODE),
        lambda o: destroy_organisation_keys(organisation=o, by=NODE),
        lambda _: destroy(DataKey.objects.get(subject_id="v1"), by=NODE),
    ],
    ids=["issue", "rotate", "destroy_all", "destroy"],
)
def test_act_whose_event_cannot_be_written_did_not_happen(
    act: Callable[[Organisation], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    organisation = OrganisationFactory()
    issue(organisation)
    before = list(DataKey.objects.values()), list(OrganisationKey.objects.values())

    def broken(**kwargs: object) -> None:
        raise RuntimeError("the log cannot be written")

    for module in (services, organisation_keys, shredding):
        monkeypatch.setattr(module, "record", broken)
    with pytest.raises(RuntimeError):
        act(organisation)

    assert (
        list(DataKey.objects.values()),
        list(OrganisationKey.objects.values()),
    ) == before


class Watched(MemoryKeyring):
    """A provider that is asked ahead of transactions only."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        super().__init__()

    def wrap(self, key: bytes, *, context: bytes) -> Wrapped:
        self.asked.append(connection.in_atomic_block)
        return super().wrap(key, context=context)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        self.asked.append(connection.in_atomic_block)
        return super().unwrap(wrapped, context=context)


@pytest.mark.django_db(transaction=True)
def test_provider_is_asked_while_no_transaction_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be a network away: nobody waits for that with a row locked."""
    watched = Watched()
    monkeypatch.setattr(organisation_keys, "provider", lambda: watched)
    monkeypatch.setattr(organisation_keys, "provider_for", lambda _ref: watched)
    organisation = OrganisationFactory()

    first = issue(organisation)
    rotate_organisation(organisation=organisation, by=NODE)
    unwrap(first)

    assert len(watched.asked) >= 5
    assert not any(watched.asked)


def test_issue_during_a_rotation_goes_under_the_new_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation = OrganisationFactory()
    issue(organisation)
    opening = organisation_keys.open_key_of

    def rotated_meanwhile(key: OrganisationKey) -> bytes:
        monkeypatch.setattr(services, "open_key_of", opening)
        clear = opening(key)
        rotate_organisation(organisation=organisation, by=NODE)
        return clear

    monkeypatch.setattr(services, "open_key_of", rotated_meanwhile)
    made = issue_data_key(
        organisation=organisation,
        purpose=KeyPurpose.RESULT,
        subject=("release", "9"),
        by=NODE,
    )

    assert made.organisation_key.generation == 2
    assert len(unwrap(made)) == 32


def test_active_key_that_another_process_made_first_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation = OrganisationFactory()
    wrapping = organisation_keys.wrapped_anew

    def overtaken(organisation: Organisation, generation: int) -> Wrapped:
        monkeypatch.setattr(organisation_keys, "wrapped_anew", wrapping)
        organisation_keys.active_key(organisation, by=NODE)
        return wrapping(organisation, generation)

    monkeypatch.setattr(organisation_keys, "wrapped_anew", overtaken)
    found = organisation_keys.active_key(organisation, by=NODE)

    assert found == OrganisationKey.objects.get(organisation=organisation)
    assert AuditEvent.objects.filter(type="key:issued").count() == 2  # master, organisation
