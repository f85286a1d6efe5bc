"""Settings of a node, in the one namespace from which Django reads them.

Importing this writes nothing. `manage.py setup` makes the directories and the secrets; what
is missing is refused by `exchange.node.readiness`, what is weak right here.
"""

from __future__ import annotations

from exchange.settings.applications import *
from exchange.settings.doorbell import *
from exchange.settings.environment import *
from exchange.settings.interface import *
from exchange.settings.people import *
from exchange.settings.refusals import *
