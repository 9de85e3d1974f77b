"""The console's vocabulary: which icon, colour and word stand for a state. Pure tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

NOTHING = "\N{EN DASH}"
"""What stands in an empty cell."""
RISKS = ("low", "medium", "high", "critical")
_RISK_TONES = {"low": "off", "medium": "warn", "high": "bad", "critical": "bad"}


@dataclass(frozen=True, slots=True)
class Look:
    """How one state is shown: never by colour alone."""

    tone: str
    icon: str
    word: str


_LOOKS: dict[str, Look] = {
    "allow": Look("ok", "check", "Allowed"),
    "allowed": Look("ok", "check", "Allowed"),
    "pass": Look("ok", "check", "Passed"),
    "succeeded": Look("ok", "check", "Succeeded"),
    "completed": Look("ok", "check", "Completed"),
    "active": Look("ok", "check", "Active"),
    "available": Look("ok", "check", "Available"),
    "always_allow": Look("ok", "check", "Always allow"),
    "settled": Look("ok", "check", "Settled"),
    "consumed": Look("off", "check", "Used"),
    "deny": Look("bad", "ban", "Denied"),
    "denied": Look("bad", "ban", "Denied"),
    "refused": Look("bad", "ban", "Refused"),
    "failed": Look("bad", "cross", "Failed"),
    "timed_out": Look("bad", "clock", "Timed out"),
    "revoked": Look("bad", "ban", "Revoked"),
    "quarantined": Look("bad", "alert", "Quarantined"),
    "missing": Look("bad", "cross", "Missing"),
    "disabled": Look("off", "ban", "Disabled"),
    "degraded": Look("warn", "alert", "Degraded"),
    "ambiguous": Look("warn", "question", "Ambiguous"),
    "suspended": Look("warn", "ban", "Suspended"),
    "queued": Look("info", "clock", "Queued"),
    "running": Look("info", "run", "Running"),
    "open": Look("info", "run", "Open"),
    "idle": Look("off", "dash", "Idle"),
    "waiting_for_approval": Look("hold", "hand", "Waiting for a person"),
    "frozen": Look("bad", "ban", "Frozen"),
    "held": Look("info", "lock", "Held"),
    "staged": Look("info", "box", "Staged"),
    "draft": Look("info", "dash", "Draft"),
    "validated": Look("info", "check", "Validated"),
    "added": Look("ok", "check", "Added"),
    "removed": Look("bad", "cross", "Removed"),
    "changed": Look("warn", "dash", "Changed"),
    "loosened": Look("bad", "alert", "Looser"),
    "tightened": Look("hold", "lock", "Tighter"),
    "reason_only": Look("off", "dash", "Other reason"),
    "ask": Look("hold", "hand", "Asked"),
    "require_approval": Look("hold", "hand", "Needs approval"),
    "ask_each_time": Look("hold", "hand", "Ask each time"),
    "awaiting_approval": Look("hold", "hand", "Awaiting approval"),
    "pending": Look("hold", "hand", "Pending"),
    "overlapping": Look("warn", "clock", "Overlapping"),
    "exposed": Look("bad", "alert", "Exposed"),
    "enrolled": Look("ok", "lock", "Enrolled"),
    "not_enrolled": Look("warn", "lock", "Not enrolled"),
    "setup": Look("hold", "key", "Setup pending"),
    "no_login": Look("off", "lock", "Cannot sign in"),
    "overdue": Look("bad", "clock", "Overdue"),
    "justified": Look("ok", "check", "Justified"),
    "unjustified": Look("bad", "cross", "Not justified"),
    "delivered": Look("ok", "check", "Delivered"),
    "abandoned": Look("bad", "clock", "Given up"),
    "accepted": Look("ok", "check", "Accepted"),
    "cancelled": Look("off", "dash", "Cancelled"),
    "expired": Look("off", "clock", "Expired"),
    "superseded": Look("off", "dash", "Superseded"),
    "released": Look("off", "dash", "Released"),
    "discarded": Look("off", "dash", "Discarded"),
    "archived": Look("off", "box", "Archived"),
    "redacted": Look("off", "lock", "Redacted"),
    "erased": Look("off", "ban", "Erased"),
    "sealed": Look("ok", "seal", "Sealed"),
    "unsealed": Look("hold", "clock", "Not sealed yet"),
    "unlogged": Look("bad", "alert", "Not in the log"),
    "unreadable": Look("bad", "alert", "Unreadable"),
    "stalled": Look("bad", "alert", "Stalled"),
    "inconsistent": Look("bad", "alert", "Inconsistent"),
    "lagging": Look("warn", "clock", "Lagging"),
    "holds": Look("ok", "check", "Holds"),
    "broken": Look("bad", "cross", "Does not hold"),
    "unchecked": Look("off", "dash", "Not checked"),
    "retired": Look("off", "clock", "Retired"),
    "lifted": Look("off", "dash", "Lifted"),
    "skipped": Look("off", "dash", "Skipped"),
}


def look(state: str) -> Look:
    """Return the look of a state; an unknown one shows its own text in the neutral colour."""
    return _LOOKS.get(state) or Look("off", "dash", state.replace("_", " ").capitalize() or NOTHING)


def risk_tone(risk: str) -> str:
    """Return the colour of a risk level; an unknown one counts as the worst."""
    return _RISK_TONES.get(risk, "bad")


def risk_bars(risk: str) -> int:
    """Return how many of four bars are filled; an unknown level fills all."""
    return RISKS.index(risk) + 1 if risk in RISKS else 4


def urgency(part: float) -> str:
    """Return the colour of a deadline of which this part is left: warns at one half, alarms at a fifth."""
    return "bad" if part <= 0.2 else "warn" if part <= 0.5 else "hold"


def span(length: timedelta) -> str:
    """Return a duration as people say it: `8 s`, `12 min`, `3 h 20 min`, `5 d`."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        rest = minutes % 60
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d"


