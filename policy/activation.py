"""How a policy set comes into force, and how one goes back. One transaction of the caller's each.

The epoch's row is held from the start, so whoever activates at the same time waits and then finds the
set in force changed. Everything that must hold is asked here again, whatever was asked before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import F

from identity.authority import ANYWHERE
from identity.roles import Permission
from identity.selectors import instance_holders
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor, Record
from kernel.state import transition
from policy.activation_rules import (
    LONGEST_REASON,
    SHORTEST_REASON,
    Candidate,
    is_direct_rollback,
    objection_to,
)
from policy.authority import require_governance
from policy.compilation import DOMAIN
from policy.epoch import hold_epoch, raise_epoch
from policy.lifecycle import ALLOWED, SetState
from policy.lockout import leaves_a_way
from policy.models import PolicySet
from policy.runtime import load_tools
from policy.set_checking import Checked, check_text, invalid
from policy.set_selectors import active_set, author_ids, in_force, set_text, simulation_facts
from policy.sets import mark_validated, new_draft, text_of
from policy.types import EntityRef

LOCKED_OUT = "Under these rules no active person could perform policy.activate."


@dataclass(frozen=True, slots=True)
class ActivationWish:
    """What somebody asks for: why, by which simulation, and how many loosened decisions they saw in it."""

    reason: str
    simulation: int
    acknowledged_loosened: int


@dataclass(frozen=True, slots=True)
class Consent:
    """Who stands behind an activation: the person who asked and, by `request`, the second who let it be.

    `client_ip` is the address the acting person comes from, empty when unknown.
    """

    asked_by: str
    request: str | None = None
    client_ip: str = ""


def require_activatable(policy_set: PolicySet, wish: ActivationWish, client_ip: str, now: datetime) -> None:
    """Raise unless this set could come into force now.

    ConflictError `conflict`, `policy_base_moved`, `simulation_stale` or `policy_lockout`, InvalidError
    for the reason, InvalidError `policy_invalid` when the text no longer validates.
    """
    checked_reason(wish.reason)
    candidate = Candidate(policy_set.state, policy_set.hash or "", policy_set.parent_id)
    now_in_force = in_force(policy_set.domain)
    simulation = simulation_facts(policy_set, wish.simulation)
    found = objection_to(candidate, now_in_force, simulation, wish.acknowledged_loosened, now)
    if found is not None:
        raise ConflictError(found.code, found.detail, extra={"active": now_in_force.id or None})
    require_sound(policy_set, client_ip, now)


def activate(
    *,
    set_id: str,
    wish: ActivationWish,
    consent: Consent,
    actor: Actor,
    now: datetime,
    record: Record,
) -> PolicySet:
    """Put a validated set into force in place of the one that is.

    The actor brought no text into it, unless nobody else in the instance may activate. Raises as
    `require_activatable`, NotFoundError, RefusedError without `policy.activate` in the instance or, as
    `self_review`, for an author.
    """
    hold_epoch()
    chosen = _hold(set_id)
    require_governance(actor, Permission.POLICY_ACTIVATE, EntityRef("PolicySet", chosen.pk), ANYWHERE, now)
    _require_asker(consent, actor, now)
    alone = _acts_alone(actor, author_ids(chosen), now)
    require_activatable(chosen, wish, consent.client_ip, now)
    return _put_in_force(
        chosen,
        reason=checked_reason(wish.reason),
        simulation=(wish.simulation, wish.acknowledged_loosened),
        request=consent.request,
        alone=alone,
        actor=actor,
        now=now,
        record=record,
    )


def rollback(
    *, set_id: str, reason: str, consent: Consent, actor: Actor, now: datetime, record: Record
) -> PolicySet:
    """Put the text of an earlier set into force again, as a new set that names it.

    One person may go back to the direct predecessor within a day; otherwise somebody else than who
    asked for it acts, or nobody else could. Raises ConflictError `conflict` for a set that never was in
    force or is now, `policy_lockout`, InvalidError `policy_invalid`, RefusedError `four_eyes_required`.
    """
    hold_epoch()
    earlier = _hold(set_id)
    require_governance(actor, Permission.POLICY_ACTIVATE, EntityRef("PolicySet", earlier.pk), ANYWHERE, now)
    _require_asker(consent, actor, now)
    left = require_earlier(earlier)
    alone = _goes_back_alone(earlier, left, consent, actor, now)
    why = checked_reason(reason)
    restored = _restore(earlier, consent, actor, now, record)
    restored = _put_in_force(
        restored,
        reason=why,
        simulation=None,
        request=consent.request,
        alone=alone,
        actor=actor,
        now=now,
        record=record,
    )
    data = {
        "version": restored.version,
        "hash": restored.hash or "",
        "domain": restored.domain,
        "restored": earlier.pk,
        "left": left.pk,
        "reason": why,
        "request": consent.request,
        "single_operator": alone,
    }
    record(event="policy.rolled_back", actor=actor, subject=restored.pk, now=now, data=data)
    return restored


def require_earlier(policy_set: PolicySet) -> PolicySet:
    """Return the set in force that `policy_set` came before, or raise ConflictError `conflict`."""
    left = active_set(policy_set.domain)
    if left is None or policy_set.state != SetState.SUPERSEDED:
        raise ConflictError("conflict", f"The set is {policy_set.state}; only an earlier one is restored.")
    return left


def may_go_back_alone(earlier: PolicySet, left: PolicySet, now: datetime) -> bool:
    """Tell whether this is the direct predecessor, left behind less than a day ago."""
    return is_direct_rollback(earlier.pk, left.parent_id, left.activated_at, now)


def put_shipped_in_force(
    draft: PolicySet, checked: Checked, *, actor: Actor, now: datetime, record: Record, reason: str
) -> PolicySet:
    """Put rules shipped with the release into force; only the instance itself does, from its shell."""
    if actor.kind != "system":
        raise RefusedError("role_required", "Only the instance installs its baseline.")
    if checked.errors:
        raise invalid(checked.errors)
    validated = mark_validated(draft, checked, actor=actor, now=now, record=record)
    return _put_in_force(
        validated,
        reason=reason,
        simulation=None,
        request=None,
        alone=False,
        actor=actor,
        now=now,
        record=record,
    )


def require_sound(policy_set: PolicySet, client_ip: str, now: datetime) -> None:
    """Raise unless a validated text still validates as it did and leaves a way to change the rules.

    The catalog may have changed since, so everything is checked against what it is now.
    """
    checked = check_text(set_text(policy_set), load_tools())
    if checked.errors:
        raise invalid(checked.errors)
    if (checked.hash, checked.schema_digest) != (policy_set.hash, policy_set.schema_digest):
        raise ConflictError("conflict", "The text is no longer what was validated; draft from it again.")
    if policy_set.domain == DOMAIN and not leaves_a_way(policy_set, client_ip, now):
        raise ConflictError("policy_lockout", LOCKED_OUT)


def checked_reason(text: str) -> str:
    """Return the reason without blanks around it, or raise InvalidError at `/reason`."""
    reason = text.strip()
    if SHORTEST_REASON <= len(reason) <= LONGEST_REASON and "\0" not in reason:
        return reason
    detail = f"A reason has {SHORTEST_REASON} to {LONGEST_REASON} characters."
    raise InvalidError("invalid", detail, errors=(Detail("/reason", "invalid", detail),))


def is_sole_activator(person_id: str, now: datetime) -> bool:
    """Tell whether nobody but this person may put rules in force (DESIGN §4, second person)."""
    return instance_holders(Permission.POLICY_ACTIVATE, now) == {person_id}


def _hold(set_id: str) -> PolicySet:
    found = PolicySet.objects.select_for_update().filter(pk=set_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such policy set.")
    return found


def _require_asker(consent: Consent, actor: Actor, now: datetime) -> None:
    """What somebody asked for who may no longer ask is not done in their name."""
    if consent.asked_by == actor.id:
        return
    if consent.asked_by not in instance_holders(Permission.POLICY_ACTIVATE, now):
        raise ConflictError("conflict", "Who asked for this may no longer activate rules.")


def _acts_alone(actor: Actor, authors: frozenset[str], now: datetime) -> bool:
    """Return whether the sole-operator rule was used; RefusedError `self_review` where it does not hold."""
    if actor.id not in authors:
        return False
    if is_sole_activator(actor.id, now):
        return True
    extra: dict[str, object] = {"relation": "author"}
    raise RefusedError("self_review", "Nobody activates rules of their own.", extra=extra)


def _goes_back_alone(
    earlier: PolicySet, left: PolicySet, consent: Consent, actor: Actor, now: datetime
) -> bool:
    if consent.request is not None and actor.id != consent.asked_by:
        return False
    if may_go_back_alone(earlier, left, now):
        return False
    if is_sole_activator(actor.id, now):
        return True
    raise RefusedError("four_eyes_required", "Another person has to agree to go back this far.")


def _restore(earlier: PolicySet, consent: Consent, actor: Actor, now: datetime, record: Record) -> PolicySet:
    """Draft the earlier text again, in the name of whoever asked for it, and validate it."""
    draft = new_draft(
        title=earlier.title,
        note=f"Restores version {earlier.version}.",
        domain=earlier.domain,
        text=replace(text_of(earlier), authors=frozenset({consent.asked_by})),
        actor=actor,
        now=now,
        record=record,
    )
    PolicySet.objects.filter(pk=draft.pk).update(restored_from=earlier)
    checked = check_text(set_text(draft), load_tools())
    if checked.errors:
        raise invalid(checked.errors)
    validated = mark_validated(draft, checked, actor=actor, now=now, record=record)
    require_sound(validated, consent.client_ip, now)
    return validated


def _put_in_force(
    chosen: PolicySet,
    *,
    reason: str,
    simulation: tuple[int, int] | None,
    request: str | None,
    alone: bool,
    actor: Actor,
    now: datetime,
    record: Record,
) -> PolicySet:
    """Supersede what is in force and put the chosen set in its place.

    The epoch moves here and not before: what reads the rules between its move and the change would take
    the old ones for those of the new epoch, and this process would keep them.
    """
    raise_epoch()
    previous = active_set(chosen.domain)
    if previous is not None:
        transition(
            PolicySet.objects.filter(pk=previous.pk),
            ALLOWED,
            source=SetState.ACTIVE,
            target=SetState.SUPERSEDED,
            superseded_at=now,
            edit_version=F("edit_version") + 1,
        )
        _record_moved("policy.superseded", previous, actor, now, record)
    transition(
        PolicySet.objects.filter(pk=chosen.pk),
        ALLOWED,
        source=SetState.VALIDATED,
        target=SetState.ACTIVE,
        activated_by=actor.id,
        activated_at=now,
        shadow_since=None,
        edit_version=F("edit_version") + 1,
    )
    active = PolicySet.objects.get(pk=chosen.pk)
    number, loosened = simulation or (None, None)
    data: dict[str, object] = {
        "version": active.version,
        "hash": active.hash or "",
        "domain": active.domain,
        "previous": previous.pk if previous else None,
        "reason": reason,
        "simulation": number,
        "loosened": loosened,
        "request": request,
        "single_operator": alone,
    }
    record(event="policy.activated", actor=actor, subject=active.pk, now=now, data=data)
    return active


def _record_moved(event: str, row: PolicySet, actor: Actor, now: datetime, record: Record) -> None:
    data: Mapping[str, object] = {"version": row.version, "hash": row.hash or "", "domain": row.domain}
    record(event=event, actor=actor, subject=row.pk, now=now, data=data)
