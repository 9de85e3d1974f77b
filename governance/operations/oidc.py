"""Signing in through an OpenID provider: begin, come back, confirm.

The provider is asked between transactions, never inside one. The provider says who somebody is; the
second factor stays Palyra's, and fresh codes always are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from governance.operations import signing_in
from identity import login_attempts, oidc_attempts, rejections
from identity.access import decide
from identity.factors import confirmed_factor, use_recovery_code
from identity.flags import registry
from identity.invitations import open_offer
from identity.models import OidcAttempt, RecoveryCode, TotpFactor, User
from identity.networks import network_of
from identity.oidc import (
    Client,
    OidcRefusedError,
    ProvedIdentity,
    Reason,
    authorization_url,
    require_issuer,
    verify_id_token,
)
from identity.oidc_accounts import admit_invited, is_of, link_account, person_of, unlink_account
from identity.oidc_http import discover, exchange, fetch_keys
from identity.selectors import DEFAULT, has_factor, standing_of, user_by_name, workspace_by_slug
from identity.sessions import Browser, open_session
from kernel.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    PalyraError,
    RefusedError,
)
from kernel.record import Actor, system_actor

log = logging.getLogger(__name__)
FLAG = "oidc_login"
TEAM_MODE = "team_mode"
NOT_ADMITTED = "This person may not sign in here."
WRONG_CODE = "The code is wrong or was used before."


@dataclass(frozen=True, slots=True)
class Started:
    """Where the browser goes, and the value of the cookie that ties the way back to it."""

    url: str
    browser: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """What the provider sent through the browser; None for what was absent."""

    state: str = field(repr=False)
    code: str | None = field(default=None, repr=False)
    issuer: str | None = None
    error: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whom the provider named, and whether Palyra's own code is still asked for."""

    person: str
    needs_code: bool


@needs(None)
def client() -> Client | None:
    """Return Palyra as the provider knows it, or None when the sign-in is switched off or not set up."""
    issuer, client_id = settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID
    setting = registry().setting(FLAG) if issuer and client_id else None
    if setting is None or not setting.enabled:
        return None
    redirect = f"{settings.PALYRA_PUBLIC_URL}/auth/callback/oidc"
    return Client(issuer, client_id, redirect, settings.PALYRA_OIDC_CLIENT_SECRET)


@needs(None)
def begin(*, client_ip: str, now: datetime) -> Started:
    """Open an attempt for one browser. Raises NotFoundError while the feature is off."""
    ours = _required_client()
    provider = discover(ours)
    with transaction.atomic(durable=True):
        begun = oidc_attempts.open_attempt(provider=provider, network=network_of(client_ip), now=now)
    url = authorization_url(provider, ours, state=begun.state, nonce=begun.nonce, verifier=begun.verifier)
    return Started(url, begun.browser)


@needs(None)
def receive(*, callback: Callback, browser: str, client_ip: str, now: datetime) -> None:
    """Take the answer of the provider, once, and keep whom it proves for `confirm`.

    Raises OidcRefusedError, ConflictError for a second callback, RefusedError `oidc_not_linked` for
    somebody nobody knows here, UnavailableError when the provider cannot be asked.
    """
    ours = _required_client()
    with transaction.atomic(durable=True):
        taken = oidc_attempts.take_attempt(state=callback.state, browser=browser, now=now)
    try:
        proved = _proved(ours, taken, callback, now)
        with transaction.atomic(durable=True):
            user = _person(proved, now)
            oidc_attempts.prove_attempt(attempt_id=taken.id, user=user, multi_factor=proved.multi_factor)
    except PalyraError as refusal:
        _give_up(taken.id, refusal, client_ip, now)
        raise


@needs(None)
def waiting(*, browser: str, now: datetime) -> Waiting:
    """Return who this browser may sign in as, or raise OidcRefusedError."""
    attempt, user = _attempt(_required_client(), browser, now)
    return Waiting(str(user), _asks_for_code(attempt, user))


@needs(None)
def confirm(*, browser: str, code: str, origin: Browser, now: datetime) -> str:
    """End the attempt with a login and return what the session's cookie holds.

    Who has an authenticator proves it by its code or a recovery code, unless the provider asked for
    several factors and is trusted in that; who has none gets as far as enrolling one. A wrong code counts
    like any failed login: AuthenticationError, or RateLimitedError while a wait runs. The attempt stays
    open for another try until its ten minutes are over; ConflictError for a second login by it.
    """
    ours = _required_client()
    attempt, user = _attempt(ours, browser, now)
    asked = _asks_for_code(attempt, user)
    if asked:
        signing_in.count_attempt(user=user, client_ip=origin.ip, now=now)
    with transaction.atomic(durable=True):
        user = User.objects.select_for_update().get(pk=user.pk)
        _require_admitted(user, ours, now)
        if _asks_for_code(attempt, user) is not asked:
            raise ConflictError("state_changed", "The authenticator was changed meanwhile. Try again.")
        factor = _typed_factor(user, code, now) if asked else _enrolled_factor(user)
        if factor is not None or not asked:
            oidc_attempts.finish_attempt(attempt_id=attempt.pk)
            return _open(user, factor, asked, origin, now)
    network = network_of(origin.ip)
    rejections.note(kind="login", network=network, subject=user.pk, reason="oidc_code", now=now)
    raise AuthenticationError("unauthenticated", WRONG_CODE)


