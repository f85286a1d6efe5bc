"""Where the API, the web pages and the protocol endpoints are mounted."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
