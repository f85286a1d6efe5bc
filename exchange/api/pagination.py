"""Pages by cursor: stable while rows are added, and no count of what one may not see."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.core.exceptions import ValidationError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response

from exchange.api.errors import HttpProblem


class Cursor(CursorPagination):
    """Newest first by the view's `ordering`; `?page_size=` up to 200.

    Links are paths, not addresses: a node behind a proxy may not know its own scheme.
    """

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        return tuple(getattr(view, "ordering", ("-pk",)))

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (NotFound, ValidationError, ValueError) as error:
            # The last two: a position that is no value of the column it is compared with.
            raise HttpProblem(
                "cursor_invalid", "the cursor is not one that this list gave out"
            ) from error

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "next": _path_of(self.get_next_link()),
                "previous": _path_of(self.get_previous_link()),
                "results": data,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "description": "path of the page, or null"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }


def _path_of(link: str | None) -> str | None:
    if link is None:
        return None
    parts = urlsplit(link)
    return urlunsplit(("", "", parts.path, parts.query, ""))
