from __future__ import annotations

import io
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from exchange.audit.models import AuditEvent
from exchange.catalogue import selectors
from exchange.catalogue.models import DatasetVersion, Offer, PolicyVersion
from exchange.catalogue.policy_views import policy_seen_by, policy_view
from exchange.catalogue.services import (
    accept_upload,
    partition_version,
    publish,
    register_dataset,
    set_policy,
    withdraw,
)
from exchange.errors import Conflict, Forbidden, Invalid, NotFound
from exchange.parties.models import Kind, Role
from policies.errors import PolicyError
from tests.factories.parties import OrganisationFactory, member
from tests.factories.sandbox import FakeDaemon
from tests.factories.walk import (
    RUNS,
    House,
    offered,
    perform_all,
    policy_text,
    profiled,
    ready,
    registered,
    uploaded,
    with_policy,
)


def test_register_dataset_derives_its_names_from_the_title(house: House) -> None:
    dataset = register_dataset(
        organisation=house.provider,
        title="Port calls 2025",
        keywords=["port", " port ", ""],
        by=house.steward,
    )

    assert (dataset.slug, dataset.table_name) == ("port-calls-2025", "port_calls_2025")
    assert dataset.keywords == ["port"]
    assert AuditEvent.objects.get(type="dataset:registered").subject_id == str(dataset.pk)


def test_register_dataset_with_a_chinese_title_gets_usable_names(house: House) -> None:
    dataset = register_dataset(organisation=house.provider, title="港口", by=house.steward)

    assert dataset.slug == "dataset-1"
    assert dataset.table_name == "dataset_1"


def test_register_dataset_twice_conflicts(house: House) -> None:
    registered(house)

    with pytest.raises(Conflict) as caught:
        registered(house, title="Others")

    assert caught.value.code == "dataset_name_taken"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"title": "  "}, "dataset_title_missing"),
        ({"table_name": "Runs; drop"}, "table_name_invalid"),
        ({"table_name": "1runs"}, "table_name_invalid"),
    ],
)
def test_register_dataset_refuses_by_name(
    fields: dict[str, str], code: str, house: House
) -> None:
    with pytest.raises(Invalid) as caught:
        registered(house, **fields)

    assert caught.value.code == code


@pytest.mark.parametrize("role", [Role.BUILDER, Role.REVIEWER, Role.ADMIN])
def test_register_dataset_is_for_stewards(role: Role, house: House) -> None:
    with pytest.raises(Forbidden):
        register_dataset(
            organisation=house.provider, title="Runs", by=member(house.provider, role)
        )


def test_set_policy_of_the_same_content_is_the_same_version(house: House) -> None:
    dataset = registered(house)
    profiled(house, dataset)
    first = with_policy(house, dataset)

    again = set_policy(
        dataset=dataset, text=policy_text() + "\n# a remark\n", by=house.steward
    )
    other = with_policy(house, dataset, cap=7)

    assert again == first
    assert (first.number, other.number) == (1, 2)
    assert PolicyVersion.objects.count() == 2


def test_set_policy_before_any_profile_conflicts(house: House) -> None:
    with pytest.raises(Conflict) as caught:
        with_policy(house, registered(house))

    assert caught.value.code == "dataset_not_profiled"


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        (
            "{role: label}",
            "{role: label}\n      speed: {role: hidden}",
            "policy_column_absent",
            10,
        ),
        ("column: id}", "column: machine}", "policy_contradiction", None),
        (
            "{role: dimension, values: public}",
            "{role: measure, grid: 5}",
            "policy_limit_misplaced",
            7,
        ),
        ("{role: label}", "{role: label, grain: month}", "policy_limit_misplaced", 9),
        ("  runs:", "  mills:", "policy_table_absent", None),
        ("role: label", "role: lable", "policy_unknown_term", 9),
        ("version: 1", "version: 9", "policy_unknown_term", 1),
    ],
)
def test_set_policy_names_the_line_of_the_fault(
    old: str, new: str, code: str, line: int | None, house: House
) -> None:
    dataset = registered(house)
    profiled(house, dataset)
    text = policy_text()
    assert old in text

    with pytest.raises(PolicyError) as caught:
        set_policy(dataset=dataset, text=text.replace(old, new), by=house.steward)

    assert caught.value.code == code
    assert caught.value.hint
    if line is not None:
        assert caught.value.line == line
    assert not PolicyVersion.objects.exists()


def test_set_policy_with_a_requesters_table_is_refused(house: House) -> None:
    dataset = registered(house)
    profiled(house, dataset)
    text = policy_text().replace("rules:", "  mine: {requester: true}\nrules:")

    with pytest.raises(PolicyError) as caught:
        set_policy(dataset=dataset, text=text, by=house.steward)

    assert caught.value.code == "policy_table_absent"


