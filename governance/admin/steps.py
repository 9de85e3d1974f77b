"""Pages that are open before somebody is all the way in: without the frame, and with a way out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.entering import Stage, page_of, stage_of
from governance.admin.layout import show, show_plain
from governance.admin.pages import Page, page


def open_at(*stages: Stage) -> Callable[[Callable[..., HttpResponse]], Page]:
    """Make a page that opens at these stages; at any other a person is sent to the page that is theirs."""

    def wrap(view: Callable[..., HttpResponse]) -> Page:
        inner = page(None)(view)

        @wraps(view)
        def guarded(request: HttpRequest, **kwargs: str) -> HttpResponse:
            return inner(request, **kwargs) if stage_of(request) in stages else redirect(page_of(request))

        guarded.permission = None  # type: ignore[attr-defined]  # functions take attributes
        return guarded  # type: ignore[return-value]  # as above

    return wrap


def show_step(visit: Visit, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Render a page inside the frame for somebody who is in, else without it."""
    if stage_of(visit.request) is Stage.IN:
        return show(visit, template, context | {"frame": "console/base.html"}, status=status)
    return show_plain(visit.request, template, context | {"frame": "console/step.html"}, status=status)
