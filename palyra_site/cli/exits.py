"""Exit codes, decided from an answer's status and problem code and never from its text."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """One table for every `palyra` command."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    UNAUTHENTICATED = 3
    UNREACHABLE = 4
    UNSUPPORTED = 5
    REFUSED = 6
    CONFLICT = 7
    NOT_FOUND = 8
    WAITING = 10
    TOOL_FAILED = 11
    FINDINGS = 12
    INTERRUPTED = 130
    PIPE_CLOSED = 141


WAITING_STATES = frozenset({"awaiting_approval", "queued", "running"})

_BY_STATUS = {
    401: Exit.UNAUTHENTICATED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    405: Exit.UNSUPPORTED,
    408: Exit.UNREACHABLE,
    409: Exit.CONFLICT,
    410: Exit.CONFLICT,
    412: Exit.CONFLICT,
    428: Exit.CONFLICT,
    429: Exit.UNREACHABLE,
    501: Exit.UNSUPPORTED,
    503: Exit.UNREACHABLE,
}
_BY_CALL_STATE = {
    "succeeded": Exit.DONE,
    "denied": Exit.REFUSED,
    "refused": Exit.REFUSED,
    "expired": Exit.REFUSED,
    "cancelled": Exit.REFUSED,
    "superseded": Exit.CONFLICT,
    "failed": Exit.TOOL_FAILED,
    "timed_out": Exit.TOOL_FAILED,
    "ambiguous": Exit.TOOL_FAILED,
}


def exit_for(status: int, code: str | None) -> Exit:
    """Return the exit code of an HTTP answer. Total; what is not understood is INTERNAL.

    `code` is the problem's code, None when the answer was no problem document: a 404 without one
    comes from a server that does not know the route.
    """
    if 200 <= status < 300:
        return Exit.DONE
    if code == "frozen":
        return Exit.CONFLICT
    if code == "feature_disabled" or (status == 404 and code is None):
        return Exit.UNSUPPORTED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Exit.USAGE if 400 <= status < 500 else Exit.INTERNAL


def exit_for_call(state: str, *, waited: bool) -> Exit:
    """Return the exit code of a tool call in `state`. `waited`: the command had to see its end."""
    if state in WAITING_STATES:
        return Exit.WAITING if waited else Exit.DONE
    return _BY_CALL_STATE.get(state, Exit.INTERNAL)


def exit_for_job(state: str) -> Exit:
    """Return the exit code of a job in `state` whose end a command had to see."""
    if state in {"queued", "running"}:
        return Exit.WAITING
    return {"succeeded": Exit.DONE, "cancelled": Exit.REFUSED}.get(state, Exit.INTERNAL)
