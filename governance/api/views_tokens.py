"""Bearer tokens: mint, rotate, revoke, report, and step one up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_tokens as schemas
from governance.api.authentication import caller, client_ip_of
from governance.api.bodies_tokens import LeakBody, RevokeBody, RotateBody, StepUpBody, TokenBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query
from governance.api.views_calls import known_values
from governance.api.wire_tokens import REPORT_PATH, render_format, render_token, render_withheld, with_secret
from governance.idempotency import Replay, Ticket
from governance.operations import tokens
from identity.minting import MintedToken, TokenWishes
from identity.rate_limit import admit_public
from identity.token_rules import DEFAULT_OVERLAP_SECONDS
from identity.token_selectors import STATES, in_states, require_token, visible_tokens
from identity.tokens import TokenKind
from kernel.clock import utc_now
from kernel.ids import require_id

REPORTS_A_MINUTE = 10


class Tokens(APIView):
    """Everybody sees and mints their own; the operations ask for more where more is wanted."""

    permissions: ClassVar = {"GET": None, "POST": None}

    @extend_schema(
        operation_id="tokens_list",
        parameters=list_parameters(state=STATES, kind=tuple(TokenKind)),
        responses=schemas.TokenList,
    )
    def get(self, request: Request) -> Response:
        filters, now = read_query(request, PAGE_PARAMETERS | {"state", "kind"}), utc_now()
        rows = visible_tokens(caller(request))
        if "kind" in filters:
            rows = rows.filter(kind__in=known_values(filters["kind"], tuple(TokenKind), "kind"))
        if "state" in filters:
            rows = rows.filter(in_states(known_values(filters["state"], STATES, "state"), now))
        return page(
            request, rows, filters=filters, render=lambda found: [render_token(one, now) for one in found]
        )

    @extend_schema(operation_id="tokens_mint", request=TokenBody, responses={201: schemas.MintedToken})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        wishes, now = _wishes(read_body(request, TokenBody)), utc_now()

        def work(ticket: Ticket | None) -> Response:
            minted = tokens.mint(
                principal=caller(request),
                wishes=wishes,
                now=now,
                ticket=ticket,
                render=lambda token: render_withheld(token, now),
            )
            return _shown_once(minted, now)

        return once(request, route="POST /tokens", work=work, refresh=_withheld)


class TokenDetail(APIView):
    permissions: ClassVar = {"GET": None}

    @extend_schema(operation_id="tokens_show", responses=schemas.Token)
    def get(self, request: Request, token_id: str) -> Response:
        read_query(request, frozenset())
        token = require_token(caller(request), require_id("tok", token_id))
        return Response(render_token(token, utc_now()))


class TokenRotate(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="tokens_rotate", request=RotateBody, responses={201: schemas.MintedToken})
    def post(self, request: Request, token_id: str) -> Response:
        read_query(request, frozenset())
        body, now = read_body(request, RotateBody), utc_now()

        def work(ticket: Ticket | None) -> Response:
            minted = tokens.rotate(
                principal=caller(request),
                token_id=require_id("tok", token_id),
                overlap_seconds=body.get("overlap_seconds", DEFAULT_OVERLAP_SECONDS),
                now=now,
                ticket=ticket,
                render=lambda token: render_withheld(token, now),
            )
            return _shown_once(minted, now)

        return once(request, route="POST /tokens/{id}/rotate", work=work, refresh=_withheld)


class TokenRevoke(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="tokens_revoke", request=RevokeBody, responses=schemas.Token)
    def post(self, request: Request, token_id: str) -> Response:
        read_query(request, frozenset())
        body, now = read_body(request, RevokeBody), utc_now()

        def work(ticket: Ticket | None) -> Response:
            token = tokens.revoke(
                principal=caller(request),
                token_id=require_id("tok", token_id),
                reason=body.get("reason", ""),
                now=now,
                ticket=ticket,
                render=lambda made: render_token(made, now),
            )
            return Response(render_token(token, now))

        return once(request, route="POST /tokens/{id}/revoke", work=work)


class TokensLeaked(APIView):
    """Public: whoever has the text of a token may end it. The answer holds counts only."""

    permissions: ClassVar = {"POST": None}
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="tokens_report_leaked", request=LeakBody, responses={202: schemas.LeakReport}, auth=[]
    )
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        client_ip, now = client_ip_of(request), utc_now()
        admit_public("leaked", client_ip, limit=REPORTS_A_MINUTE, now=now)
        texts = read_body(request, LeakBody)["tokens"]
        revoked = tokens.report_leaked(texts=texts, client_ip=client_ip, now=now)
        body = {"object": "leak_report", "received": len(texts), "revoked": revoked}
        return Response(body, status=202)


class StepUp(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="auth_step_up", request=StepUpBody, responses={204: None})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, StepUpBody)

        def work(ticket: Ticket | None) -> Response:
            tokens.elevate(principal=caller(request), code=body["otp"], now=utc_now(), ticket=ticket)
            return Response(status=204)

        return once(
            request, route="POST /auth/step-up", work=work, refresh=lambda replay: Response(status=204)
        )


@require_safe
def token_format(request: HttpRequest) -> JsonResponse:
    """How a token reads and where to report one: for leak scanners."""
    answer = JsonResponse(render_format(f"{settings.PALYRA_PUBLIC_URL}{REPORT_PATH}"))
    answer["Cache-Control"] = "public, max-age=3600"
    return answer


def _wishes(body: Mapping[str, Any]) -> TokenWishes:
    given = {name: body[name] for name in ("rate_per_minute",) if name in body}
    return TokenWishes(
        label=body["label"],
        kind=TokenKind(body["kind"]),
        agent_id=require_id("agt", body["agent"]) if "agent" in body else None,
        scopes=tuple(body["scopes"]),
        expires_in_days=body.get("expires_in_days"),
        allowed_networks=tuple(body.get("allowed_networks", ())),
        **given,
    )


def _shown_once(minted: MintedToken, now: datetime) -> Response:
    return _created(with_secret(render_token(minted.token, now), minted.text))


def _withheld(replay: Replay) -> Response:
    return _created(replay.body)


def _created(body: Mapping[str, Any]) -> Response:
    return Response(body, status=201, headers={"Location": f"/api/v1/tokens/{body['id']}"})
