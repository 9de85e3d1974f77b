"""Freezes: list, set, lift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance import freezes
from governance.api import schemas_freezes as schemas
from governance.api.authentication import caller
from governance.api.bodies_freezes import FreezeBody, FreezeLiftBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.freeze_scopes import FreezeScope
from governance.idempotency import Ticket
from governance.models import Freeze
from governance.operations import freezes as verbs, signing_in
from governance.operations.freezes import FreezeWishes
from identity.roles import Permission
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.clock import utc_now, wire_time
from kernel.ids import require_id

_CODE = frozenset({"otp"})


class Freezes(APIView):
    """Those that reach the caller; an agent sees what may stop it."""

    permissions: ClassVar = {"GET": Permission.RUNS_READ, "POST": Permission.FREEZE_SET}

    @extend_schema(
        operation_id="freezes_list",
        parameters=list_parameters("scope_id", state=Freeze.STATES, scope=tuple(FreezeScope)),
        responses=schemas.FreezeList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"state", "scope", "scope_id"})
        principal = caller(request)
        rows = freezes.visible_freezes(principal)
        for name, allowed in (("state", Freeze.STATES), ("scope", tuple(FreezeScope))):
            if name in filters:
                rows = rows.filter(**{f"{name}__in": known_values(filters[name], allowed, name)})
        if "scope_id" in filters:
            rows = rows.filter(scope_id__in=read_texts(filters, "scope_id"))
        return page(request, rows, filters=filters, render=lambda found: render_freezes(found, principal))

    @extend_schema(operation_id="freezes_set", request=FreezeBody, responses={201: schemas.Freeze})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, FreezeBody)

        def work(ticket: Ticket | None) -> Response:
            principal = _proved(request, body)
            freeze = verbs.set_freeze(
                principal=principal,
                wishes=FreezeWishes(
                    scope=FreezeScope(body["scope"]),
                    scope_id=body.get("scope_id", ""),
                    reason=body["reason"],
                    kill_running=body.get("kill_running", False),
                ),
                now=utc_now(),
                ticket=ticket,
                render=lambda made: render_freeze(made, principal),
            )
            return Response(render_freeze(freeze, principal), status=201)

        return once(request, route="POST /freezes", work=work, secrets=_CODE)


class FreezeLift(APIView):
    permissions: ClassVar = {"POST": Permission.FREEZE_SET}

    @extend_schema(operation_id="freezes_lift", request=FreezeLiftBody, responses=schemas.Freeze)
    def post(self, request: Request, freeze_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, FreezeLiftBody)

        def work(ticket: Ticket | None) -> Response:
            principal = _proved(request, body)
            freeze = verbs.lift(
                principal=principal,
                freeze_id=require_id("frz", freeze_id),
                reason=body.get("reason", ""),
                now=utc_now(),
                ticket=ticket,
                render=lambda made: render_freeze(made, principal),
            )
            return Response(render_freeze(freeze, principal))

        return once(request, route="POST /freezes/{id}/lift", work=work, secrets=_CODE)


def render_freeze(freeze: Freeze, principal: Principal) -> dict[str, Any]:
    return render_freezes([freeze], principal)[0]


def render_freezes(found: Sequence[Freeze], principal: Principal) -> list[dict[str, Any]]:
    """Return freezes as they travel. Agents learn what stops them and why, not who stopped them."""
    everywhere = freezes.instance_ids()
    named = principal.kind is PrincipalKind.USER
    return [_render(freeze, everywhere, named) for freeze in found]


def _render(freeze: Freeze, everywhere: frozenset[str], named: bool) -> dict[str, Any]:
    return {
        "id": freeze.id,
        "object": "freeze",
        "state": freeze.state,
        "scope": freeze.scope,
        "scope_id": freeze.scope_id or None,
        "workspace_id": None if freeze.workspace_id in everywhere else freeze.workspace_id,
        "reason": freeze.reason,
        "kill_running": freeze.kill_running,
        "set_by": freeze.set_by if named else None,
        "set_at": wire_time(freeze.set_at),
        "lifted_by": (freeze.lifted_by or None) if named else None,
        "lifted_at": wire_time(freeze.lifted_at),
        "lift_reason": freeze.lift_reason or None,
        "single_operator": freeze.single_operator,
        "version": freeze.version,
    }


def _proved(request: Request, body: dict[str, Any]) -> Principal:
    """Return the caller as they stand after the code in the body, if there is one."""
    principal = caller(request)
    if not body.get("otp") or principal.kind is not PrincipalKind.USER:
        return principal
    at = signing_in.step_up(principal=principal, code=body["otp"], now=utc_now())
    return replace(principal, auth_strength=AuthStrength.FRESH_MFA, authenticated_at=at)
