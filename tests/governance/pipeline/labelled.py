"""Tools with labels and sinks, registered by the real services, and a worker that says what they answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction

from governance.journal.ledger import record
from governance.models import Run
from governance.runner import Worker, boot_id
from governance.selectors import CallView
from kernel.clock import utc_now
from policy import services as policy
from policy.postures import OverrideInput
from sandbox.types import Executor, Outcome, Status
from tests.governance.pipeline.world import BuiltinPool, World, add_tool, definition, owner_actor

READER, VAULT, SENDER, FETCH, WIPER = "read.web", "read.file", "send.mail", "fetch.page", "wipe.disk"
FLOWS: dict[str, tuple[set[str], set[str]]] = {
    READER: ({"untrusted_content"}, set()),
    VAULT: ({"private_data"}, set()),
    SENDER: (set(), {"external_communication"}),
    FETCH: ({"untrusted_content"}, {"external_communication"}),
    WIPER: (set(), {"destructive"}),
}
"""What each tool adds to its session, and its sinks. `fetch.page` has the labels and sinks of http.fetch."""


class SayingPool(BuiltinPool):
    """A host whose tools answer with the text this was made with, after what happens meanwhile."""

    def __init__(self, text: str, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.text, self.meanwhile = text, meanwhile

    def run(self, job: Any, **_: Any) -> Outcome:
        self.meanwhile()
        now = utc_now()
        return Outcome(
            status=Status.SUCCEEDED,
            executor=Executor.TIER_C_LINUX,
            started_at=now,
            finished_at=now,
            exit_code=0,
            output={"stdout": self.text, "exit_code": 0},
        )


def saying(text: str, *, meanwhile: Callable[[], None] = lambda: None) -> Worker:
    """Return a worker whose runs answer with this text."""
    return Worker("test:says", boot_id(), SayingPool(text, meanwhile))


def install(world: World) -> None:
    """Register the tools and let each of them run without being asked about."""
    with transaction.atomic():
        for name, (labels, sinks) in FLOWS.items():
            tool = definition(name, adds_labels=frozenset(labels), sinks=frozenset(sinks))
            add_tool(tool, world.workspace, owner_actor(world), utc_now())
    for name in FLOWS:
        always_allow(world, name)


def always_allow(world: World, tool: str) -> None:
    """Give a tool the explicit posture that asks nobody."""
    now = utc_now()
    override = OverrideInput(
        tool=tool,
        scope_kind="workspace",
        scope_id=world.workspace.pk,
        state="always_allow",
        reason="a test",
        expires_at=now + timedelta(hours=20),
        otp_verified_at=now,
    )
    with transaction.atomic():
        policy.set_posture(override=override, actor=owner_actor(world), now=now, record=record)


def ran(world: World, tool: str, says: str, *, run: Run, text: str = "hello") -> CallView:
    """Propose a call that is allowed, have it run, and return it as it ended."""
    view = world.propose(tool, {"text": text}, run=run)
    assert view.state == "queued", view.call.gates
    ended = world.run(view, worker=saying(says))
    assert ended.state == "succeeded", ended.call.error
    return ended
