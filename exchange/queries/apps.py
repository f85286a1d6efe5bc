from django.apps import AppConfig


class QueriesConfig(AppConfig):
    name = "exchange.queries"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from exchange.queries import tasks

        tasks.register()
