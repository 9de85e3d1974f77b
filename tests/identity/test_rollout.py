"""Changing feature flags: who may, what is refused, and what is left behind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from identity.access import Registry, Stage
from identity.flags import registry
from identity.models import FeatureFlag, FeatureFlagChange, Workspace
from identity.roles import WorkspaceRole
from identity.rollout import FlagChange, FlagWishes, change_flag
from kernel.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, make_user, make_workspaces, principal

pytestmark = pytest.mark.django_db
REASON = "asked for in a test"


@pytest.fixture
def owner() -> Actor:
    instance, _ = make_workspaces()
    return principal(make_user("owner", WorkspaceRole.OWNER, workspace=instance), instance).actor()


def change(
    actor: Actor,
    key: str,
    enabled: bool | None = None,
    *,
    seen: int | None = None,
    record: RecordedEvents | None = None,
    reason: str = REASON,
    stage: str | None = None,
    percent: int | None = None,
    workspaces: Sequence[str] | None = None,
    cascade: bool = False,
) -> FlagChange:
    """Change a flag as somebody who has just looked at it."""
    wishes = FlagWishes(reason, enabled, stage, percent, workspaces, cascade)
    with transaction.atomic():
        return change_flag(
            key=key,
            wishes=wishes,
            seen_version=version(key) if seen is None else seen,
            actor=actor,
            now=NOW,
            record=record or RecordedEvents(),
        )


def version(key: str) -> int:
    row = FeatureFlag.objects.filter(pk=key).first()
    return row.version if row else 0


def test_a_change_leaves_the_flag_a_row_of_history_and_an_event(owner: Actor) -> None:
    record = RecordedEvents()
    made = change(owner, "mcp", True, record=record, stage="general", percent=25)
    assert (made.flag.enabled, made.flag.stage, made.flag.percent, made.flag.version) == (
        True, "general", 25, 1,
    )  # fmt: skip
    again = change(owner, "mcp", percent=50, record=record)
    assert (again.flag.percent, again.flag.version, again.cascaded) == (50, 2, ())
    row = FeatureFlagChange.objects.get(after__percent=50)
    assert row.before == {"enabled": True, "stage": "general", "percent": 25, "workspaces": []}
    assert (row.actor, row.reason, row.at) == (owner.id, REASON, NOW)
    event = record.events[1]
    assert (event.event, event.subject, event.actor) == ("flag.changed", "mcp", owner)
    assert event.data == {"before": row.before, "after": row.after, "reason": REASON}
    assert registry().setting("mcp") is not None
    assert FeatureFlagChange.objects.count() == len(record.events) == 2


def test_a_change_that_changes_nothing_leaves_nothing(owner: Actor) -> None:
    change(owner, "break_glass", True)
    record = RecordedEvents()
    assert change(owner, "break_glass", True, record=record).flag.version == 1
    assert (record.events, FeatureFlagChange.objects.count()) == ([], 1)


def test_a_flag_at_its_default_is_written_down_when_somebody_says_so(owner: Actor) -> None:
    record = RecordedEvents()
    assert change(owner, "api_tokens", True, record=record).flag.version == 1
    assert record.events[0].data["before"] is None


@pytest.mark.parametrize("reason", ["", "       a       ", "seven77", "x" * 201, "eight888\0"])
def test_a_reason_has_eight_to_two_hundred_characters(owner: Actor, reason: str) -> None:
    with pytest.raises(InvalidError) as caught:
        change(owner, "mcp", True, reason=reason)
    assert caught.value.errors[0].pointer == "/reason"


@pytest.mark.parametrize(
    ("wishes", "pointer"),
    [
        ({}, "/enabled"),
        ({"stage": "everybody"}, "/stage"),
        ({"percent": -1}, "/percent"),
        ({"percent": 101}, "/percent"),
        ({"workspaces": ["wsp_nowhere"]}, "/workspaces/0"),
        ({"workspaces": ["wsp_x"] * 501}, "/workspaces"),
    ],
)
def test_what_makes_no_sense_is_refused(owner: Actor, wishes: dict[str, object], pointer: str) -> None:
    with pytest.raises(InvalidError) as caught:
        change(owner, "mcp", **wishes)  # type: ignore[arg-type]  # one of the wishes
    assert caught.value.errors[0].pointer == pointer
    assert not FeatureFlag.objects.exists()


@pytest.mark.parametrize("key", ["rbac", "staged_rollout"])
@pytest.mark.parametrize("wishes", [{"stage": "pilot"}, {"percent": 50}, {"workspaces": []}])
def test_switches_of_the_whole_instance_are_not_divided(
    owner: Actor, key: str, wishes: dict[str, object]
) -> None:
    with pytest.raises(InvalidError):
        change(owner, key, **wishes)  # type: ignore[arg-type]  # one of the wishes


def test_a_pilot_takes_live_workspaces_only(owner: Actor) -> None:
    default = Workspace.objects.get(slug="default")
    made = change(owner, "mcp", True, stage="pilot", workspaces=[default.pk, default.pk])
    assert made.flag.workspaces == [default.pk]
    Workspace.objects.filter(pk=default.pk).update(archived_at=NOW)
    with pytest.raises(InvalidError):
        change(owner, "mcp", workspaces=[default.pk])


@pytest.mark.parametrize("key", ["no_such_flag", "", "mcp\0"])
def test_an_unknown_flag_does_not_exist(owner: Actor, key: str) -> None:
    with pytest.raises(NotFoundError):
        change(owner, key, True, seen=0)


@pytest.mark.parametrize("seen", [0, 2])
def test_whoever_looked_at_another_version_changes_nothing(owner: Actor, seen: int) -> None:
    change(owner, "mcp", True)
    with pytest.raises(PreconditionFailedError):
        change(owner, "mcp", False, seen=seen)
    assert FeatureFlag.objects.get(pk="mcp").enabled


def test_a_flag_is_not_switched_on_above_one_that_is_off(owner: Actor) -> None:
    with pytest.raises(ConflictError) as caught:
        change(owner, "compat_embeddings_api", True)
    assert (caught.value.code, caught.value.extra) == ("dependency_off", {"dependency": "compat_api"})
    change(owner, "compat_api", True)
    assert change(owner, "compat_embeddings_api", True).flag.enabled


def test_dependants_are_named_and_fall_only_by_consent(owner: Actor) -> None:
    for key in ("compat_api", "compat_tools_invoke", "mcp"):
        change(owner, key, True)
    with pytest.raises(ConflictError) as caught:
        change(owner, "api_tokens", False)
    assert caught.value.extra == {"dependants": ["compat_api", "mcp", "compat_tools_invoke"]}
    assert FeatureFlag.objects.filter(enabled=True).count() == 3
    record = RecordedEvents()
    made = change(owner, "api_tokens", False, record=record, cascade=True)
    assert made.cascaded == ("compat_api", "mcp", "compat_tools_invoke")
    assert [event.subject for event in record.events] == ["api_tokens", *made.cascaded]
    assert not FeatureFlag.objects.filter(enabled=True).exists()
    assert FeatureFlag.objects.get(pk="mcp").version == 2
    assert FeatureFlagChange.objects.filter(reason=REASON).count() == 7


def test_switching_on_again_brings_no_dependant_back(owner: Actor) -> None:
    change(owner, "mcp", True)
    change(owner, "api_tokens", False, cascade=True)
    assert change(owner, "api_tokens", True).cascaded == ()
    assert not FeatureFlag.objects.get(pk="mcp").enabled


def test_only_an_owner_of_the_instance_changes_flags(owner: Actor) -> None:
    instance, default = Workspace.objects.get(slug="instance"), Workspace.objects.get(slug="default")
    local_owner = make_user("local", WorkspaceRole.OWNER, workspace=default)
    wide_admin = make_user("wide", WorkspaceRole.ADMIN, workspace=instance)
    agent = Actor(kind="agent", id=owner.id, auth="token", surface="api")
    for actor in (principal(local_owner, default).actor(), principal(wide_admin, instance).actor(), agent):
        with pytest.raises(RefusedError):
            change(actor, "mcp", True)
    assert change(SYSTEM, "mcp", True).flag.enabled


def test_in_safe_mode_an_owner_ends_safe_mode(owner: Actor) -> None:
    change(owner, "team_mode", True)
    change(owner, "rbac", False, cascade=True)
    assert change(owner, "rbac", True).flag.enabled


def test_no_event_no_change(owner: Actor) -> None:
    def refuse(**_: object) -> str:
        raise ConflictError("journal_unavailable", "")

    with pytest.raises(ConflictError), transaction.atomic():
        change_flag(
            key="mcp",
            wishes=FlagWishes(REASON, True),
            seen_version=0,
            actor=owner,
            now=NOW,
            record=refuse,
        )
    assert not FeatureFlag.objects.exists()


@pytest.mark.parametrize("statement", ["UPDATE {} SET reason = 'x'", "DELETE FROM {}"])
def test_history_stays_as_it_was_written(owner: Actor, statement: str) -> None:
    change(owner, "mcp", True)
    with pytest.raises((IntegrityError, DatabaseError)), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format("identity_featureflagchange"))
    assert FeatureFlagChange.objects.get().reason == REASON


@pytest.mark.parametrize(
    "damage", [{"stage": "everybody"}, {"workspaces": 7}, {"workspaces": [["x"]]}, {"stage": ""}]
)
def test_a_damaged_row_is_one_flag_that_is_off(owner: Actor, damage: dict[str, object]) -> None:
    change(owner, "smart_routing", True, percent=100)
    row = FeatureFlag.objects.get(pk="smart_routing")
    for name, value in damage.items():
        setattr(row, name, value)
    row.save()
    setting = registry().setting("smart_routing")
    assert setting is not None
    assert not setting.enabled
    assert registry().setting("rbac") == Registry().setting("rbac")
    mended = change(owner, "smart_routing", True, stage=Stage.GENERAL, percent=100)
    assert mended.flag.enabled
    assert registry().setting("smart_routing") == Registry().setting("smart_routing")


def test_flags_that_cannot_be_read_are_off(owner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise DatabaseError

    monkeypatch.setattr(FeatureFlag.objects, "all", broken)
    assert not registry().readable
