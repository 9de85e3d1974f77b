"""Session labels: what a conversation has read, and a person's word that it counts no more."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_labels as schemas
from governance.api.authentication import caller
from governance.api.idempotent import once
from governance.api.strict import Body, Text, read_body, read_query
from governance.idempotency import Ticket
from governance.label_selectors import labels_shown, require_conversation, state_of
from governance.operations import labels
from identity.roles import Permission
from kernel.clock import utc_now, wire_time
from policy.label_models import SessionLabel
from policy.labels import LONGEST_REASON, SHORTEST_REASON


class DeclassifyBody(Body):
    reason = Text(min_length=SHORTEST_REASON, max_length=LONGEST_REASON)


class SessionLabels(APIView):
    """The labels of a session are few and are answered whole. An agent's id names its runs without one."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(operation_id="session_labels_list", responses=schemas.SessionLabelList)
    def get(self, request: Request, session_id: str) -> Response:
        read_query(request, frozenset())
        now = utc_now()
        found = require_conversation(caller(request), session_id)
        data = [render_label(view.row, session_id, now) for view in labels_shown(found, now)]
        return Response({"object": "list", "data": data, "has_more": False, "next_cursor": None})


class SessionLabelDeclassify(APIView):
    permissions: ClassVar = {"POST": Permission.TOOLS_MANAGE}

    @extend_schema(
        operation_id="session_labels_declassify", request=DeclassifyBody, responses=schemas.SessionLabel
    )
    def post(self, request: Request, session_id: str, label: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, DeclassifyBody)
        now = utc_now()

        def work(ticket: Ticket | None) -> Response:
            row = labels.declassify(
                principal=caller(request),
                session_id=session_id,
                label=label,
                reason=body["reason"],
                now=now,
                ticket=ticket,
                render=lambda made: render_label(made, session_id, now),
            )
            return Response(render_label(row, session_id, now))

        return once(request, route="POST /sessions/{id}/labels/{label}/declassify", work=work)


def render_label(row: SessionLabel, session_id: str, now: datetime) -> dict[str, Any]:
    """Return a label as it travels; `calls` are the first ones that added it."""
    return {
        "id": row.label,
        "object": "session_label",
        "session_id": session_id,
        "label": row.label,
        "state": state_of(row, now),
        "calls": list(row.call_ids),
        "added_at": wire_time(row.added_at),
        "expires_at": wire_time(row.expires_at),
        "declassified_by": row.declassified_by or None,
        "declassified_at": wire_time(row.declassified_at),
        "declassified_reason": row.declassified_reason or None,
    }
