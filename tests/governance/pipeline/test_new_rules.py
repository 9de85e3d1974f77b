"""A call meets other rules at its claim than those that let it pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.db import transaction

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import policy_activation, policy_sets
from governance.operations.policy_activation import Activation
from identity.memberships import grant_membership
from identity.models import Membership, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from policy.activation import ActivationWish
from policy.models import PolicySet
from policy.set_selectors import require_set
from tests.cast import principal
from tests.governance.pipeline.test_claim import assert_refused
from tests.governance.pipeline.world import ASKED, ECHO, SHELL, World, again, claim
from tests.policy.lifecycles import REASON, simulated

pytestmark = pytest.mark.django_db
NO_ECHO = """@id("no_echo")
forbid (principal, action == Palyra::Action::"tool.execute:echo", resource);
"""

CODE_FOR_NOTES = """@id("code_for_notes")
@obligation("approval,step_up")
@risk("low")
forbid (principal, action == Palyra::Action::"tool.execute:asked.note", resource)
unless { context has approval };
"""

ONLY_BY_ADMINS = """@id("only_by_admins")
forbid (principal, action == Palyra::Action::"tool.execute:asked.note", resource)
when { context has approval && !context.approval.roles.contains("admin") };
"""


def put_in_force(world: World, text: str) -> PolicySet:
    """Draft, validate and activate one more rule, all by the owner, who is alone in the instance."""
    return ready_to_activate(world, text)().policy_set


def ready_to_activate(world: World, text: str) -> Callable[[], Activation]:
    """Draft and validate one more rule, and return what would put it in force."""
    now = utc_now()
    owner = principal(world.owner, Workspace.objects.get(slug="instance"), now=now)
    row = policy_sets.draft(principal=owner, name="No echo", now=now)
    row = policy_sets.put_file(
        principal=owner, set_id=row.pk, file_name="more.cedar", text=text, seen_version=1, now=now
    )
    row = policy_sets.validate(principal=owner, set_id=row.pk, now=now)
    simulated(row, created_at=now, finished_at=now)
    return partial(
        policy_activation.activate,
        principal=owner,
        set_id=row.pk,
        wish=ActivationWish(REASON, 1, 0),
        seen_version=row.edit_version,
        now=now,
    )


def test_rules_that_came_into_force_meanwhile_refuse_it_and_both_hashes_are_kept(world: World) -> None:
    before = require_set("active")
    view = world.propose(ECHO)
    after = put_in_force(world, NO_ECHO)
    world.run(view)
    assert_refused(view, "policy.changed", "policy")
    event = JournalEvent.objects.get(type="policy.revalidated", call_id=view.call.id)
    assert open_data(event) == {
        "code": "policy.changed",
        "decided_by": before.hash,
        "refused_by": after.hash,
    }


def test_gone_back_the_same_call_is_allowed_again(world: World) -> None:
    before = require_set("active")
    put_in_force(world, NO_ECHO)
    assert world.propose(ECHO).state == "denied"
    now = utc_now()
    owner = principal(world.owner, Workspace.objects.get(slug="instance"), now=now)
    before.refresh_from_db()
    policy_activation.rollback(
        principal=owner, set_id=before.pk, reason=REASON, seen_version=before.edit_version, now=now
    )
    assert world.propose(ECHO).state == "queued"


def test_an_answer_does_not_count_for_a_rule_that_asks_only_since(world: World) -> None:
    asked = world.ask(ASKED)
    assert asked.approval is not None
    assert asked.approval.risk == "medium"
    world.answer(asked, otp_verified_at=None)
    put_in_force(world, CODE_FOR_NOTES)
    world.run(again(asked))
    assert_refused(asked, "approval.policy_changed", "policy")


@pytest.mark.parametrize("kept", [True, False])
def test_a_role_that_was_lost_since_the_answer_counts_in_no_rule(world: World, kept: bool) -> None:
    """The approver answered as an admin and an approver, and is at least the latter still."""
    with transaction.atomic():
        grant_membership(
            user=world.approver,
            workspace=world.workspace,
            role=WorkspaceRole.ADMIN,
            actor=SHELL,
            now=utc_now(),
            record=record,
        )
    put_in_force(world, ONLY_BY_ADMINS)
    view = world.allowed(world.ask(ASKED))
    if kept:
        assert claim(world, view).call.id == view.call.id
        return
    Membership.objects.get(user=world.approver, role=WorkspaceRole.ADMIN).delete()
    world.run(view)
    assert_refused(view, "policy.changed", "policy")
