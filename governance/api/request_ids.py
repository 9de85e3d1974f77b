"""The id under which a request is found in logs and problems."""

from __future__ import annotations

import re

from kernel.clock import utc_now
from kernel.ids import new_id

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id_of(given: str) -> str:
    """Return the caller's own id when it is well formed, else a new one."""
    return given if _WELL_FORMED.fullmatch(given) else new_id("req", utc_now())
