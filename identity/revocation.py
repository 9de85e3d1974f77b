"""How bearer tokens end before their time. Each function runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from identity.authentication import genuine_tokens
from identity.authority import require_authority
from identity.models import ApiToken, TokenElevation
from identity.roles import Permission
from identity.token_selectors import is_usable
from kernel.errors import NotFoundError
from kernel.record import Actor, Record

LONGEST_REASON = 200
LEAKED = "leaked"


def revoke_token(*, token_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> ApiToken:
    """End a token for the very next request. Revoking again changes nothing and leaves no event.

    A person revokes their own tokens; anybody else's needs `api_tokens.manage` in its workspace.
    """
    token = ApiToken.objects.select_for_update().filter(pk=token_id).first()
    if token is None:
        raise NotFoundError("not_found", "There is no such token.")
    if not (actor.kind == "user" and actor.id == token.principal_user_id):
        require_authority(actor, Permission.API_TOKENS_MANAGE, token.workspace_id, now)
    if token.revoked_at is not None:
        return token
    token.revoked_at, token.revoked_reason = now, reason[:LONGEST_REASON]
    token.save(update_fields=["revoked_at", "revoked_reason"])
    TokenElevation.objects.filter(token=token).delete()
    record(
        event="token.revoked",
        actor=actor,
        subject=token.pk,
        now=now,
        data={"reason": token.revoked_reason},
    )
    return token


def revoke_leaked(*, texts: Sequence[str], actor: Actor, now: datetime, record: Record) -> int:
    """End every token whose text is among `texts`; return how many of them still worked.

    Whoever knows the text could have used it, so nothing else is asked. Rows are taken in the order of
    their ids, so that two reports of the same tokens wait for each other instead of for ever.
    """
    count = 0
    for token in genuine_tokens(texts):
        locked = ApiToken.objects.select_for_update().get(pk=token.pk)
        if is_usable(locked, now):
            revoke_token(token_id=locked.pk, reason=LEAKED, actor=actor, now=now, record=record)
            count += 1
    return count
