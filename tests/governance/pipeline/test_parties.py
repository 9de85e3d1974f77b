"""Nobody answers what they could have asked: the person behind a token is a party like the owner."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest
from approvals.selectors import reviewers_of
from governance.journal.ledger import record
from governance.operations import agents, tokens
from identity import minting
from identity.models import Agent, ApiToken, User
from identity.roles import WorkspaceRole
from identity.tokens import TokenKind, parse_token
from kernel.clock import utc_now
from kernel.errors import RefusedError
from tests.governance.pipeline.world import (
    SCOPES,
    SLEEP,
    World,
    add_person,
    as_principal,
    authenticated,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(world: World) -> User:
    return add_person("admin", world.workspace, utc_now(), WorkspaceRole.ADMIN)


def mint(world: World, agent: Agent, minter: User) -> str:
    now = utc_now()
    with transaction.atomic():
        return minting.mint_token(
            kind=TokenKind.AGENT,
            label="test",
            scopes=SCOPES,
            expires_at=now + timedelta(days=1),
            workspace=world.workspace,
            agent=agent,
            minter=as_principal(minter, world.workspace, now),
            now=now,
            record=record,
        ).text


def rotate(world: World, token: str, rotator: User) -> str:
    parts, now = parse_token(token), utc_now()
    assert parts is not None
    return tokens.rotate(
        principal=as_principal(rotator, world.workspace, now),
        token_id=ApiToken.objects.get(lookup=parts.lookup).pk,
        now=now,
    ).text


def registered(world: World, registrant: User, owner: User) -> Agent:
    now = utc_now()
    return agents.register(
        principal=as_principal(registrant, world.workspace, now), name="puppet", owner_id=owner.pk, now=now
    )


def moved(world: World, agent: Agent, by: User, owner: User) -> None:
    now = utc_now()
    agents.change(
        principal=as_principal(by, world.workspace, now),
        agent_id=agent.pk,
        changes={"owner": owner.pk},
        now=now,
    )


def relation_of(world: World, token: str, person: User) -> object:
    """Have the token propose and the person allow; return why they may not."""
    view = world.propose(SLEEP, principal=authenticated(token))
    with pytest.raises(RefusedError) as caught:
        world.answer(view, by=person)
    assert caught.value.code == "self_review"
    assert person.pk not in reviewers_of(ApprovalRequest.objects.get(pk=view.call.approval_id), utc_now())
    return caught.value.extra["relation"]


def test_an_admin_does_not_allow_what_an_agent_of_another_name_asks_with_their_token(
    world: World, admin: User
) -> None:
    token = mint(world, registered(world, admin, world.agent_owner), admin)
    view = world.propose(SLEEP, principal=authenticated(token))
    with pytest.raises(RefusedError, match="self_review") as caught:
        world.answer(view, by=admin)
    assert caught.value.extra == {"relation": "minter"}
    assert world.answer(view, by=world.approver).kind == "allowed"


def test_who_minted_and_who_rotated_a_token_are_both_parties(world: World, admin: User) -> None:
    first = mint(world, world.agent_row, admin)
    second = rotate(world, first, world.owner)
    assert relation_of(world, second, world.owner) == "minter"
    assert relation_of(world, second, admin) == "minter"
    assert relation_of(world, first, world.owner) == "minter"


def test_a_token_of_the_bootstrap_was_minted_by_nobody(world: World) -> None:
    ApiToken.objects.filter(principal_agent=world.agent_row).update(from_bootstrap=True)
    view = world.ask()
    request = ApprovalRequest.objects.get(pk=view.call.approval_id)
    assert (request.minter_id, request.parties) == ("", {})
    assert world.answer(view, by=world.owner).kind == "allowed"


def test_a_rotated_token_of_the_bootstrap_is_that_of_who_rotated_it(world: World, admin: User) -> None:
    ApiToken.objects.filter(principal_agent=world.agent_row).update(from_bootstrap=True)
    token = rotate(world, world.agent_token, admin)
    assert relation_of(world, token, admin) == "minter"
    view = world.propose(SLEEP, principal=authenticated(token))
    assert world.answer(view, by=world.owner).kind == "allowed"


def test_who_registered_an_agent_for_somebody_else_does_not_answer_it(world: World, admin: User) -> None:
    agent = registered(world, admin, world.agent_owner)
    assert relation_of(world, mint(world, agent, world.owner), admin) == "registrant"


def test_giving_an_agent_away_does_not_make_its_questions_somebody_elses(world: World, admin: User) -> None:
    agent = registered(world, admin, admin)
    token = mint(world, agent, world.owner)
    moved(world, agent, admin, world.agent_owner)
    assert relation_of(world, token, admin) == "former_owner"


def test_who_moves_an_agent_between_others_is_a_party(world: World, admin: User) -> None:
    token = mint(world, world.agent_row, world.owner)
    moved(world, world.agent_row, admin, world.auditor)
    moved(world, world.agent_row, admin, world.agent_owner)
    assert relation_of(world, token, admin) == "registrant"


def test_who_takes_an_agent_over_does_not_answer_what_it_asked_before(world: World, admin: User) -> None:
    view = world.ask()
    moved(world, world.agent_row, world.owner, admin)
    for person, relation in ((admin, "owner"), (world.owner, "minter")):
        with pytest.raises(RefusedError, match="self_review") as caught:
            world.answer(view, by=person)
        assert caught.value.extra == {"relation": relation}


def test_a_call_that_joins_a_question_brings_its_parties(world: World, admin: User) -> None:
    view = world.ask()
    own = authenticated(mint(world, world.agent_row, admin))
    joined = world.propose(SLEEP, run=view.call.run, principal=own)
    assert joined.call.approval_id == view.call.approval_id
    with pytest.raises(RefusedError, match="self_review"):
        world.answer(view, by=admin, seen_version=2)
    assert world.answer(view, by=world.approver, seen_version=2).kind == "allowed"


def test_an_allow_counts_no_more_once_its_giver_is_a_party(world: World, admin: User) -> None:
    view = world.propose("asked.launch")
    assert world.answer(view, by=admin).kind == "open"
    world.propose(
        "asked.launch", run=view.call.run, principal=authenticated(mint(world, world.agent_row, admin))
    )
    assert world.answer(view, by=world.approver, seen_version=2).kind == "open"
    assert world.answer(view, by=world.second_approver, seen_version=2).kind == "allowed"


def test_a_sole_operator_answers_what_their_own_token_asked(world: World) -> None:
    User.objects.filter(pk__in=[world.approver.pk, world.second_approver.pk]).update(is_active=False)
    outcome = world.answer(world.ask(), by=world.owner)
    assert (outcome.kind, outcome.single_operator) == ("allowed", True)


def test_nobody_is_asked_when_all_who_could_answer_are_parties(world: World, admin: User) -> None:
    User.objects.filter(pk__in=[world.approver.pk, world.second_approver.pk]).update(is_active=False)
    token = rotate(world, mint(world, world.agent_row, admin), world.owner)
    view = world.propose(SLEEP, principal=authenticated(token))
    assert (view.state, view.call.reason_code) == ("denied", "approval.no_eligible_approver")
