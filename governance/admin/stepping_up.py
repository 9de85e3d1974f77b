"""A fresh one-time code on any form of the console: asked for where it is due, counted where it is wrong.

A form that needs one includes `console/code_field.html` with `needs_code` (is a code due?) and
`code_error` (what was wrong with it), and a `code_id` where a page has several; its verb takes the visit of
`stepped_up`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from governance.admin.access import Visit
from governance.admin.entering import moved_session
from governance.operations import signing_in
from identity.authorization import strength_of
from identity.sessions import principal_digest
from identity.types import AuthStrength


def needs_code(visit: Visit) -> bool:
    """Tell whether a verb that asks for a fresh code would have to ask this person for one now."""
    return strength_of(visit.principal, visit.now) < AuthStrength.FRESH_MFA


def step_up_if_given(visit: Visit) -> datetime | None:
    """Return when the code that counts now was entered, or None when there is none.

    A code in the post counts from now and is used up; without one the session's own counts while it is
    fresh. Raises AuthenticationError `step_up_required` for a wrong code, RateLimitedError after too
    many from this network. The session gets a new key.
    """
    return stepped_up(visit).code_at


def stepped_up(visit: Visit) -> Visit:
    """Return the visit as it stands after the posted code, or unchanged when none was posted.

    What asks for a fresh code (`require_permission`, `authorize`) has to be given this visit's
    principal. Raises as `step_up_if_given`.
    """
    code = "".join(visit.request.POST.get("code", "").split())
    if not code:
        return visit
    stepped = signing_in.step_up_session(principal=visit.principal, code=code, now=visit.now)
    moved_session(visit.request, stepped.session_key)
    fresh = replace(
        visit.principal,
        auth_strength=AuthStrength.FRESH_MFA,
        authenticated_at=stepped.at,
        session_digest=principal_digest(stepped.session_key),
    )
    return replace(visit, principal=fresh)
