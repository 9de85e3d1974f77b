from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from identity.access import FEATURES, FlagSetting, Registry, Stage, Standing
from identity.authorization import authorize, required_strength
from identity.roles import (
    AGENT_PERMISSIBLE,
    INSTANCE_ONLY,
    MATRIX,
    NEEDS_FRESH_MFA,
    NEEDS_MFA,
    Permission,
    WorkspaceRole,
    permissions_of,
)
from identity.types import AuthStrength, Principal, PrincipalKind

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HOME = "wsp_home"
EVERYTHING = frozenset(Permission)
ALL_ON = Registry({key: FlagSetting(enabled=True, stage=Stage.GENERAL) for key in FEATURES})

TABLE = """
✓✓✓✓✓✓ runs.read calls.read tools.read agents.read budgets.read usage.read models.read skills.read
✓✓✓✓✓✓ workspace.read observability.read
✓✓✓--- runs.create runs.cancel tools.propose mcp.use model.use vault.use sessions.use memory.use
✓✓✓--- routines.use policy.simulate compat.models.read compat.chat.create compat.responses.create
✓✓✓--- compat.embeddings.create compat.tools.invoke
✓✓✓✓✓- approvals.read policy.read devices.read tokens.read vault.list
✓✓-✓-- approvals.decide²
✓✓✓✓-- grants.revoke² freeze.set² skills.quarantine² runs.cancel_any²
✓✓--✓- journal.read journal.verify journal.export² journal.reveal³ vault.audit usage.read_all
✓✓✓--- vault.put² vault.delete³
✓✓---- vault.get³ vault.configure³ vault.rekey³ vault.investigate³
✓✓---- agents.manage² tools.manage² posture.manage² budgets.manage² models.manage²
✓✓---- auth_profiles.manage² webhooks.manage²
✓✓---- skills.stage² skills.activate³ skills.override³ skills.recall³ policy.edit² policy.activate³
✓✓---- sandbox.configure³ devices.pair² devices.revoke² tokens.mint² api_tokens.manage²
✓✓---- workspace.memberships.manage³ workspace.sharing.manage² invitations.manage² sessions.end²
✓----- workspace.manage³ approvals.break_glass³ journal.erase³
i----- users.manage³ rollout.manage³ trust.operate³ pki.read pki.manage³ settings.read
"""
"""The matrix as the specification prints it: owner, admin, operator, approver, auditor, viewer."""


def rows() -> dict[str, tuple[str, str]]:
    """Return permission → (six marks, needed strength mark)."""
    found: dict[str, tuple[str, str]] = {}
    for line in TABLE.strip().splitlines():
        marks, *names = line.split()
        found |= {name.rstrip("²³"): (marks, name[-1] if name[-1] in "²³" else "") for name in names}
    return found


def person(*roles: WorkspaceRole, wide: frozenset[WorkspaceRole] = frozenset()) -> Principal:
    local = frozenset(roles)
    return Principal(
        kind=PrincipalKind.USER,
        id="usr_1",
        owner_id="usr_1",
        workspace_id=HOME,
        roles=local,
        permissions=permissions_of(local, in_instance=False) | permissions_of(wide, in_instance=True),
        auth_strength=AuthStrength.FRESH_MFA,
        client_ip="127.0.0.1",
        request_id="req_1",
        authenticated_at=NOW,
        instance_roles=wide,
        vouching=Standing(local, wide),
        flags=ALL_ON,
    )


def reason(principal: Principal, permission: str, workspace: str = HOME, *shares: str) -> str:
    verdict = authorize(
        principal,
        permission,
        workspace_id=workspace,
        shares=frozenset(shares),
        flags=principal.flags,
        now=NOW,
    )
    assert verdict.allowed is (verdict.reason == "permitted")
    return verdict.reason


def test_the_table_names_every_permission() -> None:
    assert set(rows()) == {permission.value for permission in Permission} == set(MATRIX)


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("at", range(6))
def test_each_cell_of_the_matrix_is_as_specified(permission: Permission, at: int) -> None:
    marks, _ = rows()[permission.value]
    role = list(WorkspaceRole)[at]
    local, wide = person(role), person(wide=frozenset({role}))
    assert (reason(local, permission) == "permitted") is (marks[at] == "✓")
    assert (reason(wide, permission) == "permitted") is (marks[at] in "✓i")


@pytest.mark.parametrize("permission", list(Permission))
def test_each_permission_needs_the_specified_login(permission: Permission) -> None:
    wanted = {"": AuthStrength.NONE, "²": AuthStrength.MFA, "³": AuthStrength.FRESH_MFA}
    assert required_strength(permission) is wanted[rows()[permission.value][1]]