def countdown(length: timedelta) -> str:
    """Return what is left of a deadline to the second while it is short: `8 min 12 s`, `2 h 5 min`."""
    seconds = max(0, int(length.total_seconds()))
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if 0 < minutes < 60 else span(length)


def relative(moment: datetime, now: datetime) -> str:
    """Return `3 min ago`, `in 8 min` or `just now`."""
    if abs(moment - now) < timedelta(seconds=2):
        return "just now"
    return f"in {span(moment - now)}" if moment > now else f"{span(now - moment)} ago"


def milliseconds(value: float | None) -> str:
    """Return a measured time with a fitting unit: `0.4 ms`, `32 ms`, `1.2 s`."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.1f}".removesuffix(".0") + " ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f}".removesuffix(".0") + " s"


_EVENT_ICONS = {
    "tool_call": "call", "approval": "inbox", "grant": "key", "execution": "execution",
    "attestation": "seal", "run": "run", "policy": "policy", "tool": "tool", "posture": "tool",
    "allowlist": "tool", "skill": "box", "agent": "agent", "token": "key", "login": "lock",
    "step_up": "lock", "factor": "lock", "user": "hand", "membership": "hand", "request": "ban",
    "journal": "journal", "record": "journal", "sandbox": "box", "system": "pulse",
    "flag": "check", "access": "check", "freeze": "ban", "webhook": "call", "subscription": "call",
    "job": "run", "label": "alert", "reservation": "pulse", "budget": "pulse", "approvals": "inbox",
    "recommendation": "hand", "sensitive_rule": "tool", "tool_call_config": "tool", "publisher": "box",
    "workspace": "place", "workspace_root": "place", "team": "people", "invitation": "people",
    "share": "people", "login_session": "lock", "identity": "lock", "auth": "alert",
}  # fmt: skip
_EVENT_TONES = {
    "denied": "bad", "refused": "bad", "failed": "bad", "revoked": "bad", "lost": "warn", "expired": "off",
    "cancelled": "off", "requested": "hold", "reviewed": "hold", "recorded": "ok", "finished": "ok",
    "succeeded": "ok", "rejected": "bad", "inconsistent": "bad", "erased": "off", "verified": "ok",
}  # fmt: skip


def event_words(name: str) -> Look:
    """Return the look of a journal event: `tool_call.decided` reads `Tool call decided`."""
    noun, _, verb = name.partition(".")
    sentence = f"{noun} {verb}".replace("_", " ").strip().capitalize()
    return Look(_EVENT_TONES.get(verb, "info"), _EVENT_ICONS.get(noun, "dash"), sentence)
