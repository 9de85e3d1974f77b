"""A forced allow through the whole path: it stands for the people who were missing, and for no rule."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import transaction

from approvals.models import BreakGlassReview
from approvals.services import ReviewOutcome
from governance.journal.ledger import record
from governance.operations import approvals
from governance.operations.approvals import Chosen
from governance.selectors import CallView
from identity import rollout
from identity.models import FeatureFlag
from identity.rollout import FlagWishes
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import InvalidError, RefusedError
from tests.governance.pipeline.test_new_rules import put_in_force
from tests.governance.pipeline.world import (
    ASKED,
    LAUNCH,
    SHELL,
    SLEEP,
    World,
    again,
    allow_principal,
    as_principal,
    claim,
    gate_row,
    set_posture,
)

pytestmark = pytest.mark.django_db
WHY = "production is down, nobody else answers"
NOBODY_MAY = """@id("nobody_may")
forbid (principal, action == Palyra::Action::"{permission}", resource);
"""


@pytest.fixture(autouse=True)
def switched_on(world: World) -> None:
    row = FeatureFlag.objects.filter(key="break_glass").first()
    with transaction.atomic():
        rollout.change_flag(
            key="break_glass",
            wishes=FlagWishes(reason="a test needs it", enabled=True, stage="general"),
            seen_version=row.version if row else 0,
            actor=SHELL,
            now=utc_now(),
            record=record,
        )


def owner(world: World, now: datetime) -> Principal:
    return as_principal(world.owner, world.workspace, now)


def force(world: World, view: CallView) -> ReviewOutcome:
    now = utc_now()
    return approvals.break_glass(
        request_id=view.call.approval_id or "",
        principal=owner(world, now),
        comment=WHY,
        otp_verified_at=now,
        now=now,
    )


def test_a_forced_call_passes_its_claim_for_all_the_people_it_needed(world: World) -> None:
    view = world.ask(LAUNCH)
    assert force(world, view).kind == "allowed"
    assert again(view).state == "queued"
    assert claim(world, again(view)).call.id == view.call.id
    assert again(view).state == "running"


@pytest.mark.parametrize("permission", ["approvals.break_glass", "approvals.decide"])
def test_rules_that_let_nobody_force_or_answer_stop_it_and_nothing_stays(
    world: World, permission: str
) -> None:
    view = world.ask(LAUNCH)
    put_in_force(world, NOBODY_MAY.format(permission=permission))
    with pytest.raises(RefusedError, match="Policy does not permit " + permission):
        force(world, view)
    assert again(view).state == "awaiting_approval"
    assert not BreakGlassReview.objects.exists()


def test_the_rules_are_asked_about_each_of_many(world: World) -> None:
    view, now = world.ask(SLEEP), utc_now()
    put_in_force(world, NOBODY_MAY.format(permission="approvals.decide"))
    (row,) = approvals.decide_many(
        principal=as_principal(world.approver, world.workspace, now),
        chosen=[Chosen(view.call.approval_id or "")],
        verdict="allow",
        otp_verified_at=now,
        now=now,
    )
    assert (row.outcome, row.refusal and row.refusal.code) == (None, "role_required")
    assert again(view).state == "awaiting_approval"


def test_what_policy_forbids_by_then_is_not_forced(world: World) -> None:
    view = world.ask(LAUNCH)
    force(world, view)
    allow_principal(world, world.other_agent_row.pk)
    refused = world.run(view)
    assert (refused.state, (refused.call.error or {})["detail"]["code"]) == ("refused", "policy.changed")


def test_a_tool_that_was_switched_off_is_not_forced(world: World) -> None:
    view = world.ask(ASKED)
    force(world, view)
    set_posture(world, ASKED, "disabled")
    assert world.run(view).state == "refused"


def test_a_call_that_policy_denied_has_nothing_to_force(world: World) -> None:
    allow_principal(world, world.other_agent_row.pk)
    view = world.propose(LAUNCH)
    assert (view.state, view.call.approval_id) == ("denied", None)
    assert gate_row(view, "approval")["verdict"] == "skipped"
    assert not BreakGlassReview.objects.exists()


def test_a_forced_allow_covers_this_call_and_no_later_one(world: World) -> None:
    view = world.ask(LAUNCH)
    force(world, view)
    twin = world.propose(LAUNCH, run=view.call.run)
    assert twin.state == "awaiting_approval"
    assert twin.call.approval_id != view.call.approval_id


def test_one_code_for_many_never_covers_what_is_critical(world: World) -> None:
    view, now = world.ask(LAUNCH), utc_now()
    with pytest.raises(InvalidError):
        approvals.decide_many(
            principal=owner(world, now),
            chosen=[Chosen(view.call.approval_id or "")],
            verdict="allow",
            comment="go on",
            otp_verified_at=now,
            now=now,
        )


def test_the_owner_of_the_agent_forces_and_does_not_say_that_it_was_right(world: World) -> None:
    view = world.ask(LAUNCH)
    force(world, view)
    now = utc_now()
    with pytest.raises(RefusedError, match="self_review"):
        approvals.review_break_glass(
            review_id=BreakGlassReview.objects.get().pk,
            principal=owner(world, now),
            finding="justified",
            comment="I had to",
            now=now,
        )
