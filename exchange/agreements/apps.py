from django.apps import AppConfig


class AgreementsConfig(AppConfig):
    name = "exchange.agreements"
    default_auto_field = "django.db.models.BigAutoField"
