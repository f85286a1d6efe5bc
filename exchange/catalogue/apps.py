from django.apps import AppConfig


class CatalogueConfig(AppConfig):
    name = "exchange.catalogue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from exchange.catalogue import tasks

        tasks.register()
