"""Django's system checks of this product: what `check --deploy` and `make check` refuse."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from identity.endpoints import is_usable_url
from palyra_site import journal_settings
from palyra_site.exposure import Exposure, Finding, faults
from palyra_site.journal_settings import JournalSettings


@register(Tags.security, deploy=True)
def exposure(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report every way in which the server would be open to more than it should."""
    return [_error(finding) for finding in faults(of_settings())]


@register(Tags.security)
def provider(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report a sign-in provider that is set up by half or not safely."""
    issuer, client_id = settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID
    if bool(issuer) is not bool(client_id):
        hint = "Set both PALYRA_OIDC_ISSUER and PALYRA_OIDC_CLIENT_ID, or neither."
        return [_error(Finding("palyra.E008", "The sign-in provider is set up by half", hint))]
    if issuer and (not is_usable_url(issuer, plain_loopback=True) or "?" in issuer):
        hint = "It is the https:// URL that the provider itself names as `issuer`, to the letter."
        return [_error(Finding("palyra.E009", "PALYRA_OIDC_ISSUER is not usable", hint))]
    return []


@register(Tags.security)
def journal(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report settings under which the journal would not be sealed as it was meant."""
    return [_error(finding) for finding in journal_settings.faults(of_journal())]


def of_journal() -> JournalSettings:
    """Return how the journal is set up."""
    return JournalSettings(
        origin=settings.PALYRA_JOURNAL_ORIGIN,
        seal_seconds=settings.PALYRA_JOURNAL_SEAL_SECONDS,
        seal_before_run=settings.PALYRA_JOURNAL_SEAL_BEFORE_RUN,
        retention_days=settings.PALYRA_JOURNAL_RETENTION_DAYS,
        witnesses=len(settings.PALYRA_JOURNAL_WITNESSES),
        require_witness=settings.PALYRA_JOURNAL_REQUIRE_WITNESS,
    )


def of_settings() -> Exposure:
    """Return how this server is set up to be reached."""
    return Exposure(
        bind=settings.PALYRA_BIND,
        public_url=settings.PALYRA_PUBLIC_URL,
        allowed_hosts=settings.ALLOWED_HOSTS,
        debug=settings.DEBUG,
        cookie_secure=settings.SESSION_COOKIE_SECURE,
        cookie_name=settings.SESSION_COOKIE_NAME,
        trusted_proxies=settings.PALYRA_TRUSTED_PROXIES,
    )


def _error(finding: Finding) -> Error:
    return Error(finding.sentence, hint=finding.hint, id=finding.id)
