"""The surfaces that a feature flag opens: closed ones answer like nothing at all to strangers."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api.authentication import caller
from identity.access import decide
from kernel.errors import AuthenticationError, NotFoundError, PalyraError, RefusedError

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Facade(APIView):
    """Every path of one surface: 404 without a valid token, 403 `feature_disabled` with one while it is off.

    A path that the surface does not have is a 404 for everybody.
    """

    feature: ClassVar[str]
    permissions: ClassVar = dict.fromkeys(_METHODS)
    schema = None

    def get(self, request: Request, **kwargs: str) -> Response:
        principal = caller(request)
        here, vouching = principal.workspace_id, principal.vouching
        if not decide(principal.flags, self.feature, workspace_id=here, standing=vouching).enabled:
            raise RefusedError("feature_disabled", f"The feature {self.feature} is off here.")
        raise NotFoundError("not_found", "There is no such path.")

    post = put = patch = delete = get

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Answer whatever the caller accepts: a closed surface does not tell what it would send."""
        return super().perform_content_negotiation(request, force=True)

    def handle_exception(self, exc: Exception) -> Response:
        return super().handle_exception(NotFoundError() if _tells_of_a_credential(exc) else exc)


def _tells_of_a_credential(exc: Exception) -> bool:
    """Both refusals of a stranger: the first ones, and those of an address that failed too often."""
    throttled = isinstance(exc, PalyraError) and exc.code == "authentication_throttled"
    return throttled or isinstance(exc, AuthenticationError)


class CompatFacade(Facade):
    """`/v1/*`, which speaks OpenAI's language in its errors too."""

    feature: ClassVar[str] = "compat_api"

    def handle_exception(self, exc: Exception) -> Response:
        answer = super().handle_exception(exc)
        problem = answer.data or {}
        kind = "server_error" if answer.status_code >= 500 else "invalid_request_error"
        answer.data = {
            "error": {
                "message": problem.get("detail", ""),
                "type": kind,
                "param": None,
                "code": problem.get("code"),
            }
        }
        answer.content_type = "application/json"
        return answer


class McpFacade(Facade):
    """`/mcp`."""

    feature: ClassVar[str] = "mcp"
