"""The lock-out guard: no set comes into force under which nobody could ever take it back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from identity.models import User, Workspace
from identity.roles import Permission
from identity.selectors import INSTANCE, instance_holders
from policy.engine import evaluate
from policy.models import PolicySet
from policy.runtime import Engine, candidate_engine, config_for, current, load_tools
from policy.snapshot import user_facts
from policy.types import (
    Effect,
    EntityRef,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    World,
)

NEXT_SET = "pol_next"
"""The set that would be activated next: a rule that permits one known set only leaves no way."""
_WAYS = ("session", "token")
"""How a person may come: one way in is enough to take the rules back."""


def leaves_a_way(policy_set: PolicySet, client_ip: str, now: datetime) -> bool:
    """Tell whether under this set somebody who holds `policy.activate` would be permitted to use it.

    Each holder is put to the compiled set as the verb puts them: with a second factor, and once with and
    once without the address that the activation comes from, since it is not always known.
    """
    engine = candidate_engine(policy_set, load_tools())
    if engine is None:
        return False
    instance = Workspace.objects.values_list("pk", flat=True).get(slug=INSTANCE)
    config = config_for(current(), instance)
    people = User.objects.filter(pk__in=instance_holders(Permission.POLICY_ACTIVATE, now)).order_by("pk")
    facts = (replace(user_facts(person, instance, now), mfa=True) for person in people)
    worlds = [World(workspace_id=instance, principal=person) for person in facts]
    addresses = (None, client_ip) if client_ip else (None,)
    return any(
        all(_is_permitted(world, way, address, engine, config, now) for address in addresses)
        for world in worlds
        for way in _WAYS
    )


def _is_permitted(
    world: World,
    way: str,
    address: str | None,
    engine: Engine,
    config: PolicyEvaluationConfig,
    now: datetime,
) -> bool:
    person = world.principal.id if world.principal else ""
    decision = evaluate(
        request=PolicyRequest(
            principal=EntityRef("User", person),
            action=Permission.POLICY_ACTIVATE.value,
            resource=EntityRef("PolicySet", NEXT_SET),
        ),
        context=PolicyRequestContext(now=now, auth_method=way, source_ip=address),
        config=config,
        world=world,
        policies=engine.compiled,
        handles=engine.handles,
    )
    return decision.effect is Effect.ALLOW
