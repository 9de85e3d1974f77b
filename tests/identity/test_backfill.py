"""The backfill: what it writes down, what it brings back into range, and what it only reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction

from identity import agents
from identity.access import FEATURES, Registry
from identity.backfill import Backfill, backfill, survey
from identity.flags import registry
from identity.models import (
    ApiToken,
    FeatureFlag,
    FeatureFlagChange,
    Membership,
    ResourceShare,
    Team,
    User,
    Workspace,
)
from identity.rollout import stand_at
from kernel.errors import RefusedError
from kernel.ids import new_id
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast, mint_for_agent

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@contextmanager
def checks_off(table: str, name: str) -> Iterator[None]:
    """Let a row break one check constraint, as a hand in the database could."""
    on_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if on_postgresql:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what is still to be checked forbids ALTER
            cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
        else:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        try:
            yield
        finally:
            if not on_postgresql:
                cursor.execute("PRAGMA ignore_check_constraints = OFF")


def run(record: RecordedEvents | None = None) -> Backfill:
    with transaction.atomic():
        return backfill(actor=SYSTEM, now=NOW, record=record or RecordedEvents())


def reported(kind: str) -> dict[str, str]:
    return {orphan.id: orphan.why for orphan in survey(NOW).orphans if orphan.kind == kind}


def test_missing_flags_are_written_down_and_nothing_changes_by_it(cast: Cast) -> None:
    before = {key: registry().setting(key) for key in FEATURES}
    record = RecordedEvents()
    found = run(record)
    assert found.missing_flags == tuple(FEATURES)
    assert record.names == ["flag.changed"] * len(FEATURES) + ["access.backfilled"]
    assert FeatureFlagChange.objects.count() == len(FEATURES)
    assert {key: registry().setting(key) for key in FEATURES} == before
    assert {key: Registry().setting(key) for key in FEATURES} == before


def test_doing_it_again_does_nothing(cast: Cast) -> None:
    run()
    record = RecordedEvents()
    again = run(record)
    assert (again.has_work, again.orphans, record.events) == (False, (), [])
    assert set(FeatureFlag.objects.values_list("version", flat=True)) == {1}


def test_looking_writes_nothing(cast: Cast) -> None:
    assert survey(NOW).has_work
    assert not FeatureFlag.objects.exists()


@pytest.mark.parametrize(("stored", "clamped"), [(101, 100), (9999, 100)])
def test_a_percentage_comes_back_into_its_range(cast: Cast, stored: int, clamped: int) -> None:
    run()
    with checks_off("identity_featureflag", "flag_percent"):
        FeatureFlag.objects.filter(pk="mcp").update(percent=stored)
    assert run().clamped_flags == ("mcp",)
    assert FeatureFlag.objects.get(pk="mcp").percent == clamped
    assert not run().has_work


@pytest.mark.parametrize(("stored", "clamped"), [(0, 10), (9, 10), (10_001, 10_000)])
def test_a_rate_comes_back_into_its_range(cast: Cast, stored: int, clamped: int) -> None:
    token = mint_for_agent(cast).token
    with checks_off("identity_apitoken", "token_rate"):
        ApiToken.objects.filter(pk=token.pk).update(rate_per_minute=stored)
    record = RecordedEvents()
    assert run(record).clamped_tokens == (token.pk,)
    assert record.events[-1].data["clamped_rates"] == [token.pk]
    assert ApiToken.objects.get(pk=token.pk).rate_per_minute == clamped


def test_rows_of_a_sound_installation_are_no_orphans(cast: Cast) -> None:
    mint_for_agent(cast)
    assert survey(NOW).orphans == ()


def test_tokens_of_what_is_gone_are_reported_and_stay(cast: Cast) -> None:
    token = mint_for_agent(cast).token
    cast.agent.state = "archived"
    cast.agent.save()
    assert reported("token") == {token.pk: "its agent is archived"}
    run()
    assert ApiToken.objects.get(pk=token.pk).revoked_at is None
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=NOW)
    assert reported("token") == {}


def test_an_expired_token_is_no_orphan(cast: Cast) -> None:
    token = mint_for_agent(cast).token
    User.objects.filter(pk=cast.agent_owner.pk).update(is_active=False)
    assert reported("token") == {token.pk: "the owner of its agent is disabled"}
    ApiToken.objects.filter(pk=token.pk).update(expires_at=NOW - timedelta(seconds=1))
    assert reported("token") == {}


def test_memberships_shares_and_flags_that_point_nowhere_are_reported(cast: Cast) -> None:
    gone = Workspace.objects.create(
        id=new_id("wsp", NOW), slug="gone", name="Gone", created_at=NOW, archived_at=NOW
    )
    team = Team.objects.create(id=new_id("tm", NOW), workspace=cast.default, name="empty", created_at=NOW)
    made = {
        kind: Membership.objects.create(
            id=new_id("mbr", NOW), role="viewer", granted_by="system", granted_at=NOW, **place
        ).pk
        for kind, place in {
            "archived": {"workspace": gone, "user": cast.auditor},
            "empty": {"workspace": cast.default, "team": team},
        }.items()
    }
    User.objects.filter(pk=cast.approver.pk).update(is_active=False)
    disabled = Membership.objects.get(user=cast.approver).pk
    assert reported("membership") == {
        made["archived"]: "its workspace is archived",
        made["empty"]: "its team is empty",
        disabled: "its person is disabled",
    }
    share = ResourceShare.objects.create(
        id=new_id("shr", NOW),
        resource_kind="agent",
        resource_id="agt_nobody",
        home=cast.instance,
        workspace=cast.default,
        access="use",
        shared_by="system",
        created_at=NOW,
    )
    assert reported("share") == {share.pk: "its agent is archived or does not exist"}
    FeatureFlag.objects.create(key="mcp", enabled=True, stage="pilot", workspaces=[gone.pk], changed_at=NOW)
    FeatureFlag.objects.create(key="of_another_time", enabled=True, stage="general", changed_at=NOW)
    assert set(reported("flag")) == {"mcp", "of_another_time"}


def test_an_archived_agent_is_reported_through_its_share_and_token_alone(cast: Cast) -> None:
    with transaction.atomic():
        agents.suspend_agent(
            agent_id=cast.agent.pk, reason="paused", actor=SYSTEM, now=NOW, record=RecordedEvents()
        )
    assert survey(NOW).orphans == ()


def test_only_the_instance_itself_writes_a_flag_without_looking(cast: Cast) -> None:
    setting = Registry().setting("mcp")
    assert setting is not None
    for actor in (cast.owner, cast.agent):
        who = SYSTEM.__class__(kind="user", id=actor.pk, auth="session", surface="console")
        with pytest.raises(RefusedError):
            stand_at(
                key="mcp", setting=setting, reason="because", actor=who, now=NOW, record=RecordedEvents()
            )
