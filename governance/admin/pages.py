"""Make a view out of a function of a Visit, and answer refusals as pages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from governance.admin.access import Visit, require, visit_of
from governance.admin.layout import show, show_plain
from identity.roles import Permission
from kernel.errors import NotFoundError

log = logging.getLogger(__name__)
NOT_FOUND = "This page does not exist, or it belongs to a workspace that is not yours."


class Page(Protocol):
    """A view as the URL table needs it; `permission` is what it asks for, None asks for membership."""

    permission: Permission | None

    def __call__(self, request: HttpRequest, **kwargs: str) -> HttpResponse: ...


def page(permission: Permission | None) -> Callable[[Callable[..., HttpResponse]], Page]:
    """Guard a function of a Visit by one permission; `None` admits every member.

    Without the permission the person gets the 403 page with the reason; what is out of reach is a
    404; a database that does not answer is a 503 with the request id and nothing of the inside.
    """

    def wrap(view: Callable[..., HttpResponse]) -> Page:
        @wraps(view)
        def guarded(request: HttpRequest, **kwargs: str) -> HttpResponse:
            try:
                return _answer(request, permission, view, kwargs)
            except (OperationalError, InterfaceError):
                log.exception("the database did not answer on %s", request.path)
                return unavailable(request)

        guarded.permission = permission  # type: ignore[attr-defined]  # functions take attributes
        return guarded  # type: ignore[return-value]  # as above

    return wrap


def _answer(
    request: HttpRequest,
    permission: Permission | None,
    view: Callable[..., HttpResponse],
    kwargs: dict[str, Any],
) -> HttpResponse:
    try:
        visit = visit_of(request)
    except (PermissionDenied, NotFoundError):
        return unavailable(request)
    try:
        if permission is not None:
            require(visit, permission)
        return view(visit, **kwargs)
    except PermissionDenied as refusal:
        return refused(visit, str(refusal), status=403)
    except NotFoundError:
        return refused(visit, NOT_FOUND, status=404)


def refused(visit: Visit, sentence: str, *, status: int) -> HttpResponse:
    """Return the calm page that says why not."""
    word = "Not found" if status == 404 else "Not permitted"
    return show(visit, "console/refused.html", {"title": word, "sentence": sentence}, status=status)


def unavailable(request: HttpRequest) -> HttpResponse:
    """Return the page of a server that cannot answer at the moment."""
    request_id = getattr(request, "palyra_request_id", "")
    return show_plain(request, "console/unavailable.html", {"request_id": request_id}, status=503)
