"""Taking the person or the purpose out of an account; its id stays, since everything names it."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from identity.lifecycle import AgentState
from identity.login_attempts import account_key
from identity.models import (
    Agent,
    ApiToken,
    ConsoleSession,
    Invitation,
    LoginFailure,
    LoginSuccess,
    OidcAttempt,
    RecoveryCode,
    RejectionTally,
    SetupLink,
    TokenElevation,
    TotpFactor,
    User,
)
from identity.owners import hold_user
from identity.revocation import revoke_token
from kernel.errors import ConflictError, NotFoundError
from kernel.record import Record, system_actor

ERASED = "erased"


def require_still_person(user_id: str) -> None:
    """Hold a person's row; NotFoundError for nobody, ConflictError `erasure_still_active` for who may act."""
    if hold_user(user_id).is_active:
        raise ConflictError(
            "erasure_still_active", "Disable the person first: who may act writes new records."
        )


def require_still_agent(agent_id: str) -> None:
    """Hold an agent's row; as `require_still_person`."""
    agent = Agent.objects.select_for_update().filter(pk=agent_id).first()
    if agent is None:
        raise NotFoundError("not_found", "There is no such agent.")
    if agent.state == AgentState.ACTIVE:
        raise ConflictError(
            "erasure_still_active", "Suspend the agent first: one that acts writes new records."
        )


def erase_person(user_id: str, now: datetime, record: Record) -> int:
    """Empty a disabled person's account and everything that could let them in; return the rows touched.

    Memberships stay: they name ids alone. The account cannot be used again, since nothing opens it.
    """
    user = User.objects.get(pk=user_id)
    account = account_key(user.username)
    known = Q(accepted_by=user.pk) | (Q(email__iexact=user.email) if user.email else Q(pk__in=()))
    touched = Invitation.objects.filter(known).update(email="")
    for rows in (
        ConsoleSession.objects.filter(user=user),
        OidcAttempt.objects.filter(user=user),
        SetupLink.objects.filter(user=user),
        TotpFactor.objects.filter(user=user),
        RecoveryCode.objects.filter(user=user),
        LoginFailure.objects.filter(account_key=account),
        LoginSuccess.objects.filter(account_key=account),
        RejectionTally.objects.filter(subject=user.pk),
    ):
        touched += rows.delete()[0]
    _end_tokens(user, now, record)
    _empty(user)
    return touched + 1


def erase_agent(agent_id: str) -> int:
    """Empty what people wrote about an agent that does not act; return the rows touched.

    Its tokens keep their labels and the networks they are bound to: these are rules and say nothing of it.
    """
    agent = Agent.objects.get(pk=agent_id)
    agent.name, agent.purpose, agent.version = agent.pk, "", agent.version + 1
    agent.save(update_fields=["name", "purpose", "version"])
    return ApiToken.objects.filter(principal_agent=agent).update(last_used_network="") + 1


def _empty(user: User) -> None:
    user.username = f"{ERASED}-{user.pk.removeprefix('usr_').lower()}"
    user.email = user.display_name = ""
    user.oidc_issuer = user.oidc_subject = None
    user.can_log_in = False
    user.set_unusable_password()
    user.version += 1
    user.authority_epoch += 1
    user.save()


def _end_tokens(user: User, now: datetime, record: Record) -> None:
    """Whatever opened this account opens it no more, also if somebody enables it again."""
    live = ApiToken.objects.filter(principal_user=user, revoked_at__isnull=True)
    for token_id in live.order_by("pk").values_list("pk", flat=True):
        revoke_token(token_id=token_id, reason=ERASED, actor=system_actor("worker"), now=now, record=record)
    tokens = ApiToken.objects.filter(principal_user=user)
    TokenElevation.objects.filter(token__in=tokens).delete()
    tokens.update(label=ERASED, last_used_network="", allowed_networks=[])
