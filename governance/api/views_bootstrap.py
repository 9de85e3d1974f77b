"""Ending the credentials of the first start over REST."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api.authentication import caller
from governance.api.idempotent import once
from governance.api.strict import Body, Text, read_body, read_query
from governance.idempotency import Ticket
from governance.operations import installation
from identity.passwords import LONGEST_PASSWORD
from kernel.clock import utc_now


class BootstrapClearBody(Body):
    otp = Text(max_length=16)
    new_password = Text(max_length=LONGEST_PASSWORD, trim_whitespace=False)


class BootstrapClear(APIView):
    """The owner of the first start proves themself by the code, so the operation asks for the right."""

    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="system_bootstrap_clear", request=BootstrapClearBody, responses={204: None})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, BootstrapClearBody)

        def work(ticket: Ticket | None) -> Response:
            installation.clear_bootstrap(
                principal=caller(request),
                code=body["otp"],
                new_password=body["new_password"],
                now=utc_now(),
                ticket=ticket,
            )
            return Response(status=204)

        return once(
            request,
            route="POST /system/bootstrap/clear",
            work=work,
            refresh=lambda replay: Response(status=204),
            secrets=frozenset({"otp", "new_password"}),
        )
