"""The log as mirrors and witnesses fetch it (C2SP tlog-tiles): checkpoints, tiles, entries."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_journal as schemas
from governance.api.authentication import caller, client_ip_of
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_query
from governance.api.views_journal import TextRenderer, read_number, text_answer
from governance.journal import serving
from governance.journal.lookup import sees_all
from governance.journal.models import JournalCheckpoint
from governance.journal.places import Place, level_of, place_of
from governance.journal.proving import newest_checkpoint, served_note
from governance.journal.wire import encoded
from identity.rate_limit import admit_public
from identity.roles import Permission
from kernel.clock import exact_time, utc_now
from kernel.errors import NotFoundError

PUBLIC_A_MINUTE = 600
"""What one address may fetch of a public log. A mirror of a million events takes a quarter of an hour."""
BYTES = "application/octet-stream"
FOREVER = "max-age=31536000, immutable"
_PLACE = OpenApiParameter(
    "place", str, OpenApiParameter.PATH, description="`x001/x234/067`, with `.p/8` for the first 8."
)


class BytesRenderer(JSONRenderer):
    """What a client asks for; problems are written as JSON all the same."""

    media_type = BYTES
    format = "bytes"


class MirroredView(APIView):
    """For everybody when the log is public, else for readers of the journal."""

    permissions: ClassVar = {"GET": Permission.JOURNAL_READ}

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [] if settings.PALYRA_JOURNAL_PUBLIC else super().get_authenticators()

    def get_permissions(self) -> Any:
        return [] if settings.PALYRA_JOURNAL_PUBLIC else super().get_permissions()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if settings.PALYRA_JOURNAL_PUBLIC:
            admit_public("journal", client_ip_of(request), limit=PUBLIC_A_MINUTE, now=utc_now())


class NewestCheckpoint(MirroredView):
    renderer_classes = (TextRenderer, JSONRenderer)

    @extend_schema(operation_id="journal_checkpoint", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """The newest signed note, with the lines of its witnesses."""
        read_query(request, frozenset())
        return text_answer(served_note(newest_checkpoint()))


class Checkpoints(MirroredView):
    @extend_schema(
        operation_id="journal_checkpoints_list",
        parameters=[
            *list_parameters(),
            OpenApiParameter(
                "after", {"type": "integer", "minimum": 0}, description="Larger ones, the smallest first."
            ),
        ],
        responses=schemas.CheckpointList,
    )
    def get(self, request: Request) -> Response:
        """The largest first; with `order=asc` or `after` the smallest first."""
        filters = dict(read_query(request, PAGE_PARAMETERS | {"after"}))
        rows = JournalCheckpoint.objects.prefetch_related("cosignatures")
        after = read_number(filters, "after")
        if after is not None:
            rows = rows.filter(pk__gt=after)
            filters.setdefault("order", ["asc"])
        return page(
            request, rows, filters=filters, render=lambda found: list(map(_render, found)), by="tree_size"
        )


class Tile(MirroredView):
    renderer_classes = (BytesRenderer, JSONRenderer)

    @extend_schema(
        operation_id="journal_tile",
        parameters=[
            OpenApiParameter("level", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH),
            _PLACE,
        ],
        responses={(200, BYTES): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, level: str, place: str) -> HttpResponse:
        """256 hashes of a level, or as many as are asked for, 32 bytes each."""
        read_query(request, frozenset())
        at = level_of(level)
        if at is None:
            raise _no_tile()
        meant = _place(place)
        return _bytes_answer(serving.tile(at, meant), meant)


class Entries(MirroredView):
    renderer_classes = (BytesRenderer, JSONRenderer)

    @extend_schema(
        operation_id="journal_entries", parameters=[_PLACE], responses={(200, BYTES): OpenApiTypes.BINARY}
    )
    def get(self, request: Request, place: str) -> HttpResponse:
        """256 envelopes, or as many as are asked for, each behind its length in two bytes.

        They name what happens in all workspaces, so one workspace's reader finds none here.
        """
        read_query(request, frozenset())
        if not settings.PALYRA_JOURNAL_PUBLIC and not sees_all(caller(request), utc_now()):
            raise NotFoundError("not_found", "Entries are for readers of the whole installation.")
        meant = _place(place)
        return _bytes_answer(serving.entries(meant), meant)


def _place(text: str) -> Place:
    found = place_of(text)
    if found is None:
        raise _no_tile()
    return found


def _no_tile() -> NotFoundError:
    return NotFoundError("not_found", "No tile has this address.")


def _bytes_answer(content: bytes, place: Place) -> HttpResponse:
    """A full tile never changes, and whoever may read it may keep it."""
    made = HttpResponse(content, content_type=BYTES)
    if place.is_full():
        shared = "public" if settings.PALYRA_JOURNAL_PUBLIC else "private"
        made["Cache-Control"] = f"{shared}, {FOREVER}"
        made["Vary"] = "Authorization"
    return made


def _render(checkpoint: JournalCheckpoint) -> dict[str, Any]:
    return {
        "object": "checkpoint",
        "tree_size": checkpoint.tree_size,
        "root": encoded(bytes(checkpoint.root)),
        "key_id": checkpoint.key_id,
        "sealed_at": exact_time(checkpoint.sealed_at),
        "note": served_note(checkpoint),
        "witnesses": sorted(line.witness for line in checkpoint.cosignatures.all()),
    }
