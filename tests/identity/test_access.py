"""Feature flags as a decision: in their order, and as properties over every registry there can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from identity.access import (
    FEATURE_OF,
    FEATURES,
    UNDIVIDED,
    FlagSetting,
    FlagVerdict,
    Registry,
    Stage,
    Standing,
    bucket_of,
    decide,
    dependants_of,
    in_safe_mode,
    missing_below,
    safe_permissions,
    safe_roles,
)
from identity.authorization import authorize
from identity.roles import AGENT_PERMISSIBLE, Permission, WorkspaceRole, permissions_of
from identity.types import AuthStrength, Principal, PrincipalKind

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HOME = "wsp_home"
R = WorkspaceRole

keys = st.sampled_from(sorted(FEATURES))
some_roles = st.frozensets(st.sampled_from(WorkspaceRole))
standings = st.builds(Standing, local=some_roles, wide=some_roles)
settings = st.builds(
    FlagSetting,
    enabled=st.booleans(),
    stage=st.sampled_from(Stage),
    percent=st.integers(0, 100),
    workspaces=st.frozensets(st.sampled_from((HOME, "wsp_other"))),
)
registries = st.dictionaries(keys, settings).map(Registry)
workspaces = st.text(min_size=1, max_size=12)


def on(stage: Stage = Stage.GENERAL, percent: int = 100, *workspaces: str) -> FlagSetting:
    return FlagSetting(True, stage, percent, frozenset(workspaces))


def off(setting: FlagSetting) -> FlagSetting:
    return replace(setting, enabled=False)


def asked(registry: Registry, key: str, *roles: WorkspaceRole, wide: tuple[WorkspaceRole, ...] = ()) -> str:
    standing = Standing(frozenset(roles), frozenset(wide))
    return decide(registry, key, workspace_id=HOME, standing=standing).reason


def person(local: frozenset[WorkspaceRole], wide: frozenset[WorkspaceRole], flags: Registry) -> Principal:
    """The person as `principal_of_user` makes one: roles and permissions after safe mode."""
    here, everywhere = safe_roles(flags, local), safe_roles(flags, wide)
    return Principal(
        kind=PrincipalKind.USER,
        id="usr_1",
        owner_id="usr_1",
        workspace_id=HOME,
        roles=here,
        permissions=permissions_of(here, in_instance=False) | permissions_of(everywhere, in_instance=True),
        auth_strength=AuthStrength.FRESH_MFA,
        client_ip="127.0.0.1",
        request_id="req_1",
        authenticated_at=NOW,
        instance_roles=everywhere,
        vouching=Standing(here, everywhere),
        flags=flags,
    )


def agent(owner: frozenset[WorkspaceRole], scopes: frozenset[Permission], flags: Registry) -> Principal:
    """The agent as `principal_of_agent` makes one."""
    human = person(owner, frozenset(), flags)
    held = safe_permissions(flags, human.permissions & AGENT_PERMISSIBLE)
    return replace(human, kind=PrincipalKind.AGENT, id="agt_1", permissions=held & scopes)


def permitted(principal: Principal) -> frozenset[Permission]:
    return frozenset(
        permission
        for permission in Permission
        if authorize(principal, permission, workspace_id=HOME, flags=principal.flags, now=NOW).allowed
    )


def switched_off(flags: Registry, key: str) -> Registry:
    setting = flags.setting(key)
    assert setting is not None
    return Registry({**flags.settings, key: off(setting)})


def test_the_reasons_come_in_their_order() -> None:
    lab = on(Stage.LAB, 0)
    assert asked(Registry(), "no_such_flag") == "unknown_flag"
    assert asked(Registry({"mcp": off(lab), "api_tokens": off(on())}), "mcp") == "flag_off"
    assert asked(Registry({"mcp": lab, "api_tokens": off(on())}), "mcp") == "dependency_off"
    assert asked(Registry({"mcp": lab}), "mcp") == "stage_excluded"
    assert asked(Registry({"mcp": lab}), "mcp", wide=(R.OWNER,)) == "rollout_excluded"
    assert asked(Registry({"mcp": on(Stage.LAB)}), "mcp", wide=(R.OWNER,)) == "enabled"


@pytest.mark.parametrize(
    ("stage", "admitted", "turned_away"),
    [
        (Stage.LAB, [((), (R.OWNER,))], [((R.OWNER,), ()), ((), (R.ADMIN,)), ((), ())]),
        (Stage.INTERNAL, [((), (R.VIEWER,))], [((R.OWNER,), ()), ((), ())]),
        (
            Stage.ADMIN_ONLY,
            [((R.ADMIN,), ()), ((R.OWNER,), ()), ((), (R.ADMIN,))],
            [((R.OPERATOR, R.APPROVER), ()), ((), (R.VIEWER,)), ((), ())],
        ),
        (Stage.GENERAL, [((), ())], []),
    ],
)
def test_each_stage_admits_whom_it_names(
    stage: Stage,
    admitted: list[tuple[tuple[WorkspaceRole, ...], tuple[WorkspaceRole, ...]]],
    turned_away: list[tuple[tuple[WorkspaceRole, ...], tuple[WorkspaceRole, ...]]],
) -> None:
    flags = Registry({"mcp": on(stage)})
    assert {asked(flags, "mcp", *local, wide=wide) for local, wide in admitted} <= {"enabled"}
    assert {asked(flags, "mcp", *local, wide=wide) for local, wide in turned_away} <= {"stage_excluded"}


def test_a_pilot_is_for_the_listed_workspaces_whatever_the_role() -> None:
    assert asked(Registry({"mcp": on(Stage.PILOT, 100, HOME)}), "mcp") == "enabled"
    assert asked(Registry({"mcp": on(Stage.PILOT, 100, "wsp_x")}), "mcp", R.OWNER) == "stage_excluded"
    assert asked(Registry({"mcp": on(Stage.PILOT)}), "mcp", wide=(R.OWNER,)) == "stage_excluded"


def test_a_dependency_is_named_however_far_below_it_is() -> None:
    flags = Registry({"compat_tools_invoke": on(), "compat_api": on(), "api_tokens": off(on())})
    verdict = decide(flags, "compat_tools_invoke", workspace_id=HOME, standing=Standing())
    assert verdict == FlagVerdict(False, "dependency_off", "api_tokens")
    assert missing_below(flags, "compat_tools_invoke") == "api_tokens"
    assert missing_below(Registry({"api_tokens": off(on())}), "compat_tools_invoke") == "compat_api"
    assert missing_below(Registry(), "api_tokens") is None


def test_a_dependency_that_is_on_elsewhere_only_is_off_here() -> None:
    flags = Registry({"mcp": on(), "api_tokens": on(Stage.PILOT, 100, "wsp_x")})
    verdict = decide(flags, "mcp", workspace_id=HOME, standing=Standing())
    assert verdict == FlagVerdict(False, "dependency_off", "api_tokens")


@pytest.mark.parametrize("percent", [0, 1, 50, 99])
def test_without_staged_rollout_a_part_of_the_workspaces_is_none_of_them(percent: int) -> None:
    flags = Registry({"smart_routing": on(Stage.GENERAL, percent)})
    assert asked(flags, "smart_routing", R.OWNER, wide=(R.OWNER,)) == "rollout_excluded"


def test_half_of_the_workspaces_is_about_half_of_them() -> None:
    flags = Registry({"mcp": on(Stage.GENERAL, 50), "staged_rollout": on()})
    names = [f"wsp_{number}" for number in range(2000)]
    reached = sum(decide(flags, "mcp", workspace_id=one, standing=Standing()).enabled for one in names)
    assert 850 < reached < 1150


def test_the_bucket_is_the_one_of_the_specification() -> None:
    assert bucket_of("mcp", "wsp_01JD0000000000000000000000") == 5284
    assert bucket_of("compat_api", "wsp_01JD0000000000000000000000") == 5289


@given(keys, workspaces, st.tuples(st.integers(0, 100), st.integers(0, 100)), standings, registries)
def test_raising_the_percentage_only_adds_workspaces(
    key: str, workspace: str, percents: tuple[int, int], standing: Standing, flags: Registry
) -> None:
    setting = flags.setting(key)
    assert setting is not None
    low, high = (
        Registry({**flags.settings, key: replace(setting, percent=percent)}) for percent in sorted(percents)
    )
    before = decide(low, key, workspace_id=workspace, standing=standing).enabled
    assert not before or decide(high, key, workspace_id=workspace, standing=standing).enabled


@given(registries, keys, keys, standings, workspaces)
def test_a_flag_switched_off_turns_no_other_flag_on(
    flags: Registry, key: str, other: str, standing: Standing, workspace: str
) -> None:
    after = decide(switched_off(flags, key), other, workspace_id=workspace, standing=standing).enabled
    assert not after or decide(flags, other, workspace_id=workspace, standing=standing).enabled


@given(registries, keys, some_roles, some_roles)
def test_a_flag_switched_off_never_permits_a_person_more(
    flags: Registry, key: str, local: frozenset[WorkspaceRole], wide: frozenset[WorkspaceRole]
) -> None:
    after = switched_off(flags, key)
    assert permitted(person(local, wide, after)) <= permitted(person(local, wide, flags))


@given(registries, keys, some_roles, st.frozensets(st.sampled_from(Permission)))
def test_a_flag_switched_off_never_permits_an_agent_more(
    flags: Registry, key: str, owner: frozenset[WorkspaceRole], scopes: frozenset[Permission]
) -> None:
    after = switched_off(flags, key)
    assert permitted(agent(owner, scopes, after)) <= permitted(agent(owner, scopes, flags))


@given(
    registries,
    st.tuples(some_roles, some_roles),
    some_roles,
    st.frozensets(st.sampled_from(Permission)),
    st.frozensets(st.sampled_from(Permission)),
)
def test_more_roles_or_scopes_never_permit_less_whatever_the_flags(
    flags: Registry,
    roles: tuple[frozenset[WorkspaceRole], frozenset[WorkspaceRole]],
    wide: frozenset[WorkspaceRole],
    scopes: frozenset[Permission],
    more_scopes: frozenset[Permission],
) -> None:
    few, many = roles[0], roles[0] | roles[1]
    assert permitted(person(few, wide, flags)) <= permitted(person(many, wide, flags))
    narrow, broad = agent(few, scopes, flags), agent(many, scopes | more_scopes, flags)
    assert permitted(narrow) <= permitted(broad)


@given(registries, some_roles, some_roles)
def test_flags_that_cannot_be_read_permit_no_more_than_any_flags(
    flags: Registry, local: frozenset[WorkspaceRole], wide: frozenset[WorkspaceRole]
) -> None:
    closed = permitted(person(local, wide, Registry.closed()))
    assert closed <= permitted(person(local, wide, flags))
    assert not closed & set(FEATURE_OF)


@given(st.text(max_size=20), registries, standings, workspaces)
def test_any_text_gets_an_answer(key: str, flags: Registry, standing: Standing, workspace: str) -> None:
    verdict = decide(flags, key, workspace_id=workspace, standing=standing)
    assert key in FEATURES or verdict == FlagVerdict(False, "unknown_flag")


@pytest.mark.parametrize("flags", [Registry({"rbac": off(on())}), Registry.closed()])
def test_in_safe_mode_owners_stay_and_everybody_else_looks(flags: Registry) -> None:
    assert in_safe_mode(flags)
    assert safe_roles(flags, frozenset({R.OWNER, R.ADMIN})) == {R.OWNER}
    for role in set(WorkspaceRole) - {R.OWNER}:
        assert safe_roles(flags, frozenset({role})) == {R.VIEWER}
    assert safe_roles(flags, frozenset()) == frozenset()
    assert all(permission.endswith(".read") for permission in safe_permissions(flags, frozenset(Permission)))


@pytest.mark.parametrize("key", sorted(UNDIVIDED))
def test_a_switch_of_the_whole_instance_is_on_for_everybody_or_for_nobody(key: str) -> None:
    assert asked(Registry({key: on(Stage.LAB, 0)}), key) == "enabled"
    assert asked(Registry({key: off(on())}), key, wide=(R.OWNER,)) == "flag_off"


def test_safe_mode_asks_only_whether_the_flag_is_on() -> None:
    assert not in_safe_mode(Registry())
    assert not in_safe_mode(Registry({"rbac": on(Stage.LAB, 0)}))
    assert {"rbac", "staged_rollout"} == UNDIVIDED


def test_an_owner_can_always_switch_a_feature_back_on() -> None:
    owner = person(frozenset(), frozenset({R.OWNER}), Registry.closed())
    assert Permission.ROLLOUT_MANAGE in permitted(owner)


def test_switches_never_stand_in_the_way_of_taking_rights_away() -> None:
    ending = {
        Permission.API_TOKENS_MANAGE,
        Permission.TOKENS_READ,
        Permission.DEVICES_REVOKE,
        Permission.GRANTS_REVOKE,
        Permission.SKILLS_QUARANTINE,
        Permission.SKILLS_RECALL,
        Permission.FREEZE_SET,
        Permission.SESSIONS_END,
        Permission.USERS_MANAGE,
        Permission.WORKSPACE_MEMBERSHIPS_MANAGE,
    }
    assert not ending & set(FEATURE_OF)


def test_dependants_are_those_that_need_a_flag_directly_or_not() -> None:
    assert set(dependants_of("api_tokens")) == {
        "compat_api", "compat_embeddings_api", "compat_tools_invoke", "mcp", "authzen_api",
    }  # fmt: skip
    assert dependants_of("rbac") == ("team_mode",)
    assert dependants_of("mcp") == ()
    assert {feature.depends_on for feature in FEATURES.values()} <= {None, *FEATURES}
    assert set(FEATURE_OF.values()) <= set(FEATURES)
