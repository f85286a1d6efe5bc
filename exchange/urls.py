"""Where the API, the web pages and the protocol endpoints are mounted."""

from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("exchange.api.urls")),
    path("", include("exchange.web.urls")),
]

handler400 = "exchange.web.access.bad_request"
handler403 = "exchange.web.access.forbidden"
handler404 = "exchange.web.access.not_found"