@needs(None)
def link(*, username: str, subject: str | None, now: datetime) -> None:
    """Let an account of the configured provider sign a person in; without a subject take it away.

    For who has a shell on the server: it decides who may be whom.
    """
    user = user_by_name(username)
    if user is None:
        raise NotFoundError("not_found", "No such person.")
    actor = system_actor("shell")
    with transaction.atomic(durable=True):
        if subject is None:
            unlink_account(user=user, actor=actor, now=now, record=record)
            return
        link_account(
            user=user,
            issuer=settings.PALYRA_OIDC_ISSUER,
            subject=subject,
            actor=actor,
            now=now,
            record=record,
        )


def _required_client() -> Client:
    ours = client()
    if ours is None:
        raise NotFoundError("not_found", "Nobody signs in through a provider here.")
    return ours


def _proved(ours: Client, taken: oidc_attempts.Taken, callback: Callback, now: datetime) -> ProvedIdentity:
    if taken.provider.issuer != ours.issuer:
        raise OidcRefusedError(Reason.ISSUER, "Another provider was set up meanwhile. Start again.")
    require_issuer(taken.provider, callback.issuer)
    if callback.error is not None:
        raise OidcRefusedError(Reason.PROVIDER_ERROR, callback.description or callback.error)
    if not callback.code:
        raise OidcRefusedError(Reason.PROVIDER_ERROR, "The provider sent no code.")
    answer = exchange(taken.provider, ours, code=callback.code, verifier=taken.verifier)
    keys = fetch_keys(taken.provider)
    return verify_id_token(answer, keys, client=ours, nonce=taken.nonce, now=now)


def _person(proved: ProvedIdentity, now: datetime) -> User:
    user = person_of(proved.issuer, proved.subject) or _invited(proved, now)
    if user is None:
        raise RefusedError(
            "oidc_not_linked", f"Nobody here has the account with the subject {proved.subject}."
        )
    if not _is_admitted(user, now):
        raise OidcRefusedError(Reason.PERSON, NOT_ADMITTED)
    return user


def _invited(proved: ProvedIdentity, now: datetime) -> User | None:
    """Make the person whom an invitation to the verified address expects, while invitations may be used."""
    invitation = open_offer(email=proved.email, now=now) if proved.email else None
    if invitation is None:
        return None
    flags, workspace = registry(), invitation.workspace_id
    standing = standing_of(user_id=invitation.invited_by, workspace_id=workspace, now=now, flags=flags)
    if not decide(flags, TEAM_MODE, workspace_id=workspace, standing=standing).enabled:
        return None
    return admit_invited(proved=proved, invitation=invitation, now=now, record=record)


def _is_admitted(user: User, now: datetime) -> bool:
    """Tell whether somebody may sign in this way now: active, with a live role, and in the flag's stage."""
    if not (user.is_active and user.can_log_in and user.is_staff):
        return False
    flags, workspace = registry(), workspace_by_slug(DEFAULT).pk
    standing = standing_of(user_id=user.pk, workspace_id=workspace, now=now, flags=flags)
    return decide(flags, FLAG, workspace_id=workspace, standing=standing).enabled


def _attempt(ours: Client, browser: str, now: datetime) -> tuple[OidcAttempt, User]:
    attempt = oidc_attempts.proved_attempt(browser=browser, now=now)
    user = attempt.user if attempt else None
    if attempt is None or user is None:
        raise OidcRefusedError(Reason.STATE, oidc_attempts.NOT_YOURS)
    _require_admitted(user, ours, now)
    return attempt, user


def _require_admitted(user: User, ours: Client, now: datetime) -> None:
    """Asked under the person's lock, this holds until the session stands: what ends sessions waits for it."""
    if not is_of(user, ours) or not _is_admitted(user, now):
        raise OidcRefusedError(Reason.PERSON, NOT_ADMITTED)


def _asks_for_code(attempt: OidcAttempt, user: User) -> bool:
    trusted = attempt.multi_factor and settings.PALYRA_OIDC_TRUST_AMR
    return not trusted and has_factor(user.pk)


def _enrolled_factor(user: User) -> TotpFactor | None:
    found: TotpFactor | None = TotpFactor.objects.filter(user=user, confirmed=True).first()
    return found


def _typed_factor(user: User, code: str, now: datetime) -> TotpFactor | RecoveryCode | None:
    typed = "".join(code.split())
    return confirmed_factor(user=user, code=typed, now=now) or use_recovery_code(
        user=user, code=typed, now=now
    )


def _open(
    user: User, factor: TotpFactor | RecoveryCode | None, asked: bool, origin: Browser, now: datetime
) -> str:
    actor = Actor(kind="user", id=user.pk, auth="session", surface="console")
    if asked:
        account, network = login_attempts.account_key(user.username), network_of(origin.ip)
        login_attempts.note_success(account_key=account, network=network, now=now)
    key = open_session(
        user=user,
        factor=factor,
        code_entered=asked and isinstance(factor, TotpFactor),
        browser=origin,
        actor=actor,
        now=now,
        record=record,
    )
    second = "+totp" if isinstance(factor, TotpFactor) else "+recovery_code"
    data = {"factor": "oidc" + (second if asked else "")}
    record(event="login.succeeded", actor=actor, subject=user.pk, now=now, data=data)
    return key


def _give_up(attempt_id: str, refusal: PalyraError, client_ip: str, now: datetime) -> None:
    """End the attempt and count the refusal, whatever it was; the refusal itself goes on to the browser."""
    reason = getattr(refusal, "reason", Reason.PROVIDER if refusal.status == 503 else Reason.NOT_LINKED)
    log.info("a sign-in through the provider failed: %s", reason)
    try:
        with transaction.atomic(durable=True):
            oidc_attempts.fail_attempt(attempt_id=attempt_id)
    except ConflictError:
        return
    subject = rejections.ANONYMOUS
    rejections.note(kind="login", network=network_of(client_ip), subject=subject, reason=reason, now=now)
