"""The arguments of a waiting call in full: masked, made visible, and never more than a page bears."""

from __future__ import annotations

import json
from collections.abc import Mapping

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.approvals import visible_request
from governance.admin.argument_shapes import PLAIN, Shape, shape_of
from governance.admin.inbox import subject_name
from governance.admin.layout import show
from governance.admin.pages import page
from governance.input_schemas import input_of, schema_of_tool
from governance.models import ToolCall
from governance.prompts import masked
from governance.safety.visible import size_in_words, visible
from governance.selectors import visible_calls
from identity.roles import Permission
from kernel.errors import NotFoundError

LARGEST_SHOWN = 256 * 1024
"""What is larger, in bytes, is offered as a download only."""


@page(Permission.APPROVALS_READ)
def argument(visit: Visit, request_id: str) -> HttpResponse:
    """Show the named argument whole, or all of them, or hand them out as a file when a page is too small."""
    request = visible_request(visit, request_id)
    name = visit.request.GET.get("name", "")
    ids = [waiting.call_id for waiting in request.calls.all()]
    call = visible_calls(visit.principal).filter(pk__in=ids).order_by("pk").first()
    value = _value(call, name)
    text = (
        value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    )
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST_SHOWN or "download" in visit.request.GET:
        return _file(visible(text))
    return show(
        visit,
        "console/approval_argument.html",
        {
            "title": f"Argument {name}" if name else "All arguments",
            "request_row": request,
            "subject": subject_name(request),
            "name": visible(name),
            "raw_name": name,
            "text": visible(text),
            "size": size_in_words(size),
            "shape": _shape(name, value),
        },
    )


def _value(call: ToolCall | None, name: str) -> object:
    """Return the masked argument that is shown under this name, all for none, or raise NotFoundError."""
    given = None
    if call is not None:
        given = masked(input_of(call), schema_of_tool(call.tool_name, call.input))
    if call is not None and not name:
        return given
    if not isinstance(given, Mapping) or name not in given:
        raise NotFoundError("not_found", "There is no such argument.")
    return given[name]


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def _shape(name: str, value: object) -> Shape:
    return shape_of(name, value) if isinstance(value, str) else PLAIN


def _file(text: str) -> HttpResponse:
    """Return text that no browser takes for a page."""
    answer = HttpResponse(text.encode("utf-8", "replace"), content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="argument.txt"'
    return answer
