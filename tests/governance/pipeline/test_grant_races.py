"""Real threads on one grant through the pipeline: who claims, who takes it back, which rules are in force."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial

import pytest
from django.db import connection, transaction

from approvals.models import Grant, GrantUse
from governance import recheck
from governance.operations import grants
from governance.selectors import CallView
from kernel.clock import utc_now
from kernel.errors import ConflictError
from policy.epoch import hold_epoch, raise_epoch
from policy.models import PolicySet
from policy.set_selectors import require_set
from sandbox.models import Execution
from tests.governance.pipeline.test_grants import granted
from tests.governance.pipeline.test_new_rules import put_in_force
from tests.governance.pipeline.world import ASKED, World, again, events_of, final_decisions, set_posture
from tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ON_POSTGRESQL = connection.vendor == "postgresql"
ROUNDS = 12 if ON_POSTGRESQL else 2
SWITCHES = 25 if ON_POSTGRESQL else 2
THREADS = 16 if ON_POSTGRESQL else 8
ATTEMPTS = 1_008 if ON_POSTGRESQL else 128
KEY = "one conversation"
NOTHING_NEW = """@id("nothing_new_{number}")
forbid (principal, action == Palyra::Action::"tool.execute:asked.note", resource)
when {{ context has approval && context.approval.scope == "{scope}" }};
"""


@pytest.fixture
def world(committed_world: World) -> World:
    """The module's installation, without what the answers of an earlier test still cover."""
    Grant.objects.filter(status="active").update(status="expired")
    return committed_world


def claim(world: World, view: CallView) -> None:
    with transaction.atomic(durable=True):
        recheck.claim(view.call.execution_id or "", world.worker, utc_now())


def claim_often(world: World, view: CallView, attempts: int) -> None:
    """Claim as a worker that is woken again and again for the same call."""
    for _ in range(attempts):
        with suppress(ConflictError):
            claim(world, view)


def code_of(view: CallView) -> str:
    ended = again(view)
    if ended.state == "running":
        return "ran"
    return str(ended.call.error["detail"]["code"])


def assert_one_story(view: CallView) -> None:
    story = Counter(events_of(view))
    assert story["execution.started"] + story["execution.refused"] == 1
    assert story["grant.used"] == story["execution.started"]
    assert len(final_decisions(again(view))) == 1


def renewed(grant: Grant, **changes: object) -> None:
    """Make the grant as it was, so that a round needs no new answer."""
    Grant.objects.filter(pk=grant.pk).update(status="active", uses=0, **changes)


def test_of_many_calls_in_many_runs_as_many_run_as_the_grant_has_uses(world: World) -> None:
    first = granted(world, run=world.open_run(session_key=KEY))
    grant = Grant.objects.get(pk=first.call.grant_id)
    renewed(grant, uses_allowed=1)
    views = [world.propose(ASKED, run=world.open_run(session_key=KEY)) for _ in range(THREADS)]
    assert {view.state for view in views} == {"queued"}
    assert at_once(*[partial(claim, world, view) for view in views]) == [""] * THREADS
    assert Counter(map(code_of, views)) == {"ran": 1, "approval.grant_consumed": THREADS - 1}
    for view in views:
        assert_one_story(view)
    grant.refresh_from_db()
    assert (grant.uses, grant.status) == (1, "consumed")
    assert GrantUse.objects.filter(grant=grant).count() == 1


def test_a_thousand_attempts_to_use_a_once_grant_give_one_execution(world: World) -> None:
    view = granted(world, "once")
    at_once(*[partial(claim_often, world, view, ATTEMPTS // THREADS)] * THREADS)
    grant = Grant.objects.get(pk=view.call.grant_id)
    assert (grant.uses, grant.status, grant.used.count()) == (1, "consumed", 1)
    assert Execution.objects.get(call_id=view.call.id).state == "running"
    assert_one_story(view)


def test_a_claim_and_a_revocation_leave_one_story(world: World) -> None:
    run, who = world.open_run(session_key=KEY + " 2"), world.person(world.approver)
    first = granted(world, run=run)
    grant = Grant.objects.get(pk=first.call.grant_id)
    for _ in range(ROUNDS):
        renewed(grant, uses_allowed=100)
        view = world.propose(ASKED, run=run)
        taken_back = partial(grants.revoke, principal=who, grant_id=grant.pk, comment="enough", now=utc_now())
        assert at_once(partial(claim, world, view), taken_back) == ["", ""]
        grant.refresh_from_db()
        assert grant.status == "revoked"
        assert code_of(view) == ("ran" if grant.uses else "approval.grant_revoked")
        assert_one_story(view)


def test_a_claim_and_a_tightened_posture_leave_one_story(world: World) -> None:
    """What policy reads changes while the call is claimed: it runs under the old or is refused."""
    run = world.open_run(session_key=KEY + " 3")
    grant = Grant.objects.get(pk=granted(world, run=run).call.grant_id)
    for _ in range(ROUNDS):
        renewed(grant)
        view = world.propose(ASKED, run=run)
        tightened = partial(set_posture, world, ASKED, "disabled")
        assert at_once(partial(claim, world, view), tightened) == ["", ""]
        assert code_of(view) in ("ran", "posture.disabled")
        assert_one_story(view)
        set_posture(world, ASKED, "ask_each_time")


def test_a_claim_and_new_rules_leave_one_story_in_every_round(world: World) -> None:
    """It runs under the rules that permit it, or is refused under those that do not."""
    before = require_set("active")
    granted(world, "temporary", ttl_ms=3_600_000)
    after = put_in_force(world, NOTHING_NEW.format(number=1, scope="temporary"))
    switch(after, before)
    views = [world.propose(ASKED) for _ in range(SWITCHES)]
    assert {view.state for view in views} == {"queued"}
    ended = Counter[str]()
    for view in views:
        assert at_once(partial(claim, world, view), partial(switch, before, after)) == ["", ""]
        before, after = after, before
        ended[code_of(view)] += 1
        assert_one_story(view)
    assert set(ended) <= {"ran", "policy.changed"}
    assert sum(ended.values()) == SWITCHES
    assert GrantUse.objects.filter(grant__tool=ASKED, grant__scope="temporary").count() == ended["ran"]


def switch(left: PolicySet, chosen: PolicySet) -> None:
    """Put a set into force that was in force before, in the order of an activation and without its checks."""
    with transaction.atomic(durable=True):
        hold_epoch()
        raise_epoch()
        PolicySet.objects.filter(pk=left.pk).update(state="superseded", superseded_at=utc_now())
        PolicySet.objects.filter(pk=chosen.pk).update(state="active", superseded_at=None)
