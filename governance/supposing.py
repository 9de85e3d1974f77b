"""What somebody supposes in a question about policy, as the facts the gates would meet.

A question may suppose anything but what Palyra keeps itself: principals, runs and sessions are those of
the database, and whoever may not know of one is answered as if there were none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from governance.models import Run, Session, ToolCall
from governance.proposals import Draft, Proposal
from governance.selectors import require_run
from identity.models import Agent, User, Workspace
from identity.selectors import effective_roles
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import Detail, InvalidError, NotFoundError
from kernel.ids import is_id
from policy.label_models import LabelHolder
from policy.types import DecisionFacts, EntityRef
from sandbox.skills import selectors as skill_selectors

TOOL_EXECUTE, SKILL_EXECUTE = "tool.execute", "skill.execute"
_KINDS = {"User": PrincipalKind.USER, "Agent": PrincipalKind.AGENT}
_NOBODY = "There is no such principal."


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a question may say besides who does what to what.

    `now` is the moment the rules are told; what holds at present is asked about the present.
    """

    session_id: str | None = None
    run_id: str | None = None
    channel: str | None = None
    device_id: str | None = None
    input: Mapping[str, object] = field(default_factory=dict)
    calls_in_run: int | None = None
    auth_method: str | None = None
    source_ip: str | None = None
    external_execution: bool = False
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Supposed:
    """A question as its asker puts it."""

    principal: EntityRef
    action: str
    resource: EntityRef
    context: Circumstances = Circumstances()


def draft_for(supposed: Supposed, run: Run, now: datetime) -> Draft:
    """Return the draft that the gates would see."""
    kind = _KINDS[supposed.principal.type]
    method = supposed.context.auth_method or ("token" if kind is PrincipalKind.AGENT else "session")
    who = _stand_in(kind, supposed.principal.id, run, token_id=method if method == "token" else None, now=now)
    who = replace(
        who, client_ip=supposed.context.source_ip or "", device_id=supposed.context.device_id or None
    )
    proposal = Proposal(run_id=run.id, tool=_tool_name(supposed.resource), input=dict(supposed.context.input))
    return Draft(call_id="", proposal=proposal, principal=who, run=run, now=now)


def draft_of_call(call: ToolCall, now: datetime) -> Draft:
    """Return the draft of a recorded call."""
    kind = PrincipalKind(call.principal_kind)
    who = _stand_in(kind, call.principal_id, call.run, token_id=call.token_id, now=now)
    proposal = Proposal.of_call(call)
    return Draft(call_id=call.id, proposal=proposal, principal=who, run=call.run, now=now)


def _stand_in(kind: PrincipalKind, who: str, run: Run, *, token_id: str | None, now: datetime) -> Principal:
    """Return somebody who may do nothing at all: the gates asked here read only who it is."""
    return Principal(
        kind=kind,
        id=who,
        owner_id=who,
        workspace_id=run.workspace_id,
        roles=frozenset(),
        permissions=frozenset(),
        auth_strength=AuthStrength.NONE,
        client_ip="",
        request_id="",
        authenticated_at=now,
        token_id=token_id,
    )


def supposing(facts: DecisionFacts, supposed: Supposed) -> DecisionFacts:
    """Lay what was supposed over what the gates found out."""
    context = supposed.context
    action = supposed.action if facts.action == TOOL_EXECUTE else facts.action
    return replace(
        facts,
        action=action,
        run_id=facts.run_id or None,
        channel=context.channel,
        auth_method=context.auth_method or facts.auth_method,
        external_execution=context.external_execution,
        now=context.now or facts.now,
    )


def plain_facts(draft: Draft, supposed: Supposed) -> DecisionFacts:
    """Return the facts of an action that runs nothing."""
    facts = DecisionFacts(
        principal_kind=draft.principal.kind,
        principal_id=draft.principal.id,
        workspace_id=draft.run.workspace_id,
        action=supposed.action,
        resource=supposed.resource,
        tool=None,
        skill=None,
        input={},
        posture=None,
        run_id=draft.run.id,
        session_id=draft.run.session_id,
        device_id=draft.principal.device_id,
        channel=None,
        calls_in_run=draft.run.calls_used,
        auth_method="token" if draft.principal.token_id else "session",
        source_ip=draft.principal.client_ip or None,
        external_execution=False,
        approval=None,
        now=draft.now,
    )
    return supposing(facts, supposed)


