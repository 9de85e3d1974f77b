"""Liveness and readiness. Both are public and name no version, path or address."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from governance.readiness import failing_parts
from kernel.clock import utc_now


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
