"""Verbs on one's own authenticator and recovery codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity import factors, sessions
from identity.authorization import strength_of
from identity.factors import Offer
from identity.models import TotpFactor, User
from identity.selectors import has_factor
from identity.types import AuthStrength, Principal
from kernel.errors import AuthenticationError


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The authenticator in force, the new key of this session, and recovery codes if there were none."""

    factor: TotpFactor
    session_key: str = field(repr=False)
    recovery_codes: tuple[str, ...] = field(repr=False)


@needs(None)
def enrol(*, principal: Principal, offer: Offer, code: str, now: datetime) -> Enrolled:
    """Put an offered authenticator in force in place of the present one; all other sessions end.

    Replacing one asks for a fresh code of it: AuthenticationError `step_up_required`. InvalidError at
    `/new_code` when the code is not one of the offered seed.
    """
    with transaction.atomic(durable=True):
        user = User.objects.select_for_update().get(pk=principal.id)
        if has_factor(user.pk):
            _require_fresh(principal, now)
        actor = principal.actor()
        factor = factors.enrol_offered(user=user, offer=offer, code=code, actor=actor, now=now, record=record)
        own = sessions.own_digest(principal)
        sessions.end_sessions(
            user=user, reason="factor_changed", actor=actor, now=now, record=record, keep=own
        )
        codes: tuple[str, ...] = ()
        if not factors.unused_recovery_codes(user):
            codes = factors.issue_recovery_codes(user=user, actor=actor, now=now, record=record)
        return Enrolled(factor, sessions.elevate_session(principal=principal, now=now), codes)


@needs(None)
def renew_recovery_codes(*, principal: Principal, now: datetime) -> tuple[str, ...]:
    """Return ten new recovery codes; the unused old ones no longer work. Asks for a fresh code."""
    _require_fresh(principal, now)
    with transaction.atomic(durable=True):
        user = User.objects.get(pk=principal.id)
        return factors.issue_recovery_codes(user=user, actor=principal.actor(), now=now, record=record)


def _require_fresh(principal: Principal, now: datetime) -> None:
    if strength_of(principal, now) < AuthStrength.FRESH_MFA:
        raise AuthenticationError("step_up_required", "This needs a fresh code of your authenticator.")
