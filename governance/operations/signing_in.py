"""Verbs of somebody who proves who they are.

Every attempt is counted as failed in a transaction of its own before anything is verified; passwords
are hashed between transactions, because that is slow on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.auth import authenticate
from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity import login_attempts, rejections, sessions
from identity.factors import confirmed_factor, use_recovery_code
from identity.login_attempts import Limit, Wait
from identity.models import RecoveryCode, TotpFactor, User
from identity.networks import network_of
from identity.passwords import LONGEST_PASSWORD
from identity.selectors import has_factor, user_by_name
from identity.sessions import Browser
from identity.types import Principal, PrincipalKind
from kernel.errors import AuthenticationError, RateLimitedError
from kernel.record import Actor

REFUSED = "User name, password or code is not right, or it is too early to try again."
WRONG_CODE = "The one-time code is wrong or was used before, or it is too early to try again."
TOO_MANY = "Too many attempts failed."
LONGEST_NAME = 150


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody typed at the door."""

    username: str
    password: str = field(repr=False)
    code: str = field(repr=False)

    @property
    def name(self) -> str:
        """The name as it is looked up; a text that no name can have becomes one that nobody has."""
        name = self.username.strip().lower()
        return name if len(name) <= LONGEST_NAME and name.isprintable() else ""


@dataclass(frozen=True, slots=True)
class SteppedUp:
    """A code counts from `at`; `session_key` is what the cookie of this session holds from now on."""

    at: datetime
    session_key: str = field(repr=False)


@needs(None)
def log_in(*, claim: Claim, browser: Browser, now: datetime) -> str:
    """Sign somebody in and return what their cookie holds.

    Whoever has no second factor yet comes in with the password alone and gets as far as enrolling one.
    Raises AuthenticationError, the same for every cause, or RateLimitedError when the network has
    failed too often. An unknown name costs what a known one costs.
    """
    network, account = network_of(browser.ip), login_attempts.account_key(claim.name)
    wait = _counted(account, network, now)
    if wait.limit is Limit.NETWORK:
        raise _too_many(wait)
    user = None if wait.seconds else _proved_by_password(claim)
    key = None if user is None else _enter(user, claim.code, browser, now)
    if key is not None:
        return key
    _note_refused(claim, network, "waiting" if wait.seconds else "refused", now)
    raise AuthenticationError("unauthenticated", REFUSED)


@needs(None)
def step_up(*, principal: Principal, code: str, now: datetime) -> datetime:
    """Verify a one-time code and return `now`; AuthenticationError `step_up_required` when it is wrong.

    Runs before the verb it protects and commits on its own, so that a wrong code stays counted, in the
    same count as at the login. RateLimitedError when the network has failed too often.
    """
    _require_code(principal, code, now)
    return now


@needs(None)
def step_up_session(*, principal: Principal, code: str, now: datetime) -> SteppedUp:
    """As `step_up`, for five minutes of a console session, which moves to a new key."""
    _require_code(principal, code, now)
    with transaction.atomic(durable=True):
        return SteppedUp(now, sessions.elevate_session(principal=principal, now=now))


@needs(None)
def accepted_factor(*, user: User, code: str, client_ip: str, now: datetime) -> TotpFactor | None:
    """Return the authenticator that accepted this code, or None for a wrong one and during a wait.

    Counts the attempt, opens transactions of its own, and leaves no event. Raises RateLimitedError when
    the network has failed too often.
    """
    return None if _must_wait(user, client_ip, now) else _verified(user, code, client_ip, now)


def _must_wait(user: User, client_ip: str, now: datetime) -> bool:
    """Count one attempt, or tell that it came too early and was not counted."""
    wait = _counted(login_attempts.account_key(user.username), network_of(client_ip), now)
    if wait.limit is Limit.NETWORK:
        raise _too_many(wait)
    return wait.seconds > 0


def _verified(user: User, code: str, client_ip: str, now: datetime) -> TotpFactor | None:
    factor = confirmed_factor(user=user, code=code, now=now)
    if factor is not None:
        take_back_attempt(user=user, client_ip=client_ip, now=now)
    return factor


