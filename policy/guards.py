"""The tables of policy whose rows stay as they were written."""

from __future__ import annotations

from kernel.append_only import AppendOnly

GUARDED = (AppendOnly("policy_postureevent", (("id",), ("undoes",))),)
