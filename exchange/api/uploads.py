"""Uploads: the raw bytes of a table, or a form with one file, sealed while they arrive."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from exchange.api.resource import Resource
from exchange.api.streams import incoming
from exchange.api.versions import VersionShown, version_under_way
from exchange.catalogue import selectors, services
from exchange.parties.models import Scope
from exchange.parties.tokens import TokenAuthentication
from sandbox.protocol import CsvOptions, Format

MEDIA_FORMATS = {
    "text/csv": Format.CSV,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
}


class Unparsed(BaseParser):
    """Takes any media type and reads nothing: the view reads the stream itself."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return {}


class UploadOptions(serializers.Serializer[Any]):
    """How to read the file; what is not given is found out."""

    filename = serializers.CharField(required=False, default="", max_length=255)
    format = serializers.ChoiceField(
        [kind.value for kind in Format], required=False, default=None, allow_null=True
    )
    delimiter = serializers.ChoiceField(
        [",", ";", "\t", "|"], required=False, default=None, allow_null=True
    )
    encoding = serializers.CharField(
        required=False, default=None, allow_null=True, max_length=32
    )
    header = serializers.BooleanField(required=False, default=True)


OPTIONS = [
    OpenApiParameter("filename", description="its name; its ending tells the format"),
    OpenApiParameter("format", enum=[kind.value for kind in Format]),
    OpenApiParameter("delimiter", description="CSV: one of `,` `;` tab `|`"),
    OpenApiParameter("encoding", description="CSV: for example utf-8 or gb18030"),
    OpenApiParameter(
        "header", OpenApiTypes.BOOL, description="CSV: the first line is names"
    ),
]
BODIES = {
    "application/octet-stream": OpenApiTypes.BINARY,
    "text/csv": OpenApiTypes.BINARY,
    "application/vnd.apache.parquet": OpenApiTypes.BINARY,
    "multipart/form-data": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
    },
}


class Uploads(Resource):
    # Tokens only: the check of a browser session would read the form, and spool it.
    authentication_classes = (TokenAuthentication,)
    parser_classes = (Unparsed,)
    serializer_class = VersionShown
    scopes: ClassVar = {"create": Scope.DATASETS_WRITE, "put": Scope.DATASETS_WRITE}

    @extend_schema(parameters=OPTIONS, request=BODIES, responses={202: VersionShown})
    def create(self, request: Request, pk: str) -> Response:
        """The file's bytes are a new version, and its profiling is under way.

        Bytes that are a version already are refused (`duplicate_upload`), so sending the
        same file twice is safe.
        """
        return self._accept(request, pk, "")

    @extend_schema(
        operation_id="uploads_put",
        parameters=OPTIONS,
        request=BODIES,
        responses={202: VersionShown},
    )
    def put(self, request: Request, pk: str, filename: str) -> Response:
        """As POST, with the name in the address: what `curl -T` sends."""
        return self._accept(request, pk, filename)

    def _accept(self, request: Request, pk: str, filename: str) -> Response:
        dataset = selectors.dataset_visible_to(self.reader, pk)
        shaped = UploadOptions(data=request.query_params.dict())
        shaped.is_valid(raise_exception=True)
        options = shaped.validated_data
        file = incoming(request._request)
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        named = options["format"]
        version = services.accept_upload(
            dataset=dataset,
            stream=file.stream,
            filename=options["filename"] or filename or file.filename or "upload",
            format=Format(named) if named else MEDIA_FORMATS.get(media_type),
            csv=CsvOptions(options["delimiter"], options["encoding"], options["header"]),
            by=self.reader,
        )
        return version_under_way(self, version)
