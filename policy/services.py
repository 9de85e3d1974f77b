"""What other parts call to decide, and to change what is decided.

Every write runs inside the caller's transaction, checks authority itself, raises the epoch before it
changes a row and records its event. `decide`, `decide_again` and `permit_governance` write nothing
and never raise.
"""

from __future__ import annotations

from policy.allowlists import allowlist, hold_sensitive, release_sensitive, remove_from_allowlist
from policy.decisions import decide, decide_again, permit_governance
from policy.installation import install_baseline
from policy.limits import LimitsChange, change_limits, prepare_limits
from policy.posture_acts import (
    accept_recommendation,
    apply_preset,
    put_off_recommendation,
    reset_scope,
    undo_posture,
)
from policy.postures import Asking, OverrideInput, clear_posture, expire_postures, set_posture
from policy.tools import ToolChange, change_tool, register_tool

__all__ = [
    "Asking",
    "LimitsChange",
    "OverrideInput",
    "ToolChange",
    "accept_recommendation",
    "allowlist",
    "apply_preset",
    "change_limits",
    "change_tool",
    "clear_posture",
    "decide",
    "decide_again",
    "expire_postures",
    "hold_sensitive",
    "install_baseline",
    "permit_governance",
    "prepare_limits",
    "put_off_recommendation",
    "register_tool",
    "release_sensitive",
    "remove_from_allowlist",
    "reset_scope",
    "set_posture",
    "undo_posture",
]
