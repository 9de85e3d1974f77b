from django.apps import AppConfig


class SiteConfig(AppConfig):
    """The composition root; present as an app for its management commands."""

    name = "palyra_site"