def test_publish_puts_the_version_on_offer_and_closes_the_earlier_offer(
    house: House,
) -> None:
    first = offered(house)
    policy = with_policy(house, first.dataset, cap=9)

    second = publish(
        version=first.version, policy_version=policy, licence="cc-by-4.0", by=house.steward
    )

    first.refresh_from_db()
    assert not first.is_open
    assert second.is_open
    assert second.licence == "CC-BY-4.0"
    assert first.policy_version != second.policy_version
    assert first.version.state == "published"
    assert first.version.dataset.aggregate_mode in ("", "safe")
    event = AuditEvent.objects.filter(type="version:published").latest("seq")
    assert event.payload["policy_digest"] == policy.digest
    files = second.version.files.all()
    assert event.payload["files"] == [f.sha256 for f in files]
    assert event.payload["footers"] == [f.footer_sha256 for f in files]
    assert all(f.footer_sha256 for f in files)


def test_publish_before_the_partition_conflicts(house: House) -> None:
    dataset = registered(house)
    version = profiled(house, dataset)
    policy = with_policy(house, dataset)

    with pytest.raises(Conflict) as caught:
        publish(version=version, policy_version=policy, licence="CC0-1.0", by=house.steward)

    assert caught.value.code == "version_not_ready"
    assert not Offer.objects.exists()


def test_publish_under_other_units_than_the_partitions_conflicts(house: House) -> None:
    version, _ = ready(house)
    text = policy_text().replace("[{domain: run, column: id}]", "row")
    text = text.replace("      id: {role: unit_key}\n", "")
    policy = set_policy(dataset=version.dataset, text=text, by=house.steward)

    with pytest.raises(Conflict) as caught:
        publish(version=version, policy_version=policy, licence="CC0-1.0", by=house.steward)

    assert caught.value.code == "partition_unfit"


def test_publish_of_a_version_without_a_named_column_conflicts(house: House) -> None:
    version, policy = ready(house)
    version.columns.filter(name="torque").delete()

    with pytest.raises(Conflict, match="torque") as caught:
        publish(version=version, policy_version=policy, licence="CC0-1.0", by=house.steward)

    assert caught.value.code == "policy_version_unfit"


@pytest.mark.parametrize("licence", ["", "my licence", "CC-BY-99.0", "GPL"])
def test_publish_under_a_licence_that_is_no_spdx_is_refused(
    licence: str, house: House
) -> None:
    version, policy = ready(house)

    with pytest.raises(Invalid) as caught:
        publish(version=version, policy_version=policy, licence=licence, by=house.steward)

    assert caught.value.code == "licence_unknown"


def test_publish_without_a_rule_is_refused(house: House) -> None:
    version, _ = ready(house)
    text = policy_text().split("rules:")[0]
    policy = set_policy(dataset=version.dataset, text=text, by=house.steward)

    with pytest.raises(Invalid) as caught:
        publish(version=version, policy_version=policy, licence="CC0-1.0", by=house.steward)

    assert caught.value.code == "policy_without_rule"


TYPES = "type,label\n" + "".join(f"{t},{t.lower()}\n" for t in "HLM")
TYPES_POLICY = (
    "version: 1\ntables:\n  types: {public: true}\n"
    "rules:\n  - kind: aggregate\n    min_units: 10\n    aggregates: [count]\n"
    "    purposes: [predictive-maintenance]\n"
)


def types_dataset(house: House) -> tuple[DatasetVersion, PolicyVersion]:
    dataset = registered(house, title="Types", table_name="types")
    version = profiled(house, dataset, TYPES)
    policy = set_policy(dataset=dataset, text=TYPES_POLICY, by=house.steward)
    partition_version(version=version, policy_version=policy, by=house.steward)
    perform_all()
    version.refresh_from_db()
    return version, policy


def test_publish_pins_the_version_behind_each_table_of_the_policy(house: House) -> None:
    runs, _ = ready(house)
    types, types_policy = types_dataset(house)
    text = policy_text().replace("rules:", "  types: {public: true}\nrules:")
    policy = set_policy(dataset=runs.dataset, text=text, by=house.steward)

    with pytest.raises(Conflict) as caught:
        publish(version=runs, policy_version=policy, licence="CC0-1.0", by=house.steward)
    assert caught.value.code == "table_not_published"
    publish(version=types, policy_version=types_policy, licence="CC0-1.0", by=house.steward)
    offer = publish(
        version=runs, policy_version=policy, licence="CC0-1.0", by=house.steward
    )

    assert {t.table_name: t.version for t in offer.tables.all()} == {
        "runs": runs,
        "types": types,
    }


def test_publish_that_calls_a_protected_table_public_conflicts(house: House) -> None:
    """Or a policy of one dataset would open another behind its back."""
    offered(house)
    version, _ = types_dataset(house)
    text = TYPES_POLICY.replace("rules:", "  runs: {public: true}\nrules:")
    policy = set_policy(dataset=version.dataset, text=text, by=house.steward)

    with pytest.raises(Conflict) as caught:
        publish(version=version, policy_version=policy, licence="CC0-1.0", by=house.steward)

    assert caught.value.code == "table_policy_differs"


