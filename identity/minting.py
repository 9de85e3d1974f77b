"""How bearer tokens come to be: minting and rotation. Their end is in `revocation.py`.

Each function runs inside the caller's transaction and answers with the text of the new token, which is
nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from identity.access import decide
from identity.authorization import authorize, strength_of
from identity.lifecycle import AgentState
from identity.models import Agent, ApiToken, TokenElevation, User, Workspace
from identity.roles import Permission, permissions_of
from identity.selectors import permissions_at, permissions_of_user, standing_of
from identity.token_rules import (
    DEFAULT_RATE,
    LONGEST_DAYS,
    LOOPBACK,
    granted_scopes,
    life,
    rebounded_scopes,
    require_label,
    require_networks,
    require_overlap,
    require_rate,
)
from identity.token_selectors import visible_tokens
from identity.tokens import TokenKind, format_token, new_token, token_digest
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import (
    AuthenticationError,
    ConflictError,
    Detail,
    InvalidError,
    NotFoundError,
    RefusedError,
)
from kernel.ids import new_id
from kernel.record import Actor, Record

_KINDS_OF_PRINCIPAL = {
    "agent": frozenset({TokenKind.AGENT}),
    "user": frozenset({TokenKind.USER, TokenKind.SERVICE}),
}


@dataclass(frozen=True, slots=True)
class TokenWishes:
    """What somebody asks for. Without `agent_id` the token is one's own; None days mean the default."""

    label: str
    kind: TokenKind
    agent_id: str | None
    scopes: tuple[str, ...]
    expires_in_days: int | None
    rate_per_minute: int = DEFAULT_RATE
    allowed_networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A new token and, this once, its text."""

    token: ApiToken
    text: str = field(repr=False)


def mint_wished(*, wishes: TokenWishes, minter: Principal, now: datetime, record: Record) -> MintedToken:
    """Mint for oneself in one's workspace, or for an agent in the agent's. Raises as `mint_token`.

    NotFoundError for an agent out of the minter's reach.
    """
    _require_person(minter)
    agent = None if wishes.agent_id is None else _agent_in_reach(wishes.agent_id, minter)
    lifetime = life(wishes.kind, wishes.expires_in_days)
    return mint_token(
        kind=wishes.kind,
        label=wishes.label,
        scopes=wishes.scopes,
        expires_at=now + lifetime,
        workspace=agent.workspace if agent else Workspace.objects.get(pk=minter.workspace_id),
        user=None if agent else User.objects.filter(pk=minter.id).first(),
        agent=agent,
        rate_per_minute=wishes.rate_per_minute,
        allowed_networks=wishes.allowed_networks,
        minter=minter,
        now=now,
        record=record,
    )


def mint_token(
    *,
    kind: TokenKind,
    label: str,
    scopes: Sequence[str],
    expires_at: datetime,
    workspace: Workspace,
    user: User | None = None,
    agent: Agent | None = None,
    rate_per_minute: int = DEFAULT_RATE,
    allowed_networks: Sequence[str] = (),
    from_bootstrap: bool = False,
    minter: Principal,
    now: datetime,
    record: Record,
) -> MintedToken:
    """Mint a token for exactly one of `user` and `agent`.

    Needs a fresh code. For oneself: kind `usr` with any role, or `svc` with `tokens.mint`. For an agent:
    `tokens.mint` in its workspace. Raises InvalidError (`scopes_empty`, `unknown_scope`, `invalid`),
    RefusedError (`role_required`, `feature_disabled`, `insufficient_scope`, `scope_exceeds_minter`),
    AuthenticationError `step_up_required`.
    """
    minter = _as_they_stand(minter, now)
    _require_matching_principal(kind, user, agent, workspace)
    _require_may_issue(kind, user, workspace, minter, now)
    _require_end(kind, expires_at, now)
    row = ApiToken(
        kind=kind,
        label=require_label(label),
        principal_user=user,
        principal_agent=agent,
        workspace=workspace,
        scopes=granted_scopes(kind, scopes, _held_in(minter, workspace.pk)),
        expires_at=expires_at,
        rate_per_minute=require_rate(rate_per_minute),
        allowed_networks=require_networks(allowed_networks),
        minted_by=minter.id,
        from_bootstrap=from_bootstrap,
    )
    return _issued(row, minter.actor(), now, record)


def mint_admin_token(
    *,
    user: User,
    workspace: Workspace,
    scopes: Sequence[str],
    days: int | None,
    allowed_networks: Sequence[str] = LOOPBACK,
    actor: Actor,
    now: datetime,
    record: Record,
) -> MintedToken:
    """Mint a token of kind `adm` for a person, on the word of whoever holds the machine.

    It works while the feature `api_tokens` is off, from the loopback if nothing else is said, and holds
    no more than the person. RefusedError `role_required` for any actor but the instance itself.
    """
    if actor.kind != "system":
        raise RefusedError("role_required", "Only the instance's own command mints this kind.")
    held = permissions_of_user(user_id=user.pk, workspace_id=workspace.pk, now=now)
    row = ApiToken(
        kind=TokenKind.ADMIN,
        label=f"admin token of {user.username}"[:80],
        principal_user=user,
        workspace=workspace,
        scopes=granted_scopes(TokenKind.ADMIN, scopes, held),
        expires_at=now + life(TokenKind.ADMIN, days),
        allowed_networks=require_networks(allowed_networks),
        minted_by=user.pk,
    )
    return _issued(row, actor, now, record)


def rotate_token(
    *, token_id: str, overlap_seconds: int, minter: Principal, now: datetime, record: Record
) -> MintedToken:
    """Mint the successor of a token; the old one works for `overlap_seconds` more.

    The successor has the same attributes and family, a full life from now, and of the scopes those that
    the rotating person holds now. Who may rotate is who may mint. Raises ConflictError `already_rotated`
    or `state_changed` for a revoked token, NotFoundError, and as `mint_token`.
    """
    overlap, minter = require_overlap(overlap_seconds), _as_they_stand(minter, now)
    old = _rotatable(token_id, minter, now)
    kind = TokenKind(old.kind)
    row = ApiToken(
        kind=kind,
        label=old.label,
        principal_user_id=old.principal_user_id,
        principal_agent_id=old.principal_agent_id,
        workspace_id=old.workspace_id,
        scopes=rebounded_scopes(kind, old.scopes, _held_in(minter, old.workspace_id)),
        expires_at=now + (old.expires_at - old.created_at),
        family=old.family,
        rotated_from=old,
        rate_per_minute=old.rate_per_minute,
        allowed_networks=old.allowed_networks,
        bound_device=old.bound_device,
        minted_by=minter.id,
    )
    old.overlap_ends_at = now + overlap
    old.save(update_fields=["overlap_ends_at"])
    TokenElevation.objects.filter(token_id=old.pk).delete()
    minted = _issued(row, minter.actor(), now, record)
    _record_rotated(old, minted.token, minter.actor(), now, record)
    return minted


def _rotatable(token_id: str, minter: Principal, now: datetime) -> ApiToken:
    """Lock the old token and refuse whoever may not rotate it, and what cannot be rotated."""
    if not visible_tokens(minter).filter(pk=token_id).exists():
        raise NotFoundError("not_found", "There is no such token.")
    ApiToken.objects.select_for_update().get(pk=token_id)
    old = ApiToken.objects.select_related("principal_user", "principal_agent", "workspace").get(pk=token_id)
    kind = TokenKind(old.kind)
    _require_matching_principal(kind, old.principal_user, old.principal_agent, old.workspace)
    _require_may_issue(kind, old.principal_user, old.workspace, minter, now)
    if old.overlap_ends_at is not None:
        raise ConflictError("already_rotated", "This token has a successor.")
    if old.revoked_at is not None:
        raise ConflictError("state_changed", "The token is revoked; mint another.")
    return old


def _issued(row: ApiToken, actor: Actor, now: datetime, record: Record) -> MintedToken:
    """Give a row its secret, store it and leave the event."""
    parts = new_token(TokenKind(row.kind))
    text = format_token(parts)
    row.id, row.created_at = new_id("tok", now), now
    row.family = row.family or row.id
    row.lookup, row.digest = parts.lookup, token_digest(text)
    row.save(force_insert=True)
    record(
        event="token.minted",
        actor=actor,
        subject=row.pk,
        now=now,
        data={
            "kind": str(row.kind),
            "principal": row.principal_agent_id or row.principal_user_id or "",
            "scopes": list(row.scopes),
            "expires_at": row.expires_at.isoformat(),
        },
    )
    return MintedToken(row, text)


def _record_rotated(old: ApiToken, heir: ApiToken, actor: Actor, now: datetime, record: Record) -> None:
    ends = old.overlap_ends_at or now
    record(
        event="token.rotated",
        actor=actor,
        subject=old.pk,
        now=now,
        data={"successor": heir.pk, "overlap_ends_at": ends.isoformat()},
    )


def _agent_in_reach(agent_id: str, minter: Principal) -> Agent:
    agents = Agent.objects.select_related("workspace").filter(pk=agent_id)
    if not minter.instance_roles:
        agents = agents.filter(workspace_id=minter.workspace_id)
    agent = agents.first()
    if agent is None:
        raise NotFoundError("not_found", "There is no such agent.")
    return agent


def _require_matching_principal(
    kind: TokenKind, user: User | None, agent: Agent | None, workspace: Workspace
) -> None:
    if (user is None) == (agent is None):
        raise _invalid("/kind", "A token belongs to one person or to one agent.")
    allowed = _KINDS_OF_PRINCIPAL["agent" if agent is not None else "user"]
    if kind not in allowed:
        raise _invalid("/kind", f"This principal cannot be given a token of kind {kind} here.")
    if agent is not None and agent.workspace_id != workspace.pk:
        raise _invalid("/agent", "The agent lives in another workspace.")
    if agent is not None and agent.state == AgentState.ARCHIVED:
        raise _invalid("/agent", "The agent is archived.")


def _require_may_issue(
    kind: TokenKind, user: User | None, workspace: Workspace, minter: Principal, now: datetime
) -> None:
    _require_person(minter)
    if user is not None and user.pk != minter.id:
        raise RefusedError("role_required", "Nobody mints a token for another person.")
    if kind is TokenKind.USER:
        _require_own(workspace, minter)
    else:
        _require_mint(workspace, minter, now)
    if strength_of(minter, now) < AuthStrength.FRESH_MFA:
        raise AuthenticationError("step_up_required", "A new token needs a fresh one-time code.")


def _as_they_stand(minter: Principal, now: datetime) -> Principal:
    """Return the minter without what they lost since their request began: a token outlives the request."""
    standing = standing_of(user_id=minter.id, workspace_id=minter.workspace_id, now=now)
    return replace(
        minter,
        roles=minter.roles & standing.local,
        instance_roles=minter.instance_roles & standing.wide,
        permissions=minter.permissions & permissions_at(standing),
    )


def _require_person(minter: Principal) -> None:
    if minter.kind is not PrincipalKind.USER or not minter.active:
        raise RefusedError("role_required", "Only a person mints tokens.")


def _require_own(workspace: Workspace, minter: Principal) -> None:
    """Everybody with a role here mints for themselves; it is the feature's switch that may say no."""
    if not (minter.instance_roles or (minter.roles and workspace.pk == minter.workspace_id)):
        raise RefusedError("role_required", "This needs a role in the workspace.")
    verdict = decide(minter.flags, "api_tokens", workspace_id=workspace.pk, standing=minter.vouching)
    if not verdict.enabled:
        raise RefusedError("feature_disabled", "The feature api_tokens is off here.")


