"""Decide: read the facts, ask the engine, and answer with a denial whenever anything is missing."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from django.db import DatabaseError

from identity.roles import Permission
from identity.types import Principal
from policy.engine import evaluate, refuse
from policy.runtime import EpochMissingError, Runtime, config_for, current
from policy.selectors import reading
from policy.snapshot import governing_facts, principal_facts, principal_ref, tool_entity
from policy.types import (
    AgentFacts,
    ApprovalFacts,
    Asked,
    Code,
    DecisionFacts,
    EffectivePosture,
    EntityRef,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    PostureState,
    Risk,
    UserFacts,
    World,
)

logger = logging.getLogger(__name__)


def decide(*, facts: DecisionFacts) -> PolicyDecision:
    """Return the decision on one proposal or claim. Never raises: what cannot be read denies."""
    try:
        runtime, asked = question(facts)
    except EpochMissingError:
        return _no_active_set()
    except Exception as error:  # total: any failure to read is a denial
        return _unreadable(error)
    return _evaluate(runtime, asked)


def decide_again(decision: PolicyDecision, *, approval: ApprovalFacts) -> PolicyDecision:
    """Return the decision on a question just decided, now that there is an answer. Never raises.

    For the transaction that decided it: the facts are not read again, the rules in force are.
    """
    if decision.asked is None:
        return decision
    try:
        with reading():
            runtime = current()
    except EpochMissingError:
        return _no_active_set()
    except Exception as error:  # total: any failure to read is a denial
        return _unreadable(error)
    asked = decision.asked
    return _evaluate(runtime, replace(asked, context=replace(asked.context, approval=approval)))


def question(facts: DecisionFacts) -> tuple[Runtime, Asked]:
    """Return what a decision about these facts is asked, and the catalog and rules it is asked of.

    The gate decides this very question, so an explanation that puts it again meets the same facts.
    Raises EpochMissingError before installation and lets database errors through.
    """
    with reading():
        principal = principal_facts(facts.principal_kind, facts.principal_id, facts.workspace_id, facts.now)
        runtime = current()
        config = _config(facts, config_for(runtime, facts.workspace_id))
    world = World(
        workspace_id=facts.workspace_id,
        principal=principal,
        tool=tool_entity(facts.tool) if facts.tool is not None else None,
        skill=facts.skill,
    )
    request = PolicyRequest(
        principal=principal_ref(facts.principal_kind, facts.principal_id),
        action=facts.action,
        resource=facts.resource,
    )
    return runtime, Asked(request, _context(facts), config, world)


def permit_governance(
    *,
    principal: Principal,
    permission: Permission,
    resource: EntityRef,
    workspace_id: str,
    now: datetime,
) -> PolicyDecision:
    """Return Cedar's word on a management verb. Never raises.

    The caller needs the identity permission besides: this is the second of two locks.
    """
    try:
        with reading():
            known = governing_facts(principal, workspace_id, now)
    except Exception as error:  # total: any failure to read is a denial
        return _unreadable(error)
    reference = principal_ref(principal.kind, principal.id)
    context = PolicyRequestContext(
        now=now,
        device_id=principal.device_id,
        auth_method="token" if principal.token_id else "session",
        source_ip=principal.client_ip or None,
    )
    return govern(
        reference=reference,
        known=known,
        permission=permission,
        resource=resource,
        workspace_id=workspace_id,
        context=context,
    )


def govern(
    *,
    reference: EntityRef,
    known: UserFacts | AgentFacts | None,
    permission: Permission,
    resource: EntityRef,
    workspace_id: str,
    context: PolicyRequestContext,
) -> PolicyDecision:
    """Return Cedar's word on one governance action by somebody whose facts were read already."""
    try:
        with reading():
            runtime = current()
            config = config_for(runtime, workspace_id)
    except EpochMissingError:
        return _no_active_set()
    except Exception as error:  # total: any failure to read is a denial
        return _unreadable(error)
    request = PolicyRequest(principal=reference, action=permission.value, resource=resource)
    world = World(workspace_id=workspace_id, principal=known)
    return _evaluate(runtime, Asked(request, context, config, world))


def _evaluate(runtime: Runtime, asked: Asked) -> PolicyDecision:
    if runtime.engine is None:
        return replace(_no_active_set(), asked=asked)
    decision = evaluate(
        request=asked.request,
        context=asked.context,
        config=asked.config,
        world=asked.world,
        policies=runtime.engine.compiled,
        handles=runtime.engine.handles,
    )
    return replace(decision, asked=asked)


def _no_active_set() -> PolicyDecision:
    return refuse(Code.NO_ACTIVE_SET, "No policy set is in force, so nothing is permitted.")


def _unreadable(error: Exception) -> PolicyDecision:
    logger.error("policy facts could not be read: %s", type(error).__name__)
    if isinstance(error, DatabaseError):
        return refuse(Code.NO_ACTIVE_SET, "The policy tables cannot be read, so nothing is permitted.")
    return refuse(Code.EVALUATION_FAILED, "The facts could not be read, so nothing is permitted.")


def _config(facts: DecisionFacts, stored: PolicyEvaluationConfig) -> PolicyEvaluationConfig:
    """Add the one fact that comes from the posture; an approval is weighed by the engine itself."""
    risk = facts.tool.risk if facts.tool else facts.skill.risk if facts.skill else Risk.CRITICAL
    allowed = _is_explicit_allow(facts.posture) and Risk(risk).rank < Risk.CRITICAL.rank
    return PolicyEvaluationConfig(
        allowlisted_tools=stored.allowlisted_tools,
        allowlisted_skills=stored.allowlisted_skills,
        allow_sensitive_tools=allowed,
        sensitive_tool_names=stored.sensitive_tool_names,
        sensitive_actions=stored.sensitive_actions,
        sensitive_capability_names=stored.sensitive_capability_names,
        tool_execute_principal_allowlist=stored.tool_execute_principal_allowlist,
        tool_execute_channel_allowlist=stored.tool_execute_channel_allowlist,
    )


def _is_explicit_allow(posture: EffectivePosture | None) -> bool:
    return posture is not None and posture.explicit and posture.state == PostureState.ALWAYS_ALLOW


def _context(facts: DecisionFacts) -> PolicyRequestContext:
    tool = facts.tool
    return PolicyRequestContext(
        now=facts.now,
        device_id=facts.device_id,
        channel=facts.channel,
        session_id=facts.session_id,
        run_id=facts.run_id,
        tool_name=tool.name if tool else None,
        skill_id=facts.skill.skl_id if facts.skill else None,
        capabilities=tool.capabilities if tool else frozenset(),
        posture=facts.posture.state if facts.posture else "none",
        labels=facts.labels,
        adds_labels=_or(facts.adds_labels, tool.adds_labels if tool else frozenset()),
        sinks=_or(facts.sinks, tool.sinks if tool else frozenset()),
        approval=facts.approval,
        tool_input=facts.input,
        tainted_arguments=facts.tainted_arguments,
        calls_in_run=facts.calls_in_run,
        auth_method=facts.auth_method,
        source_ip=facts.source_ip,
        external_execution=facts.external_execution,
    )


def _or(given: frozenset[str] | None, otherwise: frozenset[str]) -> frozenset[str]:
    return otherwise if given is None else given
