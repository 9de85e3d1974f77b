"""Liveness, readiness and the pages about problems: public, without a version, path or address."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from governance.readiness import failing_parts
from kernel.clock import utc_now
from kernel.errors import CODES


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """The parts a call needs are there: 200, or 503 with the names of those that are not."""
    report = failing_parts(utc_now())
    status = 503 if report.failing else 200
    word = "unavailable" if report.failing else "degraded" if report.degraded else "ok"
    return JsonResponse(
        {"status": word, "failing": list(report.failing), "degraded": list(report.degraded)}, status=status
    )


@require_safe
def error_page(request: HttpRequest, code: str) -> HttpResponse:
    """What a problem's `type` names: the meaning of one code and what to do about it."""
    if code not in CODES:
        raise Http404
    text = (settings.BASE_DIR / "docs" / "errors" / f"{code}.md").read_text(encoding="utf-8")
    return HttpResponse(text, content_type="text/plain; charset=utf-8")
