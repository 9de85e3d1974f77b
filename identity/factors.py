"""Every write to authenticators."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction

from identity.authority import ANYWHERE, require_authority
from identity.models import TotpFactor, User
from identity.roles import Permission
from identity.sealing import seal_field
from kernel.errors import Detail, InvalidError
from kernel.record import Actor, Record

logger = logging.getLogger(__name__)


def set_totp_factor(*, user: User, seed: bytes, actor: Actor, now: datetime, record: Record) -> TotpFactor:
    """Give a person a new confirmed authenticator in place of any other; the seed is stored sealed.

    The row of a former authenticator goes, so sessions verified with it are no longer verified.
    """
    if len(seed) < 16:
        raise _invalid("/seed", "A seed has at least 128 bits.")
    if not (actor.kind == "user" and actor.id == user.pk):
        require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    User.objects.select_for_update().get(pk=user.pk)
    TotpFactor.objects.filter(user=user).delete()
    factor: TotpFactor = TotpFactor.objects.create(user=user, name="authenticator", seed_sealed=b"")
    factor.seed_sealed = seal_field("TotpFactor", str(factor.pk), "seed", seed)
    factor.save(update_fields=["seed_sealed"])
    record(event="factor.enrolled", actor=actor, subject=user.pk, now=now, data={"kind": "totp"})
    return factor


def verify_totp(*, user: User, code: str, now: datetime) -> bool:
    """Tell whether `code` is this person's right code, and use it up.

    Has its own transaction: call it before the transaction of the effect, so that a failure stays
    counted when the effect is refused. Two parallel uses of one code give one success. False for no
    factor, a wait after failures, a replay, or a seed that does not open.
    """
    return confirmed_factor(user=user, code=code, now=now) is not None


def confirmed_factor(*, user: User, code: str, now: datetime) -> TotpFactor | None:
    """As `verify_totp`, returning the factor that accepted the code."""
    with transaction.atomic():
        factor = TotpFactor.objects.select_for_update().filter(user=user, confirmed=True).first()
        if factor is None or not user.is_active:
            return None
        try:
            return factor if factor.accept_code(code, now) else None
        except InvalidError:
            logger.exception("the seed of authenticator %s does not open", factor.pk)
            return None


def _invalid(pointer: str, detail: str) -> InvalidError:
    return InvalidError("invalid", detail, errors=(Detail(pointer, "invalid", detail),))
