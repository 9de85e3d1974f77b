"""Policy sets: list, show, draft, edit, validate, compare, carry in and out."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_policy as schemas
from governance.api.authentication import caller
from governance.api.bodies_identity import EmptyBody
from governance.api.bodies_policy import PolicyCheckBody, PolicyFileBody, PolicySetBody, PolicySetChangeBody
from governance.api.etags import etag, is_unchanged, seen_version
from governance.api.idempotent import once
from governance.api.openapi import IF_MATCH, list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.parsers import ArchiveParser, CedarParser
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.api.wire_policy import render_check, render_detail, render_diff, render_set
from governance.idempotency import Ticket
from governance.operations import policy_sets
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import MalformedError
from kernel.ids import require_id
from policy.archive import pack, pack_cedar
from policy.compilation import DOMAIN
from policy.diffing import diff_sets
from policy.lifecycle import SetState
from policy.models import PolicySet
from policy.reading import SourceFile
from policy.set_selectors import ACTIVE, policy_sets as all_sets, require_set, source_files

FORMATS = {"zip": "application/zip", "cedar": "text/plain; charset=utf-8"}
EXPAND = OpenApiParameter("expand", str, enum=["text"], description="The text of the files too.")
_NAME = OpenApiParameter("name", str, required=True, description="What the draft is called.")
_NOTE = OpenApiParameter("note", str)
_MAY_CHANGE = frozenset({SetState.DRAFT, SetState.VALIDATED})
_COLUMNS = {"name": "title"}


class PolicySets(APIView):
    """The sets belong to the instance: whoever may read rules reads those of all workspaces' decisions."""

    permissions: ClassVar = {"GET": Permission.POLICY_READ, "POST": Permission.POLICY_EDIT}

    @extend_schema(
        operation_id="policy_sets_list",
        parameters=list_parameters("domain", state=tuple(SetState)),
        responses=schemas.PolicySetList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"domain", "state"})
        rows = all_sets()
        if "domain" in filters:
            rows = rows.filter(domain__in=read_texts(filters, "domain"))
        if "state" in filters:
            rows = rows.filter(state__in=known_values(filters["state"], tuple(SetState), "state"))
        return page(request, rows, filters=filters, render=lambda found: [render_set(row) for row in found])

    @extend_schema(
        operation_id="policy_sets_draft", request=PolicySetBody, responses={201: schemas.PolicySetDetail}
    )
    def post(self, request: Request) -> Response:
        """Draft from the set in force, from another one, or with `from` null from nothing."""
        read_query(request, frozenset())
        body = read_body(request, PolicySetBody)
        source = body.get("from", ACTIVE)

        def work(ticket: Ticket | None) -> Response:
            made = policy_sets.draft(
                principal=caller(request),
                name=body["name"],
                note=body.get("note", ""),
                source=source if source in (None, ACTIVE) else require_id("pol", source),
                domain=body.get("domain", DOMAIN),
                now=utc_now(),
                ticket=ticket,
                render=render_detail,
            )
            return _shown(made, status=201)

        return once(request, route="POST /policy-sets", work=work)


class PolicySetImport(APIView):
    permissions: ClassVar = {"POST": Permission.POLICY_EDIT}
    parser_classes = (ArchiveParser, CedarParser)

    @extend_schema(
        operation_id="policy_sets_import",
        parameters=[_NAME, _NOTE],
        request={"application/zip": OpenApiTypes.BINARY, "text/plain": OpenApiTypes.STR},
        responses={201: schemas.PolicySetDetail},
    )
    def post(self, request: Request) -> Response:
        """Draft from an exported zip or Cedar text of at most 8 MiB."""
        query = read_query(request, frozenset({"name", "note"}))
        name, note = _one(query, "name"), _one(query, "note", "")
        archive: Any = request.data

        def work(ticket: Ticket | None) -> Response:
            made = policy_sets.import_set(
                principal=caller(request),
                name=name,
                note=note,
                data=archive["content"],
                file_name=archive["file_name"],
                now=utc_now(),
                ticket=ticket,
                render=render_detail,
            )
            return _shown(made, status=201)

        secrets = frozenset({"content"})  # its digest stands for it
        return once(request, route="POST /policy-sets/import", work=work, secrets=secrets)


class PolicySetDetail(APIView):
    permissions: ClassVar = {
        "GET": Permission.POLICY_READ,
        "PATCH": Permission.POLICY_EDIT,
        "DELETE": Permission.POLICY_EDIT,
    }

    @extend_schema(operation_id="policy_sets_show", parameters=[EXPAND], responses=schemas.PolicySetDetail)
    def get(self, request: Request, set_id: str) -> Response:
        query = read_query(request, frozenset({"expand"}))
        with_text = known_values(query.get("expand", []), ("text",), "expand") == ["text"]
        row = named_set(set_id)
        tag = etag(row.pk, row.edit_version)
        if row.state not in _MAY_CHANGE and is_unchanged(request, tag):
            return Response(status=304, headers={"ETag": tag})
        return _shown(row, with_text=with_text)

    @extend_schema(
        operation_id="policy_sets_change",
        parameters=[IF_MATCH],
        request=PolicySetChangeBody,
        responses=schemas.PolicySetDetail,
    )
    def patch(self, request: Request, set_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, PolicySetChangeBody)
        row = policy_sets.change(
            principal=caller(request),
            set_id=require_id("pol", set_id),
            changes={_COLUMNS.get(name, name): value for name, value in body.items()},
            seen_version=seen_version(request, set_id),
            now=utc_now(),
        )
        return _shown(row)

    @extend_schema(
        operation_id="policy_sets_discard", parameters=[IF_MATCH], responses=schemas.PolicySetDetail
    )
    def delete(self, request: Request, set_id: str) -> Response:
        """Give a draft up; it stays readable as `discarded`."""
        read_query(request, frozenset())
        row = policy_sets.discard(
            principal=caller(request),
            set_id=require_id("pol", set_id),
            seen_version=seen_version(request, set_id),
            now=utc_now(),
        )
        return _shown(row)


