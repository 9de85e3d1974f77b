"""Verbs on one's own password."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from governance.operations.signing_in import count_attempt, take_back_attempt
from identity import passwords, rejections
from identity.models import User
from identity.networks import network_of
from identity.sessions import own_digest
from identity.types import Principal
from kernel.errors import InvalidError

setup_owner = passwords.link_owner


@needs(None)
def redeem(*, text: str, password: str, now: datetime) -> User:
    """Set the password of whom a setup link was made for. Raises as `passwords.redeem_setup_link`."""
    with transaction.atomic(durable=True):
        return passwords.redeem_setup_link(text=text, password=password, now=now, record=record)


@needs(None)
def change(*, principal: Principal, current: str, new: str, now: datetime) -> User:
    """Replace one's own password; all other sessions end.

    A wrong present password counts like a failed login: InvalidError at `/current`, or RateLimitedError
    while a wait runs. Raises InvalidError at `/password` for a new one that is weak or the same.
    """
    user = User.objects.get(pk=principal.id)
    count_attempt(user=user, client_ip=principal.client_ip, now=now)
    try:
        with transaction.atomic(durable=True):
            changed = passwords.change_password(
                user=user,
                current=current,
                new=new,
                actor=principal.actor(),
                now=now,
                record=record,
                keep=own_digest(principal),
            )
    except InvalidError as refusal:
        _settle(user, principal, refusal, now)
        raise
    take_back_attempt(user=user, client_ip=principal.client_ip, now=now)
    return changed


def _settle(user: User, principal: Principal, refusal: InvalidError, now: datetime) -> None:
    """A wrong present password stays counted and is summed for the journal; any other fault is no guess."""
    network = network_of(principal.client_ip)
    if any(one.pointer == "/current" for one in refusal.errors):
        rejections.note(kind="login", network=network, subject=user.pk, reason="present_password", now=now)
        return
    take_back_attempt(user=user, client_ip=principal.client_ip, now=now)
