"""The decision form as it is read: scope, duration, pattern, comment, and what is wrong where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from governance.admin.once import new_intent

LONGEST_PATTERN = 16_384
LONGEST_COMMENT = 4_000
DURATIONS = {"1h": 3_600_000, "8h": 28_800_000, "24h": 86_400_000}
"""The offered durations of a temporary grant, in milliseconds."""
UNITS = {"min": 60_000, "h": 3_600_000, "d": 86_400_000}
VERDICTS = frozenset({"allow", "deny"})
SCOPES = ("once", "session", "temporary", "always")
FIELDS = (
    "verdict", "scope", "ttl", "ttl_number", "ttl_unit", "pattern", "narrowed", "comment", "end_run",
    "version", "digest",
)  # fmt: skip
"""What a post is made of; the one-time code is no part of what is remembered."""
PLACES = {
    "step_up_required": "code",
    "authentication_throttled": "code",
    "comment_required": "comment",
    "ttl_required": "ttl",
    "ttl_out_of_range": "ttl",
    "ttl_not_allowed": "ttl",
    "scope_not_offered": "scope",
    "pattern_too_broad": "pattern",
    "pattern_covers_denied": "pattern",
}
"""At which field a refusal is shown; any other stands at the verdict."""
POINTERS = {"ttl_ms": "ttl", "scope": "scope", "pattern": "pattern", "comment": "comment"}


@dataclass(frozen=True, slots=True)
class DecisionForm:
    """The form as shown. The verdict is never kept: nothing is chosen for the person.

    Each rendering has its own intent. `pattern` is a candidate as JSON, `narrowed` one typed by hand.
    """

    scope: str = "once"
    ttl: str = "1h"
    ttl_number: str = ""
    ttl_unit: str = "h"
    pattern: str = ""
    narrowed: str = ""
    comment: str = ""
    end_run: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)
    intent: str = field(default_factory=new_intent)


def typed(post: Mapping[str, str]) -> DecisionForm:
    """Return what was typed, each text as far as a page bears it."""
    scope = post.get("scope", "") or "once"
    return DecisionForm(
        scope=scope if scope in SCOPES else "once",
        ttl=post.get("ttl", ""),
        ttl_number=post.get("ttl_number", "")[:9],
        ttl_unit=post.get("ttl_unit", "h"),
        pattern=post.get("pattern", "")[:LONGEST_PATTERN],
        narrowed=post.get("narrowed", "")[:LONGEST_PATTERN],
        comment=post.get("comment", "")[:LONGEST_COMMENT],
        end_run=post.get("end_run") == "1",
    )


def ttl_ms(form: DecisionForm) -> int | None:
    """Return the chosen duration; None for a scope that has none. ValueError for what is no number."""
    if form.scope != "temporary":
        return None
    if form.ttl in DURATIONS:
        return DURATIONS[form.ttl]
    number = form.ttl_number.strip()
    if form.ttl != "own" or not number.isascii() or not number.isdigit() or form.ttl_unit not in UNITS:
        raise ValueError("no duration")
    return int(number) * UNITS[form.ttl_unit]


def pattern_of(form: DecisionForm) -> Mapping[str, object] | None:
    """Return the pattern that was typed, or chosen; None for `once`, which is exactly this call.

    ValueError for what is no JSON object.
    """
    if form.scope == "once":
        return None
    text = form.narrowed.strip() or form.pattern.strip()
    if not text:
        return None
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if isinstance(value, dict):
        return value
    raise ValueError("no object")


def faults(form: DecisionForm, *, verdict: str, scope: str) -> dict[str, str]:
    """Return what is wrong with a form before anybody is asked, by field."""
    errors: dict[str, str] = {}
    if verdict not in VERDICTS:
        errors["verdict"] = "Choose whether to allow or to deny."
    if scope and scope not in SCOPES:
        errors["scope"] = "There is no such scope."
    if verdict == "deny":
        if len(form.comment.strip()) < 3:
            errors["comment"] = "Say why: a denial needs a comment of at least 3 characters."
        return errors
    try:
        ttl_ms(form)
    except ValueError:
        errors["ttl"] = "Say for how long: a whole number, from 1 minute to 30 days."
    try:
        pattern_of(form)
    except ValueError:
        errors["pattern"] = "This is no pattern: it takes one JSON object."
    return errors
