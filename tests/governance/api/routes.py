"""The routes of `/api/v1`, read from the URL table, so that a new one is tested at once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rest_framework.views import APIView

from governance.api.urls import urlpatterns

EXAMPLE_IDS = {
    "run_id": "run_01JD0000000000000000000000",
    "call_id": "call_01JD0000000000000000000000",
    "approval_id": "apr_01JD0000000000000000000000",
    "review_id": "bgr_01JD0000000000000000000000",
    "freeze_id": "frz_01JD0000000000000000000000",
    "token_id": "tok_01JD0000000000000000000000",
    "user_id": "usr_01JD0000000000000000000000",
    "agent_id": "agt_01JD0000000000000000000000",
    "workspace_id": "wsp_01JD0000000000000000000000",
    "membership_id": "mbr_01JD0000000000000000000000",
    "invitation_id": "inv_01JD0000000000000000000000",
    "share_id": "shr_01JD0000000000000000000000",
    "team_id": "tm_01JD0000000000000000000000",
    "grant_id": "grt_01JD0000000000000000000000",
    "denial_id": "dnl_01JD0000000000000000000000",
    "name": "echo",
    "key": "compat_api",
    "tool": "echo",
    "preset_id": "lockdown",
    "event_id": "evt_01JD0000000000000000000000",
    "recommendation_id": "rec:loosen:agent:agt_01JD0000000000000000000000:echo:always_allow",
    "session_id": "ses_01JD0000000000000000000000",
    "label": "untrusted_content",
    "set_id": "pol_01JD0000000000000000000000",
    "file_name": "rules.cedar",
    "number": "1",
    "webhook_id": "whk_01JD0000000000000000000000",
    "delivery_id": "whd_01JD0000000000000000000000",
    "job_id": "job_01JD0000000000000000000000",
    "hold_id": "hld_01JD0000000000000000000000",
    "key_id": "sha256:" + 64 * "0",
    "size": "1",
    "first_seq": "0",
    "level": "0",
    "place": "000.p/1",
}

PART = re.compile(r"<(?:str|path):(\w+)>")
"""A part of a path that names an object."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, and the permission that its view names."""

    method: str
    path: str
    template: str
    permission: str | None
    view: type[APIView]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def view_of(pattern: object) -> type[APIView]:
    """Return the view class behind a URL pattern."""
    view = getattr(getattr(pattern, "callback", None), "cls", None)
    if not (isinstance(view, type) and issubclass(view, APIView)):
        raise TypeError(f"{pattern!r} is no API view")
    return view


def template_of(pattern: str) -> str:
    """Return a pattern of the URL table as the OpenAPI document writes it."""
    return PART.sub(r"{\1}", pattern)


def _routes() -> tuple[Route, ...]:
    found = []
    for pattern in urlpatterns:
        view = view_of(pattern)
        template = template_of(f"/api/v1/{pattern.pattern}")
        path = PART.sub(lambda match: EXAMPLE_IDS[match[1]], str(pattern.pattern))
        for method, permission in getattr(view, "permissions", {}).items():
            found.append(Route(method, f"/api/v1/{path}", template, permission, view))
    return tuple(found)


ROUTES = _routes()
PRIVATE_ROUTES = tuple(route for route in ROUTES if route.view.authentication_classes)
