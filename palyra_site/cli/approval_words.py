"""What a person reads of an approval request: in the order in which they decide."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from palyra_site.cli.output import cell, flatten
from palyra_site.cli.text import visible

Row = tuple[str, Any]
_HEAD = ("id", "state", "decision", "decided_by", "resolved_at", "subject_label", "risk", "expires_at")
_WHAT = ("title", "summary", "resource", "warnings")
_WHY = ("risk_reasons", "policy", "posture")
_HOW = ("effects", "execution", "secrets_used", "skill", "budget")
_PLACED = frozenset({"risk", "requester", "parameters_view", "said_by_agent", "tool", *_WHAT, *_WHY, *_HOW})
_DIGESTS = frozenset({"policy.set_hash", "tool.definition_hash"})
_VOTE = ("decision", "scope", "by", "comment")
_CODES = {"each": "one for this decision", "fresh": "not older than five minutes"}
_WIDEST = 32
_BRIEF = ("title", "summary", "warnings")


def request_rows(approval: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows of a whole request: what, its parameters, who, why, how, and what may be answered.

    Parts that say nothing are left out, but no parameter is. Parts this version does not know come last.
    """
    context = _object(approval.get("context"))
    yield from _telling((name, approval.get(name)) for name in _HEAD)
    yield from _named(_WHAT, context)
    yield from parameter_rows(context.get("parameters_view"))
    yield from _named(("requester",), {"requester": context.get("requester") or approval.get("requester")})
    yield from _named(("said_by_agent",), context)
    yield from _telling((name, approval.get(name)) for name in ("edited_from", "edited_by"))
    yield from _named((*_WHY, "tool", *_HOW), context)
    yield from _named([name for name in context if name not in _PLACED], context)
    yield from answer_rows(approval)
    yield from similar_rows(approval.get("similar"))


def brief_rows(approval: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what must be seen of each of many requests: which it is, who asks, and every parameter."""
    context = _object(approval.get("context"))
    yield from _telling((name, approval.get(name)) for name in ("id", "state", "risk", "version"))
    yield from _named(_BRIEF, context)
    yield from parameter_rows(context.get("parameters_view"))


def parameter_rows(view: object) -> Iterator[Row]:
    """Yield every parameter as the server shows it: masked, marked where it was cut, and as JSON.

    As JSON no two values look the same: `"1"` and `1`, a line feed and a backslash with an n.
    """
    if isinstance(view, dict) and view:
        yield from ((name, exact(value)) for name, value in flatten(view, "parameters."))
    elif view is not None:
        yield "parameters", exact(view)


def exact(value: object) -> str:
    """Return a value as the JSON that it is."""
    return json.dumps(value, ensure_ascii=False)


def answer_rows(approval: Mapping[str, Any]) -> Iterator[Row]:
    """Yield who has answered, who may, and what an allow may say."""
    quorum = _object(approval.get("quorum"))
    if quorum:
        yield "quorum", f"{quorum.get('allowed')} of {quorum.get('needed')}"
    for vote in _objects(approval.get("votes")):
        yield (
            "vote",
            " ".join(cell(vote[name]) for name in ("decision", "scope", "by", "comment") if vote.get(name)),
        )
    reason, relation = approval.get("ineligible_reason"), approval.get("ineligible_relation")
    if approval.get("eligible") is False and reason != "step_up_required":
        yield "you_may_answer", f"no: {reason}" + (f" ({relation})" if relation else "")
    options = _object(approval.get("options"))
    offered = [scope for scope in _objects(options.get("scopes")) if scope.get("offered")]
    yield from _telling(
        [
            ("scopes_offered", ", ".join(cell(scope.get("scope")) for scope in offered)),
            (
                "longest_ttl_ms",
                next((one["longest_ttl_ms"] for one in offered if one.get("longest_ttl_ms")), None),
            ),
            ("one_time_code", _CODES.get(str(options.get("step_up")))),
            ("comment", "required" if options.get("comment_required") else None),
            ("roles_needed", options.get("role_sets")),
            ("break_glass", approval.get("break_glass") or None),
        ]
    )


def similar_rows(similar: object) -> Iterator[Row]:
    """Yield how other requests like this one ended, newest first."""
    for one in _objects(similar):
        when = cell(one.get("requested_at"), "requested_at")
        yield "similar", f"{when} {cell(one.get('decision') or one.get('state'))} {cell(one.get('id'))}"


def aligned(rows: Iterable[Row]) -> Iterator[str]:
    """Yield rows as lines `name:  value` whose values stand below each other; nothing in them acts."""
    known = [(visible(name), value) for name, value in rows]
    width = max((len(name) for name, _ in known), default=0) + 1
    for name, value in known:
        yield f"{name}:".ljust(min(width, _WIDEST)) + f" {cell(value, name)}"


def pattern_line(pattern: Mapping[str, Any]) -> str:
    """Return an offered pattern as one line: its number, what it covers, and how often it would have."""
    covers = _object(pattern.get("covers"))
    covered = f"covers {cell(covers.get('matched'))} of the last {cell(covers.get('asks'))} asks"
    return f"{cell(pattern.get('id'))}: {cell(pattern.get('words'))} ({covered})"


def quorum_line(data: Mapping[str, Any]) -> str:
    """Return `1 of 2 approvals` for a decision that left the request open."""
    quorum = _object(data.get("quorum"))
    if not quorum:
        return "more approvals are needed"
    return f"{quorum.get('allowed')} of {quorum.get('needed')} approvals"


def settled_line(approval: Mapping[str, Any]) -> str:
    """Return how a request ended, when, and by whose answer."""
    parts = [f"{approval.get('id')} is {approval.get('state')}"]
    if approval.get("resolved_at"):
        parts.append(f"since {approval['resolved_at']}")
    deciders = approval.get("decided_by")
    if isinstance(deciders, list) and deciders:
        parts.append(f"by {', '.join(str(one) for one in deciders)}")
    return " ".join(parts) + "."


def change_lines(before: object, after: Mapping[str, Any]) -> Iterator[str]:
    """Yield how new arguments differ from those shown: `path: "a" -> "b"`, sorted by their names."""
    shown = dict(flatten(before)) if isinstance(before, dict) else {}
    wanted = dict(flatten(after))
    for name in sorted({*shown, *wanted}):
        old, new = (exact(of[name]) if name in of else "(absent)" for of in (shown, wanted))
        if old != new:
            yield f"{name}: {old} -> {new}"


def _named(names: Sequence[str], values: Mapping[str, Any]) -> Iterator[Row]:
    """Yield named parts: objects field by field, sentences one a row, and no part that says nothing."""
    for name in names:
        value = values.get(name)
        if isinstance(value, dict):
            yield from _telling(row for row in flatten(value, f"{name}.") if row[0] not in _DIGESTS)
        elif name in {"risk_reasons", "warnings"} and isinstance(value, list):
            yield from ((name, one) for one in value)
        else:
            yield from _telling([(name, value)])


def _telling(rows: Iterable[Row]) -> Iterator[Row]:
    return ((name, value) for name, value in rows if value not in (None, [], "", {}))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
