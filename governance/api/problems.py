"""One error shape for every route: RFC 9457 `application/problem+json`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from governance.api.documents import CONTENT_TYPE, document
from kernel.errors import Detail, PalyraError, UnavailableError

log = logging.getLogger(__name__)

_BY_DRF: dict[type[exceptions.APIException], tuple[int, str]] = {
    exceptions.ParseError: (400, "malformed_json"),
    exceptions.NotAuthenticated: (401, "unauthenticated"),
    exceptions.AuthenticationFailed: (401, "unauthenticated"),
    exceptions.PermissionDenied: (403, "role_required"),
    exceptions.NotFound: (404, "not_found"),
    exceptions.MethodNotAllowed: (405, "method_not_allowed"),
    exceptions.NotAcceptable: (406, "not_acceptable"),
    exceptions.UnsupportedMediaType: (415, "unsupported_media_type"),
    exceptions.Throttled: (429, "rate_limited"),
}


def handle(error: Exception, context: Mapping[str, Any]) -> Response:
    """Answer any exception of a view. What is not expected is a bare 500 and a line in the log."""
    request = context["request"]
    known = _as_palyra(error)
    if known is None:
        log.exception("unexpected error on %r", request.path, exc_info=error)
        return problem(request, 500, "internal")
    extra = {"detail": known.detail} if known.detail else {}
    return problem(
        request,
        _status_of(known),
        known.code,
        extra=extra | members_of(known),
        headers=_headers(known),
    )


def members_of(error: PalyraError) -> dict[str, object]:
    """Return what an error adds to the common members of its problem."""
    members: dict[str, object] = dict(error.extra)
    if error.errors:
        members["errors"] = [_finding(item) for item in error.errors]
    return members


def _finding(item: Detail) -> dict[str, object]:
    place = {"line": item.line, "column": item.column, "policy_id": item.policy_id}
    known = {name: value for name, value in place.items() if value is not None}
    return {"pointer": item.pointer, **known, "code": item.code, "detail": item.detail}


def plain(request: HttpRequest, status: int, code: str, detail: str = "") -> JsonResponse:
    """Return a problem outside DRF: unknown paths, and bodies refused before a view is chosen."""
    body = document(
        status, code, detail, instance=request.path, request_id=getattr(request, "palyra_request_id", "")
    )
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE)


class _DrfError(PalyraError):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.http_status = status


def _status_of(error: PalyraError) -> int:
    return getattr(error, "http_status", error.status)


def _as_palyra(error: Exception) -> PalyraError | None:
    if isinstance(error, PalyraError):
        return error
    if isinstance(error, Http404):
        return _DrfError(404, "not_found", "")
    if isinstance(error, SuspiciousOperation):
        return _DrfError(400, "malformed_request", "")
    if isinstance(error, OperationalError | InterfaceError):
        log.error("the database did not answer: %s", type(error).__name__)
        return UnavailableError("database_unavailable", retry_after=5)
    for kind, (status, code) in _BY_DRF.items():
        if isinstance(error, kind):
            return _DrfError(status, code, "")
    return None


def _headers(error: PalyraError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if _status_of(error) == 401:
        kind = "insufficient_user_authentication" if error.code == "step_up_required" else "invalid_token"
        age = ", max_age=300" if error.code == "step_up_required" else ""
        headers["WWW-Authenticate"] = f'Bearer realm="palyra", error="{kind}"{age}'
    return headers


def problem(
    request: Any,
    status: int,
    code: str,
    *,
    extra: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the problem as an answer of a view; `extra` replaces or adds members."""
    body = document(
        status, code, "", instance=request.path, request_id=getattr(request, "palyra_request_id", "")
    )
    body.update(extra or {})
    return Response(body, status=status, headers=dict(headers or {}), content_type=CONTENT_TYPE)
