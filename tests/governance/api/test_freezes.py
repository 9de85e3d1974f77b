"""Freezes over the API: set, listed, lifted by another person."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from governance.journal.ledger import record
from governance.models import Freeze
from identity import memberships
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from tests.governance.api.stepping import fresh
from tests.governance.api.test_matrix import hold_every_scope
from tests.governance.api.world import SHELL, Answer, Caller, World

REASON = "the agent runs wild"


def set_freeze(caller: Caller, scope: str = "global", **more: Any) -> Answer:
    return caller.post("freezes", {"scope": scope, "reason": REASON, **more})


def code_of(answer: Answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def rule_everywhere(person: Caller) -> Caller:
    """Give a person the role of an owner in `instance`, and a token with its scopes."""
    with transaction.atomic():
        memberships.grant_membership(
            user=User.objects.get(pk=person.id),
            workspace=Workspace.objects.get(slug="instance"),
            role=WorkspaceRole.OWNER,
            actor=SHELL,
            now=utc_now(),
            record=record,
        )
    return fresh(hold_every_scope(person))


def test_from_the_freeze_to_the_lifting(world: World) -> None:
    """The eleventh acceptance scenario as agent, approver and two owners see it."""
    owner, second = fresh(world.owner), rule_everywhere(world.second_approver)
    queued, asked = world.agent.propose("demo.ls", {}), world.ask()
    answer = set_freeze(owner, kill_running=True)
    frozen = answer.json()
    assert (answer.status_code, frozen["state"], frozen["set_by"]) == (201, "active", owner.id)
    assert (frozen["scope_id"], frozen["workspace_id"]) == (None, None)
    call = world.agent.get(f"tool-calls/{queued['id']}").json()
    assert (call["state"], call["error"]["detail"]["code"]) == ("refused", "run.frozen")
    denied = world.agent.propose("demo.ls", {})
    assert (denied["state"], denied["decision"]["reason_code"]) == ("denied", "run.frozen")
    decision = f"approvals/{asked['approval']['id']}/decision"
    allow = world.approver.post(decision, {"decision": "allow", "scope": "once"})
    assert code_of(allow) == (403, "frozen")
    assert world.approver.post(decision, {"decision": "deny", "comment": "not now"}).status_code == 200
    lift = f"freezes/{frozen['id']}/lift"
    assert code_of(owner.post(lift, {})) == (403, "four_eyes_required")
    lifted = second.post(lift, {"reason": "fixed"}).json()
    assert (lifted["state"], lifted["lifted_by"], lifted["single_operator"]) == ("lifted", second.id, False)
    assert world.agent.propose("demo.ls", {})["state"] == "queued"
    assert world.agent.get(f"tool-calls/{queued['id']}").json()["state"] == "refused"


def test_alone_the_setter_lifts_and_that_is_on_record(world: World) -> None:
    owner = fresh(world.owner)
    frozen = set_freeze(owner).json()
    assert owner.post(f"freezes/{frozen['id']}/lift").json()["single_operator"] is True


def test_a_code_in_the_body_counts(world: World) -> None:
    assert code_of(set_freeze(world.owner)) == (401, "step_up_required")
    frozen = set_freeze(world.owner, otp=world.owner.code())
    assert frozen.status_code == 201
    lift = f"freezes/{frozen.json()['id']}/lift"
    assert code_of(world.owner.post(lift, {})) == (401, "step_up_required")
    assert code_of(world.owner.post(lift, {"otp": world.owner.code()})) == (401, "step_up_required")
    assert world.owner.post(lift, {"otp": world.owner.code(steps=1)}).status_code == 200


def test_a_scope_is_frozen_once_and_a_repeat_gets_the_first_answer(world: World) -> None:
    owner = fresh(world.owner)
    body = {"scope": "tool", "scope_id": "echo", "reason": REASON}
    first = owner.post("freezes", body, Idempotency_Key="k1")
    again = owner.post("freezes", body, Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert code_of(owner.post("freezes", body)) == (409, "conflict")
    assert Freeze.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"scope": "all"}, 422, "invalid"),
        ({"scope": "global", "scope_id": "x"}, 422, "invalid"),
        ({"scope": "agent"}, 422, "invalid"),
        ({"scope": "tool", "scope_id": ""}, 422, "invalid"),
        ({"scope": "global", "reason": "too short"}, 422, "invalid"),
        ({"scope": "global", "reason": "x" * 1001}, 422, "invalid"),
        ({"scope": "global", "kill_running": "yes"}, 422, "invalid"),
        ({"scope": "global", "set_by": "usr_1"}, 400, "unknown_field"),
        ({"scope": "agent", "scope_id": "agt_01JD0000000000000000000000"}, 422, "invalid"),
        ({"scope": "run", "scope_id": "a run"}, 422, "invalid"),
    ],
)
def test_bad_bodies_freeze_nothing(world: World, body: dict[str, Any], status: int, code: str) -> None:
    assert code_of(fresh(world.owner).post("freezes", {"reason": REASON} | body)) == (status, code)
    assert not Freeze.objects.exists()


def test_only_who_holds_the_permission_freezes(world: World) -> None:
    for caller in (world.agent, hold_every_scope(world.auditor), hold_every_scope(world.stranger)):
        assert set_freeze(caller, "agent", scope_id=world.agent.id).status_code == 403
    assert code_of(set_freeze(fresh(world.approver))) == (403, "role_required")
    assert set_freeze(world.nobody).status_code == 401
    assert not Freeze.objects.exists()


def test_who_reads_runs_reads_freezes(world: World) -> None:
    owner = fresh(world.owner)
    mine = set_freeze(owner, "agent", scope_id=world.agent.id).json()
    set_freeze(owner, "agent", scope_id=world.other_agent.id)
    assert len(world.auditor.get("freezes?state=active").json()["data"]) == 2
    (seen,) = world.agent.get("freezes").json()["data"]
    assert (seen["id"], seen["reason"], seen["set_by"]) == (mine["id"], REASON, None)
    assert hold_every_scope(world.stranger).get("freezes").status_code == 403
    assert owner.get("freezes?scope=tool").json()["data"] == []
    assert owner.get("freezes?scope=all").status_code == 400
    assert code_of(hold_every_scope(fresh(world.stranger)).post(f"freezes/{mine['id']}/lift"))[0] == 403
