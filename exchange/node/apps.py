from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NodeConfig(AppConfig):
    name = "exchange.node"
    label = "node"
    verbose_name = _("Node")
    default_auto_field = "django.db.models.BigAutoField"
