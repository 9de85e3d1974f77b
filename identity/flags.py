"""Feature flags as every request reads them. A read that fails answers off."""

from __future__ import annotations

import logging

from django.db import DatabaseError, connection

from identity import flag_cache
from identity.access import FlagSetting, Registry, Stage, decide
from identity.models import FeatureFlag
from identity.tokens import TokenKind
from identity.types import Principal
from kernel.errors import RefusedError

log = logging.getLogger(__name__)

TOKENS = "api_tokens"


def registry() -> Registry:
    """Return every flag as it stands now, or the closed registry when that cannot be read.

    With Redis an answer is kept for a second at most, and a change of any flag ends it at once. Inside
    a transaction the database is always asked, and what it says there is kept for nobody.
    """
    if connection.in_atomic_block:
        return _read()
    version = flag_cache.version()
    kept = flag_cache.kept(version)
    if kept is not None:
        return kept
    found = _read()
    if found.readable:
        flag_cache.keep(version, found)
    return found


def setting_of(row: FeatureFlag) -> FlagSetting:
    """Return a row as the decision reads it; a row that makes no sense is a flag that is off."""
    try:
        return FlagSetting(row.enabled, Stage(row.stage), row.percent, frozenset(row.workspaces))
    except (ValueError, TypeError):
        log.exception("the feature flag %r makes no sense and counts as off", row.key)
        return FlagSetting(enabled=False, stage=Stage.LAB, percent=0)


def tokens_are_on(principal: Principal, kind: str) -> bool:
    """Tell whether bearer tokens of this kind count for this principal now (feature `api_tokens`).

    Those of kind `adm` always do: they are how an installation is put right again.
    """
    here, vouching = principal.workspace_id, principal.vouching
    verdict = decide(principal.flags, TOKENS, workspace_id=here, standing=vouching)
    return kind == TokenKind.ADMIN or verdict.enabled


def require_tokens_allowed(principal: Principal, kind: str) -> None:
    """Raise RefusedError `feature_disabled` for a bearer token that does not count now."""
    if not tokens_are_on(principal, kind):
        raise RefusedError("feature_disabled", f"The feature {TOKENS} is off here.")


def _read() -> Registry:
    try:
        return Registry({row.key: setting_of(row) for row in FeatureFlag.objects.all()})
    except DatabaseError:
        log.exception("the feature flags cannot be read; everything they switch is off")
        return Registry.closed()
