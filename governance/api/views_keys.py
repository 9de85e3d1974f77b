"""The public keys of this installation, for whoever checks what it signed."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from governance.journal.published import key_document
from kernel.clock import utc_now


@require_safe
def public_keys(request: HttpRequest) -> JsonResponse:
    """All keys that ever signed. A revocation is to be seen soon, so nobody keeps this for long."""
    answer = JsonResponse(key_document(utc_now()))
    answer["Cache-Control"] = "public, max-age=60"
    return answer
