"""The matrix over REST: every route that names a permission, as every role, proof and scope.

A refusal of the matrix is told from any other answer by its code; what lets a request through may still
find its body or its object wanting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from django.db import transaction

from identity.models import Agent, ApiToken, TokenElevation, TotpFactor, User, Workspace
from identity.roles import (
    AGENT_PERMISSIBLE,
    INSTANCE_ONLY,
    MATRIX,
    NEEDS_FRESH_MFA,
    NEEDS_MFA,
    Permission,
    WorkspaceRole,
)
from kernel.clock import utc_now
from tests.governance.api.routes import EXAMPLE_IDS, ROUTES, Route
from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.world import Answer, Caller, World, add_agent, add_person, owner_principal

GUARDED = tuple(route for route in ROUTES if route.permission is not None)
REFUSALS = frozenset({"role_required", "insufficient_scope", "step_up_required", "feature_disabled"})
OF_THE_INSTANCE = frozenset(
    {
        ("POST", "/api/v1/policy-sets/{set_id}/validate"),
        ("GET", "/api/v1/journal/export"),
        ("POST", "/api/v1/journal/verify"),
    }
)
"""What all workspaces share: a role in one is not enough. Other such verbs look at their body first."""
DECIDED_INSIDE = {
    "GET /api/v1/access/flags",
    "GET /api/v1/access/flags/{key}",
    "GET /api/v1/access/roles",
    "GET /api/v1/notifications/subscription",
    "PUT /api/v1/notifications/subscription",
    "GET /api/v1/jobs",
    "GET /api/v1/jobs/{job_id}",
    "GET /api/v1/tokens",
    "GET /api/v1/tokens/{token_id}",
    "GET /api/v1/whoami",
    "POST /api/v1/approvals/{approval_id}/decision",
    "POST /api/v1/approvals/{approval_id}/edit",
    "POST /api/v1/approvals/{approval_id}/cancel",
    "POST /api/v1/approvals/{approval_id}/break-glass",
    "POST /api/v1/auth/step-up",
    "POST /api/v1/jobs/{job_id}/cancel",
    "POST /api/v1/invitations/accept",
    "POST /api/v1/journal/erase",
    "POST /api/v1/journal/rotate-key",
    "POST /api/v1/journal/keys/{key_id}/revoke",
    "POST /api/v1/journal/holds",
    "POST /api/v1/journal/holds/{hold_id}/lift",
    "POST /api/v1/journal/archive",
    "POST /api/v1/journal/archives/{first_seq}/restore",
    "POST /api/v1/system/bootstrap/clear",
    "POST /api/v1/tokens",
    "POST /api/v1/tokens/{token_id}/revoke",
    "POST /api/v1/tokens/{token_id}/rotate",
    "POST /api/v1/tokens/leaked",
    "POST /api/v1/workspaces/{workspace_id}/shares",
    "DELETE /api/v1/workspaces/{workspace_id}/memberships/{membership_id}",
    "DELETE /api/v1/workspaces/{workspace_id}/teams/{team_id}/members/{user_id}",
}
"""Routes whose permission depends on whose object it is, so that only their operation can ask for it."""


@dataclass(frozen=True, slots=True)
class Cast:
    """One person for each role, here and in `instance`; their tokens name every scope there is."""

    world: World
    local: dict[WorkspaceRole, Caller]
    wide: dict[WorkspaceRole, Caller]


@pytest.fixture
def cast(world: World) -> Cast:
    now = utc_now()
    instance = Workspace.objects.get(slug="instance")
    owner = owner_principal(world, now)
    with transaction.atomic():
        switch_on("team_mode")
        local = {
            role: add_person(f"here-{role}", world.workspace, owner, role, now=now) for role in WorkspaceRole
        }
        wide = {role: _wide(f"wide-{role}", role, world, instance) for role in WorkspaceRole}
    for caller in (*local.values(), *wide.values()):
        hold_every_scope(fresh(caller))
    return Cast(world, local, wide)


def _wide(name: str, role: WorkspaceRole, world: World, instance: Workspace) -> Caller:
    """A member of `instance` whose token is for the world's workspace."""
    now = utc_now()
    caller = add_person(name, instance, owner_principal(world, now), role, now=now)
    ApiToken.objects.filter(pk=row_of(caller).pk).update(workspace=world.workspace)
    return caller


