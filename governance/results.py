"""What a caller gets of a finished run, and the digests over it."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from governance.models import ToolCall
from kernel.canonical import canonical, digest, digest_bytes
from sandbox.types import Outcome


def result_of(outcome: Outcome) -> dict[str, object] | None:
    """Return the result object (API part §3.6), or None when the tool produced nothing."""
    if outcome.output is None:
        return None
    output = dict(outcome.output)
    data = canonical(output)
    return {
        "output": output,
        "output_digest": digest_bytes(data),
        "bytes": len(data),
        "truncated": outcome.stdout_truncated or outcome.stderr_truncated,
        "redactions": 0,
        "content_type": "application/json",
    }


def error_of(outcome: Outcome) -> dict[str, object] | None:
    """Return the error object of a run that did not succeed, else None."""
    if outcome.error_kind is None:
        return None
    detail = dict(outcome.detail)
    if outcome.error_code:
        detail["code"] = outcome.error_code
    return {"kind": outcome.error_kind.value, "message": outcome.message, "detail": detail}


def output_digest(call: ToolCall) -> str:
    """Return the salted digest of the output as stored; that of null when nothing ran.

    The salt keeps a short answer from being guessed from its digest, and dies with the call's row.
    """
    return _salted(call, call.result["output"] if call.result else None)


def input_digest(call: ToolCall) -> str:
    """Return the salted digest of the input as stored."""
    return _salted(call, call.input)


def _salted(call: ToolCall, value: object) -> str:
    return digest({"salt": urlsafe_b64encode(bytes(call.salt)).decode().rstrip("="), "data": value})
