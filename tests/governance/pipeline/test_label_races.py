"""Real threads on one session: of calls that meet, none passes as if the others had not been there."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from governance import labelling
from governance.models import Run, Session
from governance.operations import labels as operations
from governance.selectors import CallView
from kernel.clock import utc_now
from kernel.errors import ConflictError
from policy import labels
from policy.label_models import LabelHolder
from tests.governance.pipeline.labelled import FETCH, READER, SENDER, VAULT, install, ran, saying
from tests.governance.pipeline.test_races import together
from tests.governance.pipeline.world import World, again

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 3
THREADS = 8


@pytest.fixture(scope="module")
def labelled(committed_world: World, django_db_blocker: object) -> World:
    """The installation that other threads see, with the tools of `labelled`."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]  # pytest-django's
        install(committed_world)
    return committed_world


def session_runs(world: World, key: str) -> list[Run]:
    """Open a run for each thread, all in one session: the runs share nothing else."""
    return [world.open_run(session_key=key) for _ in range(THREADS)]


def effects(results: list[object]) -> Counter[str]:
    assert all(isinstance(result, CallView) for result in results), results
    return Counter(result.call.effect for result in results if isinstance(result, CallView))


@pytest.mark.parametrize("number", range(ROUNDS))
def test_of_eight_fetches_at_once_one_passes_and_the_others_see_what_it_brings_in(
    labelled: World, number: int
) -> None:
    runs = session_runs(labelled, f"fetch-{number}")
    ran(labelled, VAULT, "private", run=runs[0])
    results = together(*[partial(labelled.propose, FETCH, run=run) for run in runs])
    assert effects(results) == {"allow": 1, "require_approval": THREADS - 1}


@pytest.mark.parametrize("number", range(ROUNDS))
def test_who_sends_after_somebody_read_is_asked_about(labelled: World, number: int) -> None:
    runs = session_runs(labelled, f"mixed-{number}")
    ran(labelled, VAULT, "private", run=runs[0])
    works = [
        partial(labelled.propose, READER if turn % 2 else SENDER, run=run) for turn, run in enumerate(runs)
    ]
    views = [view for view in together(*works) if isinstance(view, CallView)]
    assert len(views) == THREADS
    readers = [view for view in views if view.call.tool_name == READER]
    senders = [view for view in views if view.call.tool_name == SENDER]
    assert {view.call.effect for view in readers} == {"allow"}
    for sender in senders:
        if sender.call.effect == "allow":
            refused = labelled.run(sender, worker=saying("never"))
            assert refused.state == "refused", "it was decided before anybody read, and is asked again"
        else:
            assert [rule["id"] for rule in sender.call.determining_policies] == ["trifecta"]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_call_at_its_claim_and_a_reader_take_turns(labelled: World, number: int) -> None:
    runs = session_runs(labelled, f"claim-{number}")
    ran(labelled, VAULT, "private", run=runs[0])
    sender = labelled.propose(SENDER, run=runs[0])
    together(
        partial(labelled.run, sender, worker=saying("sent")),
        *[partial(labelled.propose, READER, run=run) for run in runs[1:]],
    )
    ended = again(sender)
    assert ended.state in ("succeeded", "refused")
    holder = labelling.holder_of(runs[0])
    added = labels.labels_of(holder.id, utc_now())["untrusted_content"]
    assert len(added) == THREADS - 1


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_session_and_its_holder_are_made_once(labelled: World, number: int) -> None:
    key = f"first-{number}"
    runs = together(
        *[partial(labelled.open_run, session_key=key, task_text="read it") for _ in range(THREADS)]
    )
    assert all(isinstance(run, Run) for run in runs), runs
    sessions = {run.session_id for run in runs if isinstance(run, Run)}
    assert len(sessions) == 1
    assert Session.objects.filter(key=key).count() == 1
    assert LabelHolder.objects.filter(pk__in=sessions).count() == 1


@pytest.mark.parametrize("number", range(ROUNDS))
def test_of_eight_people_who_declassify_at_once_one_does(labelled: World, number: int) -> None:
    run = labelled.open_run(session_key=f"declassify-{number}")
    ran(labelled, READER, "text", run=run)
    person = labelled.person(labelled.owner)
    work = partial(
        operations.declassify,
        principal=person,
        session_id=run.session_id or "",
        label="untrusted_content",
        reason="I read all of it myself",
    )
    results = together(*[partial(work, now=utc_now()) for _ in range(THREADS)])
    refused = [result for result in results if isinstance(result, ConflictError)]
    assert [result.code for result in refused] == ["state_changed"] * (THREADS - 1)