def test_withdraw_closes_the_offer_and_the_sandbox_forgets(
    house: House, daemon: FakeDaemon
) -> None:
    offer = offered(house)

    withdraw(version=offer.version, note="wrong period", by=house.steward)
    perform_all()

    offer.refresh_from_db()
    assert not offer.is_open
    assert daemon.forgotten == [str(offer.version_id)]
    event = AuditEvent.objects.get(type="version:withdrawn")
    assert b"wrong period" not in bytes(event.entry)


def test_offer_only_one_is_open_by_constraint(house: House) -> None:
    offer = offered(house)
    offer.pk = None
    offer._state.adding = True

    with pytest.raises(IntegrityError), transaction.atomic():
        offer.save()


def test_drafts_are_seen_by_the_provider_only(house: House) -> None:
    dataset = registered(house)
    version = profiled(house, dataset)
    stranger = house.builder

    assert list(selectors.datasets_visible_to(house.steward)) == [dataset]
    assert list(selectors.datasets_visible_to(stranger)) == []
    with pytest.raises(NotFound):
        selectors.dataset_visible_to(stranger, dataset.pk)
    with pytest.raises(NotFound):
        selectors.version_visible_to(stranger, version.pk)
    with pytest.raises(NotFound):
        selectors.dataset_visible_to(stranger, "no-id")


def test_offers_are_seen_by_everyone_and_found_by_word(house: House) -> None:
    offer = offered(house)
    registered(house, title="Draft", table_name="draft")

    assert list(selectors.datasets_visible_to(house.builder)) == [offer.dataset]
    assert list(selectors.datasets_visible_to(house.builder, text="mill")) == [
        offer.dataset
    ]
    assert not selectors.datasets_visible_to(house.builder, text="draft")
    assert selectors.open_offer(offer.dataset) == offer
    assert selectors.offer_visible_to(house.builder, offer.pk) == offer


def test_regulator_sees_drafts_too(house: House) -> None:
    office = OrganisationFactory(kind=Kind.REGULATOR)
    dataset = registered(house)

    regulator = member(office, Role.REGULATOR)

    assert selectors.dataset_visible_to(regulator, dataset.pk) == dataset


def test_columns_for_a_stranger_hold_neither_hidden_columns_nor_figures(
    house: House,
) -> None:
    dataset = registered(house)
    profiled(house, dataset)
    text = policy_text().replace("      torque: {role: measure, grid: 5}\n", "")
    text = text.replace("columns: [type, torque, failure]", "columns: [type, failure]")
    policy = set_policy(dataset=dataset, text=text, by=house.steward)
    version = dataset.versions.get()

    outside = selectors.columns_for(house.builder, version, policy)
    inside = selectors.columns_for(house.steward, version, policy)

    assert [c.name for c in outside] == ["id", "type", "failure"]
    assert all(c.distinct is None and c.null_share is None for c in outside)
    assert [c.name for c in inside] == ["id", "type", "torque", "failure"]
    assert inside[2].distinct == 60


def test_columns_for_a_stranger_without_a_policy_are_none(house: House) -> None:
    version = profiled(house, registered(house))

    assert selectors.columns_for(house.builder, version, None) == ()
    assert len(selectors.columns_for(house.steward, version, None)) == 4


def test_policy_sentences_and_starting_policies_speak_of_the_dataset(house: House) -> None:
    dataset = registered(house)
    version = profiled(house, dataset)

    policy = with_policy(house, dataset)
    sentences = policy_view(house.steward, policy).sentences(dataset.table_name)
    texts = selectors.starting_policies(version)

    assert any("torque" in sentence for sentence in sentences)
    for text in texts.values():
        set_policy(dataset=dataset, text=text, by=house.steward)


@pytest.mark.parametrize("hides", [True, False])
def test_policy_seen_by_a_reader_is_that_of_his_view(
    house: House, django_assert_num_queries: Any, *, hides: bool
) -> None:
    dataset = registered(house)
    profiled(house, dataset)
    text = policy_text()
    if hides:
        text = text.replace("torque: {role: measure, grid: 5}", "torque: {role: hidden}")
        text = text.replace("columns: [type, torque, failure]", "columns: [type, failure]")
    policy = set_policy(dataset=dataset, text=text, by=house.steward)

    inside = policy_seen_by(house.steward, policy)
    outside = policy_seen_by(house.builder, policy)

    assert inside == policy_view(house.steward, policy).policy
    assert outside == policy_view(house.builder, policy).policy
    assert (outside != inside) == hides
    if not hides:
        with django_assert_num_queries(0):
            policy_seen_by(house.builder, policy)


def test_version_number_and_content_are_unique_by_constraint(house: House) -> None:
    version = uploaded(house, registered(house))
    twin = DatasetVersion.objects.get(pk=version.pk)
    twin.pk, twin.number = None, 2
    twin._state.adding = True

    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save()


def test_versions_of_a_dataset_are_numbered_in_order(house: House) -> None:
    dataset = registered(house)

    numbers = [
        accept_upload(
            dataset=dataset,
            stream=io.BytesIO((RUNS + f"{n},L,1,0\n").encode()),
            filename="runs.csv",
            by=house.steward,
        ).number
        for n in (900, 901)
    ]

    assert numbers == [1, 2]