def row_of(caller: Caller) -> ApiToken:
    return ApiToken.objects.get(lookup=caller.token.split("_")[2])


def hold_every_scope(caller: Caller, *, but: str | None = None) -> Caller:
    """Write all scopes but one into the row of a token, as a hand in the database could."""
    scopes = [permission.value for permission in Permission if permission != but]
    ApiToken.objects.filter(pk=row_of(caller).pk).update(scopes=scopes, rate_per_minute=10_000)
    return caller


def ask(caller: Caller, route: Route, workspace: Workspace) -> Answer:
    """Send the route an empty body for an object that does not exist, in a workspace that does."""
    ids = EXAMPLE_IDS | {"workspace_id": workspace.pk}
    data = None if route.method in ("GET", "DELETE") else b"{}"
    return caller.send(route.method, route.template.format(**ids), data)


def refusal_of(answer: Answer) -> str | None:
    """Return the code with which the matrix refused, or None when it let the request through."""
    if answer.status_code not in (401, 403):
        return None
    code = str(json.loads(answer.content)["code"])
    assert code in REFUSALS, answer.content
    return code


def test_the_routes_that_name_no_permission_are_known() -> None:
    unnamed = {f"{route.method} {route.template}" for route in ROUTES if route.permission is None}
    assert unnamed == DECIDED_INSIDE


def test_each_role_passes_exactly_where_the_table_lets_it(cast: Cast) -> None:
    assert len(GUARDED) > 40
    for route in GUARDED:
        permission = Permission(route.permission or "")
        for role in WorkspaceRole:
            here = refusal_of(ask(cast.local[role], route, cast.world.workspace))
            holds = role in MATRIX[permission] and permission not in INSTANCE_ONLY
            holds = holds and (route.method, route.template) not in OF_THE_INSTANCE
            assert here == (None if holds else "role_required"), (str(route), role)
            wide = refusal_of(ask(cast.wide[role], route, cast.world.workspace))
            assert wide == (None if role in MATRIX[permission] else "role_required"), (str(route), role)


def test_each_route_asks_for_the_proof_of_its_permission(cast: Cast) -> None:
    owner = cast.wide[WorkspaceRole.OWNER]
    TokenElevation.objects.filter(token=row_of(owner)).delete()
    for route in GUARDED:
        refused = refusal_of(ask(owner, route, cast.world.workspace))
        assert refused == ("step_up_required" if route.permission in NEEDS_FRESH_MFA else None), str(route)
    TotpFactor.objects.filter(user_id=owner.id).delete()
    for route in GUARDED:
        refused = refusal_of(ask(owner, route, cast.world.workspace))
        assert refused == ("step_up_required" if route.permission in NEEDS_MFA else None), str(route)


def test_each_route_asks_for_the_scope_of_its_permission(cast: Cast) -> None:
    owner = cast.wide[WorkspaceRole.OWNER]
    for route in GUARDED:
        hold_every_scope(owner, but=route.permission)
        refused = refusal_of(ask(owner, route, cast.world.workspace))
        assert refused == "insufficient_scope", str(route)


def test_an_agent_with_every_scope_of_an_owner_with_every_right_does_what_agents_may(cast: Cast) -> None:
    now = utc_now()
    world = cast.world
    with transaction.atomic():
        agent = add_agent("ambitious", world.owner.id, world.workspace, owner_principal(world, now), now=now)
    hold_every_scope(agent)
    assert Agent.objects.get(pk=agent.id).owner_id == world.owner.id
    for route in GUARDED:
        refused = refusal_of(ask(agent, route, world.workspace))
        assert (refused is None) is (route.permission in AGENT_PERMISSIBLE), str(route)


def test_a_person_who_is_disabled_gets_nothing_at_all(cast: Cast) -> None:
    owner = cast.wide[WorkspaceRole.OWNER]
    User.objects.filter(pk=owner.id).update(is_active=False)
    for route in GUARDED:
        assert ask(owner, route, cast.world.workspace).status_code in (401, 429), str(route)


def test_nobody_gets_nothing(cast: Cast) -> None:
    for route in GUARDED:
        assert ask(cast.world.nobody, route, cast.world.workspace).status_code in (401, 429), str(route)
