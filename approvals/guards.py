"""The table of answers: a row stays as it was given."""

from __future__ import annotations

from kernel.append_only import AppendOnly

REVIEWS = AppendOnly(
    table="approvals_review",
    keys=(("id",), ("request_id", "reviewer_id")),
    erasable=(("comment", "''"), ("pattern", "NULL"), ("ip_digest", "''")),
    others=(
        "id", "request_id", "reviewer_id", "verdict", "scope", "ttl_ms", "break_glass", "surface",
        "auth_method", "step_up_at", "seen_version", "roles", "single_operator", "created_at",
    ),
)  # fmt: skip
"""An erasure may empty what a person wrote in an answer, and from where; nothing else ever changes."""
