"""The ways a call can go, from the proposal to its attestation, with every event in its order."""

from __future__ import annotations

from tests.governance.pipeline.world import World, again, attested, calls_used, events_of, final_decisions

DECIDED = ["tool_call.proposed", "reservation.held", "tool_call.decided"]
RUN = [
    "execution.started",
    "execution.finished",
    "reservation.settled",
    "attestation.recorded",
]


def test_an_allowed_call_runs_and_tells_its_story_in_order(world: World) -> None:
    view = world.run(world.propose())
    assert view.state == "succeeded"
    assert view.call.result["output"] == {"text": "hello"}
    assert events_of(view) == [*DECIDED, "execution.queued", *RUN]
    assert [data["effect"] for data in final_decisions(view)] == ["allow"]
    assert calls_used(view) == 1
    statement = attested(view).predicate
    assert (statement["verdict"], statement["outcome"], statement["executor"]) == (
        "allow",
        "succeeded",
        "builtin",
    )


def test_an_asked_call_waits_for_a_person_before_anything_is_queued(world: World) -> None:
    view = world.ask()
    assert view.execution is None
    assert view.reservation is not None
    assert view.reservation.state == "held"
    assert events_of(view) == [
        "tool_call.proposed",
        "reservation.held",
        "approval.requested",
        "tool_call.decided",
    ]
    assert final_decisions(view) == []
    assert view.attestation is None
    assert again(world.allowed(view)).state == "queued"
