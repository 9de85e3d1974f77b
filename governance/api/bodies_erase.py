"""The request body of an erasure."""

from __future__ import annotations

from governance.api.strict import Body, Text
from governance.erasures import LONGEST_REASON


class EraseBody(Body):
    """`subject` is a `run_…`, `agt_…` or `usr_…` id. The reason is kept for ever: it should name nobody."""

    subject = Text(max_length=40)
    reason = Text(max_length=LONGEST_REASON)
    otp = Text(required=False, max_length=16)
