"""Who is looking: one visit per request, one permission per page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from identity.authorization import authorize, strength_of
from identity.models import User, Workspace
from identity.place_selectors import places_of
from identity.roles import Permission
from identity.selectors import DEFAULT, workspace_by_slug
from identity.session_store import SessionStore
from identity.sessions import principal_of_session
from identity.types import AuthStrength, Principal
from kernel.clock import utc_now

WORKSPACE = "palyra_workspace"
"""The session's key for the workspace that was chosen; it opens nothing by itself."""
MOST_PLACES = 50
SENTENCES = {
    "role_required": "Your roles do not include {permission}. An owner or admin can grant a role that does.",
    "step_up_required": "{permission} needs a sign-in with a one-time code.",
    "feature_disabled": "{permission} belongs to a feature that is switched off here.",
    "workspace_mismatch": "This belongs to another workspace.",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a signed-in person: read once, handed to the view, never kept."""

    request: HttpRequest
    user: User
    principal: Principal
    workspace: Workspace
    now: datetime
    places: tuple[Workspace, ...] = ()
    """Where this person works, the present workspace first; at most `MOST_PLACES`."""

    def holds(self, permission: Permission, workspace_id: str | None = None) -> bool:
        """Tell whether this person may use `permission` here (or in another workspace) now."""
        return self.refusal(permission, workspace_id) is None

    def refusal(self, permission: Permission, workspace_id: str | None = None) -> str | None:
        """Return why not, as a plain word of `authorize`, or None when permitted."""
        verdict = authorize(
            self.principal,
            permission,
            workspace_id=workspace_id or self.workspace.pk,
            flags=self.principal.flags,
            now=self.now,
        )
        return None if verdict.allowed else verdict.reason

    @property
    def code_at(self) -> datetime | None:
        """When the one-time code was entered that counts as fresh for this request, or None."""
        fresh = strength_of(self.principal, self.now) is AuthStrength.FRESH_MFA
        return self.principal.authenticated_at if fresh else None

    @property
    def reach(self) -> str | None:
        """The one workspace whose rows this person may read, or None for every workspace."""
        return None if self.principal.instance_roles else self.principal.workspace_id


def require(visit: Visit, permission: Permission) -> None:
    """Raise PermissionDenied with a sentence a person can act on."""
    reason = visit.refusal(permission)
    if reason is not None:
        raise PermissionDenied(SENTENCES.get(reason, "Not permitted.").format(permission=permission.value))


def visit_of(request: HttpRequest) -> Visit:
    """Return who is behind a request that the site has already let in."""
    user = request.user
    if not isinstance(user, User):
        raise PermissionDenied("Sign in first.")
    now = utc_now()
    if isinstance(request.session, SessionStore) and not _is_background(request):
        request.session.touch(now)
    chosen = str(request.session.get(WORKSPACE, ""))
    places = tuple(places_of(user.pk, now, chosen=chosen)[:MOST_PLACES])
    workspace = places[0] if places else workspace_by_slug(DEFAULT)
    principal = principal_of_session(
        user=user,
        session=request.session,
        verified=bool(user.is_verified()),  # type: ignore[attr-defined]  # put there by django-otp
        workspace_id=workspace.pk,
        client_ip=getattr(request, "palyra_client_ip", ""),
        request_id=getattr(request, "palyra_request_id", ""),
        now=now,
    )
    return Visit(request=request, user=user, principal=principal, workspace=workspace, now=now, places=places)


def _is_background(request: HttpRequest) -> bool:
    """Tell whether a page looks after itself: its refresh must not keep an idle person signed in."""
    return request.headers.get("Sec-Fetch-Dest", "") == "empty"
