"""Every write to authenticators and recovery codes."""

from __future__ import annotations

import base64
import logging
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction

from identity import totp
from identity.authority import ANYWHERE, require_authority
from identity.inserting import invalid
from identity.models import RecoveryCode, TotpFactor, User
from identity.roles import Permission
from identity.sealing import keyed_digest, keyed_digests, open_field, seal_field
from kernel.errors import InvalidError
from kernel.record import Actor, Record

logger = logging.getLogger(__name__)

RECOVERY_CODES = 10
OFFER_LIFE = timedelta(minutes=30)
_RECOVERY_CODE = re.compile(r"[A-Z2-7]{10}")


@dataclass(frozen=True, slots=True)
class Offer:
    """A seed that is not in force yet. `sealed` goes through the form and opens for one person only."""

    seed: bytes = field(repr=False)
    sealed: str = field(repr=False)

    @property
    def secret(self) -> str:
        """The seed as an authenticator takes it from the keyboard."""
        return base64.b32encode(self.seed).decode().rstrip("=")


def set_totp_factor(
    *,
    user: User,
    seed: bytes,
    actor: Actor,
    now: datetime,
    record: Record,
    from_bootstrap: bool = False,
    used_step: int = -1,
) -> TotpFactor:
    """Give a person a new confirmed authenticator in place of any other; the seed is stored sealed.

    The row of a former authenticator goes, so sessions verified with it are no longer verified. Codes
    up to `used_step` count as used.
    """
    if len(seed) < 16:
        raise invalid("/seed", "invalid", "A seed has at least 128 bits.")
    if not (actor.kind == "user" and actor.id == user.pk):
        require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    User.objects.select_for_update().get(pk=user.pk)
    TotpFactor.objects.filter(user=user).delete()
    factor: TotpFactor = TotpFactor.objects.create(
        user=user, name="authenticator", seed_sealed=b"", last_t=used_step, from_bootstrap=from_bootstrap
    )
    factor.seed_sealed = seal_field("TotpFactor", str(factor.pk), "seed", seed)
    factor.save(update_fields=["seed_sealed"])
    _enrolled(user, "totp", actor, now, record)
    return factor


def offer_seed(*, user: User, now: datetime) -> Offer:
    """Return a new seed to show to this person; nothing is stored before they prove that they have it."""
    seed = totp.new_seed()
    ends = int((now + OFFER_LIFE).timestamp()).to_bytes(8, "big")
    sealed = seal_field("TotpFactor", user.pk, "offer", ends + seed)
    return Offer(seed, base64.urlsafe_b64encode(sealed).decode())


def open_offer(*, user: User, sealed: str, now: datetime) -> Offer:
    """Return the offer that came back with a form; InvalidError for another person's, or an old one."""
    try:
        plain = open_field("TotpFactor", user.pk, "offer", base64.urlsafe_b64decode(sealed.encode()))
    except (ValueError, InvalidError):
        raise _stale() from None
    if int.from_bytes(plain[:8], "big") <= now.timestamp():
        raise _stale()
    return Offer(plain[8:], sealed)


def enrol_offered(
    *, user: User, offer: Offer, code: str, actor: Actor, now: datetime, record: Record
) -> TotpFactor:
    """Put an offered seed in force, proved by one code of it, which is used up.

    InvalidError at `/new_code` when the code is not of this seed, at `/offer` when the seed is in force
    already (a form sent twice).
    """
    step = totp.matching_step(offer.seed, code, now=now, after=-1)
    if step is None:
        raise invalid("/new_code", "wrong", "This is not the present code of the new authenticator.")
    present = TotpFactor.objects.select_for_update().filter(user=user).first()
    if present is not None and _seed_of(present) == offer.seed:
        raise _stale()
    return set_totp_factor(user=user, seed=offer.seed, actor=actor, now=now, record=record, used_step=step)


def issue_recovery_codes(*, user: User, actor: Actor, now: datetime, record: Record) -> tuple[str, ...]:
    """Return ten new recovery codes in place of all unused ones. They are here and nowhere else in clear.

    Used ones stay as rows, because a session may have been verified with one.
    """
    User.objects.select_for_update().get(pk=user.pk)
    RecoveryCode.objects.filter(user=user, used_at__isnull=True).delete()
    codes = tuple(base64.b32encode(secrets.token_bytes(7)).decode()[:10] for _ in range(RECOVERY_CODES))
    for code in codes:
        RecoveryCode.objects.create(
            user=user, name="recovery code", digest=keyed_digest("RecoveryCode", _named(user, code))
        )
    _enrolled(user, "recovery_codes", actor, now, record)
    return codes


def unused_recovery_codes(user: User) -> int:
    """Return how many recovery codes this person still has."""
    return len(RecoveryCode.objects.filter(user=user, used_at__isnull=True).values_list("pk"))


def use_recovery_code(*, user: User, code: str, now: datetime) -> RecoveryCode | None:
    """Use up a recovery code and return its row, or None when it is none of this person's unused ones.

    Upper and lower case, spaces and hyphens are the same. Of two uses at once one succeeds.
    """
    text = re.sub(r"[\s-]", "", code).upper()
    if not _RECOVERY_CODE.fullmatch(text):
        return None
    mine = RecoveryCode.objects.filter(
        user=user, digest__in=keyed_digests("RecoveryCode", _named(user, text))
    )
    if not mine.filter(used_at__isnull=True).update(used_at=now):
        return None
    row: RecoveryCode = mine.get()
    return row


def verify_totp(*, user: User, code: str, now: datetime) -> bool:
    """Tell whether `code` is this person's right code, and use it up.

    Count the attempt first (`login_attempts`), in a transaction that has committed. Two parallel uses of
    one code give one success. False for no factor, a replay, or a seed that does not open.
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


def _enrolled(user: User, kind: str, actor: Actor, now: datetime, record: Record) -> None:
    record(event="factor.enrolled", actor=actor, subject=user.pk, now=now, data={"kind": kind})


def _seed_of(factor: TotpFactor) -> bytes | None:
    try:
        return open_field("TotpFactor", str(factor.pk), "seed", bytes(factor.seed_sealed))
    except InvalidError:
        return None


def _named(user: User, code: str) -> str:
    return f"{user.pk}|{code}"


def _stale() -> InvalidError:
    return invalid("/offer", "stale", "This enrolment is over; open the page again.")
