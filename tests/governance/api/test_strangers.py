"""Who has no place here sees nothing: no member of any list, no object behind any address."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.db import transaction

from governance.freeze_scopes import FreezeScope
from governance.journal.models import JournalEvent
from governance.journal.sealing import seal
from governance.models import Job
from governance.operations.freezes import FreezeWishes, set_freeze
from identity.models import Membership, Workspace
from identity.roles import INSTANCE_ONLY, WorkspaceRole
from kernel.clock import utc_now
from kernel.ids import new_id
from policy.limits import prepare_limits
from policy.models import PolicySet
from tests.governance.api.routes import PRIVATE_ROUTES, Route
from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.test_grants import deny, grant
from tests.governance.api.test_matrix import hold_every_scope, row_of
from tests.governance.api.test_webhooks import create
from tests.governance.api.world import Answer, Caller, World, add_person, owner_principal
from tests.policy.lifecycles import simulated

OWN = frozenset({"/api/v1/whoami", "/api/v1/tokens", "/api/v1/access/flags/{key}", "/api/v1/access/flags"})
"""What tells an outsider about themselves and their own workspace."""
CATALOG = frozenset({"/api/v1/posture/{tool}", "/api/v1/tools/{name}"})
"""What stands in every workspace, with what it means there."""
HASHES = frozenset({"/api/v1/journal/tile/{level}/{place}"})
"""Parts of the one signed tree: who reads the journal of any workspace can check proofs against it."""
WHOLE = frozenset({"/api/v1/journal/export"})
"""What belongs to no workspace, so that a role in one opens nothing of it."""
ASKED = {"/api/v1/journal/consistency": "?from=1"}
"""What a route cannot do without."""
RULES = "/api/v1/policy-sets/{set_id}"
"""Rules belong to the installation: whoever may read them somewhere reads them, and nobody's calls."""
READS = tuple(route for route in PRIVATE_ROUTES if route.method == "GET")
WRITES = tuple(route for route in PRIVATE_ROUTES if route.method != "GET")
OF_THEIR_OWN = frozenset({"POST /api/v1/runs", "POST /api/v1/agents", "POST /api/v1/workspaces"})


@dataclass(frozen=True, slots=True)
class Objects:
    """One existing object for every id of a path, all of the world's own workspace."""

    ids: dict[str, str]

    def send(self, caller: Caller, route: Route) -> Answer:
        data = None if route.method in ("GET", "DELETE") else b"{}"
        path = route.template.format(**self.ids) + ASKED.get(route.template, "")
        return caller.send(route.method, path, data)


@pytest.fixture
def objects(world: World) -> Objects:
    switch_on("team_mode")
    call = world.ask()
    membership = Membership.objects.get(user_id=world.approver.id)
    return Objects(
        {
            "run_id": call["run_id"],
            "call_id": call["id"],
            "approval_id": call["approval"]["id"],
            "review_id": "bgr_01JD0000000000000000000000",
            "grant_id": grant(world),
            "denial_id": deny(world),
            "token_id": row_of(world.agent).pk,
            "user_id": world.approver.id,
            "agent_id": world.agent.id,
            "freeze_id": freeze_in(world),
            "session_id": world.agent.id,
            "label": "untrusted_content",
            "workspace_id": world.workspace.pk,
            "membership_id": membership.pk,
            "invitation_id": "inv_01JD0000000000000000000000",
            "share_id": "shr_01JD0000000000000000000000",
            "team_id": "tm_01JD0000000000000000000000",
            "name": "echo",
            "key": "compat_api",
            "set_id": simulated_set().pk,
            "file_name": "baseline.cedar",
            "number": "1",
            "job_id": job_in(world).pk,
            "hold_id": "hld_01JD0000000000000000000000",
            "key_id": "sha256:" + 64 * "0",
            "size": "1",
            "first_seq": "0",
            **webhook_in(world),
            "tool": "echo",
            "preset_id": "lockdown",
            "event_id": sealed_event_of(call["run_id"]),
            "level": "0",
            "place": "000.p/1",
            "recommendation_id": "rec:tighten:global::echo:disabled",
        }
    )


def simulated_set() -> PolicySet:
    """Return the rules in force, with a simulation."""
    active = PolicySet.objects.get(state="active")
    simulated(active)
    return active