def test_the_reasons_come_in_their_order() -> None:
    nobody = replace(person(), kind=PrincipalKind.ANONYMOUS, active=False)
    assert reason(nobody, "no.such", "wsp_other") == "anonymous"
    gone = replace(person(WorkspaceRole.OWNER), active=False)
    assert reason(gone, "no.such", "wsp_other") == "principal_inactive"
    owner = replace(person(WorkspaceRole.OWNER), auth_strength=AuthStrength.TOKEN)
    assert reason(owner, "no.such", "wsp_other") == "workspace_mismatch"
    assert reason(owner, "no.such") == "unknown_permission"
    assert reason(owner, "users.manage") == "role_required"
    assert reason(replace(owner, permissions=frozenset()), "tools.manage") == "insufficient_scope"
    assert reason(owner, "tools.manage") == "step_up_required"
    assert reason(owner, "tools.read") == "permitted"


def test_a_fresh_code_ages_in_five_minutes() -> None:
    owner = person(WorkspaceRole.OWNER)
    old = replace(owner, authenticated_at=NOW - timedelta(seconds=301))
    ahead = replace(owner, authenticated_at=NOW + timedelta(seconds=1))
    assert reason(owner, "policy.activate") == "permitted"
    assert (
        reason(replace(owner, authenticated_at=NOW - timedelta(seconds=300)), "policy.activate")
        == "permitted"
    )
    assert reason(old, "policy.activate") == reason(ahead, "policy.activate") == "step_up_required"
    assert reason(old, "policy.edit") == "permitted"


def test_a_share_opens_reading_and_use_but_never_managing() -> None:
    owner = person(WorkspaceRole.OWNER)
    assert reason(owner, "tools.read", "wsp_other", HOME) == "permitted"
    assert reason(owner, "tools.manage", "wsp_other", HOME) == "role_required"
    assert reason(owner, "approvals.decide", "wsp_other", HOME) == "role_required"


def test_local_roles_do_not_reach_where_only_an_instance_membership_reaches() -> None:
    mixed = person(WorkspaceRole.OWNER, wide=frozenset({WorkspaceRole.VIEWER}))
    assert reason(mixed, "tools.read", "wsp_other") == "permitted"
    assert reason(mixed, "tools.propose", "wsp_other") == "role_required"
    assert reason(mixed, "tools.propose") == "permitted"


@pytest.mark.parametrize("kind", [PrincipalKind.AGENT, PrincipalKind.SERVICE, PrincipalKind.DEVICE])
@pytest.mark.parametrize("permission", list(Permission))
def test_no_agent_service_or_device_gets_more_than_agents_may_hold(
    kind: PrincipalKind, permission: Permission
) -> None:
    everything = replace(
        person(WorkspaceRole.OWNER, wide=frozenset({WorkspaceRole.OWNER})), kind=kind, permissions=EVERYTHING
    )
    assert (reason(everything, permission) == "permitted") is (permission in AGENT_PERMISSIBLE)
    assert reason(everything, permission, "wsp_other") == "workspace_mismatch"


roles = st.frozensets(st.sampled_from(WorkspaceRole))
scopes = st.frozensets(st.sampled_from(Permission))


@given(st.tuples(roles, roles), st.tuples(scopes, scopes), st.sampled_from(Permission), st.data())
def test_more_roles_or_scopes_never_permit_less(
    some: tuple[frozenset[WorkspaceRole], frozenset[WorkspaceRole]],
    held: tuple[frozenset[Permission], frozenset[Permission]],
    permission: Permission,
    data: st.DataObject,
) -> None:
    kind = data.draw(st.sampled_from(PrincipalKind))
    small = replace(person(*some[0], wide=data.draw(roles)), permissions=held[0], kind=kind)
    large = replace(small, roles=some[0] | some[1], permissions=held[0] | held[1])
    if authorize(small, permission, workspace_id=HOME, flags=ALL_ON, now=NOW).allowed:
        assert authorize(large, permission, workspace_id=HOME, flags=ALL_ON, now=NOW).allowed


@given(st.text(max_size=30), roles)
def test_any_text_gets_an_answer(text: str, some: frozenset[WorkspaceRole]) -> None:
    verdict = authorize(person(*some), text, workspace_id=HOME, flags=ALL_ON, now=NOW)
    assert verdict.allowed is (text in permissions_of(some, in_instance=False))


def test_the_sets_beside_the_matrix_agree_with_it() -> None:
    assert NEEDS_FRESH_MFA < NEEDS_MFA
    assert {name for name, (marks, _) in rows().items() if marks[0] == "i"} == INSTANCE_ONLY
    assert not AGENT_PERMISSIBLE & NEEDS_MFA
