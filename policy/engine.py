"""The decision: one pure, total function over a request, plain facts and a compiled set.

An approval clears an approval obligation and nothing else. Whatever goes wrong denies.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cedarpy

from identity.roles import WorkspaceRole
from policy.compilation import CompiledSet, Rule
from policy.judging import Slice, judge, slice_for
from policy.obligations import is_met, merge, obligations_of, unknown_obligations
from policy.placement import Constructed, EntityHandles
from policy.requests import Prepared, RequestError, prepare
from policy.schema import NAMESPACE, SKILL_EXECUTE
from policy.slicing import Closure
from policy.types import (
    ApprovalFacts,
    Asked,
    Code,
    DeterminingPolicy,
    Effect,
    Obligation,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyExplanation,
    PolicyRequest,
    PolicyRequestContext,
    Risk,
    World,
)

_ACTION = f"{NAMESPACE}::Action"
_FAVOURABLE_COUNT = 99
_FAILED = "The rules could not be evaluated, so nothing is permitted."


class EvaluationError(Exception):
    """Cedar gave no decision, or an error beside one."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("; ".join(errors) or "no decision")
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Answer:
    """One pass: Cedar's decision and the rules that determined it."""

    allowed: bool
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One request in normal form, put to one set."""

    prepared: Prepared
    context: PolicyRequestContext
    config: PolicyEvaluationConfig
    policies: CompiledSet
    entities: Constructed
    slice: Slice

    @property
    def candidates(self) -> tuple[str, ...]:
        """The rules whose scope can hold for the request, in the order of the set."""
        return self.slice.ids

    def ask(self, *, allow_sensitive: bool, approval: ApprovalFacts | None) -> Answer:
        """Run one pass; raises EvaluationError on any diagnostic, whatever was decided."""
        verdict = judge(
            self.prepared.cedar(allow_sensitive=allow_sensitive, approval=approval),
            self.slice.handle,
            self.entities.handle,
            self.policies.schema_handle,
        )
        if verdict.decision is cedarpy.Decision.NoDecision or verdict.errors:
            raise EvaluationError(verdict.errors)
        return Answer(verdict.allowed, tuple(self.policies.rules[reason] for reason in verdict.reasons))


def evaluate(
    *,
    request: PolicyRequest,
    context: PolicyRequestContext,
    config: PolicyEvaluationConfig,
    world: World,
    policies: CompiledSet,
    handles: EntityHandles | None = None,
) -> PolicyDecision:
    """Decide. Never raises: an error, a diagnostic or a malformed request is a denial.

    `handles` caches parsed entities between calls and changes nothing else.
    """
    started = time.perf_counter_ns()
    try:
        decision = _evaluate(case_of(Asked(request, context, config, world), policies, handles))
    except RequestError as error:
        decision = refuse(error.code, error.reason)
    except EvaluationError as error:
        decision = refuse(Code.EVALUATION_FAILED, _FAILED, errors=error.errors, cedar=True)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the engine is not an Exception
        decision = refuse(Code.EVALUATION_FAILED, _FAILED, errors=(type(error).__name__,))
    explanation = replace(
        decision.explanation,
        policy_set=policies.ref,
        catalog_digest=policies.catalog_digest,
        duration_us=(time.perf_counter_ns() - started) // 1000,
    )
    return replace(decision, explanation=explanation)


def case_of(asked: Asked, policies: CompiledSet, handles: EntityHandles | None = None) -> Case:
    """Put a question to the rules whose scope can hold for it.

    Raises RequestError for what cannot be put at all and ValueError for facts that break the schema.
    """
    prepared = prepare(asked.request, asked.context, asked.config, asked.world, policies)
    entities = (handles or EntityHandles(policies.schema_handle)).get(prepared.placement)
    chosen = Slice(policies.slices.get(()), ())
    if prepared.action is not None:
        groups = frozenset((_ACTION, group) for group in prepared.action.groups)
        action = Closure((_ACTION, prepared.action.name), groups)
        principal, resource = entities.closure(prepared.principal), entities.closure(prepared.resource)
        chosen = slice_for(policies, principal, action, resource)
    return Case(prepared, asked.context, asked.config, policies, entities, chosen)


def refuse(
    code: Code,
    reason: str,
    *,
    errors: tuple[str, ...] = (),
    cedar: bool = False,
) -> PolicyDecision:
    """Return a denial that no rule determined."""
    explanation = PolicyExplanation(evaluated_with_cedar=cedar, reason=reason, diagnostics_errors=errors)
    return PolicyDecision(Effect.DENY, code, reason, (), explanation)


def _evaluate(case: Case) -> PolicyDecision:
    if case.prepared.action is None:
        return _without_permit(case)
    if case.context.approval is None:
        return _without_approval(case)
    return _with_approval(case, case.context.approval)


def _without_approval(case: Case) -> PolicyDecision:
    first = case.ask(allow_sensitive=case.config.allow_sensitive_tools, approval=None)
    unknown = unknown_obligations(first.rules)
    if unknown:
        return _deny(case, Code.OBLIGATION_UNKNOWN, first.rules, f"Unknown obligation: {unknown[0]}.")
    if first.allowed:
        return _permitted(case, first.rules, first.rules)
    if not first.rules:
        return _without_permit(case)
    if not all(rule.needs_approval for rule in first.rules):
        return _deny(case, Code.DENIED, first.rules)
    return _if_approved(case, first.rules)


def _if_approved(case: Case, forbids: tuple[Rule, ...]) -> PolicyDecision:
    """Ask what the best possible approval would change: what it cannot cure is named first."""
    second = case.ask(allow_sensitive=True, approval=most_favourable(case.policies))
    unknown = unknown_obligations(second.rules)
    if unknown:
        return _deny(case, Code.OBLIGATION_UNKNOWN, second.rules, f"Unknown obligation: {unknown[0]}.")
    if second.allowed:
        return _permitted(case, forbids, (*forbids, *second.rules))
    return _deny(case, Code.DENIED, second.rules) if second.rules else _without_permit(case)


def _with_approval(case: Case, approval: ApprovalFacts) -> PolicyDecision:
    """Collect the obligations as if there were no approval, then hold the real one against them."""
    bare = _without_approval(case)
    if bare.effect is Effect.DENY:
        return bare
    real = case.ask(allow_sensitive=True, approval=approval)
    unknown = unknown_obligations(real.rules)
    if unknown:
        return _deny(case, Code.OBLIGATION_UNKNOWN, real.rules, f"Unknown obligation: {unknown[0]}.")
    if not real.allowed and not real.rules:
        return _without_permit(case)
    if not real.allowed and not all(rule.needs_approval for rule in real.rules):
        return _deny(case, Code.DENIED, real.rules)
    collected = merge(bare.obligations, _obligations(case, real.rules))
    if not real.allowed or not all(is_met(obligation, approval) for obligation in collected):
        return _decided(case, Effect.REQUIRE_APPROVAL, Code.APPROVAL_REQUIRED, real.rules, collected)
    rest = tuple(obligation for obligation in collected if obligation.kind != "approval")
    return _decided(case, Effect.ALLOW, Code.ALLOWED, real.rules, rest)


def _permitted(case: Case, determining: tuple[Rule, ...], obliging: tuple[Rule, ...]) -> PolicyDecision:
    obligations = _obligations(case, obliging)
    if any(obligation.kind == "approval" for obligation in obligations):
        effect, code = Effect.REQUIRE_APPROVAL, Code.APPROVAL_REQUIRED
        named = tuple(rule for rule in determining if rule.needs_approval) or obliging
        return _decided(case, effect, code, named, obligations, matched=obliging)
    return _decided(case, Effect.ALLOW, Code.ALLOWED, determining, obligations)


def _without_permit(case: Case) -> PolicyDecision:
    """Deny by the first fact that explains why no permit matched."""
    placement = case.prepared.placement
    reason = "No rule permits this action."
    code = Code.NO_PERMIT
    if case.prepared.executes_tool and not placement.principal_allowed:
        code, reason = Code.PRINCIPAL_NOT_ALLOWLISTED, "The principal may not execute tools here."
    elif case.prepared.executes_tool and not placement.channel_allowed:
        code, reason = Code.CHANNEL_NOT_ALLOWLISTED, "Tools may not be executed from this channel."
    elif case.prepared.executes_tool and not placement.tool_allowlisted:
        code, reason = Code.TOOL_NOT_ALLOWLISTED, "The tool is not on the workspace's allowlist."
    elif case.prepared.action_name == SKILL_EXECUTE and not placement.skill_allowlisted:
        code, reason = Code.SKILL_NOT_ALLOWLISTED, "The skill is not on the workspace's allowlist."
    return _deny(case, code, (), reason)


def _deny(case: Case, code: Code, rules: tuple[Rule, ...], reason: str = "") -> PolicyDecision:
    named = rules if code is not Code.DENIED else tuple(r for r in rules if not r.needs_approval) or rules
    return _decided(case, Effect.DENY, code, named, (), matched=rules, reason=reason)


def _decided(
    case: Case,
    effect: Effect,
    code: Code,
    determining: tuple[Rule, ...],
    obligations: tuple[Obligation, ...],
    *,
    matched: tuple[Rule, ...] = (),
    reason: str = "",
) -> PolicyDecision:
    described = [rule.annotations.get("description", "") for rule in determining]
    text = reason or next(filter(None, described), f"Decided by {_names(determining)}.")
    explanation = _explanation(case, text, determining, matched or determining)
    return PolicyDecision(effect, code, text, obligations, explanation)


def _explanation(
    case: Case, reason: str, determining: tuple[Rule, ...], matched: tuple[Rule, ...]
) -> PolicyExplanation:
    prepared, placement = case.prepared, case.prepared.placement
    return PolicyExplanation(
        evaluated_with_cedar=prepared.action is not None,
        reason=reason,
        determining_policies=tuple(_determining(rule) for rule in determining),
        matched_policy_ids=tuple(sorted({rule.id for rule in matched})),
        is_sensitive_action=prepared.sensitive,
        is_allowlisted_tool=placement.tool_allowlisted,
        is_allowlisted_skill=placement.skill_allowlisted,
        is_tool_execute_principal_allowed=placement.principal_allowed,
        is_tool_execute_channel_allowed=placement.channel_allowed,
        requested_tool=prepared.resource.id if prepared.resource.type == "Tool" else None,
        requested_skill=prepared.resource.id if prepared.resource.type == "Skill" else None,
        request_capabilities=prepared.capabilities,
        constructed_entities=case.entities.names,
        slice_size=len(case.candidates),
        advice=tuple(rule.annotations["advice"] for rule in determining if "advice" in rule.annotations),
        labels=tuple(sorted(case.context.labels)),
    )


def _determining(rule: Rule) -> DeterminingPolicy:
    return DeterminingPolicy(
        id=rule.id,
        effect=rule.effect,
        description=rule.annotations.get("description", ""),
        annotations=tuple(sorted(rule.annotations.items())),
    )


def _names(rules: Iterable[Rule]) -> str:
    return ", ".join(rule.id for rule in rules) or "default"


def most_favourable(policies: CompiledSet) -> ApprovalFacts:
    """Return the best approval people could give under this set."""
    roles = frozenset(role for rule in policies.rules.values() for role in rule.approver_roles)
    return ApprovalFacts("", "once", Risk.CRITICAL, _FAVOURABLE_COUNT, roles | _ALL_ROLES, frozenset())


_ALL_ROLES = frozenset(role.value for role in WorkspaceRole)


def _obligations(case: Case, rules: tuple[Rule, ...]) -> tuple[Obligation, ...]:
    return obligations_of(rules, least_risk=_subject_risk(case))


def _subject_risk(case: Case) -> str:
    world = case.prepared.placement.world
    if world.tool is not None:
        return world.tool.risk
    return world.skill.risk if world.skill is not None else Risk.LOW
