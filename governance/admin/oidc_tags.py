"""What the login page asks about the sign-in provider."""

from __future__ import annotations

from urllib.parse import urlsplit

from django import template

from governance.operations import oidc

register = template.Library()


@register.simple_tag
def oidc_host() -> str:
    """Return the host of the provider while the sign-in through it is offered, else nothing."""
    ours = oidc.client()
    return urlsplit(ours.issuer).netloc if ours else ""
