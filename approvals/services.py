"""The door to every write of approvals: requests, reviews, grants.

Each function runs inside the caller's transaction; a state changes by compare-and-set only, under a
lock on the request's row (`transaction_mode: IMMEDIATE` on SQLite).
"""

from __future__ import annotations

from approvals.asking import MAX_TIMEOUT_S as MAX_TIMEOUT_S, open_request as open_request
from approvals.denials import forget_denial as forget_denial, sweep_denials as sweep_denials
from approvals.editing import EditInput as EditInput, edit_arguments as edit_arguments
from approvals.ending import (
    already_decided as already_decided,
    cancel_request as cancel_request,
    expire_request as expire_request,
)
from approvals.grant_ends import (
    expire_grant as expire_grant,
    remind_of_grant as remind_of_grant,
    revoke_grant as revoke_grant,
)
from approvals.grants import consume_grant as consume_grant
from approvals.reviewing import ReviewOutcome as ReviewOutcome, record_review as record_review
