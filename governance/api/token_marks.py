"""What a token leaves on a request: a notice in the answer, and afterwards a note of its use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils.http import http_date

from governance.operations import tokens
from identity.authentication import Authenticated
from identity.token_use import is_due
from kernel.clock import utc_now

log = logging.getLogger(__name__)


class TokenMarksMiddleware:
    """Tell the caller that its token was rotated; note the use of a token once the answer is sent.

    The note never delays or fails a request: it is made while the response is closed, and an error is
    a line in the log.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        found: object = getattr(request, "auth", None)
        if isinstance(found, Authenticated):
            _announce_rotation(response, found)
            _note_afterwards(response, found, utc_now())
        return response


def _announce_rotation(response: HttpResponse, found: Authenticated) -> None:
    """`Deprecation` (RFC 9745) since the rotation, `Sunset` (RFC 8594) at the end of the overlap."""
    if found.rotated_at is None or found.overlap_ends_at is None:
        return
    response["Deprecation"] = f"@{int(found.rotated_at.timestamp())}"
    response["Sunset"] = http_date(found.overlap_ends_at.timestamp())


def _note_afterwards(response: HttpResponse, found: Authenticated, now: datetime) -> None:
    if not is_due(found, now):
        return
    close = response.close

    def note_and_close() -> None:
        _note(found, now)
        close()

    response.close = note_and_close  # type: ignore[method-assign]  # the server closes what it has sent


def _note(found: Authenticated, now: datetime) -> None:
    try:
        tokens.note_use(used=found, now=now)
    except Exception:  # the answer is out; nobody is left to tell
        log.exception("the use of token %s could not be noted", found.token_id)