class PolicySetFile(APIView):
    permissions: ClassVar = {"PUT": Permission.POLICY_EDIT, "DELETE": Permission.POLICY_EDIT}

    @extend_schema(
        operation_id="policy_sets_put_file",
        parameters=[IF_MATCH],
        request=PolicyFileBody,
        responses=schemas.PolicySetDetail,
    )
    def put(self, request: Request, set_id: str, file_name: str) -> Response:
        """Write one file of a draft, new or in place of what it was."""
        read_query(request, frozenset())
        body = read_body(request, PolicyFileBody)
        row = policy_sets.put_file(
            principal=caller(request),
            set_id=require_id("pol", set_id),
            file_name=file_name,
            text=body["text"],
            seen_version=seen_version(request, set_id),
            now=utc_now(),
        )
        return _shown(row)

    @extend_schema(
        operation_id="policy_sets_remove_file", parameters=[IF_MATCH], responses=schemas.PolicySetDetail
    )
    def delete(self, request: Request, set_id: str, file_name: str) -> Response:
        read_query(request, frozenset())
        row = policy_sets.remove_file(
            principal=caller(request),
            set_id=require_id("pol", set_id),
            file_name=file_name,
            seen_version=seen_version(request, set_id),
            now=utc_now(),
        )
        return _shown(row)


class PolicySetValidate(APIView):
    permissions: ClassVar = {"POST": Permission.POLICY_EDIT}

    @extend_schema(
        operation_id="policy_sets_validate", request=EmptyBody, responses={200: schemas.PolicySetDetail}
    )
    def post(self, request: Request, set_id: str) -> Response:
        """Check a draft; without an error it becomes validated and is never edited again."""
        read_query(request, frozenset())
        read_body(request, EmptyBody)

        def work(ticket: Ticket | None) -> Response:
            row = policy_sets.validate(
                principal=caller(request),
                set_id=require_id("pol", set_id),
                now=utc_now(),
                ticket=ticket,
                render=render_detail,
            )
            return _shown(row)

        return once(request, route="POST /policy-sets/{id}/validate", work=work)


class PolicySetDiff(APIView):
    permissions: ClassVar = {"GET": Permission.POLICY_READ}

    @extend_schema(
        operation_id="policy_sets_diff",
        parameters=[OpenApiParameter("against", str, description="`pol_…` or `active`, the default.")],
        responses=schemas.PolicyDiff,
    )
    def get(self, request: Request, set_id: str) -> Response:
        """Compare a set with another one by @id and as text."""
        query = read_query(request, frozenset({"against"}))
        new = named_set(set_id)
        old = named_set(_one(query, "against", ACTIVE), domain=new.domain)
        return Response(render_diff(old, new, diff_sets(source_files(old), source_files(new))))


class PolicySetExport(APIView):
    permissions: ClassVar = {"GET": Permission.POLICY_READ}

    @extend_schema(
        operation_id="policy_sets_export",
        parameters=[OpenApiParameter("format", str, enum=list(FORMATS), default="zip")],
        responses={
            (200, "application/zip"): OpenApiTypes.BINARY,
            (200, "text/plain"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request, set_id: str) -> Any:
        """Carry a set out; imported again it has the same text to the byte."""
        query = read_query(request, frozenset({"format"}))
        (kind,) = known_values([_one(query, "format", "zip")], tuple(FORMATS), "format")
        row = named_set(set_id)
        files = source_files(row)
        data = pack(files) if kind == "zip" else pack_cedar(files).encode()
        answer = HttpResponse(data, content_type=FORMATS[kind])
        name = f"{row.domain}-v{row.version}.{kind}"
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        answer["ETag"] = etag(row.pk, row.edit_version)
        return answer


class PolicyCheck(APIView):
    permissions: ClassVar = {"POST": Permission.POLICY_READ}

    @extend_schema(operation_id="policy_check", request=PolicyCheckBody, responses={200: schemas.PolicyCheck})
    def post(self, request: Request) -> Response:
        """Check texts against this server's catalog and run their tests; nothing is stored."""
        read_query(request, frozenset())
        body = read_body(request, PolicyCheckBody)
        files = [SourceFile(file["name"], file["text"]) for file in body["files"]]
        checked = policy_sets.check(principal=caller(request), files=files, now=utc_now())
        return Response(render_check(checked))


def named_set(set_id: str, *, domain: str = DOMAIN) -> PolicySet:
    """Return the set of this `pol_` id, or the one in force of the domain for `active`."""
    return require_set(set_id if set_id == ACTIVE else require_id("pol", set_id), domain=domain)


def _one(query: Any, name: str, default: str | None = None) -> str:
    """Return the one value of a query parameter, or raise MalformedError `invalid_parameter`."""
    given = read_texts(query, name) if name in query else [] if default is None else [default]
    if len(given) != 1:
        raise MalformedError("invalid_parameter", f"{name} takes one value.")
    return given[0]


def _shown(row: PolicySet, *, status: int = 200, with_text: bool = False) -> Response:
    body = render_detail(row, with_text=with_text)
    return Response(body, status=status, headers={"ETag": etag(row.pk, row.edit_version)})
