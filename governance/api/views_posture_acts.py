"""Presets, resets, undoing, recommendations and the history of postures."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance import idempotency, postures
from governance.api import schemas_posture as schemas
from governance.api.authentication import caller
from governance.api.bodies_posture import (
    AnswerBody,
    PostureResetBody,
    PresetApplyBody,
    PresetPreviewBody,
    UndoBody,
)
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_posture import place_of_body, whole
from governance.api.wire_posture import (
    render_act,
    render_event,
    render_preset,
    render_preview,
    render_recommendation,
)
from governance.idempotency import Ticket
from governance.operations import postures as operations
from identity.roles import Permission
from kernel.clock import utc_now
from policy.posture_acts import preset_named
from policy.posture_selectors import previewed
from policy.presets import PRESETS

_FILTERS = ("tool", "scope_kind", "scope_id", "action")


class PostureReset(APIView):
    permissions: ClassVar = {"POST": Permission.POSTURE_MANAGE}

    @extend_schema(
        operation_id="posture_reset", request=PostureResetBody, responses={200: schemas.PostureAct}
    )
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())

        def work(ticket: Ticket | None) -> Response:
            body = read_body(request, PostureResetBody)
            event = operations.reset(
                principal=caller(request),
                place=place_of_body(request, body),
                **body,
                now=utc_now(),
                ticket=ticket,
                render=render_act,
            )
            return Response(render_act(event))

        return once(request, route="posture/reset", work=work)


class PosturePresets(APIView):
    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(operation_id="posture_presets_list", responses=schemas.PosturePresetList)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        return whole([render_preset(preset) for preset in PRESETS])


class PosturePresetPreview(APIView):
    """What a preset would change; nothing is written."""

    permissions: ClassVar = {"POST": Permission.TOOLS_READ}

    @extend_schema(
        operation_id="posture_presets_preview",
        request=PresetPreviewBody,
        responses={200: schemas.PosturePreview},
    )
    def post(self, request: Request, preset_id: str) -> Response:
        read_query(request, frozenset())
        preset = preset_named(preset_id)

        def work(ticket: Ticket | None) -> Response:
            body = read_body(request, PresetPreviewBody)
            place, now = place_of_body(request, body), utc_now()
            locks, end = postures.host_locks(now), body.get("expires_at")
            rows = previewed(preset, place, locks, expires_at=end, now=now)
            answer = render_preview(preset, place, rows)
            idempotency.store(ticket, status=200, body=answer)
            return Response(answer)

        return once(request, route="posture/presets/preview", work=work)


class PosturePresetApply(APIView):
    permissions: ClassVar = {"POST": Permission.POSTURE_MANAGE}

    @extend_schema(
        operation_id="posture_presets_apply", request=PresetApplyBody, responses={200: schemas.PostureAct}
    )
    def post(self, request: Request, preset_id: str) -> Response:
        read_query(request, frozenset())

        def work(ticket: Ticket | None) -> Response:
            body = read_body(request, PresetApplyBody)
            event = operations.apply_preset(
                principal=caller(request),
                place=place_of_body(request, body),
                preset_id=preset_id,
                reason=body["reason"],
                expires_at=body.get("expires_at"),
                now=utc_now(),
                ticket=ticket,
                render=render_act,
            )
            return Response(render_act(event))

        return once(request, route="posture/presets/apply", work=work)


class PostureUndo(APIView):
    permissions: ClassVar = {"POST": Permission.POSTURE_MANAGE}

    @extend_schema(operation_id="posture_undo", request=UndoBody, responses={200: schemas.PostureAct})
    def post(self, request: Request, event_id: str) -> Response:
        read_query(request, frozenset())

        def work(ticket: Ticket | None) -> Response:
            event = operations.undo(
                principal=caller(request),
                event_id=event_id,
                **read_body(request, UndoBody),
                now=utc_now(),
                ticket=ticket,
                render=render_act,
            )
            return Response(render_act(event))

        return once(request, route="posture/undo", work=work)


class PostureRecommendations(APIView):
    """What holds for the caller's workspace now and nobody has put off."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(operation_id="posture_recommendations_list", responses=schemas.PostureRecommendationList)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        found = postures.recommendations(caller(request).workspace_id, utc_now())
        return whole([render_recommendation(one) for one in found])


class PostureRecommendationAnswer(APIView):
    permissions: ClassVar = {"POST": Permission.POSTURE_MANAGE}

    @extend_schema(
        operation_id="posture_recommendations_answer",
        request=AnswerBody,
        responses={200: schemas.PostureAct},
    )
    def post(self, request: Request, recommendation_id: str) -> Response:
        read_query(request, frozenset())

        def work(ticket: Ticket | None) -> Response:
            event = operations.answer(
                principal=caller(request),
                recommendation_id=recommendation_id,
                **read_body(request, AnswerBody),
                now=utc_now(),
                ticket=ticket,
                render=render_act,
            )
            return Response(render_act(event))

        return once(request, route="posture/recommendations/answer", work=work)


class PostureEvents(APIView):
    """The history of the caller's workspace and of the whole instance, newest first."""

    permissions: ClassVar = {"GET": Permission.TOOLS_READ}

    @extend_schema(
        operation_id="posture_events_list",
        parameters=list_parameters(*_FILTERS),
        responses=schemas.PostureEventList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | set(_FILTERS))
        wanted: dict[str, Any] = {
            f"{name}__in": read_texts(filters, name) for name in _FILTERS if name in filters
        }
        return page(
            request,
            postures.visible_events(caller(request)).filter(**wanted),
            filters=filters,
            render=lambda found: [render_event(event) for event in found],
        )
