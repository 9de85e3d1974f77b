"""`transition` shown on agents, whose states need no other stage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, transaction

from identity.lifecycle import AGENT_ALLOWED, AgentState
from identity.models import Agent
from identity.roles import WorkspaceRole
from kernel.errors import ConflictError
from kernel.state import transition
from tests.cast import make_agent, make_user, make_workspaces

THREADS = 8


@pytest.fixture
def agent() -> Agent:
    _, workspace = make_workspaces()
    owner = make_user("owner", WorkspaceRole.OPERATOR, workspace=workspace, password=None)
    return make_agent(owner, workspace)


def suspend(agent: Agent, purpose: str = "") -> None:
    rows = Agent.objects.filter(pk=agent.pk)
    transition(rows, AGENT_ALLOWED, source=AgentState.ACTIVE, target=AgentState.SUSPENDED, purpose=purpose)


@pytest.mark.django_db
def test_a_transition_moves_the_row_and_sets_the_changes(agent: Agent) -> None:
    suspend(agent, purpose="paused")
    agent.refresh_from_db()
    assert (agent.state, agent.purpose) == (AgentState.SUSPENDED, "paused")


@pytest.mark.django_db
def test_a_row_in_another_state_is_a_conflict_and_stays_as_it_is(agent: Agent) -> None:
    suspend(agent)
    with pytest.raises(ConflictError) as caught:
        suspend(agent, purpose="again")
    assert caught.value.code == "state_changed"
    agent.refresh_from_db()
    assert agent.purpose == ""


@pytest.mark.django_db
def test_a_missing_row_is_a_conflict(agent: Agent) -> None:
    nothing = Agent.objects.filter(pk="agt_00000000000000000000000000")
    with pytest.raises(ConflictError):
        transition(nothing, AGENT_ALLOWED, source=AgentState.ACTIVE, target=AgentState.SUSPENDED)


@pytest.mark.django_db
def test_more_than_one_row_is_a_conflict_that_undoes_itself(agent: Agent) -> None:
    make_agent(agent.owner, agent.workspace, name="second")
    with pytest.raises(ConflictError), transaction.atomic():
        transition(Agent.objects.all(), AGENT_ALLOWED, source=AgentState.ACTIVE, target=AgentState.SUSPENDED)
    assert set(Agent.objects.values_list("state", flat=True)) == {AgentState.ACTIVE}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("source", "target"),
    [("archived", "active"), ("active", "active"), ("unknown", "active"), ("active", "no")],
)
def test_an_edge_outside_the_table_is_a_programming_error(agent: Agent, source: str, target: str) -> None:
    with pytest.raises(ValueError, match="no transition"):
        transition(Agent.objects.filter(pk=agent.pk), AGENT_ALLOWED, source=source, target=target)
    agent.refresh_from_db()
    assert agent.state == AgentState.ACTIVE


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_threads_one_wins_and_the_others_conflict(agent: Agent) -> None:
    barrier = Barrier(THREADS)

    def attempt(number: int) -> bool:
        try:
            barrier.wait()
            with transaction.atomic():
                suspend(agent, purpose=f"by {number}")
        except ConflictError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(THREADS) as threads:
        won = list(threads.map(attempt, range(THREADS)))
    agent.refresh_from_db()
    assert won.count(True) == 1
    assert agent.purpose == f"by {won.index(True)}"
