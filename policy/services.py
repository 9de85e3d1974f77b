"""What other parts call to decide, and to change what is decided.

Every write runs inside the caller's transaction, checks authority itself, raises the epoch before it
changes a row and records its event. `decide` and `permit_governance` write nothing and never raise.
"""

from __future__ import annotations

from policy.allowlists import allowlist, remove_from_allowlist
from policy.decisions import decide, permit_governance
from policy.installation import install_baseline
from policy.postures import OverrideInput, clear_posture, expire_postures, set_posture
from policy.tools import register_tool

__all__ = [
    "OverrideInput",
    "allowlist",
    "clear_posture",
    "decide",
    "expire_postures",
    "install_baseline",
    "permit_governance",
    "register_tool",
    "remove_from_allowlist",
    "set_posture",
]
