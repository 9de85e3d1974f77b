"""People: list, show, create, change, disable, enable, reset. For owners of the instance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Protocol

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_identity as schemas
from governance.api.authentication import caller
from governance.api.bodies_identity import ReasonBody, UserBody, UserChangeBody
from governance.api.etags import etag, seen_version
from governance.api.idempotent import once
from governance.api.openapi import IF_MATCH, list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.wire_identity import render_created_user, render_user, render_users
from governance.idempotency import Ticket
from governance.operations import people
from identity.models import User
from identity.reach import require_user
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.ids import require_id


class _Verb(Protocol):
    def __call__(
        self,
        *,
        principal: Principal,
        user_id: str,
        reason: str,
        now: datetime,
        ticket: Ticket | None,
        render: Callable[[User], object] | None,
    ) -> User: ...


class Users(APIView):
    permissions: ClassVar = {"GET": Permission.USERS_MANAGE, "POST": Permission.USERS_MANAGE}

    @extend_schema(
        operation_id="users_list", parameters=list_parameters("username"), responses=schemas.UserList
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"username"})
        rows = User.objects.all()
        if "username" in filters:
            rows = rows.filter(username__in=[name.lower() for name in read_texts(filters, "username")])
        return page(request, rows, filters=filters, render=render_users)

    @extend_schema(operation_id="users_create", request=UserBody, responses={201: schemas.UserWithLink})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, UserBody)

        def work(ticket: Ticket | None) -> Response:
            made = people.create(
                principal=caller(request),
                username=body["username"],
                email=body["email"],
                display_name=body.get("display_name", ""),
                now=utc_now(),
                ticket=ticket,
                render=lambda made: render_created_user(made, shown=False),
            )
            return Response(render_created_user(made, shown=True), status=201)

        return once(request, route="POST /users", work=work)


class UserDetail(APIView):
    permissions: ClassVar = {"GET": Permission.USERS_MANAGE, "PATCH": Permission.USERS_MANAGE}

    @extend_schema(operation_id="users_show", responses=schemas.User)
    def get(self, request: Request, user_id: str) -> Response:
        read_query(request, frozenset())
        # Never 304: whether somebody has an authenticator moves without their version.
        return _shown(require_user(require_id("usr", user_id)))

    @extend_schema(
        operation_id="users_change", parameters=[IF_MATCH], request=UserChangeBody, responses=schemas.User
    )
    def patch(self, request: Request, user_id: str) -> Response:
        read_query(request, frozenset())
        changes = read_body(request, UserChangeBody)
        user = people.change(
            principal=caller(request),
            user_id=require_id("usr", user_id),
            changes=changes,
            seen_version=seen_version(request, user_id),
            now=utc_now(),
        )
        return _shown(user)


class UserDisable(APIView):
    permissions: ClassVar = {"POST": Permission.USERS_MANAGE}

    @extend_schema(operation_id="users_disable", request=ReasonBody, responses=schemas.User)
    def post(self, request: Request, user_id: str) -> Response:
        return _moved(request, user_id, people.disable, "disable")


class UserEnable(APIView):
    permissions: ClassVar = {"POST": Permission.USERS_MANAGE}

    @extend_schema(operation_id="users_enable", request=ReasonBody, responses=schemas.User)
    def post(self, request: Request, user_id: str) -> Response:
        return _moved(request, user_id, people.enable, "enable")


class UserResetFactor(APIView):
    permissions: ClassVar = {"POST": Permission.USERS_MANAGE}

    @extend_schema(operation_id="users_reset_factor", request=ReasonBody, responses=schemas.UserWithLink)
    def post(self, request: Request, user_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ReasonBody)

        def work(ticket: Ticket | None) -> Response:
            made = people.reset_factor(
                principal=caller(request),
                user_id=require_id("usr", user_id),
                reason=body["reason"],
                now=utc_now(),
                ticket=ticket,
                render=lambda made: render_created_user(made, shown=False),
            )
            return Response(render_created_user(made, shown=True))

        return once(request, route="POST /users/{id}/reset-factor", work=work)


def _moved(request: Request, user_id: str, verb: _Verb, name: str) -> Response:
    read_query(request, frozenset())
    body: dict[str, Any] = read_body(request, ReasonBody)

    def work(ticket: Ticket | None) -> Response:
        user = verb(
            principal=caller(request),
            user_id=require_id("usr", user_id),
            reason=body["reason"],
            now=utc_now(),
            ticket=ticket,
            render=render_user,
        )
        return _shown(user)

    return once(request, route=f"POST /users/{{id}}/{name}", work=work)


def _shown(user: User) -> Response:
    return Response(render_user(user), headers={"ETag": etag(user.pk, user.version)})
