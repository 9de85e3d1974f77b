"""`Idempotency-Key` for every POST, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rest_framework.request import Request
from rest_framework.response import Response

from governance import idempotency
from governance.api.authentication import caller
from governance.api.documents import document
from governance.api.problems import members_of, problem
from governance.idempotency import Replay, Ticket
from kernel.clock import utc_now
from kernel.errors import PalyraError

_OF_ONE_REQUEST = ("request_id", "trace_id")
Work = Callable[[Ticket | None], Response]
Refresh = Callable[[Replay], Response]


def once(
    request: Request,
    *,
    route: str,
    work: Work,
    refresh: Refresh | None = None,
    secrets: frozenset[str] = frozenset(),
) -> Response:
    """Run `work` once per key, or replay its answer, built afresh by `refresh`.

    `work` passes the ticket to the pipeline, which stores the answer in its own transaction. A
    refusal is stored here; 401, 429 and 5xx are not, so that a repeat with a code, or later, may succeed.
    The address is part of what a key stands for: one key never answers for two objects. Members named
    in `secrets` are not: a body is kept as a plain digest, in which a password could be searched for.
    """
    principal = caller(request)
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return work(None)
    body = {"path": request.path, "body": _without(request.data, secrets), "query": _query(request)}
    begun = idempotency.begin(principal_id=principal.id, route=route, key=key, body=body, now=utc_now())
    if isinstance(begun, Replay):
        return _replayed(request, begun, refresh)
    return idempotency.attempt(begun, work, lambda refusal: _stored(request, refusal))


def _without(data: object, names: frozenset[str]) -> object:
    if not names or not isinstance(data, Mapping):
        return data
    return {name: value for name, value in data.items() if name not in names}


def _replayed(request: Request, replay: Replay, refresh: Refresh | None) -> Response:
    if replay.status >= 400:
        stored = {name: value for name, value in replay.body.items() if name not in _OF_ONE_REQUEST}
        answer = problem(request, replay.status, str(replay.body["code"]), extra=stored)
    elif refresh is not None and replay.object_id is not None:
        answer = refresh(replay)
    else:
        answer = Response(replay.body, status=replay.status)
    answer["Idempotency-Replayed"] = "true"
    return answer


def _stored(request: Request, refusal: PalyraError) -> dict[str, object]:
    """Return a refusal as the record keeps it, without what belongs to one request."""
    known = document(refusal.status, refusal.code, refusal.detail, instance=request.path, request_id="")
    return known | members_of(refusal)


def _query(request: Request) -> dict[str, list[str]]:
    """The query without `wait`: how long a caller waits does not change what it asks."""
    lists = {name: request.query_params.getlist(name) for name in request.query_params}
    lists.pop("wait", None)
    return lists
