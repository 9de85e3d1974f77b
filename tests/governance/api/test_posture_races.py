"""Postures and allowlists that change while others decide or change them too, on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.db import connection, transaction

from governance.journal.ledger import record
from governance.operations import postures
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import ConflictError, PreconditionFailedError
from kernel.record import system_actor
from policy import services as policy
from policy.models import PolicyEpoch, PostureEvent, PostureOverride
from policy.posture import Place
from policy.types import AllowlistKind
from tests.governance.api.world import World, owner_principal

WORKERS = 8
SHELL = system_actor("shell")
Made = TypeVar("Made")

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def at_once(work: Callable[[int], Made]) -> list[Made | BaseException]:
    """Do `work` in eight threads that start together, and return what each came to."""
    gate = threading.Barrier(WORKERS)

    def one(number: int) -> Made | BaseException:
        try:
            gate.wait()
            return work(number)
        except BaseException as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(one, range(WORKERS)))


def here(world: World) -> Place:
    return Place("workspace", world.workspace.pk, world.workspace.pk)


def disable(world: World, tool: str) -> None:
    postures.set_override(
        principal=owner_principal(world, utc_now()),
        place=here(world),
        tool=tool,
        wishes=postures.PostureWishes("disabled", "a test"),
        seen=None,
        now=utc_now(),
    )


def unlist(world: World, tool: str) -> None:
    with transaction.atomic():
        policy.remove_from_allowlist(
            workspace_id=world.workspace.pk,
            kind=AllowlistKind.TOOL,
            value=tool,
            actor=SHELL,
            now=utc_now(),
            record=record,
        )


@pytest.mark.parametrize(("change", "reason"), [(disable, "posture.disabled"), (unlist, "posture.locked")])
def test_every_decision_that_begins_after_the_commit_uses_the_new_rows(
    committed_world: World, change: Callable[[World, str], None], reason: str
) -> None:
    """Eight callers propose without a pause while the row changes; each says whether it began after."""
    world, changed, started = committed_world, threading.Event(), threading.Event()
    runs = [world.agent.open_run() for _ in range(WORKERS)]
    before = PolicyEpoch.objects.get().epoch

    def propose(number: int) -> list[tuple[bool, str]]:
        found = []
        for _ in range(12):
            after = changed.is_set()
            call = world.agent.propose("echo", {"text": "x"}, run=runs[number])
            found.append((after, str(call["decision"]["reason_code"])))
            started.set()
            if after and len(found) > 3:
                break
        return found

    def alter() -> None:
        started.wait(30)
        try:
            change(world, "echo")
            changed.set()
        finally:
            connection.close()

    writer = threading.Thread(target=alter)
    writer.start()
    answers = at_once(propose)
    writer.join()
    rows = [row for answer in answers if isinstance(answer, list) for row in answer]
    assert all(isinstance(answer, list) for answer in answers), answers
    assert {code for after, code in rows if after} == {reason}
    # A call that was being decided at that moment may meet the change at a later gate.
    during = {code for after, code in rows if not after}
    assert during <= {"policy.allowed", reason, "policy.tool_not_allowlisted"}
    assert PolicyEpoch.objects.get().epoch > before


def test_an_act_is_undone_by_one_of_eight(committed_world: World) -> None:
    world = committed_world
    disable(world, "echo")
    event = PostureEvent.objects.get(tool="echo")
    owner = owner_principal(world, utc_now())
    answers = at_once(lambda _: postures.undo(principal=owner, event_id=event.pk, now=utc_now()))
    done = [answer for answer in answers if isinstance(answer, PostureEvent)]
    refused = [answer for answer in answers if isinstance(answer, ConflictError)]
    assert (len(done), len(refused)) == (1, WORKERS - 1), answers
    assert {refusal.code for refusal in refused} == {"state_changed"}
    assert not PostureOverride.objects.filter(tool="echo").exists()


def test_of_eight_who_saw_the_same_row_one_changes_it(committed_world: World) -> None:
    world = committed_world
    disable(world, "echo")
    row = PostureOverride.objects.get(tool="echo")
    owner: Principal = owner_principal(world, utc_now())

    def change(number: int) -> PostureOverride:
        wishes = postures.PostureWishes("disabled", f"number {number}")
        return postures.set_override(
            principal=owner,
            place=here(world),
            tool="echo",
            wishes=wishes,
            seen=f"{row.pk}:{row.version}",
            now=utc_now(),
        )

    answers = at_once(change)
    assert sum(isinstance(answer, PostureOverride) for answer in answers) == 1, answers
    assert sum(isinstance(answer, PreconditionFailedError) for answer in answers) == WORKERS - 1, answers
    assert PostureOverride.objects.get(tool="echo").version == 2


def test_a_preset_by_eight_is_written_once(committed_world: World) -> None:
    world = committed_world
    owner = owner_principal(world, utc_now())
    answers = at_once(
        lambda _: postures.apply_preset(
            principal=owner,
            place=here(world),
            preset_id="lockdown",
            reason="a test",
            expires_at=None,
            now=utc_now(),
        )
    )
    assert sum(isinstance(answer, PostureEvent) for answer in answers) == 1, answers
    assert answers.count(None) == WORKERS - 1, answers
    assert set(PostureOverride.objects.values_list("state", flat=True)) == {"disabled"}
    assert max(PostureOverride.objects.exclude(tool="demo.ls").values_list("version", flat=True)) == 1
