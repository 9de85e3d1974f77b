"""A management verb needs the permission of the matrix and the allow of the rules in force, both."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from governance import operations
from governance.freeze_scopes import FreezeScope
from governance.operations import agents, flags, freezes, limits, people, postures, tokens, tools, workspaces
from governance.operations.freezes import FreezeWishes
from identity.minting import TokenWishes
from identity.models import Agent, FeatureFlag, User, Workspace
from identity.roles import AGENT_PERMISSIBLE, Permission
from identity.rollout import FlagWishes
from identity.tokens import TokenKind
from identity.types import Principal
from kernel.canonical import digest_bytes
from kernel.errors import RefusedError, UnavailableError
from policy.epoch import raise_epoch
from policy.installation import baseline_files
from policy.models import PolicyFile, PolicySet
from policy.posture import GLOBAL
from policy.services import install_baseline
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, enrol, make_cast, principal
from vault import services as vault

pytestmark = pytest.mark.django_db
FORBID = """
@id("nobody_governs")
forbid (principal, action in Palyra::Action::"governance", resource);
"""
REASON = "closing down for a test"


@pytest.fixture
def cast() -> Cast:
    vault.ensure_ready(now=NOW)
    cast = make_cast()
    install_baseline(actor=SYSTEM, now=NOW, record=RecordedEvents())
    for key in ("api_tokens", "team_mode"):
        on = {"enabled": True, "stage": "general", "changed_at": NOW}
        FeatureFlag.objects.update_or_create(key=key, defaults=on)
    return cast


def put_in_force(extra: str) -> None:
    """Replace the rules in force by the shipped ones and `extra`."""
    PolicySet.objects.filter(state="active").update(state="superseded")
    draft = PolicySet.objects.create(id="pol_2", version=2, title="test", created_at=NOW)
    for place, file in enumerate(baseline_files()):
        PolicyFile.objects.create(policy_set=draft, name=file.name, text=file.text, position=place)
    PolicyFile.objects.create(policy_set=draft, name="extra.cedar", text=extra, position=99)
    PolicySet.objects.filter(pk=draft.pk).update(state="active", hash=digest_bytes(extra.encode()))
    raise_epoch()


Verb = Callable[[Principal, Cast], object]
VERBS: dict[str, Verb] = {
    "agents.register": lambda who, cast: agents.register(
        principal=who, name="another", owner_id=cast.agent_owner.pk, now=NOW
    ),
    "agents.suspend": lambda who, cast: agents.suspend(
        principal=who, agent_id=cast.agent.pk, reason=REASON, now=NOW
    ),
    "people.create": lambda who, cast: people.create(
        principal=who, username="another", email="another@example.com", now=NOW
    ),
    "people.disable": lambda who, cast: people.disable(
        principal=who, user_id=cast.auditor.pk, reason=REASON, now=NOW
    ),
    "flags.change": lambda who, cast: flags.change(
        principal=who,
        key="mcp",
        wishes=FlagWishes(enabled=True, reason=REASON),
        seen_version=1,
        now=NOW,
    ),
    "workspaces.create": lambda who, cast: workspaces.create(
        principal=who, slug="another", name="Another", now=NOW
    ),
    "tokens.mint": lambda who, cast: tokens.mint(
        principal=who,
        wishes=TokenWishes(
            kind=TokenKind.AGENT,
            label="another",
            scopes=("runs.create",),
            expires_in_days=1,
            agent_id=cast.agent.pk,
        ),
        now=NOW,
    ),
}


def rows() -> tuple[int, ...]:
    suspended = Agent.objects.filter(state="suspended").count()
    active = User.objects.filter(is_active=True).count()
    return (Agent.objects.count(), suspended, User.objects.count(), active, Workspace.objects.count())


def owner_of(cast: Cast) -> Principal:
    enrol(cast.owner)
    return principal(cast.owner, cast.default)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_the_rules_forbid_is_refused_and_changes_nothing(name: str, cast: Cast) -> None:
    who = owner_of(cast)
    put_in_force(FORBID)
    before = rows()
    with pytest.raises(RefusedError) as caught:
        VERBS[name](who, cast)
    assert caught.value.code == "role_required"
    assert "Policy" in caught.value.detail
    assert rows() == before


@pytest.mark.parametrize("name", [name for name in VERBS if name != "flags.change"])
def test_the_same_verb_is_done_under_the_shipped_rules(name: str, cast: Cast) -> None:
    VERBS[name](owner_of(cast), cast)


@pytest.mark.parametrize("name", VERBS)
def test_without_rules_in_force_nothing_is_governed(name: str, cast: Cast) -> None:
    who = owner_of(cast)
    PolicySet.objects.update(state="superseded")
    raise_epoch()
    with pytest.raises(UnavailableError):
        VERBS[name](who, cast)


SERVICES_ASK = {
    "limits.py": ("allowlists.py", "limits.py"),
    "postures.py": ("postures.py",),
    "simulations.py": ("shadowing.py",),
    "tools.py": ("tools.py",),
}
"""Operations whose services in `policy` ask Cedar themselves, under their lock."""


def test_the_services_that_are_trusted_to_ask_do_ask() -> None:
    policy = Path(operations.__path__[0]).parents[1] / "policy"
    for names in SERVICES_ASK.values():
        for name in names:
            assert "require_governance(" in (policy / name).read_text(), name


BY_ADDRESS = """
@id("nobody_governs_from_there")
forbid (principal, action in Palyra::Action::"governance", resource)
when { context has source_ip && context.source_ip.isInRange(ip("203.0.113.0/24")) };
"""
IN_SERVICES: dict[str, Verb] = {
    "limits.change": lambda who, cast: limits.change(
        principal=who, reason=REASON, seen_version=None, values={"max_calls_per_run": 40}, now=NOW
    ),
    "limits.disallow": lambda who, cast: limits.disallow(principal=who, kind="tool", value="echo", now=NOW),
    "postures.reset": lambda who, cast: postures.reset(principal=who, place=GLOBAL, reason=REASON, now=NOW),
    "tools.change": lambda who, cast: tools.change(
        principal=who, name="echo", reason=REASON, seen_version=None, enabled=False, now=NOW
    ),
}


@pytest.mark.parametrize("name", IN_SERVICES)
def test_a_service_that_asks_itself_tells_where_the_person_comes_from(name: str, cast: Cast) -> None:
    here = owner_of(cast)
    put_in_force(BY_ADDRESS)
    with pytest.raises(RefusedError) as caught:
        IN_SERVICES[name](replace(here, client_ip="203.0.113.9"), cast)
    assert caught.value.code == "role_required"
    IN_SERVICES[name](here, cast)


WISHES = FreezeWishes(scope=FreezeScope.GLOBAL, reason="the agent runs wild")


@pytest.mark.parametrize("rules", [FORBID, None])
def test_the_brake_works_under_any_rules_and_its_release_does_not(rules: str | None, cast: Cast) -> None:
    who = owner_of(cast)
    if rules is None:
        PolicySet.objects.update(state="superseded")
        raise_epoch()
    else:
        put_in_force(rules)
    frozen = freezes.set_freeze(principal=who, wishes=WISHES, now=NOW)
    with pytest.raises(UnavailableError if rules is None else RefusedError):
        freezes.lift(principal=who, freeze_id=frozen.id, now=NOW)
    frozen.refresh_from_db()
    assert frozen.state == "active"


ASKED_BY_THE_REVIEW: dict[str, frozenset[Permission]] = {
    "approvals.py": frozenset({Permission.APPROVALS_DECIDE, Permission.APPROVALS_BREAK_GLASS}),
}
"""What `pipeline.review` asks the rules about, as tests/governance/pipeline/test_forced.py shows."""


def test_no_operation_asks_one_lock_only_for_a_management_verb() -> None:
    """Operations ask `require_verb`, or both of its locks; `require_permission` alone is for what agents
    may hold, and for reads.

    Setting a freeze asks no rules, since the rules may be what is wrong; lifting one asks both locks. Of
    answers the review asks the rules, about each request.
    """
    found = [
        (path.name, permission)
        for path in sorted(Path(operations.__path__[0]).glob("*.py"))
        if path.name not in SERVICES_ASK
        for permission in asked_once(ast.parse(path.read_text()))
    ]
    reads = {Permission.POLICY_READ}
    brake = {Permission.FREEZE_SET}
    assert {
        (name, one)
        for name, one in found
        if one not in AGENT_PERMISSIBLE | reads | brake | ASKED_BY_THE_REVIEW.get(name, frozenset())
    } == set()


def asked_once(tree: ast.AST) -> list[Permission]:
    """Return the permissions asked of `require_permission` and never of `require_policy`."""
    rules = set(_named_in("require_policy", tree))
    return [one for one in _named_in("require_permission", tree) if one not in rules]


def _named_in(function: str, tree: ast.AST) -> list[Permission]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        Permission[argument.attr]
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", "")) == function
        for argument in call.args
        if isinstance(argument, ast.Attribute) and argument.attr in Permission.__members__
    ]


def test_the_search_sees_what_it_looks_for() -> None:
    tree = ast.parse("authority.require_permission(principal, Permission.USERS_MANAGE, here, now)")
    assert asked_once(tree) == [Permission.USERS_MANAGE]
