"""The AuthZEN Authorization API 1.0: other programs ask here what policy says.

The routes stand at the root of the server, since the standard names them; those of other domains stand
below `/pdp/<domain>`. An answer is no tool call: it is not journalled and reserves nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core import signing
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api.authentication import caller
from governance.api.strict import read_query
from governance.authzen.points import FEATURE, Point, point_for, require_domain, run_batch, search
from governance.authzen.questions import (
    MAX_RESULTS,
    BadItem,
    Batch,
    Search,
    Searched,
    read_evaluation,
    read_evaluations,
    read_search,
)
from governance.obligations import as_json
from identity.flags import registry
from identity.roles import Permission
from kernel.canonical import digest
from kernel.clock import utc_now
from kernel.errors import MalformedError, NotFoundError
from policy.compilation import DOMAIN
from policy.types import Effect, PolicyDecision

_SALT = "palyra.authzen.v1"
_ENDPOINTS = {
    "access_evaluation_endpoint": "evaluation",
    "access_evaluations_endpoint": "evaluations",
    "search_subject_endpoint": "search/subject",
    "search_resource_endpoint": "search/resource",
    "search_action_endpoint": "search/action",
}


class AuthzenView(APIView):
    """What the standard asks of every endpoint: unknown members are ignored, a wrong content type is 400."""

    permissions: ClassVar = {"POST": Permission.POLICY_READ}
    schema = None

    def post(self, request: Request, domain: str | None = None) -> Response:
        read_query(request, frozenset())
        if domain == DOMAIN:
            raise NotFoundError("not_found", "This domain is asked at the root.")
        point = point_for(domain or DOMAIN, caller(request), utc_now())
        body = request.data
        if not isinstance(body, dict):
            raise MalformedError("malformed_json", "The body must be a JSON object.")
        return Response(self.answer(request, point, body))

    def answer(self, request: Request, point: Point, body: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, UnsupportedMediaType):
            exc = MalformedError("unsupported_media_type", "The content type is application/json.")
        return super().handle_exception(exc)


class Evaluation(AuthzenView):
    def answer(self, request: Request, point: Point, body: dict[str, Any]) -> dict[str, Any]:
        return render_decision(point.decide(read_evaluation(body)))


class Evaluations(AuthzenView):
    def answer(self, request: Request, point: Point, body: dict[str, Any]) -> dict[str, Any]:
        asked = read_evaluations(body)
        if not isinstance(asked, Batch):
            return render_decision(point.decide(asked))
        return {"evaluations": [_item(answer) for answer in run_batch(point, asked)]}


class SearchView(AuthzenView):
    """One of the three searches. Results come by name; a token is good for the same search only."""

    kind: ClassVar[Search]

    def answer(self, request: Request, point: Point, body: dict[str, Any]) -> dict[str, Any]:
        searched = read_search(self.kind, body)
        scope = digest({"path": request.path, "principal": caller(request).id, "stated": searched.stated})
        after, limit = _place(searched, scope)
        found = search(point, searched, after=after, limit=limit)
        token = ""
        if found.next_after is not None:
            token = signing.dumps({"after": found.next_after, "limit": limit, "scope": scope}, salt=_SALT)
        results = [self.result(searched, name) for name in found.names]
        return {"page": {"next_token": token, "count": len(results)}, "results": results}

    def result(self, searched: Searched, name: str) -> dict[str, str]:
        raise NotImplementedError


class SubjectSearch(SearchView):
    kind = Search.SUBJECT

    def result(self, searched: Searched, name: str) -> dict[str, str]:
        return {"type": searched.request.subject.type, "id": name}


class ResourceSearch(SearchView):
    kind = Search.RESOURCE

    def result(self, searched: Searched, name: str) -> dict[str, str]:
        return {"type": searched.request.resource.type, "id": name}


class ActionSearch(SearchView):
    kind = Search.ACTION

    def result(self, searched: Searched, name: str) -> dict[str, str]:
        return {"name": name}


@require_safe
def metadata(request: HttpRequest, domain: str | None = None) -> JsonResponse:
    """Where the endpoints of a decision point are. 404 while nobody may use them, or for no such domain."""
    setting = registry().setting(FEATURE)
    if setting is None or not setting.enabled or domain == DOMAIN:
        raise Http404
    if domain is not None:
        try:
            require_domain(domain)
        except NotFoundError as error:
            raise Http404 from error
    base = settings.PALYRA_PUBLIC_URL + (f"/pdp/{domain}" if domain else "")
    endpoints = {name: f"{base}/access/v1/{path}" for name, path in _ENDPOINTS.items()}
    return JsonResponse({"policy_decision_point": base, **endpoints})


def render_decision(decision: PolicyDecision) -> dict[str, Any]:
    """Return a decision as it travels. Whatever still needs a person is no permit; its obligations say so."""
    explained = decision.explanation
    context: dict[str, Any] = {
        "reason_code": str(decision.reason_code),
        "reason": decision.reason,
        "determining_policies": [
            {"id": rule.id, "effect": rule.effect} for rule in explained.determining_policies
        ],
    }
    if decision.obligations:
        context["obligations"] = as_json(decision.obligations)
    if explained.diagnostics_errors:
        context["errors"] = list(explained.diagnostics_errors)
    if explained.policy_set.id:
        used = explained.policy_set
        context["policy_set"] = {"id": used.id, "version": used.version, "hash": used.hash}
    return {"decision": decision.effect is Effect.ALLOW, "context": context}


def _item(answer: PolicyDecision | BadItem) -> dict[str, Any]:
    if isinstance(answer, BadItem):
        return {"decision": False, "context": {"error": {"status": 400, "message": answer.message}}}
    return render_decision(answer)


def _place(searched: Searched, scope: str) -> tuple[str, int]:
    """Return behind which name a page begins and its limit; MalformedError for a token of another search."""
    page = searched.page
    if page.token is None:
        return "", MAX_RESULTS if page.limit is None else page.limit
    try:
        content = signing.loads(page.token, salt=_SALT)
    except signing.BadSignature as error:
        raise MalformedError("invalid_cursor", "The token was changed.") from error
    if content["scope"] != scope or page.limit not in (None, content["limit"]):
        raise MalformedError("invalid_cursor", "The token belongs to another search.")
    return str(content["after"]), int(content["limit"])
