"""The request bodies about grants. What a comment must be is the services' matter."""

from __future__ import annotations

from governance.api.bodies_approvals import LONGEST_COMMENT
from governance.api.strict import Body, Text


class RevokeGrantBody(Body):
    comment = Text(required=False, max_length=LONGEST_COMMENT, allow_blank=True)
