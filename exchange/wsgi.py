"""What a web server calls."""

import os

from django.core.wsgi import get_wsgi_application

from exchange.whole_body import with_whole_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange.settings")

application = with_whole_bodies(get_wsgi_application())

from exchange.node.readiness import check_secrets  # noqa: E402 - needs Django set up

# A node without its secrets must not answer a single request.
check_secrets()