def _require_mint(workspace: Workspace, minter: Principal, now: datetime) -> None:
    verdict = authorize(
        minter, Permission.TOKENS_MINT, workspace_id=workspace.pk, flags=minter.flags, now=now
    )
    if verdict.allowed:
        return
    if verdict.reason in ("feature_disabled", "insufficient_scope"):
        raise RefusedError(verdict.reason, "This credential may not mint tokens here.")
    if verdict.reason == "step_up_required":
        raise AuthenticationError("step_up_required", "A new token needs a fresh one-time code.")
    raise RefusedError("role_required", "This needs the permission tokens.mint.")


def _held_in(minter: Principal, workspace_id: str) -> frozenset[Permission]:
    """What the minter holds there: away from home only what roles in `instance` give."""
    if workspace_id == minter.workspace_id:
        return minter.permissions
    return minter.permissions & permissions_of(minter.instance_roles, in_instance=True)


def _require_end(kind: TokenKind, expires_at: datetime, now: datetime) -> None:
    if not now < expires_at <= now + timedelta(days=LONGEST_DAYS[kind]):
        days = LONGEST_DAYS[kind]
        raise _invalid("/expires_in_days", f"A token ends in the future and within {days} days.")


def _invalid(pointer: str, detail: str) -> InvalidError:
    return InvalidError("invalid", detail, errors=(Detail(pointer, "invalid", detail),))
