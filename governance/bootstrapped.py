"""What is left of the first start's credentials: their file, the owner's token, the owner's seed."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet

from identity.models import ApiToken, TotpFactor, User


def credentials_file() -> Path:
    """Return where the first start writes what it made."""
    return Path(settings.PALYRA_HOME) / "bootstrap.json"


def is_left() -> bool:
    """Tell whether anything of it still exists or still works."""
    return credentials_file().exists() or seed_in_force() or bool(live_tokens())


def seed_in_force() -> bool:
    """Tell whether the authenticator of the first start is still the owner's."""
    return bool(TotpFactor.objects.filter(from_bootstrap=True).exists())


def live_tokens() -> tuple[str, ...]:
    """Return the owner's tokens of the first start that were not revoked; the agent's is not among them."""
    return tuple(_token().filter(revoked_at__isnull=True).values_list("pk", flat=True))


def owner() -> User | None:
    """Return the person whom the first start made the owner, also after everything was cleared."""
    token = _token().select_related("principal_user").first()
    return token.principal_user if token else None


def _token() -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(from_bootstrap=True, principal_user__isnull=False)
