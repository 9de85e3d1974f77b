"""What a caller gets of a finished run, and the digests over it."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from governance.models import ToolCall
from governance.safety.secrets import scan
from kernel.canonical import canonical, digest_bytes
from sandbox.types import Outcome


def result_of(outcome: Outcome, *, redact: bool) -> dict[str, object] | None:
    """Return the result object (API part §3.6), or None when the tool produced nothing.

    `redact` is the obligation `redact_output` of the policy that allowed the call: whatever has the
    shape of a secret leaves the output before it is stored, digested or shown.
    """
    if outcome.output is None:
        return None
    output, redactions = _redacted(dict(outcome.output)) if redact else (dict(outcome.output), 0)
    data = canonical(output)
    return {
        "output": output,
        "output_digest": digest_bytes(data),
        "bytes": len(data),
        "truncated": outcome.stdout_truncated or outcome.stderr_truncated,
        "redactions": redactions,
        "content_type": "application/json",
    }


def must_redact(call: ToolCall) -> bool:
    """Tell whether a policy that allowed the call asked for a redacted output."""
    return any(obligation["kind"] == "redact_output" for obligation in call.obligations)


def _redacted(value: object) -> tuple[object, int]:
    """Return the value without secret-shaped spans, and how many there were."""
    if isinstance(value, str):
        scanned = scan(value)
        return scanned.text, scanned.count
    if isinstance(value, dict):
        parts = {name: _redacted(item) for name, item in value.items()}
        return {name: part for name, (part, _) in parts.items()}, sum(count for _, count in parts.values())
    if isinstance(value, list):
        items = [_redacted(item) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    return value, 0


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
    return digest_bytes(salted_text(call, stored_output(call)))


def stored_output(call: ToolCall) -> object:
    """Return the output as it is stored, None where there is none."""
    return call.result["output"] if call.result else None


def input_digest(call: ToolCall) -> str:
    """Return the salted digest of the input as stored."""
    return digest_bytes(salted_text(call, call.input))


def salted_text(call: ToolCall, value: object) -> bytes:
    """Return the bytes that a salted digest of this call is over."""
    return canonical({"salt": urlsafe_b64encode(bytes(call.salt)).decode().rstrip("="), "data": value})
