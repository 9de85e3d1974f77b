"""Whether somebody who began something may still go on: asked again before a call runs."""

from __future__ import annotations

from datetime import datetime

from identity.flags import tokens_are_on
from identity.models import Agent, ApiToken, User, Workspace
from identity.roles import Permission
from identity.selectors import principal_of_agent, principal_of_service, principal_of_user
from identity.token_selectors import working_token
from identity.types import AuthStrength, Principal, PrincipalKind, Surface


def principal_live(
    *, kind: str, principal_id: str, workspace_id: str, token_id: str | None, now: datetime
) -> Principal | None:
    """Return who proposed a call if that principal still may at `now`; None for every other case."""
    match kind:
        case PrincipalKind.AGENT:
            return principal_for_agent_live(agent_id=principal_id, now=now, token_id=token_id)
        case PrincipalKind.USER:
            found = _user_live(principal_id, workspace_id, token_id, now)
        case PrincipalKind.SERVICE:
            found = _service_live(principal_id, token_id, now)
        case _:
            return None
    return found if found is not None and Permission.TOOLS_PROPOSE in found.permissions else None


def principal_for_agent_live(
    *,
    agent_id: str,
    now: datetime,
    token_id: str | None = None,
    needs: Permission = Permission.TOOLS_PROPOSE,
) -> Principal | None:
    """Return the agent if it still may act at `now`; None means `identity.principal_not_live`.

    Asks again for everything that can end between a proposal and its run: agent, owner and workspace
    in use, the proposing token (when given) of this agent neither revoked nor expired, tokens not
    switched off, and `needs` still among the permissions that are left. A rotated token goes on as its
    successor.
    """
    agent = Agent.objects.select_related("owner", "workspace").filter(pk=agent_id).first()
    if agent is None:
        return None
    token = None
    if token_id is not None:
        token = working_token(token_id, now)
        if token is None or token.principal_agent_id != agent_id:
            return None
    principal = principal_of_agent(
        agent=agent, token=token, client_ip="", request_id="", now=now, surface=Surface.WORKER
    )
    may = principal.active and needs in principal.permissions and _counts(token, principal)
    return principal if may else None


def _counts(token: ApiToken | None, principal: Principal) -> bool:
    """What was proposed with a token does not run while tokens are switched off."""
    return token is None or tokens_are_on(principal, token.kind)


def _user_live(user_id: str, workspace_id: str, token_id: str | None, now: datetime) -> Principal | None:
    user = User.objects.filter(pk=user_id, is_active=True).first()
    in_use = Workspace.objects.filter(pk=workspace_id, archived_at__isnull=True).exists()
    token: ApiToken | None = None
    if token_id is not None:
        token = working_token(token_id, now)
        if token is None or token.principal_user_id != user_id:
            return None
    if user is None or not in_use:
        return None
    principal = principal_of_user(
        user=user,
        workspace_id=workspace_id,
        strength=AuthStrength.TOKEN,
        client_ip="",
        request_id="",
        authenticated_at=now,
        now=now,
        surface=Surface.WORKER,
        token=token,
    )
    return principal if _counts(token, principal) else None


def _service_live(family: str, token_id: str | None, now: datetime) -> Principal | None:
    token = None if token_id is None else working_token(token_id, now)
    if token is None or token.family != family or token.workspace.archived_at is not None:
        return None
    if not User.objects.filter(pk=token.principal_user_id, is_active=True).exists():
        return None
    principal = principal_of_service(
        token=token, client_ip="", request_id="", now=now, surface=Surface.WORKER
    )
    return principal if _counts(token, principal) else None
