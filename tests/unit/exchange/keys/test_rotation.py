"""Rotation of master and organisation keys: everything opens before, during, after."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit.actors import NODE
from exchange.audit.models import AuditEvent
from exchange.errors import Conflict
from exchange.keys import choice, masters, organisation_keys, rotation
from exchange.keys.masters import (
    other_providers_in_use,
    retirable,
    retire_masters,
    rewrap,
    rotate_master,
    waiting_for_rewrap,
)
from exchange.keys.models import DataKey, KeyPurpose, KeyState, MasterKey, OrganisationKey
from exchange.keys.notes import note_master
from exchange.keys.provider import (
    KEY_BYTES,
    KeyUnusable,
    MemoryKeyring,
    ProviderUnavailable,
    Wrapped,
    open_key,
    seal_key,
)
from exchange.keys.rotation import rotate_organisation
from exchange.keys.services import destroy as destroy_data_key
from exchange.keys.services import issue_data_key, unwrap
from exchange.keys.shredding import destroy_organisation_keys
from exchange.parties.models import Organisation
from tests.factories.parties import OrganisationFactory

pytestmark = pytest.mark.django_db

Opened = dict[DataKey, bytes]


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    """The node's provider, of this test alone."""
    made = MemoryKeyring()
    for module in (masters, organisation_keys):
        monkeypatch.setattr(module, "provider", lambda: made)
    monkeypatch.setattr(organisation_keys, "provider_for", lambda _ref: made)
    return made


def issued(organisation: Organisation, count: int = 3) -> Opened:
    made = [
        issue_data_key(
            organisation=organisation,
            purpose=KeyPurpose.VERSION,
            subject=("datasetversion", str(number)),
            by=NODE,
        )
        for number in range(count)
    ]
    return {key: unwrap(key) for key in made}


def all_open(keys: Opened) -> bool:
    return all(unwrap(key) == clear for key, clear in keys.items())


def told() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("type", flat=True))


def test_rotate_master_brings_every_organisation_key_under_it(
    keyring: MemoryKeyring,
) -> None:
    keys = issued(OrganisationFactory()) | issued(OrganisationFactory())
    before = dict(DataKey.objects.values_list("pk", "wrapped"))

    done = rotate_master(by=NODE)

    assert (done.ref, done.keys) == (keyring.current, 2)
    assert set(OrganisationKey.objects.values_list("provider_ref", flat=True)) == {done.ref}
    assert dict(DataKey.objects.values_list("pk", "wrapped")) == before
    assert all_open(keys)
    assert told()[-3:] == ["key:master_rotated", "key:rewrapped", "key:rewrapped"]


def test_first_master_key_and_each_later_one_is_recorded_once(
    keyring: MemoryKeyring,
) -> None:
    issued(OrganisationFactory())
    issued(OrganisationFactory())
    keyring.rotate()  # by the provider's own operators
    rewrap(by=NODE)
    rewrap(by=NODE)

    about = [
        event.payload["master_key"]
        for event in AuditEvent.objects.order_by("seq")
        if event.subject_type == "masterkey"
    ]
    assert about == list(keyring.refs())
    assert MasterKey.objects.count() == 2


def test_rewrap_again_does_nothing(keyring: MemoryKeyring) -> None:
    issued(OrganisationFactory())
    rotate_master(by=NODE)
    before = told()

    assert rewrap(by=NODE).keys == 0
    assert told() == before


