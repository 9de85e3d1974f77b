"""A refusal rolls back its own trace, so it is recorded in a transaction of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity.types import Principal
from kernel.errors import PalyraError
from policy.activation_rules import InForce
from policy.models import PolicySet
from policy.set_selectors import in_force

log = logging.getLogger(__name__)


@needs(None)
def record_refusal(principal: Principal, subject: str, refusal: PalyraError, now: datetime) -> None:
    """Leave `request.refused` in a transaction of its own; the refusal stands even if that fails."""
    _leave("request.refused", principal, subject, now, {"code": refusal.code})


@needs(None)
def record_activation_refusal(
    principal: Principal, set_id: str, refusal: PalyraError, now: datetime, request_id: str | None = None
) -> None:
    """As `record_refusal`, for rules that did not come into force: with the hashes of both sets."""
    chosen = PolicySet.objects.filter(pk=set_id).first()
    stays = in_force(chosen.domain) if chosen else InForce()
    data: dict[str, object] = {
        "code": refusal.code,
        "hash": (chosen.hash or "") if chosen else "",
        "in_force": stays.hash,
        "request": request_id,
    }
    _leave("policy.activation_refused", principal, set_id, now, data)


def _leave(event: str, principal: Principal, subject: str, now: datetime, data: Mapping[str, object]) -> None:
    try:
        with transaction.atomic(durable=True):
            record(event=event, actor=principal.actor(), subject=subject, now=now, data=data)
    except Exception:  # whatever fails here, the caller is answered with the refusal
        log.exception("a refusal could not be recorded")
