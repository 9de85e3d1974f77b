"""The page that says why policy decides as it does: about a recorded call, or a question one makes up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.http import HttpResponse

from governance.admin.access import Visit
from governance.admin.cedar import Line, lines
from governance.admin.explain_words import ConditionRows, change_words, clause_rows, rule_words
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.explaining import RECORDED, Explanation, explain_call, explain_question
from governance.input_schemas import input_of, schema_of_tool
from governance.prompts import parameters_view
from governance.recording import fault_of
from governance.selectors import require_call
from governance.supposing import Circumstances, Supposed
from identity.models import Agent
from identity.roles import Permission
from kernel.canonical import parse
from kernel.errors import InvalidError, MalformedError, PalyraError
from kernel.ids import is_id
from policy.compilation import DOMAIN
from policy.explaining import ExplainedRule
from policy.models import PolicySet
from policy.set_selectors import ACTIVE
from policy.types import EntityRef

READ = Permission.POLICY_READ
LONGEST_INPUT = 65_536
LONGEST_ID = 512
MOST_AGENTS = 100
MOST_SETS = 50
RESOURCES = (
    "Tool", "Skill", "Server", "Workspace", "PolicySet", "MemoryItem", "CronJob", "Channel", "Attachment",
    "Secret", "SecretScope", "Model", "Budget", "ApprovalRequest", "Grant", "Token", "Posture", "Agent",
    "User",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """The form as it was filled in."""

    principal: str = ""
    action: str = "tool.execute"
    resource_type: str = "Tool"
    resource: str = ""
    policy_set: str = ACTIVE
    session_id: str = ""
    channel: str = ""
    input: str = "{}"


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule with its text in colours, its clause trees, and what came of it."""

    rule: ExplainedRule
    text: list[Line]
    conditions: tuple[ConditionRows, ...]
    words: str


@page(READ)
def explain(visit: Visit) -> HttpResponse:
    """Explain what the query or the form asks; without either, show the form."""
    request = visit.request
    if request.method == "POST":
        return _answered(visit, _typed(request.POST))
    call_id = request.GET.get("call", "")
    if call_id:
        return _recorded(visit, call_id, request.GET.get("set", RECORDED))
    agent, tool = request.GET.get("agent", ""), request.GET.get("tool", "")
    return _page(visit, Asked(principal=agent[:LONGEST_ID], resource=tool[:LONGEST_ID]))


def _answered(visit: Visit, asked: Asked) -> HttpResponse:
    try:
        question = _supposed(asked)
        found = explain_question(
            supposed=question, policy_set=asked.policy_set, principal=visit.principal, now=visit.now
        )
    except PalyraError as refusal:
        return _page(visit, asked, refusal=refusal)
    return _page(visit, asked, found)


def _recorded(visit: Visit, call_id: str, policy_set: str) -> HttpResponse:
    call = require_call(visit.principal, call_id if is_id("call", call_id) else "").call
    stored = input_of(call)
    given = stored if isinstance(stored, dict) else {"input": stored}
    shown, _ = parameters_view(given, schema_of_tool(call.tool_name, given))
    asked = Asked(
        principal=call.principal_id,
        action=call.operation,
        resource_type="Skill" if call.operation == "skill.execute" else "Tool",
        resource=str((call.skill or {}).get("skl_id") or call.tool_name),
        session_id=call.run.session_id or "",
        input=json.dumps(shown, indent=2, ensure_ascii=False),
    )
    try:
        found = explain_call(call_id=call.id, policy_set=policy_set, principal=visit.principal, now=visit.now)
    except InvalidError as refusal:
        return _page(visit, asked, refusal=refusal)
    return _page(visit, asked, found)


def _page(
    visit: Visit, asked: Asked, found: Explanation | None = None, *, refusal: PalyraError | None = None
) -> HttpResponse:
    sets = PolicySet.objects.filter(domain=DOMAIN).exclude(state="discarded").order_by("-version")[:MOST_SETS]
    agents = Agent.objects.filter(workspace=visit.workspace).exclude(state="archived").order_by("name")
    context: dict[str, Any] = {
        "title": "Explain",
        "asked": asdict(asked),
        "resources": RESOURCES,
        "agents": list(agents[:MOST_AGENTS]),
        "sets": list(sets),
        "refusal": refusal,
        "sentences": _sentences(refusal),
    }
    if found is not None:
        context |= _answer(found)
    return show(visit, "console/policy_explain.html", context, status=refusal.status if refusal else 200)


def _answer(found: Explanation) -> dict[str, Any]:
    explained = found.explained
    effect, code = found.outcome
    who = found.asked.request.principal.id if found.asked else ""
    return {
        "found": found,
        "effect": effect,
        "code": code,
        "decision": explained.decision,
        "determining": [_view(rule) for rule in explained.determining],
        "near_misses": [_view(rule) for rule in explained.near_misses],
        "outweighed": [_view(rule) for rule in explained.outweighed],
        "changes": [change_words(change) for change in explained.minimal_change],
        "faults": sorted({fault_of(text) for text in explained.decision.explanation.diagnostics_errors}),
        "tainted": sorted(found.asked.context.tainted_arguments) if found.asked else [],
        "names": names_of([who]),
        "who": who,
        "differs": _differs(found),
        "in_force": found.ground.state == "active",
    }


def _differs(found: Explanation) -> bool:
    """Tell whether the answer is another than the one that was recorded."""
    if found.recorded is None:
        return False
    decision, kept = found.explained.decision, found.recorded
    return (decision.effect.value, str(decision.reason_code)) != (kept.effect, kept.reason_code)


def _view(rule: ExplainedRule) -> RuleView:
    return RuleView(rule, lines(rule.text), clause_rows(rule), rule_words(rule))


def _typed(given: Mapping[str, Any]) -> Asked:
    """Return the form, each text cut to what a question may be long."""
    longest = {"input": LONGEST_INPUT}
    texts = {
        name: str(given.get(name, ""))[: longest.get(name, LONGEST_ID)] for name in Asked.__dataclass_fields__
    }
    return Asked(**{name: text for name, text in texts.items() if text})


def _supposed(asked: Asked) -> Supposed:
    if any("\0" in text for text in asdict(asked).values()):
        raise InvalidError("invalid", "The form holds NUL.")
    kind = "User" if asked.principal.startswith("usr_") else "Agent"
    return Supposed(
        principal=EntityRef(kind, asked.principal.strip()),
        action=asked.action.strip(),
        resource=EntityRef(asked.resource_type, asked.resource.strip()),
        context=Circumstances(
            session_id=asked.session_id.strip() or None,
            channel=asked.channel.strip() or None,
            input=_input(asked.input),
        ),
    )


def _input(text: str) -> Mapping[str, object]:
    value = parse(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict):
        raise MalformedError("malformed_json", "The input must be a JSON object.")
    return value


def _sentences(refusal: PalyraError | None) -> list[str]:
    if refusal is None:
        return []
    return [f"{one.pointer} {one.detail}" for one in refusal.errors] or [refusal.detail or refusal.code]