def freeze_in(world: World) -> str:
    now = utc_now()
    wishes = FreezeWishes(FreezeScope.AGENT, "does not concern a stranger", world.other_agent.id)
    return set_freeze(principal=owner_principal(world, now), wishes=wishes, now=now).id


def sealed_event_of(run_id: str) -> str:
    """Return the event that opened a run, with its place in the signed log."""
    with transaction.atomic():
        seal(now=utc_now())
    return JournalEvent.objects.get(run_id=run_id, run_seq=1).pk


def job_in(world: World) -> Job:
    now = utc_now()
    return Job.objects.create(
        id=new_id("job", now),
        kind="simulation",
        state="succeeded",
        workspace_id=world.workspace.pk,
        created_at=now,
        finished_at=now,
    )


def webhook_in(world: World) -> dict[str, str]:
    """Return the ids of a webhook and of a delivery to it."""
    made = create(world)
    sent = world.owner.post(f"webhooks/{made['id']}/test").json()
    return {"webhook_id": made["id"], "delivery_id": sent["id"]}


@pytest.fixture
def outsider(world: World) -> Caller:
    """The owner of another workspace, with every scope and a fresh code."""
    now = utc_now()
    with transaction.atomic():
        elsewhere = Workspace.objects.create(
            id="wsp_01JD0000000000000000000000", slug="elsewhere", name="Elsewhere", created_at=now
        )
        prepare_limits(workspace_id=elsewhere.pk)
        caller = add_person("outsider", elsewhere, owner_principal(world, now), WorkspaceRole.OWNER, now=now)
    return hold_every_scope(fresh(caller))


def mentions(answer: Answer, world: World, objects: Objects) -> list[str]:
    """Return which ids of the world an answer shows."""
    people = (world.owner, world.agent, world.agent_owner, world.approver, world.auditor)
    known = {one.id for one in people} | {objects.ids[name] for name in ("run_id", "call_id", "token_id")}
    told = b"".join(getattr(answer, "streaming_content", None) or [answer.content])
    return sorted(one for one in known if one.encode() in told)


def test_a_stranger_reads_nothing_anywhere(world: World, objects: Objects) -> None:
    stranger = hold_every_scope(fresh(world.stranger))
    for route in READS:
        answer = objects.send(stranger, route)
        if answer.status_code == 200:
            assert route.template in OWN, str(route)
            assert mentions(answer, world, objects) == [], str(route)
        else:
            assert answer.status_code in (403, 404), (str(route), answer.content)


def test_a_stranger_writes_nothing_anywhere(world: World, objects: Objects) -> None:
    stranger = hold_every_scope(fresh(world.stranger))
    for route in WRITES:
        answer = objects.send(stranger, route)
        assert answer.status_code in (400, 401, 403, 404, 422, 428), (str(route), answer.content)


def is_everywhere(route: Route) -> bool:
    return route.template in OWN | CATALOG | HASHES or route.template.startswith(RULES)


def test_an_owner_of_another_workspace_reads_only_what_is_theirs(
    world: World, objects: Objects, outsider: Caller
) -> None:
    for route in READS:
        answer = objects.send(outsider, route)
        if route.permission in INSTANCE_ONLY or route.template in WHOLE:
            assert answer.status_code == 403, str(route)
        elif "{" in route.template and not is_everywhere(route):
            assert answer.status_code == 404, (str(route), answer.content)
        else:
            assert answer.status_code == 200, (str(route), answer.content)
            assert mentions(answer, world, objects) == [], str(route)


def test_an_owner_of_another_workspace_changes_nothing_here(
    world: World, objects: Objects, outsider: Caller
) -> None:
    for route in WRITES:
        answer = objects.send(outsider, route)
        inside = f"{route.method} {route.template}" in OF_THEIR_OWN
        tried = route.template == f"{RULES}/simulate" and answer.status_code == 409  # it is in force
        refused = answer.status_code in (400, 403, 404, 422, 428)
        assert inside or tried or refused, (str(route), answer.content)


def test_the_objects_of_these_tests_are_there(world: World, objects: Objects) -> None:
    owner = hold_every_scope(fresh(world.owner))
    for route in READS:
        absent = route.template.endswith(("/attestation", "/evidence"))  # the call still waits
        assert absent or objects.send(owner, route).status_code == 200, str(route)
