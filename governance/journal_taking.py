"""Who may take the journal away as a whole, and with what in it."""

from __future__ import annotations

from datetime import datetime

from governance import authority
from identity.authorization import authorize
from identity.roles import Permission
from identity.types import AuthzVerdict, Principal
from kernel.errors import RefusedError


def require_taker(principal: Principal, now: datetime) -> None:
    """Raise unless this principal may take the whole journal away now."""
    if not principal.instance_roles:
        raise RefusedError("role_required", "The whole journal needs a role in the whole installation.")
    authority.require_permission(principal, Permission.JOURNAL_EXPORT, "", now)
    authority.require_policy(
        principal, Permission.JOURNAL_EXPORT, authority.SERVER, principal.workspace_id, now
    )


def reveals(principal: Principal, now: datetime) -> bool:
    """Tell whether the data may be told too."""
    return _verdict(principal, now).allowed


def require_opener(principal: Principal, now: datetime) -> None:
    """Raise unless whoever began to open data may go on with it; the code may have aged meanwhile."""
    verdict = _verdict(principal, now)
    if not verdict.allowed and verdict.reason != "step_up_required":
        raise RefusedError(verdict.reason, "The data of the journal may not be opened any more.")


def _verdict(principal: Principal, now: datetime) -> AuthzVerdict:
    return authorize(principal, Permission.JOURNAL_REVEAL, workspace_id="", flags=principal.flags, now=now)
