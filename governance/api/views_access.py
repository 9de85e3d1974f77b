"""Feature flags and the table of roles."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas
from governance.api.authentication import caller
from governance.api.bodies import FlagBody
from governance.api.etags import etag, seen_version
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query
from governance.operations import flags
from identity.flag_views import (
    FlagView,
    RoleRow,
    changes_of,
    flag_view,
    flag_views,
    require_standing,
    role_table,
)
from identity.models import FeatureFlagChange
from identity.roles import Permission
from identity.rollout import FlagWishes, feature_named
from kernel.clock import utc_now, wire_time

IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, required=True)


class AccessFlags(APIView):
    """The flags are few and are answered whole."""

    permissions: ClassVar = {"GET": None}

    @extend_schema(operation_id="access_flags_list", responses=schemas.FeatureFlagList)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        return _whole([render_flag(view) for view in flag_views(caller(request))])


class AccessFlagDetail(APIView):
    permissions: ClassVar = {"GET": None, "PATCH": Permission.ROLLOUT_MANAGE}

    @extend_schema(operation_id="access_flags_show", responses=schemas.FeatureFlag)
    def get(self, request: Request, key: str) -> Response:
        read_query(request, frozenset())
        view = flag_view(caller(request), key)
        # Never 304: what a flag means for the caller moves with other flags, not with its version.
        return Response(render_flag(view), headers={"ETag": etag(key, view.version)})

    @extend_schema(
        operation_id="access_flags_change",
        parameters=[IF_MATCH],
        request=FlagBody,
        responses=schemas.ChangedFeatureFlag,
    )
    def patch(self, request: Request, key: str) -> Response:
        read_query(request, frozenset())
        feature_named(key)
        seen = seen_version(request, key)
        wishes = FlagWishes(**read_body(request, FlagBody))
        changed = flags.change(
            principal=caller(request), key=key, wishes=wishes, seen_version=seen, now=utc_now()
        )
        view = flag_view(caller(request), key)
        body = render_flag(view) | {"cascaded": list(changed.cascaded)}
        return Response(body, headers={"ETag": etag(key, view.version)})


class AccessFlagHistory(APIView):
    permissions: ClassVar = {"GET": Permission.SETTINGS_READ}

    @extend_schema(
        operation_id="access_flags_history",
        parameters=list_parameters(),
        responses=schemas.FeatureFlagChangeList,
    )
    def get(self, request: Request, key: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        feature_named(key)
        return page(
            request,
            changes_of(key),
            filters=filters,
            render=lambda found: [render_change(row) for row in found],
        )


class AccessRoles(APIView):
    """Which role holds which permission, and with which login."""

    permissions: ClassVar = {"GET": None}

    @extend_schema(operation_id="access_roles_list", responses=schemas.RoleTable)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        require_standing(caller(request))
        return _whole([render_role(row) for row in role_table()])


def render_flag(view: FlagView) -> dict[str, Any]:
    """Return a flag as it travels; `here` is what it means for the caller's workspace."""
    return {
        "id": view.feature.key,
        "object": "feature_flag",
        "enabled": view.setting.enabled,
        "stage": view.setting.stage.value,
        "percent": view.setting.percent,
        "workspaces": list(view.workspaces),
        "depends_on": view.feature.depends_on,
        "dependants": list(view.dependants),
        "when_off": view.feature.when_off,
        "here": {
            "enabled": view.here.enabled,
            "reason": view.here.reason,
            "dependency": view.here.dependency,
        },
        "version": view.version,
        "changed_at": wire_time(view.changed_at),
    }


def render_change(row: FeatureFlagChange) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "object": "feature_flag_change",
        "flag": row.key,
        "before": row.before,
        "after": row.after,
        "actor": row.actor,
        "reason": row.reason,
        "at": wire_time(row.at),
    }


def render_role(row: RoleRow) -> dict[str, Any]:
    return {
        "id": row.permission.value,
        "object": "permission",
        "roles": [role.value for role in row.roles],
        "strength": row.strength.name.lower(),
        "instance_only": row.instance_only,
        "for_agents": row.for_agents,
        "feature": row.feature,
    }


def _whole(data: list[dict[str, Any]]) -> Response:
    return Response({"object": "list", "data": data, "has_more": False, "next_cursor": None})
