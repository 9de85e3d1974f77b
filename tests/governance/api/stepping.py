"""Callers whose personal token has just seen a one-time code, and features that are switched on."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from governance.journal.ledger import record
from identity import rollout
from identity.models import ApiToken, FeatureFlag, TokenElevation, User
from identity.networks import network_of
from identity.rollout import FlagWishes
from kernel.clock import utc_now
from kernel.record import system_actor
from tests.governance.api.world import Caller

CLIENT = "127.0.0.1"


def fresh(caller: Caller) -> Caller:
    """Let the caller's token count as stepped up, as a code entered now would."""
    token = ApiToken.objects.get(lookup=caller.token.split("_")[2])
    now = utc_now()
    TokenElevation.objects.update_or_create(
        token=token,
        defaults={
            "network": network_of(CLIENT),
            "authority_epoch": User.objects.get(pk=caller.id).authority_epoch,
            "at": now,
            "expires_at": now + timedelta(seconds=300),
        },
    )
    return caller


def switch_on(key: str) -> None:
    """Switch a feature on for everybody."""
    row = FeatureFlag.objects.filter(key=key).first()
    with transaction.atomic():
        rollout.change_flag(
            key=key,
            wishes=FlagWishes(reason="a test needs it", enabled=True, stage="general"),
            seen_version=row.version if row else 0,
            actor=system_actor("shell"),
            now=utc_now(),
            record=record,
        )
