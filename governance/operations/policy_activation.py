"""Verbs that put rules in force: activate, roll back, and the shell's way back to the shipped ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from approvals.models import ApprovalRequest
from governance import activations, authority, idempotency
from governance.activations import ACTIVATE, ROLLBACK, Plan
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.operations import refusals
from identity.roles import Permission
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import Principal
from kernel.errors import PalyraError, PreconditionFailedError
from kernel.record import system_actor
from policy import activation, installation
from policy.activation import ActivationWish, Consent
from policy.epoch import hold_epoch
from policy.models import PolicySet
from policy.runtime import load_tools
from policy.set_checking import check_text
from policy.set_selectors import author_ids, require_set, set_text
from policy.types import EntityRef


@dataclass(frozen=True, slots=True)
class Activation:
    """`policy_set` is in force now, unless `request` asks a second person first.

    After a rollback `policy_set` is the new set that restores the earlier text.
    """

    policy_set: PolicySet
    request: ApprovalRequest | None = None


Render = Callable[[Activation], tuple[int, object]]


@needs(Permission.POLICY_ACTIVATE)
def activate(
    *,
    principal: Principal,
    set_id: str,
    wish: ActivationWish,
    seen_version: int,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Activation:
    """Put a validated set in force, or ask a second person when the principal wrote some of it.

    `set_id` is a `pol_` id. Raises ConflictError `conflict`, `policy_base_moved`, `simulation_stale` or
    `policy_lockout`, InvalidError `policy_invalid`, PreconditionFailedError for an outdated version,
    RefusedError `four_eyes_required` when nobody could be the second person. A refusal leaves
    `policy.activation_refused` in the journal.
    """
    _require_activator(principal, set_id, now)
    check_text(set_text(require_set(set_id)), load_tools())  # a large set is not checked inside
    try:
        with transaction.atomic(durable=True):
            _require_activator(principal, set_id, now)
            hold_epoch()
            chosen = require_set(set_id)
            activation.require_activatable(chosen, wish, principal.client_ip, now)
            _require_seen(chosen, seen_version)
            plan = activations.plan_to(ACTIVATE, chosen, wish.reason, wish)
            alone = principal.id in author_ids(chosen) and not activation.is_sole_activator(principal.id, now)
            made = _done(plan, chosen, principal, now, ask=alone)
            _store(ticket, render, made)
    except PalyraError as refusal:
        refusals.record_activation_refusal(principal, set_id, refusal, now)
        raise
    return made


@needs(Permission.POLICY_ACTIVATE)
def rollback(
    *,
    principal: Principal,
    set_id: str,
    reason: str,
    seen_version: int,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Activation:
    """Put the text of an earlier set in force again, or ask a second person where one may not alone.

    Raises as `activate`, without a simulation.
    """
    _require_activator(principal, set_id, now)
    check_text(set_text(require_set(set_id)), load_tools())
    try:
        with transaction.atomic(durable=True):
            _require_activator(principal, set_id, now)
            hold_epoch()
            earlier = require_set(set_id)
            left = activation.require_earlier(earlier)
            _require_seen(earlier, seen_version)
            plan = activations.plan_to(ROLLBACK, earlier, reason)
            alone = activation.may_go_back_alone(earlier, left, now)
            ask = not alone and not activation.is_sole_activator(principal.id, now)
            made = _done(plan, earlier, principal, now, ask=ask)
            _store(ticket, render, made)
    except PalyraError as refusal:
        refusals.record_activation_refusal(principal, set_id, refusal, now)
        raise
    return made


@needs(None)
def restore_baseline(*, reason: str, now: datetime) -> PolicySet:
    """Put the shipped rules in force from the server's own shell, whatever is in force now."""
    with transaction.atomic(durable=True):
        return installation.restore_baseline(
            reason=reason, actor=system_actor("shell"), now=now, record=record
        )


def _done(plan: Plan, policy_set: PolicySet, principal: Principal, now: datetime, *, ask: bool) -> Activation:
    if ask:
        return Activation(policy_set, activations.ask(plan, policy_set, principal, now))
    consent = Consent(asked_by=principal.id, client_ip=principal.client_ip)
    return Activation(activations.perform(plan, consent, principal, now))


def _require_activator(principal: Principal, set_id: str, now: datetime) -> None:
    instance = workspace_by_slug(INSTANCE).pk
    resource = EntityRef("PolicySet", set_id)
    authority.require_verb(principal, Permission.POLICY_ACTIVATE, instance, now, resource=resource)


def _require_seen(policy_set: PolicySet, seen_version: int) -> None:
    if policy_set.edit_version != seen_version:
        raise PreconditionFailedError("precondition_failed", "The set changed since it was read.")


def _store(ticket: Ticket | None, render: Render | None, made: Activation) -> None:
    if ticket is not None and render is not None:
        status, body = render(made)
        idempotency.store(ticket, status=status, body=body, object_id=made.policy_set.pk)