@needs(None)
def count_attempt(*, user: User, client_ip: str, now: datetime) -> None:
    """Count one try of somebody who is in already, before what they typed is looked at.

    RateLimitedError while a wait runs. `take_back_attempt` undoes it when the try was right.
    """
    account, network = login_attempts.account_key(user.username), network_of(client_ip)
    wait = _counted(account, network, now)
    if wait.seconds:
        raise _too_many(wait)


@needs(None)
def take_back_attempt(*, user: User, client_ip: str, now: datetime) -> None:
    """Let a counted try be a success."""
    account, network = login_attempts.account_key(user.username), network_of(client_ip)
    with transaction.atomic(durable=True):
        login_attempts.note_success(account_key=account, network=network, now=now)


def _require_code(principal: Principal, code: str, now: datetime) -> None:
    """Verify the code and record the outcome; what came too early, or from no person, is only summed."""
    user = User.objects.filter(id=principal.id).first() if principal.kind is PrincipalKind.USER else None
    if user is None or _must_wait(user, principal.client_ip, now):
        network = network_of(principal.client_ip)
        rejections.note(kind="login", network=network, subject=principal.id, reason="waiting", now=now)
        raise AuthenticationError("step_up_required", WRONG_CODE)
    accepted = _verified(user, code, principal.client_ip, now) is not None
    with transaction.atomic(durable=True):
        record(
            event="step_up.succeeded" if accepted else "step_up.failed",
            actor=principal.actor(),
            subject=principal.id,
            now=now,
            data={},
        )
    if not accepted:
        raise AuthenticationError("step_up_required", WRONG_CODE)


def _counted(account: str, network: str, now: datetime) -> Wait:
    with transaction.atomic(durable=True):
        return login_attempts.begin_attempt(account_key=account, network=network, now=now)


def _too_many(wait: Wait) -> RateLimitedError:
    return RateLimitedError("authentication_throttled", TOO_MANY, retry_after=int(wait.seconds) + 1)


def _proved_by_password(claim: Claim) -> User | None:
    """Return whom the password proves. One hash is computed in any case, so that time tells nothing."""
    user = authenticate(None, username=claim.name, password=claim.password[: LONGEST_PASSWORD + 1])
    return user if isinstance(user, User) and user.is_staff else None


def _enter(user: User, code: str, browser: Browser, now: datetime) -> str | None:
    """Check the second factor and open the session; None for a wrong code or a password changed meanwhile."""
    with transaction.atomic(durable=True):
        same = User.objects.select_for_update().filter(pk=user.pk, password=user.password, is_active=True)
        if not same.exists():
            return None
        factor = _second_factor(user, code, now)
        if factor is None and has_factor(user.pk):
            return None
        return _open(user, factor, browser, now)


def _second_factor(user: User, code: str, now: datetime) -> TotpFactor | RecoveryCode | None:
    if not has_factor(user.pk):
        return None
    typed = "".join(code.split())
    return confirmed_factor(user=user, code=typed, now=now) or use_recovery_code(
        user=user, code=typed, now=now
    )


def _open(user: User, factor: TotpFactor | RecoveryCode | None, browser: Browser, now: datetime) -> str:
    actor = Actor(kind="user", id=user.pk, auth="session", surface="console")
    account, network = login_attempts.account_key(user.username), network_of(browser.ip)
    login_attempts.note_success(account_key=account, network=network, now=now)
    key = sessions.open_session(
        user=user,
        factor=factor,
        code_entered=isinstance(factor, TotpFactor),
        browser=browser,
        actor=actor,
        now=now,
        record=record,
    )
    kinds = {TotpFactor: "totp", RecoveryCode: "recovery_code"}
    data = {"factor": kinds.get(type(factor), "none")}
    record(event="login.succeeded", actor=actor, subject=user.pk, now=now, data=data)
    return key


def _note_refused(claim: Claim, network: str, reason: str, now: datetime) -> None:
    user = user_by_name(claim.name) if claim.name else None
    subject = user.pk if user else rejections.ANONYMOUS
    rejections.note(kind="login", network=network, subject=subject, reason=reason, now=now)
