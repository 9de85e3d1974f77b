"""Keys, witnesses, legal holds and archives of the journal.

Verbs name no permission here, since the code may come in the body: their operations ask for it.
"""

from __future__ import annotations

import base64
import re
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_keeping as schemas
from governance.api.authentication import caller
from governance.api.bodies_keeping import (
    ArchiveBody,
    CosignatureBody,
    HoldBody,
    ProvedBody,
    RevokeKeyBody,
    RotateKeyBody,
)
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.schemas_simulations import Job as JobSchema
from governance.api.strict import read_body, read_query
from governance.api.wire_simulations import render_job
from governance.idempotency import Replay, Ticket
from governance.jobs.selectors import require_job
from governance.journal import archiving, note
from governance.journal.keys import origin
from governance.journal.lookup import sees_all
from governance.journal.models import JournalArchive, JournalCosignature, JournalKey, LegalHold
from governance.models import Job
from governance.operations import journal_keeping as keeping
from governance.operations.journal_keeping import HoldWishes
from identity.roles import Permission
from kernel.clock import exact_time, utc_now, wire_time
from kernel.errors import MalformedError
from kernel.ids import require_id
from vault.types import KeyPurpose

CODE = frozenset({"otp"})
"""A code works once, so a retry brings another: it is no part of what an idempotency key stands for."""
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_KEY_ID = re.compile(r"sha256:[0-9a-f]{64}")


class JournalKeys(APIView):
    """Every key that ever signed, the newest first. They are few and are answered whole."""

    permissions: ClassVar = {"GET": Permission.JOURNAL_READ}

    @extend_schema(operation_id="journal_keys_list", responses=schemas.JournalKeyList)
    def get(self, request: Request) -> Response:
        read_query(request, frozenset())
        rows = JournalKey.objects.order_by("-not_before", "key_id")
        data = [render_key(row) for row in rows]
        return Response({"object": "list", "data": data, "has_more": False, "next_cursor": None})


class JournalRotateKey(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="journal_rotate_key", request=RotateKeyBody, responses=schemas.JournalKey)
    def post(self, request: Request) -> Response:
        """Replace the key in use. The old one stays known, and what it signed goes on to verify."""
        read_query(request, frozenset())
        body = read_body(request, RotateKeyBody)

        def work(ticket: Ticket | None) -> Response:
            made = keeping.rotate_key(
                principal=caller(request),
                purpose=KeyPurpose(body.get("purpose", KeyPurpose.CHECKPOINT)),
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=render_key,
            )
            return Response(render_key(made))

        return once(request, route="POST /journal/rotate-key", work=work, secrets=CODE)


class JournalKeyRevoke(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="journal_keys_revoke", request=RevokeKeyBody, responses=schemas.JournalKey)
    def post(self, request: Request, key_id: str) -> Response:
        """Let nothing count that a retired key signed from `since` on, now by default."""
        read_query(request, frozenset())
        body = read_body(request, RevokeKeyBody)
        if _KEY_ID.fullmatch(key_id) is None:
            raise MalformedError("invalid_id", "A key is named by the sha256:… of its public half.")

        def work(ticket: Ticket | None) -> Response:
            revoked = keeping.revoke_key(
                principal=caller(request),
                key_id=key_id,
                since=body.get("since"),
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=render_key,
            )
            return Response(render_key(revoked))

        return once(request, route="POST /journal/keys/{id}/revoke", work=work, secrets=CODE)


class CheckpointCosignatures(APIView):
    permissions: ClassVar = {"POST": Permission.JOURNAL_VERIFY}

    @extend_schema(
        operation_id="journal_cosignatures_add", request=CosignatureBody, responses=schemas.Cosignature
    )
    def post(self, request: Request, size: str) -> Response:
        """Bring the line with which a configured witness cosigned the checkpoint of this size."""
        read_query(request, frozenset())
        body = read_body(request, CosignatureBody)

        def work(ticket: Ticket | None) -> Response:
            kept = keeping.add_cosignature(
                principal=caller(request),
                size=_number(size),
                line=body["line"],
                now=utc_now(),
                ticket=ticket,
                render=render_cosignature,
            )
            return Response(render_cosignature(kept))

        return once(request, route="POST /journal/checkpoints/{size}/cosignatures", work=work)


