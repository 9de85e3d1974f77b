"""The id under which a request is found in logs and problems."""

from __future__ import annotations

import re

from governance.api.limits import AUTHZEN_PREFIXES
from kernel.clock import utc_now
from kernel.ids import new_id

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE = "0" * 32
_ECHOED = re.compile(r"[\x20-\x7e\x80-\xff]{1,1024}")


def request_id_of(given: str) -> str:
    """Return the caller's own id when it is well formed, else a new one."""
    return given if _WELL_FORMED.fullmatch(given) else new_id("req", utc_now())


def trace_id_of(traceparent: str) -> str | None:
    """Return the trace id of a W3C `traceparent` header, or None when there is none in it."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found and found[1] != _NO_TRACE else None


def answered_id(path: str, given: str, request_id: str) -> str:
    """Return what X-Request-Id of an answer says: the id, and on AuthZEN's routes what was sent.

    That standard has the caller's text come back as it is, whatever it is; logs keep to the id.
    """
    as_sent = path.startswith(AUTHZEN_PREFIXES) and _ECHOED.fullmatch(given) is not None
    return given if as_sent else request_id
