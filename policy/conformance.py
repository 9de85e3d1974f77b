"""One conformance case: policies, schema and entities as text, and Cedar's answers to requests.

A case is judged by the code of live decisions. Nothing here knows Palyra's own schema or annotations,
except `@id`, which names a policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from policy.compilation import TemplateError
from policy.domains import (
    CedarRequest,
    Facts,
    Ground,
    bodies_by_id,
    facts_from,
    ground_from,
    parse_schema,
)
from policy.judging import Verdict
from policy.slicing import Uid, uid_of

MAX_REQUESTS = 64
_UID = re.compile(r'[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*::"(?:[^"\\]|\\.)*"', re.DOTALL)


class CaseError(Exception):
    """The case itself is wrong; `part` says where: policies, schema, entities or requests."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part
        self.message = message


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent: texts in Cedar's syntax or JSON form, entities and requests in its JSON forms."""

    policies: str
    schema: str
    entities: Sequence[Mapping[str, Any]]
    requests: Sequence[Mapping[str, Any]]
    validate: bool = True
    slicing: bool = True


def run_case(case: Case) -> dict[str, object]:
    """Return `{validation, results}`; raises CaseError for a case that cannot be judged.

    `validation` is None unless asked for. A request that Cedar refuses has `decision` "no_decision" and
    the reason among `errors`; `fail_closed_decision` is "allow" only for an allow without any error.
    """
    try:
        schema = parse_schema(case.schema)
    except ValueError as error:
        raise CaseError("schema", str(error)) from error
    try:
        ground = ground_from(bodies_by_id(case.policies), schema)
    except TemplateError as error:
        raise CaseError("policies", "Templates are not supported.") from error
    except ValueError as error:
        raise CaseError("policies", str(error)) from error
    try:
        facts = facts_from(case.entities, schema)
    except (ValueError, KeyError, TypeError) as error:
        raise CaseError("entities", str(error)) from error
    return {
        "validation": _validation(case.policies, schema) if case.validate else None,
        "results": [_result(request, ground, facts, sliced=case.slicing) for request in case.requests],
    }


def read_uid(reference: object) -> Uid:
    """Return the uid of `Type::"id"` in Cedar's syntax, or of its dict forms; raises ValueError."""
    if isinstance(reference, Mapping):
        try:
            return uid_of(reference)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("A reference is {type, id}.") from error
    if not isinstance(reference, str) or not _UID.fullmatch(reference):
        raise ValueError('A reference is written Type::"id".')
    return _parsed(reference)


def _parsed(reference: str) -> Uid:
    """Let Cedar undo the escapes: it reads the reference as the scope of a policy of its own."""
    (body,) = bodies_by_id(f"permit(principal == {reference}, action, resource);").values()
    return uid_of(body["principal"]["entity"])


def _validation(policies: str, schema: cedarpy.Schema) -> dict[str, object]:
    result = cedarpy.validate_policies(policies, schema)
    named = result.id_annotations_by_policy_id
    errors = [
        {"policy": named.get(error.policy_id) or error.policy_id, "error": error.error}
        for error in result.errors
    ]
    return {"passed": result.validation_passed, "errors": errors}


def _result(request: Mapping[str, Any], ground: Ground, facts: Facts, *, sliced: bool) -> dict[str, object]:
    try:
        asked = CedarRequest(
            principal=read_uid(request["principal"]),
            action=read_uid(request["action"]),
            resource=read_uid(request["resource"]),
            context=request.get("context") or {},
        )
    except ValueError as error:
        return _wire(Verdict(cedarpy.Decision.NoDecision, (), (str(error),)))
    return _wire(ground.judge(asked, facts, sliced=sliced))


_DECISIONS = {
    cedarpy.Decision.Allow: "allow",
    cedarpy.Decision.Deny: "deny",
    cedarpy.Decision.NoDecision: "no_decision",
}


def _wire(verdict: Verdict) -> dict[str, object]:
    return {
        "decision": _DECISIONS[verdict.decision],
        "reasons": list(verdict.reasons),
        "errors": list(verdict.errors),
        "fail_closed_decision": "allow" if verdict.allowed else "deny",
    }