class LegalHolds(APIView):
    """Of the whole installation: people of a single workspace see none and set none."""

    permissions: ClassVar = {"GET": Permission.JOURNAL_READ, "POST": None}

    @extend_schema(
        operation_id="journal_holds_list", parameters=list_parameters(), responses=schemas.LegalHoldList
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        everywhere = sees_all(caller(request), utc_now())
        rows = LegalHold.objects.all() if everywhere else LegalHold.objects.none()
        return page(request, rows, filters=filters, render=lambda found: list(map(render_hold, found)))

    @extend_schema(operation_id="journal_holds_set", request=HoldBody, responses={201: schemas.LegalHold})
    def post(self, request: Request) -> Response:
        """Keep what is in the journal about a subject or a period from being erased and archived away."""
        read_query(request, frozenset())
        body = read_body(request, HoldBody)
        wishes = HoldWishes(**{name: value for name, value in body.items() if name != "otp"})

        def work(ticket: Ticket | None) -> Response:
            hold = keeping.set_hold(
                principal=caller(request),
                wishes=wishes,
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=render_hold,
            )
            return Response(render_hold(hold), status=201)

        return once(request, route="POST /journal/holds", work=work, secrets=CODE)


class LegalHoldLift(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="journal_holds_lift", request=ProvedBody, responses=schemas.LegalHold)
    def post(self, request: Request, hold_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ProvedBody)

        def work(ticket: Ticket | None) -> Response:
            hold = keeping.lift_hold(
                principal=caller(request),
                hold_id=require_id("hld", hold_id),
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=render_hold,
            )
            return Response(render_hold(hold))

        return once(request, route="POST /journal/holds/{id}/lift", work=work, secrets=CODE)


class JournalArchives(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_READ}

    @extend_schema(
        operation_id="journal_archives_list",
        parameters=list_parameters(),
        responses=schemas.JournalArchiveList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        everywhere = sees_all(caller(request), utc_now())
        rows = JournalArchive.objects.all() if everywhere else JournalArchive.objects.none()
        return page(
            request,
            rows,
            filters=filters,
            render=lambda found: list(map(render_archive, found)),
            by="first_seq",
        )


class JournalArchiving(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="journal_archive", request=ArchiveBody, responses={202: JobSchema})
    def post(self, request: Request) -> Response:
        """Archive what is older than the installation keeps, as a job; it is done daily by itself too."""
        read_query(request, frozenset())
        body = read_body(request, ArchiveBody)

        def work(ticket: Ticket | None) -> Response:
            job = keeping.start_archiving(
                principal=caller(request),
                before=body.get("before"),
                restored=body.get("restored", False),
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=render_job,
            )
            return _accepted(job)

        return once(request, route="POST /journal/archive", work=work, refresh=_again(request), secrets=CODE)


class JournalArchiveRestore(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="journal_archives_restore", request=ProvedBody, responses={202: JobSchema})
    def post(self, request: Request, first_seq: str) -> Response:
        """Bring the events of an archive back to the byte, as a job."""
        read_query(request, frozenset())
        body = read_body(request, ProvedBody)

        def work(ticket: Ticket | None) -> Response:
            job = keeping.start_restoring(
                principal=caller(request),
                first_seq=_number(first_seq),
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=render_job,
            )
            return _accepted(job)

        route = "POST /journal/archives/{first_seq}/restore"
        return once(request, route=route, work=work, refresh=_again(request), secrets=CODE)


def render_key(row: JournalKey) -> dict[str, Any]:
    """Return a key as it travels; times to the microsecond, since windows are judged by them."""
    public = bytes(row.public_key)
    is_of_notes = row.purpose == KeyPurpose.CHECKPOINT
    return {
        "id": row.pk,
        "object": "journal_key",
        "purpose": row.purpose,
        "public_key": base64.b64encode(public).decode(),
        "verifier_key": note.verifier_key(origin(utc_now()), public) if is_of_notes else None,
        "not_before": exact_time(row.not_before),
        "retired_at": exact_time(row.retired_at) if row.retired_at else None,
        "revoked_at": exact_time(row.revoked_at) if row.revoked_at else None,
        "rotation_event": row.rotation_event,
    }


def render_cosignature(row: JournalCosignature) -> dict[str, Any]:
    return {
        "object": "journal_cosignature",
        "tree_size": row.checkpoint_id,
        "witness": row.witness,
        "line": row.line,
    }


def render_hold(hold: LegalHold) -> dict[str, Any]:
    return {
        "id": hold.pk,
        "object": "legal_hold",
        "state": "standing" if hold.lifted_at is None else "lifted",
        "subject": hold.subject or None,
        "since": wire_time(hold.since),
        "until": wire_time(hold.until),
        "reason": hold.reason,
        "set_by": hold.set_by,
        "set_at": wire_time(hold.set_at),
        "lifted_by": hold.lifted_by or None,
        "lifted_at": wire_time(hold.lifted_at),
    }


def render_archive(row: JournalArchive) -> dict[str, Any]:
    state = "restored" if row.restored_at else "removed" if row.removed_at else "removing"
    return {
        "id": str(row.first_seq),
        "object": "journal_archive",
        "state": state,
        "first_seq": row.first_seq,
        "end_seq": row.end_seq,
        "file": archiving.path_of(row).name,
        "sha256": row.sha256,
        "bytes": row.bytes,
        "verified_at": wire_time(row.verified_at),
        "removed_at": wire_time(row.removed_at),
        "restored_at": wire_time(row.restored_at),
        "event": row.event,
    }


def _accepted(job: Job) -> Response:
    headers = {"Location": f"/api/v1/jobs/{job.pk}", "Retry-After": "2"}
    return Response(render_job(job), status=202, headers=headers)


def _again(request: Request) -> Any:
    def again(replay: Replay) -> Response:
        return _accepted(require_job(caller(request), replay.object_id or ""))

    return again


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise MalformedError("invalid_id", "A place in the log is a whole number.")
    return int(text)
