"""Every write to bearer tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from identity.authority import require_authority
from identity.authorization import authorize, strength_of
from identity.models import Agent, ApiToken, User, Workspace
from identity.roles import AGENT_PERMISSIBLE, Permission
from identity.tokens import TokenKind, format_token, new_token, token_digest
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import AuthenticationError, Detail, InvalidError, NotFoundError, PalyraError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

LONGEST_LIFE = timedelta(days=366)
_KINDS_OF_PRINCIPAL = {
    "agent": frozenset({TokenKind.AGENT}),
    "user": frozenset({TokenKind.USER, TokenKind.SERVICE}),
}


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A new token and, this once, its text."""

    token: ApiToken
    text: str = field(repr=False)


def mint_token(
    *,
    kind: TokenKind,
    label: str,
    scopes: Sequence[str],
    expires_at: datetime,
    workspace: Workspace,
    user: User | None = None,
    agent: Agent | None = None,
    minter: Principal,
    now: datetime,
    record: Record,
) -> MintedToken:
    """Mint a token for exactly one of `user` and `agent`; the text is in the answer and nowhere else.

    Needs a login by second factor. For oneself: kind `usr`, or `svc` with `tokens.mint`. For an agent:
    `tokens.mint` in its workspace. Raises InvalidError (`scopes_empty`, `unknown_scope`, `invalid`),
    RefusedError (`role_required`, `scope_exceeds_minter`), AuthenticationError `step_up_required`.
    """
    _require_matching_principal(kind, user, agent, workspace)
    _require_may_mint(kind, user, workspace, minter, now)
    _require_usable(label, expires_at, now)
    granted = _bounded_scopes(kind, scopes, minter)
    parts, token_id = new_token(kind), new_id("tok", now)
    text = format_token(parts)
    token = ApiToken.objects.create(
        id=token_id,
        family=token_id,
        kind=kind,
        lookup=parts.lookup,
        digest=token_digest(text),
        label=label,
        principal_user=user,
        principal_agent=agent,
        workspace=workspace,
        scopes=granted,
        minted_by=minter.id,
        created_at=now,
        expires_at=expires_at,
    )
    _record_minted(token, minter.actor(), now, record)
    return MintedToken(token, text)


def _record_minted(token: ApiToken, actor: Actor, now: datetime, record: Record) -> None:
    record(
        event="token.minted",
        actor=actor,
        subject=token.pk,
        now=now,
        data={
            "kind": str(token.kind),
            "principal": token.principal_agent_id or token.principal_user_id or "",
            "scopes": list(token.scopes),
            "expires_at": token.expires_at.isoformat(),
        },
    )


def _require_matching_principal(
    kind: TokenKind, user: User | None, agent: Agent | None, workspace: Workspace
) -> None:
    if (user is None) == (agent is None):
        raise _invalid("/kind", "A token belongs to one person or to one agent.")
    allowed = _KINDS_OF_PRINCIPAL["agent" if agent is not None else "user"]
    if kind not in allowed:
        raise _invalid("/kind", f"This principal cannot hold a token of kind {kind}.")
    if agent is not None and agent.workspace_id != workspace.pk:
        raise _invalid("/agent", "The agent lives in another workspace.")


def _require_may_mint(
    kind: TokenKind, user: User | None, workspace: Workspace, minter: Principal, now: datetime
) -> None:
    if minter.kind is not PrincipalKind.USER or not minter.active:
        raise RefusedError("role_required", "Only a person mints tokens.")
    if user is not None and user.pk != minter.id:
        raise RefusedError("role_required", "Nobody mints a token for another person.")
    if strength_of(minter, now) < AuthStrength.MFA:
        raise AuthenticationError("step_up_required", "Minting needs a one-time code.")
    if kind is TokenKind.USER:
        return
    verdict = authorize(
        minter, Permission.TOKENS_MINT, workspace_id=workspace.pk, flags=minter.flags, now=now
    )
    if not verdict.allowed:
        raise RefusedError("role_required", "This needs the permission tokens.mint.")


def _require_usable(label: str, expires_at: datetime, now: datetime) -> None:
    if not label.strip() or len(label) > 80:
        raise _invalid("/label", "A label has 1 to 80 characters.")
    if not now < expires_at <= now + LONGEST_LIFE:
        raise _invalid("/expires_at", "A token ends in the future and within 366 days.")


def _bounded_scopes(kind: TokenKind, scopes: Sequence[str], minter: Principal) -> list[str]:
    """Return the scopes sorted and distinct, every one known, fit for the kind, held by the minter."""
    if not scopes:
        raise InvalidError("scopes_empty", "A token names at least one scope.")
    known = {permission.value for permission in Permission}
    _refuse_any(scopes, lambda scope: scope not in known, InvalidError, "unknown_scope")
    if kind is not TokenKind.USER:
        _refuse_any(scopes, lambda scope: scope not in AGENT_PERMISSIBLE, InvalidError, "invalid")
    _refuse_any(scopes, lambda scope: scope not in minter.permissions, RefusedError, "scope_exceeds_minter")
    return sorted(set(scopes))


def _refuse_any(
    scopes: Sequence[str], bad: Callable[[str], bool], error: type[PalyraError], code: str
) -> None:
    found = tuple(
        Detail(f"/scopes/{index}", code, scope[:80]) for index, scope in enumerate(scopes) if bad(scope)
    )
    if found:
        raise error(code, "Some scopes cannot be given.", errors=found)


def revoke_token(*, token_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> ApiToken:
    """End a token for the very next request. Revoking again changes nothing and leaves no event.

    A person revokes their own tokens; anybody else's needs `api_tokens.manage` in its workspace.
    """
    token = ApiToken.objects.select_for_update().filter(pk=token_id).first()
    if token is None:
        raise NotFoundError("not_found", "No such token.")
    if not (actor.kind == "user" and actor.id == token.principal_user_id):
        require_authority(actor, Permission.API_TOKENS_MANAGE, token.workspace_id, now)
    if token.revoked_at is not None:
        return token
    token.revoked_at, token.revoked_reason = now, reason[:200]
    token.save(update_fields=["revoked_at", "revoked_reason"])
    record(event="token.revoked", actor=actor, subject=token.pk, now=now, data={"reason": reason[:200]})
    return token


def _invalid(pointer: str, detail: str) -> InvalidError:
    return InvalidError("invalid", detail, errors=(Detail(pointer, "invalid", detail),))
