"""Keys: their states, rotation and destruction. No address of the API hands out a key."""

from __future__ import annotations

from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.idempotency import idempotent
from exchange.api.resource import Resource, accepted, organisation_named
from exchange.catalogue.keywork import rotate_soon
from exchange.catalogue.rekeying import rekey_version
from exchange.catalogue.selectors import version_visible_to
from exchange.errors import NotFound
from exchange.keys.choice import kind_of
from exchange.keys.models import DataKey
from exchange.keys.permissions import may_see_keys
from exchange.keys.selectors import data_keys_of, organisation_key_state
from exchange.parties.models import Organisation, Scope
from exchange.queries.shredding import shred_organisation, shred_version


class DataKeyShown(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="public_id")
    purpose = serializers.CharField()
    state = serializers.CharField(help_text="active or destroyed")
    protects = serializers.SerializerMethodField(help_text="Type and id of what it opens.")
    generation = serializers.IntegerField(
        source="organisation_key.generation",
        help_text="Of the organisation's key above it.",
    )
    provider = serializers.SerializerMethodField(help_text="file, transit or pkcs11")
    created_at = serializers.DateTimeField()
    destroyed_at = serializers.DateTimeField(allow_null=True)

    def get_protects(self, key: DataKey) -> dict[str, str]:
        return {"type": key.subject_type, "id": key.subject_id}

    def get_provider(self, key: DataKey) -> str:
        return str(kind_of(key.organisation_key.provider_ref))


class OrganisationKeyShown(serializers.Serializer[Any]):
    organisation = serializers.CharField(source="organisation.slug")
    state = serializers.CharField(help_text="active, destroyed, or empty: none yet")
    is_rotating = serializers.BooleanField()
    generation = serializers.IntegerField()
    provider = serializers.CharField(allow_null=True)
    master_key = serializers.CharField(help_text="Its name at the provider.")
    created_at = serializers.DateTimeField(allow_null=True)
    data_keys_active = serializers.IntegerField(source="active")
    data_keys_destroyed = serializers.IntegerField(source="destroyed")


class Whose(serializers.Serializer[Any]):
    organisation = serializers.CharField(
        required=False, default="", help_text="Its short name; yours where none is sent."
    )


class EndOrganisationKey(Whose):
    confirm = serializers.CharField(help_text="The organisation's short name.")


class EndVersionKey(serializers.Serializer[Any]):
    confirm = serializers.CharField(
        help_text="The dataset's short name, a space, and the version's number."
    )


class Keys(Resource):
    serializer_class = DataKeyShown
    ordering = ("-created_at", "-pk")
    scopes: ClassVar = {
        "list": Scope.EVIDENCE_READ,
        "organisation": Scope.EVIDENCE_READ,
        "rotate": Scope.KEYS_WRITE,
        "destroy_all": Scope.KEYS_WRITE,
        "rotate_version": Scope.KEYS_WRITE,
        "destroy_version": Scope.KEYS_WRITE,
    }

    def list(self, request: Request) -> Response:
        """The data keys of an organisation, newest first; `?organisation=` names it."""
        keys = data_keys_of(self._seen(request.query_params.get("organisation", "")))
        return self.page(keys.select_related("organisation_key"))

    @extend_schema(responses=OrganisationKeyShown)
    def organisation(self, request: Request) -> Response:
        """The organisation's own key: generation, age, who holds its master."""
        organisation = self._seen(request.query_params.get("organisation", ""))
        return Response(OrganisationKeyShown(organisation_key_state(organisation)).data)

    @extend_schema(request=Whose, responses={202: OrganisationKeyShown})
    @idempotent
    def rotate(self, request: Request) -> Response:
        """The organisation's key is being replaced; data keys move, data does not."""
        organisation = organisation_named(self.read(Whose)["organisation"], self.reader)
        rotate_soon(organisation=organisation, by=self.reader)
        return self._under_way(organisation)

    @extend_schema(request=EndOrganisationKey, responses={202: OrganisationKeyShown})
    @idempotent
    def destroy_all(self, request: Request) -> Response:
        """The organisation's key is destroyed, and with it all that lay under it."""
        fields = self.read(EndOrganisationKey)
        organisation = organisation_named(fields["organisation"], self.reader)
        shred_organisation(
            organisation=organisation, confirmation=fields["confirm"], by=self.reader
        )
        return self._under_way(organisation)

    @extend_schema(request=None, responses={202: DataKeyShown})
    @idempotent
    def rotate_version(self, request: Request, pk: str) -> Response:
        """The version's files are being written anew under a fresh key."""
        version = version_visible_to(self.reader, pk)
        rekey_version(version=version, by=self.reader)
        return accepted(
            {"version": str(version.pk)},
            target=version.pk,
            otherwise=reverse("api:version", args=[version.pk]),
        )

    @extend_schema(request=EndVersionKey, responses={200: None})
    @idempotent
    def destroy_version(self, request: Request, pk: str) -> Response:
        """The version's keys are destroyed: nobody reads its rows any more."""
        version = version_visible_to(self.reader, pk)
        confirm = self.read(EndVersionKey)["confirm"]
        shred_version(version=version, confirmation=confirm, by=self.reader)
        return Response({"version": str(version.pk), "state": "destroyed"})

    def _seen(self, slug: str) -> Organisation:
        """One's own, or for a regulator anybody's; else it looks as if not there."""
        named = Organisation.objects.filter(slug=slug).first() if slug else None
        found = named or organisation_named(slug, self.reader)
        if not may_see_keys(self.reader, found):
            raise NotFound(
                "there is no such organisation, or its keys are not for this reader",
                hint="Data stewards, administrators and a regulator see the keys' states.",
            )
        return found

    def _under_way(self, organisation: Organisation) -> Response:
        shown = OrganisationKeyShown(organisation_key_state(organisation)).data
        where = reverse("api:organisation-key")
        return accepted(shown, target=organisation.public_id, otherwise=where)
