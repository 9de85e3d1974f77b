"""The errors every floor raises. An adapter maps them once; the HTTP shape is RFC 9457."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

CODES: dict[str, str] = {
    "already_decided": "The request was already decided",
    "already_rotated": "The token was rotated already",
    "amount_must_be_string": "An amount must be a decimal string",
    "archived": "The events lie in an archive",
    "authentication_throttled": "Too many failed authentications",
    "authzen_invalid": "The authorization request is not valid",
    "backend_unavailable": "No execution backend can serve this",
    "body_too_large": "The body is larger than allowed",
    "comment_required": "A comment is required",
    "conflict": "The state changed meanwhile",
    "database_unavailable": "The database cannot be reached",
    "dependency_off": "A feature this one needs is off",
    "erasure_still_active": "What is to be erased still acts",
    "event_gone": "The stream cannot go on after this event",
    "feature_disabled": "The feature is switched off",
    "four_eyes_required": "A second person is required",
    "frozen": "A freeze is in force",
    "idempotency_in_progress": "The first request with this key is still running",
    "idempotency_key_invalid": "The idempotency key is not usable",
    "idempotency_key_reused": "The idempotency key was used with another body",
    "idempotency_outcome_unknown": "The outcome of the first request with this key is unknown",
    "immutable": "This record cannot be changed",
    "insufficient_scope": "The credential lacks a scope",
    "integrity_failed": "Stored data failed its integrity check",
    "internal": "Internal error",
    "invalid": "The request is not valid",
    "invalid_cursor": "The cursor is not usable",
    "invalid_id": "The identifier is malformed",
    "invalid_if_match": "The If-Match header is not usable",
    "invalid_parameter": "A query parameter has a wrong value",
    "invalid_range": "The range is not one of this log",
    "journal.archive_invalid": "The file is not the archive it should be",
    "journal.key_unknown": "No signature is by a known key",
    "journal.note_malformed": "The checkpoint is not a well-formed note",
    "journal.proof_invalid": "The proof does not lead to the checkpoint",
    "journal.proof_malformed": "The proof is not well-formed",
    "journal.signature_invalid": "A signature does not hold",
    "journal_inconsistent": "The journal is not what was signed",
    "journal_sealing_stalled": "Sealing of the journal lags behind",
    "journal_unavailable": "The journal cannot be written",
    "key_insecure": "A key file has unsafe ownership or mode",
    "last_owner": "The last owner must stay",
    "legal_hold": "A legal hold stands",
    "malformed_json": "The body is not acceptable JSON",
    "malformed_request": "The request is not acceptable HTTP",
    "method_not_allowed": "The method is not allowed here",
    "not_a_reviewer": "This person may not review the request",
    "not_acceptable": "No acceptable representation",
    "not_found": "Not found",
    "not_ready": "The server is not ready",
    "not_sealed": "The event is not sealed yet",
    "oidc_failed": "The sign-in through the provider failed",
    "oidc_not_linked": "The provider's account belongs to nobody here",
    "oidc_unavailable": "The sign-in provider does not answer",
    "own_authenticator_required": "An own authenticator is required first",
    "pattern_covers_denied": "The pattern would allow what a person denied",
    "pattern_too_broad": "The pattern is broader than it may be",
    "policy_base_moved": "Another policy set came into force meanwhile",
    "policy_invalid": "The policies do not validate",
    "policy_lockout": "Nobody could change the rules any more",
    "policy_schema_break": "The rules in force would no longer validate",
    "policy_too_costly": "The policies take too much time or memory",
    "posture_locked": "The tool is locked",
    "posture_shadowed": "A broader scope decides",
    "posture_too_loose": "The posture is too loose for a tool of this risk",
    "precondition_failed": "The precondition failed",
    "precondition_required": "A precondition is required",
    "rate_limited": "Too many requests",
    "rate_limiter_unavailable": "The rate limiter does not answer",
    "recommendation_stale": "The recommendation no longer holds",
    "review_overdue": "A break-glass review is overdue",
    "reviewer_is_agent": "An agent may never review",
    "role_required": "The role does not permit this",
    "run.closed": "The run is closed",
    "run_not_found": "The run does not exist",
    "sas_mismatch": "The short string is another one",
    "schema_invalid": "The JSON Schema is not acceptable",
    "scope_exceeds_minter": "A scope is beyond what the minter holds",
    "scope_not_offered": "This scope is not offered for the request",
    "scopes_empty": "At least one scope is required",
    "self_review": "Nobody reviews their own request",
    "simulation_stale": "No simulation stands for this activation",
    "state_changed": "The object is no longer in that state",
    "step_up_required": "A fresh one-time code is required",
    "too_many_streams": "Too many streams are open",
    "tool_not_found": "The tool does not exist",
    "ttl_not_allowed": "This scope takes no duration",
    "ttl_out_of_range": "The duration is out of range",
    "ttl_required": "This scope needs a duration",
    "unauthenticated": "Authentication is required",
    "unknown_field": "The body has an unknown field",
    "unknown_parameter": "The query has an unknown parameter",
    "unknown_scope": "The scope does not exist",
    "unsupported_media_type": "The content type is not supported",
    "untrusted_proxy_header": "A proxy header came from somebody who is no proxy",
    "vault.integrity_failed": "Sealed data failed its integrity check",
    "vault.kek_insecure": "A vault key file has unsafe ownership or mode",
    "vault.kek_missing": "A vault key is missing",
    "vault.kek_wrong": "Another key lies in place of a vault key",
}
"""Every problem code and its title. Dotted reason codes that a stage stores belong to that stage."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One finding: a JSON pointer into the input, a machine code and a sentence safe to show.

    A finding in a policy text names its place too: line and column count from 1, 0 is the whole file.
    """

    pointer: str
    code: str
    detail: str
    line: int | None = None
    column: int | None = None
    policy_id: str | None = None


class PalyraError(Exception):
    """Base of all expected failures. `detail` is safe to show to the caller."""

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        code: str | None = None,
        detail: str = "",
        *,
        errors: tuple[Detail, ...] = (),
        retry_after: int | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        self.code = code or self.default_code
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.extra = extra or {}
        super().__init__(f"{self.code}: {detail}" if detail else self.code)


class MalformedError(PalyraError):
    status = 400
    default_code = "malformed_json"


class AuthenticationError(PalyraError):
    status = 401
    default_code = "unauthenticated"


class RefusedError(PalyraError):
    status = 403
    default_code = "role_required"


class NotFoundError(PalyraError):
    status = 404
    default_code = "not_found"


class ConflictError(PalyraError):
    status = 409
    default_code = "conflict"


class GoneError(PalyraError):
    status = 410
    default_code = "event_gone"


class PreconditionFailedError(PalyraError):
    status = 412
    default_code = "precondition_failed"


class PayloadTooLargeError(PalyraError):
    status = 413
    default_code = "body_too_large"


class InvalidError(PalyraError):
    status = 422
    default_code = "invalid"


class PreconditionRequiredError(PalyraError):
    status = 428
    default_code = "precondition_required"


class RateLimitedError(PalyraError):
    status = 429
    default_code = "rate_limited"


class UnavailableError(PalyraError):
    status = 503
    default_code = "not_ready"
