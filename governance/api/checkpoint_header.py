"""The newest checkpoint on answers about tool calls: a log that is cut short contradicts who holds one."""

from __future__ import annotations

import base64
import logging
from typing import Any

from django.db import DatabaseError
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.journal.models import JournalCheckpoint

log = logging.getLogger(__name__)

HEADER = "Palyra-Checkpoint"
CHECKPOINT = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    response=[200, 201, 202],
    description="The newest checkpoint of the journal: tree size and base64 root, separated by a space.",
)


class CheckpointedView(APIView):
    """A view whose good answers name the newest checkpoint, when there is one."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        checkpoint = newest() if final.status_code < 300 else None
        if checkpoint is not None:
            final[HEADER] = checkpoint
        return final


def newest() -> str | None:
    """Return the header's value; None without a checkpoint. What was done stays done if it cannot be read."""
    try:
        found = JournalCheckpoint.objects.order_by("-tree_size").values_list("tree_size", "root").first()
    except DatabaseError:
        log.exception("the newest checkpoint could not be read")
        return None
    return None if found is None else f"{found[0]} {base64.b64encode(found[1]).decode()}"
