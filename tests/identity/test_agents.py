from __future__ import annotations

import pytest
from django.db import transaction

from identity.agents import archive_agent, change_agent, register_agent, resume_agent, suspend_agent
from identity.liveness import principal_for_agent_live
from identity.models import Agent, ApiToken, Membership, User
from identity.roles import WorkspaceRole as Role
from kernel.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_agent, make_cast, make_user, mint_for_agent

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def acting(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, auth="session", surface="console")


def change(agent: Agent, actor: Actor = SYSTEM, seen: int | None = None, **changes: str) -> RecordedEvents:
    return apply(agent, changes, actor, seen)


def apply(
    agent: Agent, changes: dict[str, str], actor: Actor = SYSTEM, seen: int | None = None
) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        change_agent(
            agent_id=agent.pk, changes=changes, seen_version=seen, actor=actor, now=NOW, record=record
        )
    agent.refresh_from_db()
    return record


def archive(agent: Agent, actor: Actor = SYSTEM) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        archive_agent(agent_id=agent.pk, reason="over", actor=actor, now=NOW, record=record)
    agent.refresh_from_db()
    return record


def test_an_agent_is_changed_as_it_was_seen(cast: Cast) -> None:
    agent = cast.agent
    record = change(agent, acting(cast.owner), seen=1, name=" renamed ", purpose="To\nhelp.")
    assert (agent.name, agent.purpose, agent.version, agent.authority_epoch) == ("renamed", "To\nhelp.", 2, 0)
    assert record.events[0].data == {"changes": ["name", "purpose"]}
    with pytest.raises(PreconditionFailedError):
        change(agent, seen=1, name="late")
    assert change(agent, seen=2, name="renamed").events == []


def test_a_new_owner_needs_a_role_and_changes_what_the_agent_may(cast: Cast) -> None:
    with pytest.raises(InvalidError):
        change(cast.agent, owner=cast.stranger.pk)
    with pytest.raises(InvalidError):
        change(cast.agent, owner="usr_none")
    record = change(cast.agent, owner=cast.auditor.pk)
    assert (cast.agent.owner_id, cast.agent.authority_epoch) == (cast.auditor.pk, 1)
    assert record.events[0].data == {"changes": ["owner"]}
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is None


@pytest.mark.parametrize(
    "changes", [{"name": ""}, {"name": "x" * 81}, {"name": "a\u202eb"}, {"purpose": "x" * 501},
                {"purpose": "a\0b"}, {"state": "active"}, {"workspace": "x"}]
)  # fmt: skip
def test_a_bad_change_is_refused(cast: Cast, changes: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        apply(cast.agent, changes)


def test_a_name_is_unique_among_the_agents_in_use(cast: Cast) -> None:
    other = make_agent(cast.agent_owner, cast.default, "other")
    with pytest.raises(ConflictError):
        change(other, name="agent")
    assert Agent.objects.get(pk=other.pk).name == "other"
    archive(cast.agent)
    change(other, name="agent")
    with pytest.raises(ConflictError):
        change(cast.agent, name="anything")


def test_an_archived_agent_is_gone_with_its_tokens(cast: Cast) -> None:
    token = mint_for_agent(cast).token
    record = archive(cast.agent, acting(cast.owner))
    assert record.names == ["agent.archived", "token.revoked"]
    token.refresh_from_db()
    assert (token.revoked_at, token.revoked_reason) == (NOW, "agent_archived")
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is None
    for verb in (archive_agent, suspend_agent, resume_agent):
        with pytest.raises(ConflictError), transaction.atomic():
            verb(agent_id=cast.agent.pk, reason="again", actor=SYSTEM, now=NOW, record=RecordedEvents())
    assert ApiToken.objects.filter(revoked_at__isnull=True).count() == 0


def test_a_suspended_agent_may_be_archived(cast: Cast) -> None:
    with transaction.atomic():
        suspend_agent(agent_id=cast.agent.pk, reason="odd", actor=SYSTEM, now=NOW, record=RecordedEvents())
    archive(cast.agent)
    assert (cast.agent.state, cast.agent.version, cast.agent.authority_epoch) == ("archived", 3, 2)


def test_only_who_manages_agents_there_changes_and_archives(cast: Cast) -> None:
    Membership.objects.filter(user=cast.approver).delete()
    elsewhere = make_user("elsewhere", workspace=cast.instance)
    for actor in (
        acting(cast.agent_owner),
        acting(cast.approver),
        acting(elsewhere),
        Actor("agent", cast.agent.pk, "token", "api"),
    ):
        with pytest.raises(RefusedError):
            change(cast.agent, actor, purpose="mine")
        with pytest.raises(RefusedError):
            archive(cast.agent, actor)
    with pytest.raises(NotFoundError):
        archive_agent(agent_id="agt_none", reason="x", actor=SYSTEM, now=NOW, record=RecordedEvents())
    admin = make_user("admin", Role.ADMIN, workspace=cast.default)
    change(cast.agent, acting(admin), purpose="theirs")


def test_a_purpose_is_bounded_when_an_agent_is_registered(cast: Cast) -> None:
    with pytest.raises(InvalidError), transaction.atomic():
        register_agent(
            owner=cast.agent_owner, workspace=cast.default, name="new", purpose="x" * 501, actor=SYSTEM,
            now=NOW, record=RecordedEvents(),
        )  # fmt: skip
