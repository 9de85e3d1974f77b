"""The body limit, enforced while bytes arrive.

Django's ASGI handler spools a whole body to disk before any middleware runs, so the limit has to
wrap `receive` itself: first by Content-Length, then by what really comes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from governance.admin.too_large import MOST_DRAINED, is_form, page_of
from governance.api.documents import CONTENT_TYPE, document
from governance.api.limits import API_HEADERS, body_limit
from governance.api.request_ids import answered_id, request_id_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def capped(application: Application) -> Application:
    """Return the application with 413 `body_too_large` for bodies over the limit."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        limit = body_limit(scope["path"])
        if _declared_length(scope, limit) > limit:
            await _drain(scope, receive)
            await _refuse(scope, send)
            return
        body = await _read(receive, limit)
        if body is None:
            await _refuse(scope, send)
            return
        await application(_measured(scope, body), _replay(body, receive), send)

    return wrapped


def _declared_length(scope: Scope, limit: int) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else limit + 1
    return 0


async def _read(receive: Receive, limit: int) -> list[MutableMapping[str, Any]] | None:
    messages: list[MutableMapping[str, Any]] = []
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            return None
        messages.append(message)
        if message["type"] != "http.request" or not message.get("more_body", False):
            return messages


def _measured(scope: Scope, messages: list[MutableMapping[str, Any]]) -> Scope:
    """Declare the length of a body that came in chunks: the framework takes an undeclared one for none."""
    if any(name == b"content-length" for name, _ in scope["headers"]):
        return scope
    size = sum(len(message.get("body", b"")) for message in messages)
    kept = [(name, value) for name, value in scope["headers"] if name != b"transfer-encoding"]
    return {**scope, "headers": [*kept, (b"content-length", str(size).encode())]} if size else scope


def _replay(messages: list[MutableMapping[str, Any]], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> MutableMapping[str, Any]:
        for message in waiting:
            return message
        return await receive()

    return replayed


async def _drain(scope: Scope, receive: Receive) -> None:
    """Let a browser send what it began, within bounds: it shows no answer before it is done."""
    left = MOST_DRAINED if is_form(scope["path"]) else 0
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b"")) + 1
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


async def _refuse(scope: Scope, send: Send) -> None:
    if is_form(scope["path"]):
        await _refuse_person(scope, send)
        return
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    request_id = request_id_of(given.decode("latin-1"))
    answered = answered_id(scope["path"], given.decode("latin-1"), request_id)
    problem = document(413, "body_too_large", "", instance=scope["path"], request_id=request_id)
    body = json.dumps(problem).encode()
    headers = {**API_HEADERS, "Content-Type": CONTENT_TYPE, "Connection": "close", "X-Request-Id": answered}
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 413, "headers": sent})
    await send({"type": "http.response.body", "body": body})


async def _refuse_person(scope: Scope, send: Send) -> None:
    headers, body = page_of(body_limit(scope["path"]))
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 413, "headers": sent})
    await send({"type": "http.response.body", "body": body})
