"""The decision point of the domain `palyra`: the rules, catalog and postures that govern tool calls.

A question is asked of the gates that a call would meet before its budget, with facts from the database;
nothing is written, so an answer is a forecast and a call is still decided when it is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from governance import checks, labelling
from governance.gates import Finding, Gate, Verdict, guarded
from governance.models import Run, Session
from governance.obligations import approval_needed, build_obligation
from governance.proposals import Draft, Found, Proposal, Target
from identity.models import Agent
from identity.selectors import effective_roles, people_in
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.ids import is_id
from policy import selectors as policy_selectors, services as policy_services
from policy.domain_requests import DomainRequest, Party
from policy.engine import refuse
from policy.schema import PRINCIPAL_TYPES, SKILL_EXECUTE, TOOL_EXECUTE, static_actions
from policy.types import Code, DecisionFacts, Effect, EntityRef, Obligation, PolicyDecision
from sandbox.skills import selectors as skill_selectors

log = logging.getLogger(__name__)
T = TypeVar("T")

SERVER = "palyra"
_KINDS = {"user": PrincipalKind.USER, "agent": PrincipalKind.AGENT}
_TYPES = {
    kind.lower(): kind
    for kind in (*PRINCIPAL_TYPES, *(kind for action in static_actions() for kind in action.resource_types))
}


class StoppedError(Exception):
    """A gate before policy denies."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LivePoint:
    """What policy says in one workspace now. Whoever does not belong to it is not known here."""

    workspace_id: str
    now: datetime

    def decide(self, request: DomainRequest) -> PolicyDecision:
        """Decide one question; unknown subjects, tools and sessions are denials."""
        try:
            return self._answer(request)
        except StoppedError as stop:
            return replace(refuse(Code.INVALID_REQUEST, stop.reason), reason_code=stop.code)

    def judged_subjects(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
        """Yield people or agents of the workspace, in order beyond `after`, and whether they may."""
        for name in self._principals(request.subject.type, after):
            asked = replace(request, subject=Party(request.subject.type, name))
            yield name, self._permits(asked)

    def judged_resources(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
        """Yield what the workspace has of the type, as above, and whether it may be acted upon."""
        for name in self._resources(request.resource.type, after):
            asked = replace(request, resource=Party(request.resource.type, name))
            yield name, self._permits(asked)

    def judged_actions(self, request: DomainRequest, after: str) -> Iterator[tuple[str, bool]]:
        """Yield the actions that apply to the resource, as above, and whether the subject may."""
        for name in _actions_on(_resource(request.resource).type):
            if name > after:
                yield name, self._permits(replace(request, action=name))

    def _answer(self, request: DomainRequest) -> PolicyDecision:
        draft = self._draft(request)
        resource = _resource(request.resource)
        if _executes(request.action, resource):
            return self._execution(draft, request)
        if resource.type == "Tool" and policy_selectors.tool_named(resource.id) is None:
            raise StoppedError(Code.TOOL_UNKNOWN, "There is no such tool.")
        return policy_services.decide(facts=_plain_facts(draft, request, resource))

    def _permits(self, request: DomainRequest) -> bool:
        return self.decide(request).effect is Effect.ALLOW

    def _principals(self, kind: str, after: str) -> Iterable[str]:
        known = _KINDS.get(kind.lower())
        if known is PrincipalKind.AGENT:
            rows = Agent.objects.filter(workspace_id=self.workspace_id, pk__gt=after)
            return rows.order_by("pk").values_list("pk", flat=True).iterator()
        if known is PrincipalKind.USER:
            people = people_in(workspace_id=self.workspace_id, now=self.now)
            return sorted(name for name in people if name > after)
        return ()

    def _resources(self, kind: str, after: str) -> Iterable[str]:
        match _plain(kind):
            case "tool":
                names = [tool.name for tool in policy_selectors.list_tools(self.workspace_id)]
            case "skill":
                names = [tool.id for tool in skill_selectors.active_tools()]
            case "workspace":
                names = [self.workspace_id]
            case "server":
                names = [SERVER]
            case _:
                return self._principals(kind, after)
        return (name for name in sorted(set(names)) if name > after)

    def _is_member(self, user_id: str) -> bool:
        return bool(effective_roles(user_id=user_id, workspace_id=self.workspace_id, now=self.now))

    def _draft(self, request: DomainRequest) -> Draft:
        """Return the draft of a call that nobody makes: a stand-in who may do nothing, in no run."""
        kind, who = _KINDS.get(request.subject.type.lower()), request.subject.id
        if kind is None or not self._knows(kind, who):
            raise StoppedError(Code.INVALID_REQUEST, "The principal is not known.")
        stand_in = Principal(
            kind=kind,
            id=who,
            owner_id=who,
            workspace_id=self.workspace_id,
            roles=frozenset(),
            permissions=frozenset(),
            auth_strength=AuthStrength.NONE,
            client_ip="",
            request_id="",
            authenticated_at=self.now,
        )
        run = Run(id="", principal_id=who, workspace_id=self.workspace_id)
        run.session_id = self._session(request, who)
        given = request.context.get("input", {})
        proposal = Proposal(run_id="", tool=_tool_name(request.resource), input=given)
        return Draft(call_id="", proposal=proposal, principal=stand_in, run=run, now=self.now)

    def _knows(self, kind: PrincipalKind, who: str) -> bool:
        if "\0" in who or any("\ud800" <= character <= "\udfff" for character in who):
            return False
        if kind is PrincipalKind.USER:
            return self._is_member(who)
        return Agent.objects.filter(pk=who, workspace_id=self.workspace_id).exists()

    def _session(self, request: DomainRequest, who: str) -> str | None:
        """Return the session that the context names by id or key; one of somebody else denies."""
        named = request.context.get("session_id")
        if named is None:
            return None
        if not isinstance(named, str) or not named or "\0" in named:
            raise StoppedError(Code.INVALID_CONTEXT, "The session is not named by a text.")
        own = Session.objects.filter(principal_id=who, workspace_id=self.workspace_id)
        found = own.filter(pk=named) if is_id("ses", named) else own.filter(key=named)
        session_id = found.values_list("pk", flat=True).first()
        if session_id is None:
            raise StoppedError(Code.INVALID_CONTEXT, "The subject has no such session.")
        return session_id

    def _execution(self, draft: Draft, request: DomainRequest) -> PolicyDecision:
        """Ask for a freeze and gates 3 to 7: the first denial, else what still needs a person."""
        found = Found()
        _asked(Gate.RUN, lambda: checks.unfrozen(draft))
        target = found.target = _asked(Gate.SCHEMA, lambda: checks.schema(draft))
        if _plain(request.action) != target.operation and not _names(request.action, target):
            raise StoppedError(Code.RESOURCE_MISMATCH, "The action names another tool than the resource.")
        _asked(Gate.SKILL, lambda: checks.skill(draft, target, found))
        found.posture = posture = _asked(Gate.POSTURE, lambda: checks.posture(draft, target))
        found.placement = _asked(Gate.BACKEND, lambda: checks.backend(draft, target))
        reading = labelling.look(
            run=draft.run,
            call_id="",
            tool=target.tool,
            tool_input=target.input,
            spec=found.placement.spec,
            now=draft.now,
        )
        if reading.overflows:
            raise StoppedError(Code.INVALID_CONTEXT, "The session would take on too many labels.")
        facts = checks.facts_of(draft, target, found, reading, None)
        facts = replace(facts, run_id=None, channel=_channel(request), auth_method="none")
        decision = policy_services.decide(facts=facts)
        if decision.effect is not Effect.ALLOW or not approval_needed(decision, posture, target):
            return decision
        code = posture.reason_code if posture.state == "ask_each_time" else Code.APPROVAL_REQUIRED
        return _asking(decision, target, str(code))


def _asked(gate: Gate, check: Callable[[], Finding[T]]) -> T:
    """Return what a gate found; raises StoppedError when it denies, and when its own code fails."""
    finding = guarded(gate, check)
    if finding.verdict is Verdict.DENY or finding.value is None:
        raise StoppedError(finding.code, finding.reason)
    return finding.value


def _asking(decision: PolicyDecision, target: Target, code: str) -> PolicyDecision:
    """Return an allow as what it comes to when the posture or the skill asks for a person."""
    needed, risk = build_obligation(decision, target)
    approval = Obligation(
        kind="approval",
        risk=risk,
        quorum=needed.quorum,
        approver_roles=(),
        step_up=needed.step_up,
        policy_ids=(),
    )
    return replace(
        decision,
        effect=Effect.REQUIRE_APPROVAL,
        reason_code=code,
        reason=checks.PERSON_ASKED,
        obligations=(approval, *decision.obligations),
    )


def _plain_facts(draft: Draft, request: DomainRequest, resource: EntityRef) -> DecisionFacts:
    """Return the facts of an action that runs nothing."""
    return DecisionFacts(
        principal_kind=draft.principal.kind,
        principal_id=draft.principal.id,
        workspace_id=draft.run.workspace_id,
        action=request.action,
        resource=resource,
        tool=None,
        skill=None,
        input={},
        posture=None,
        run_id=None,
        session_id=draft.run.session_id,
        device_id=None,
        channel=_channel(request),
        calls_in_run=0,
        auth_method="none",
        source_ip=None,
        external_execution=False,
        approval=None,
        now=draft.now,
    )


def _channel(request: DomainRequest) -> str | None:
    named = request.context.get("channel")
    if named is not None and not isinstance(named, str):
        raise StoppedError(Code.INVALID_CONTEXT, "The channel is not named by a text.")
    return named


def _resource(party: Party) -> EntityRef:
    """Return the entity by Palyra's own type name; a type nobody declared matches no rule."""
    return EntityRef(_TYPES.get(_plain(party.type), "Unknown"), party.id)


def _plain(name: str) -> str:
    """Return a type or action without the differences in spelling: `memory_item` is `MemoryItem`."""
    return name.strip().replace("_", "").lower() if "." not in name else name.strip().lower()


def _executes(action: str, resource: EntityRef) -> bool:
    name = action.strip().lower()
    runs_tool = name == TOOL_EXECUTE or name.startswith(f"{TOOL_EXECUTE}:")
    return (runs_tool and resource.type == "Tool") or (name == SKILL_EXECUTE and resource.type == "Skill")


def _names(action: str, target: Target) -> bool:
    return action.strip().lower() == f"{TOOL_EXECUTE}:{target.name}"


def _actions_on(kind: str) -> list[str]:
    named = [action.name for action in static_actions() if kind in action.resource_types]
    return sorted([*named, TOOL_EXECUTE] if kind == "Tool" else named)


def _tool_name(resource: Party) -> str:
    """Return the name a proposal would use: a skill is addressed by one of its tools or by its version."""
    if _plain(resource.type) != "skill":
        return resource.id
    named = (tool.id for tool in skill_selectors.active_tools() if resource.id in (tool.id, tool.skl_id))
    return next(named, resource.id)