def is_execution(supposed: Supposed) -> bool:
    """Tell whether something would run, so that the gates before policy have a say."""
    action = supposed.action.strip().lower()
    runs_tool = action == TOOL_EXECUTE or action.startswith(f"{TOOL_EXECUTE}:")
    return (runs_tool and supposed.resource.type == "Tool") or (
        action == SKILL_EXECUTE and supposed.resource.type == "Skill"
    )


def _tool_name(resource: EntityRef) -> str:
    """Return the name a proposal would use: a skill is addressed by one of its tools or by its version."""
    if resource.type != "Skill":
        return resource.id
    named = (tool.id for tool in skill_selectors.active_tools() if tool.skl_id == resource.id)
    return next(named, resource.id)


def run_of(supposed: Supposed, asker: Principal, now: datetime) -> Run:
    """Return the run that was named, or one that exists nowhere, in the workspace of what is done.

    Raises NotFoundError for a principal, run, session or workspace that the asker may not know of, and
    InvalidError for a run of somebody else.
    """
    who, context = supposed.principal, supposed.context
    place = _place_of(who, supposed.resource, asker, now)
    if context.run_id:
        run = require_run(asker, context.run_id)
        if run.principal_id != who.id or run.workspace_id != place:
            raise _invalid("/context/run_id", "is a run of another principal")
    else:
        run = Run(id="", principal_id=who.id, workspace_id=place)
    if context.session_id:
        run.session_id = _session(context.session_id, who.id, place)
    if context.calls_in_run is not None:
        run.calls_used = context.calls_in_run
    return run


def _place_of(who: EntityRef, resource: EntityRef, asker: Principal, now: datetime) -> str:
    """Return the workspace a question is about, or raise NotFoundError for what the asker may not know."""
    if who.type not in _KINDS:
        raise _invalid("/principal/type", "must be User or Agent")
    if asker.kind is not PrincipalKind.USER and who.id != asker.id:
        raise NotFoundError("not_found", _NOBODY)
    place = _home_of_agent(who.id, asker) if who.type == "Agent" else _home_of_user(who.id, asker, now)
    if resource.type != "Workspace" or resource.id == place:
        return place
    if not asker.instance_roles or not Workspace.objects.filter(pk=resource.id).exists():
        raise NotFoundError("not_found", "There is no such workspace.")
    return resource.id


def _home_of_agent(agent_id: str, asker: Principal) -> str:
    known = Agent.objects.filter(pk=agent_id) if "\0" not in agent_id else Agent.objects.none()
    home = known.values_list("workspace_id", flat=True).first()
    if home is None or not (asker.instance_roles or home == asker.workspace_id):
        raise NotFoundError("not_found", _NOBODY)
    return home


def _home_of_user(user_id: str, asker: Principal, now: datetime) -> str:
    here = asker.workspace_id
    exists = "\0" not in user_id and User.objects.filter(pk=user_id).exists()
    if not exists or not (asker.instance_roles or _is_member(user_id, here, now)):
        raise NotFoundError("not_found", _NOBODY)
    return here


def _is_member(user_id: str, workspace_id: str, now: datetime) -> bool:
    return bool(effective_roles(user_id=user_id, workspace_id=workspace_id, now=now))


def _session(text: str, principal_id: str, workspace_id: str) -> str:
    """Return the id of the principal's session of this id or key; a key nobody used yet is a new session."""
    if "\0" in text:
        raise _invalid("/context/session_id", "holds NUL")
    own = Session.objects.filter(principal_id=principal_id, workspace_id=workspace_id)
    if not is_id("ses", text):
        found = own.filter(key=text).values_list("pk", flat=True).first()
        return found or _unused(text)
    if not own.filter(pk=text).exists():
        raise NotFoundError("not_found", "There is no such session.")
    return text


def _unused(key: str) -> str:
    """Return a key that names no session yet; the labels of somebody else's holder stay unread."""
    if LabelHolder.objects.filter(pk=key).exists():
        raise NotFoundError("not_found", "There is no such session.")
    return key


def _invalid(pointer: str, sentence: str) -> InvalidError:
    return InvalidError("invalid", f"{pointer} {sentence}.", errors=(Detail(pointer, "invalid", sentence),))
