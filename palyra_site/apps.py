from importlib import import_module

from django.apps import AppConfig

from palyra_site.celery import app as celery_app


class SiteConfig(AppConfig):
    """The composition root; present as an app for its management commands."""

    name = "palyra_site"

    def ready(self) -> None:
        celery_app.set_default()
        import_module("palyra_site.checks")
