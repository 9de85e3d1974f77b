"""Plain HTTP stays on this machine, however the server was started.

`manage.py up` refuses an unsafe address before it listens. A server somebody starts by hand (`uvicorn
--host 0.0.0.0`) tells the application nothing beforehand, so each request is asked where it arrived.
"""

from __future__ import annotations

import json
import logging

from governance.api.body_cap import Application, Receive, Scope, Send
from governance.api.documents import CONTENT_TYPE, document
from governance.api.limits import API_HEADERS
from identity.endpoints import is_loopback_host
from palyra_site.exposure import is_https

log = logging.getLogger(__name__)
SENTENCE = (
    "This server speaks plain HTTP to its own machine only. Set PALYRA_PUBLIC_URL to an https:// origin."
)


def guarded(application: Application, public_url: str) -> Application:
    """Return the application, refusing what arrives from outside while the public URL is plain."""
    if is_https(public_url):
        return application

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _arrived_locally(scope):
            await application(scope, receive, send)
            return
        await _refuse(scope, send)

    return wrapped


def _arrived_locally(scope: Scope) -> bool:
    """A socket that has no address is one of the file system."""
    server = scope.get("server")
    if not server or server[1] is None:
        return True
    return is_loopback_host(str(server[0]))


async def _refuse(scope: Scope, send: Send) -> None:
    log.error("refused a request over plain HTTP from outside this machine: %s", SENTENCE)
    problem = document(400, "malformed_request", SENTENCE, instance=scope["path"], request_id="")
    headers = {**API_HEADERS, "Content-Type": CONTENT_TYPE, "Connection": "close"}
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 400, "headers": sent})
    await send({"type": "http.response.body", "body": json.dumps(problem).encode()})
