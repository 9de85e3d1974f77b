"""Feature flags in the database: read whole, once per request; a read that fails answers off."""

from __future__ import annotations

import logging

from django.db import DatabaseError

from identity.access import FlagSetting, Registry, Stage
from identity.models import FeatureFlag

log = logging.getLogger(__name__)


def registry() -> Registry:
    """Return every flag as it stands now, or the closed registry when that cannot be read."""
    try:
        rows = list(FeatureFlag.objects.all())
        return Registry({row.key: setting_of(row) for row in rows})
    except (DatabaseError, ValueError, TypeError):
        log.exception("the feature flags cannot be read; everything they switch is off")
        return Registry.closed()


def setting_of(row: FeatureFlag) -> FlagSetting:
    """Return a row as the decision reads it; ValueError for a stage that does not exist."""
    return FlagSetting(
        enabled=row.enabled,
        stage=Stage(row.stage),
        percent=row.percent,
        workspaces=frozenset(row.workspaces),
    )
