"""The matrix at the floor of operations: what every one of them asks, of people as the database has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest.mock import MagicMock

import pytest

from governance.authority import require_permission
from governance.operations.agents import change as change_agent
from identity.access import FEATURE_OF, FEATURES
from identity.models import FeatureFlag, Workspace
from identity.roles import INSTANCE_ONLY, MATRIX, NEEDS_FRESH_MFA, NEEDS_MFA, Permission, WorkspaceRole
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import PalyraError
from tests.cast import NOW, make_user, make_workspaces, principal
from tests.governance.test_every_surface import public_operations

pytestmark = pytest.mark.django_db
Places = tuple[Workspace, Workspace]
ROLES = tuple(WorkspaceRole)
ULID = "01JD0000000000000000000000"
IDS = {
    "agent_id": "agt", "user_id": "usr", "workspace_id": "wsp", "home_id": "wsp", "membership_id": "mbr",
    "invitation_id": "inv", "share_id": "shr", "team_id": "tm", "token_id": "tok", "run_id": "run",
    "call_id": "call", "request_id": "apr", "job_id": "job", "set_id": "pol", "freeze_id": "frz",
    "endpoint_id": "whk", "delivery_id": "whd",
}  # fmt: skip
REFUSED = frozenset(
    {"role_required", "insufficient_scope", "step_up_required", "not_found", "run_not_found", "invalid"}
)
GUARDED = [
    (name, operation)
    for name, operation in public_operations()
    if getattr(operation, "permission", None) is not None
    and "principal" in inspect.signature(operation).parameters
]


@pytest.fixture
def places() -> Places:
    """`instance` and `default`, with every feature on for everybody."""
    for key in FEATURES:
        FeatureFlag.objects.create(key=key, enabled=True, stage="general", changed_at=NOW)
    return make_workspaces()


def refusal(who: Principal, permission: Permission, workspace: Workspace, now: datetime = NOW) -> str | None:
    try:
        require_permission(who, permission, workspace.pk, now)
    except PalyraError as error:
        return error.code
    return None


@pytest.mark.parametrize("role", ROLES)
def test_each_role_holds_what_the_table_says(places: Places, role: WorkspaceRole) -> None:
    instance, default = places
    local = principal(make_user("local", role, workspace=default), default)
    wide = principal(make_user("wide", role, workspace=instance), default)
    for permission in Permission:
        holds = role in MATRIX[permission]
        expected = None if holds and permission not in INSTANCE_ONLY else "role_required"
        assert refusal(local, permission, default) == expected, permission
        assert refusal(wide, permission, default) == (None if holds else "role_required"), permission
        assert refusal(local, permission, instance) == "role_required", permission


def test_each_permission_needs_its_proof(places: Places) -> None:
    instance, default = places
    owner = make_user("owner", WorkspaceRole.OWNER, workspace=instance)
    for permission in Permission:
        for strength in AuthStrength:
            who = principal(owner, default, strength=strength)
            weak = (permission in NEEDS_FRESH_MFA and strength < AuthStrength.FRESH_MFA) or (
                permission in NEEDS_MFA and strength < AuthStrength.MFA
            )
            assert refusal(who, permission, default) == ("step_up_required" if weak else None), permission


def test_a_stranger_and_somebody_disabled_hold_nothing(places: Places) -> None:
    instance, default = places
    stranger = principal(make_user("stranger", workspace=default), default)
    gone = replace(
        principal(make_user("gone", WorkspaceRole.OWNER, workspace=instance), default), active=False
    )
    for permission in Permission:
        assert refusal(stranger, permission, default) == "role_required"
        assert refusal(gone, permission, default) == "role_required"


def test_switched_off_a_feature_takes_its_permissions_and_no_other(places: Places) -> None:
    instance, default = places
    owner = make_user("owner", WorkspaceRole.OWNER, workspace=instance)

    def refused() -> dict[Permission, str]:
        who = principal(owner, default)
        found = {permission: refusal(who, permission, default) for permission in Permission}
        return {permission: code for permission, code in found.items() if code is not None}

    assert refused() == {}
    FeatureFlag.objects.filter(pk="skills_registry").update(enabled=False)
    off = "feature_disabled"
    assert refused() == {Permission.SKILLS_STAGE: off, Permission.SKILLS_ACTIVATE: off}
    FeatureFlag.objects.all().update(enabled=False)
    assert refused() == dict.fromkeys(FEATURE_OF, off)


@pytest.mark.parametrize(("name", "operation"), GUARDED, ids=[name for name, _ in GUARDED])
@pytest.mark.parametrize("kind", [PrincipalKind.USER, PrincipalKind.AGENT, PrincipalKind.ANONYMOUS])
def test_no_operation_does_anything_for_somebody_without_a_role(
    places: Places, name: str, operation: Callable[..., object], kind: PrincipalKind
) -> None:
    stranger = principal(make_user("stranger", workspace=places[1]), places[1])
    with pytest.raises(PalyraError) as caught:
        operation(**arguments(operation, replace(stranger, kind=kind)))
    assert caught.value.code in REFUSED, name


def arguments(operation: Callable[..., object], who: Principal) -> dict[str, Any]:
    """Return something of the right kind for every argument without a default."""
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(operation).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            given[name] = _argument(name, str(parameter.annotation), who)
    return given


def _argument(name: str, annotation: str, who: Principal) -> Any:
    fixed: Mapping[str, Any] = {"principal": who, "now": NOW, "key": "mcp"}
    if name in fixed:
        return fixed[name]
    if name in IDS:
        return f"{IDS[name]}_{ULID}"
    if annotation.startswith("int"):
        return 1
    if annotation.startswith("Mapping"):
        return {}
    return "something" if annotation.startswith("str") else MagicMock(name=name)


def test_the_arguments_of_these_tests_fit() -> None:
    made = arguments(change_agent, MagicMock(spec=Principal))
    inspect.signature(change_agent).bind(**made)