def test_rotate_master_that_breaks_off_is_ended_by_rewrap(
    keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: Opened = {}
    for _ in range(4):
        keys |= issued(OrganisationFactory(), 1)
    wrap, left = keyring.wrap, iter([True, True])

    def failing(key: bytes, *, context: bytes) -> Wrapped:
        if not next(left, False):
            raise ProviderUnavailable("away")
        return wrap(key, context=context)

    monkeypatch.setattr(keyring, "wrap", failing)
    with pytest.raises(ProviderUnavailable):
        rotate_master(by=NODE)

    assert all_open(keys)
    assert len(waiting_for_rewrap(keyring.current)) == 2
    monkeypatch.setattr(keyring, "wrap", wrap)
    assert rewrap(by=NODE).keys == 2
    assert all_open(keys)


def test_rewrap_does_not_bring_back_a_key_destroyed_meanwhile(
    keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    organisation = OrganisationFactory()
    issued(organisation)
    keyring.rotate()
    wrap = keyring.wrap

    def destroying(key: bytes, *, context: bytes) -> Wrapped:
        destroy_organisation_keys(organisation=organisation, by=NODE)
        return wrap(key, context=context)

    monkeypatch.setattr(keyring, "wrap", destroying)

    assert rewrap(by=NODE).keys == 0
    assert bytes(OrganisationKey.objects.get().wrapped) == b""


def test_retire_masters_takes_only_those_that_open_nothing(keyring: MemoryKeyring) -> None:
    keys = issued(OrganisationFactory())
    first = keyring.current
    keyring.rotate()
    assert retirable() == ()
    assert retire_masters(by=NODE) == ()

    rewrap(by=NODE)
    gone = retire_masters(by=NODE)

    assert gone == (first,)
    assert keyring.refs() == (keyring.current,)
    assert all_open(keys)
    assert told()[-1] == "key:master_retired"
    assert retire_masters(by=NODE) == ()


def test_retire_masters_stops_at_the_first_that_is_in_use(keyring: MemoryKeyring) -> None:
    keys = issued(OrganisationFactory())
    held = keyring.current
    keyring.rotate()
    other = issued(OrganisationFactory())
    keyring.rotate()
    for key in OrganisationKey.objects.exclude(provider_ref=held):
        masters._rewrap(key, by=NODE)

    # The second one is free, but retiring it would take the first along.
    assert retire_masters(by=NODE) == ()
    assert masters.held_up_by() == held
    assert all_open(keys | other)
    rewrap(by=NODE)
    assert masters.held_up_by() is None
    assert len(retire_masters(by=NODE)) == 2


def test_retire_that_was_not_recorded_is_recorded_afterwards(
    keyring: MemoryKeyring,
) -> None:
    issued(OrganisationFactory())
    first = keyring.current
    rotate_master(by=NODE)
    keyring.retire(first)  # and then the process died

    assert retire_masters(by=NODE) == (first,)
    assert MasterKey.objects.get(ref=first).retired_at is not None


def test_retire_whose_provider_fails_is_not_recorded(
    keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued(OrganisationFactory())
    rotate_master(by=NODE)

    def failing(ref: str) -> None:
        raise ProviderUnavailable("away")

    monkeypatch.setattr(keyring, "retire", failing)
    with pytest.raises(ProviderUnavailable):
        retire_masters(by=NODE)

    assert "key:master_retired" not in told()
    assert not MasterKey.objects.exclude(retired_at=None).exists()


def test_key_is_not_stored_under_a_master_key_that_is_being_retired(
    keyring: MemoryKeyring,
) -> None:
    issued(OrganisationFactory())
    MasterKey.objects.update(retired_at="2026-01-01T00:00Z")

    with pytest.raises(Conflict) as caught:
        issued(OrganisationFactory())

    assert caught.value.code == "master_key_retired"


def test_change_of_the_provider_is_recorded_and_brings_everything_over(
    keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = issued(OrganisationFactory())
    elsewhere = MemoryKeyring()
    own = elsewhere.wrap

    def wrap(key: bytes, *, context: bytes) -> Wrapped:
        return Wrapped(own(key, context=context).blob, "transit/transit/bonded/1")

    monkeypatch.setattr(elsewhere, "wrap", wrap)
    elsewhere._current, inner = "transit/transit/bonded/1", elsewhere._current
    elsewhere._keys["transit/transit/bonded/1"] = elsewhere._keys[inner]
    for module in (masters, organisation_keys):
        monkeypatch.setattr(module, "provider", lambda: elsewhere)
    monkeypatch.setattr(
        organisation_keys,
        "provider_for",
        lambda ref: elsewhere if choice.kind_of(ref) != "file" else keyring,
    )
    assert other_providers_in_use() == ("file",)

    rewrap(by=NODE)

    assert other_providers_in_use() == ()
    assert all_open(keys)
    changed = AuditEvent.objects.get(type="key:provider_changed")
    assert (changed.payload["earlier"], changed.payload["provider"]) == ("file", "transit")


class Killed(BaseException):
    """As good as a kill: nothing catches it, the transaction under way rolls back."""


@pytest.mark.parametrize("after", range(8))
def test_rotate_organisation_killed_at_any_step_goes_on(
    monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    organisation = OrganisationFactory()
    keys = issued(organisation, 5)
    steps = [0]

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            steps[0] += 1
            if steps[0] == after + 1:
                raise Killed
            return act(*args, **kwargs)

        return step

    with monkeypatch.context() as dying:
        dying.setattr(rotation, "_move_batch", counted(rotation._move_batch))
        dying.setattr(rotation, "_ended", counted(rotation._ended))
        dying.setattr(rotation, "record", counted(rotation.record))
        with suppress(Killed):
            rotate_organisation(organisation=organisation, by=NODE)
        assert all_open(keys)
    late = issued(organisation, 1)

    new = rotate_organisation(organisation=organisation, by=NODE)

    assert all_open(keys | late)
    states = OrganisationKey.objects.order_by("generation").values_list("state", flat=True)
    assert list(states) == [KeyState.DESTROYED] * (new.generation - 1) + [KeyState.ACTIVE]
    under = set(DataKey.objects.values_list("organisation_key", flat=True))
    assert under == {new.pk}


def test_rotate_organisation_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    organisation = OrganisationFactory()
    issued(organisation, 5)
    heard: list[int] = []

    rotate_organisation(organisation=organisation, by=NODE, told=heard.append)

    assert heard == [2, 4, 5]


def test_key_issued_during_a_rotation_lies_under_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation = OrganisationFactory()
    keys = issued(organisation, 3)
    late: Opened = {}

    def issuing(_moved: int) -> None:
        late.update(issued(organisation, 1))

    new = rotate_organisation(organisation=organisation, by=NODE, told=issuing)

    (key,) = late
    assert key.organisation_key == new
    assert all_open(keys | late)


def test_key_destroyed_during_a_rotation_stays_destroyed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation = OrganisationFactory()
    keys = issued(organisation, 3)
    first = next(iter(keys))
    open_own = rotation.open_key

    def destroying(*args: Any, **kwargs: Any) -> bytes:
        row = DataKey.objects.get(pk=first.pk)
        if row.state == KeyState.ACTIVE:
            destroy_data_key(row, by=NODE)
        return open_own(*args, **kwargs)

    monkeypatch.setattr(rotation, "open_key", destroying)

    rotate_organisation(organisation=organisation, by=NODE)

    assert bytes(DataKey.objects.get(pk=first.pk).wrapped) == b""
    del keys[first]
    assert all_open(keys)


def test_destroy_of_an_organisations_keys_leaves_nothing_to_open() -> None:
    organisation, other = OrganisationFactory(), OrganisationFactory()
    keys, others = issued(organisation), issued(other)

    assert destroy_organisation_keys(organisation=organisation, by=NODE) == 3

    for key in keys:
        with pytest.raises(Conflict) as caught:
            unwrap(key)
        assert caught.value.code == "key_destroyed"
    assert all_open(others)
    rows = DataKey.objects.filter(organisation_key__organisation=organisation)
    assert {bytes(row.wrapped) for row in rows} == {b""}


@pytest.mark.parametrize(
    "act",
    [
        lambda o: issued(o, 1),
        lambda o: rotate_organisation(organisation=o, by=NODE),
        lambda o: destroy_organisation_keys(organisation=o, by=NODE),
    ],
    ids=["issue", "rotate", "destroy"],
)
def test_organisation_whose_keys_were_destroyed_gets_no_new_ones(
    act: Callable[[Organisation], object],
) -> None:
    organisation = OrganisationFactory()
    issued(organisation)
    destroy_organisation_keys(organisation=organisation, by=NODE)

    with pytest.raises(Conflict) as caught:
        act(organisation)

    assert caught.value.code == "organisation_keys_destroyed"


def test_organisation_key_whose_row_was_moved_does_not_open() -> None:
    first, second = OrganisationFactory(), OrganisationFactory()
    keys = issued(first, 1) | issued(second, 1)
    one, two = OrganisationKey.objects.order_by("pk")
    OrganisationKey.objects.filter(pk=two.pk).update(
        wrapped=one.wrapped, provider_ref=one.provider_ref
    )

    with pytest.raises(KeyUnusable):
        unwrap(list(keys)[1])


def test_note_of_a_master_key_is_made_once(keyring: MemoryKeyring) -> None:
    first = note_master(keyring.current, by=NODE)

    assert note_master(keyring.current, by=NODE) == first
    assert AuditEvent.objects.count() == 1
    assert connection.in_atomic_block  # the test's own


@given(key=st.binary(min_size=32, max_size=32), under=st.binary(min_size=32, max_size=32))
def test_open_after_seal_is_identity_in_its_context_only(key: bytes, under: bytes) -> None:
    context = secrets.token_bytes(8)
    sealed = seal_key(key, under=under, context=context)

    assert open_key(sealed, under=under, context=context) == key
    assert len(key) == KEY_BYTES
    for other in ({"context": context + b"x"}, {"under": bytes(b ^ 1 for b in under)}):
        with pytest.raises(KeyUnusable):
            open_key(sealed, **{"under": under, "context": context, **other})
