"""A tool that an administrator registered, from its definition to the argument vector that ran."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction

from governance.journal.ledger import record
from governance.operations import limits, tools
from governance.runner import Worker, boot_id
from governance.selectors import CallView
from kernel.clock import utc_now
from policy.types import SecretSlot
from sandbox.runners.places import runner_options
from sandbox.runners.worker import RunnerPool
from sandbox.services import register_workspace_root
from tests.governance.pipeline.test_claim import assert_refused
from tests.governance.pipeline.world import SHELL, World, again, definition, gate_row, set_posture
from tests.sandbox.process_builders import workspace_for

ARGV = "ops.argv"
BRACKETS = ("/usr/bin/printf", "[%s]", "{name}", "end")
NAME: dict[str, object] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 200}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def sandboxed() -> Iterator[Worker]:
    """A worker with the real runners, bubblewrap included."""
    pool = RunnerPool(runner_options())
    yield Worker("test:real", boot_id(), pool)
    pool.close()


def register(world: World, name: str = ARGV, *, again_: bool = False, **changes: Any) -> None:
    made = definition(name, **{"input_schema": NAME, "argv_template": BRACKETS, "risk": "low", **changes})
    who, now = world.person(world.owner), utc_now()
    verb = tools.add_version if again_ else tools.register
    verb(principal=who, definition=made, now=now)
    if not again_:
        limits.allow(principal=who, kind="tool", value=name, now=now)


def call(world: World, value: object, tool: str = ARGV) -> CallView:
    return world.propose(tool, {"name": value})


@pytest.fixture
def workspace(world: World, sandboxed: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory that the agent's tools may see."""
    pool = sandboxed.pool
    assert isinstance(pool, RunnerPool)
    with workspace_for(pool.options.sandbox_uid) as root:
        monkeypatch.setattr(settings, "PALYRA_WORKSPACES_DIR", str(root.parent))
        with transaction.atomic():
            register_workspace_root(
                name="work",
                path=root,
                agents=(world.agent_row.pk,),
                mode_max="bind_rw",
                actor=SHELL,
                now=utc_now(),
                record=record,
            )
        yield


def test_a_value_is_one_element_of_argv_whatever_it_says(
    world: World, sandboxed: Worker, workspace: None
) -> None:
    register(world)
    for value in ("; rm -rf /", "a b\n$(id) `id` '\" %s {name}"):
        view = world.run(world.allowed(call(world, value)), worker=sandboxed)
        assert view.state == "succeeded", view.call.error
        assert view.call.result["output"]["stdout"] == f"[{value}][end]"


def test_a_value_that_looks_like_an_option_is_refused(world: World) -> None:
    register(world)
    for value in ("--config=x", "-", "-rf"):
        view = call(world, value)
        assert (view.state, view.call.reason_code) == ("denied", "schema.input_invalid"), value
    assert "must not start with a dash" in gate_row(view, "schema")["reason"]


def test_a_dash_is_a_value_behind_two_dashes_or_where_the_definition_says_so(world: World) -> None:
    register(world, "ops.ended", argv_template=("/usr/bin/printf", "[%s]", "--", "{name}"))
    dashes = {**NAME, "properties": {"name": {"type": "string", "x-allow-leading-dash": True}}}
    register(world, "ops.dashed", input_schema=dashes)
    for tool in ("ops.ended", "ops.dashed"):
        assert call(world, "--config=x", tool).state == "awaiting_approval"


@pytest.mark.parametrize(
    "change",
    [
        {"argv_template": ("/usr/bin/printf", "%s!", "{name}")},
        {"capabilities": frozenset({"process_exec", "network"})},
        {"sinks": frozenset({"destructive"})},
        {"tier": "B"},
    ],
)
def test_a_tool_that_was_defined_anew_does_not_run_what_waited(world: World, change: dict[str, Any]) -> None:
    register(world)
    view = call(world, "a")
    register(world, again_=True, **change)
    world.run(world.allowed(view))
    code = "schema.tool_disabled" if "tier" in change else "approval.tool_changed"
    assert_refused(view, code, "tool_intake")


def test_a_tool_that_was_defined_anew_does_not_run_what_was_queued(world: World) -> None:
    register(world)
    set_posture(world, ARGV, "always_allow")
    view = call(world, "a")
    assert view.state == "queued", view.call.gates
    register(world, again_=True, argv_template=("/usr/bin/printf", "%s!", "{name}"))
    world.run(view)
    assert_refused(view, "schema.definition_drift", "tool_intake")


def test_a_tool_that_was_switched_off_runs_neither_what_waited_nor_what_was_queued(world: World) -> None:
    register(world)
    waiting, queued = call(world, "a"), world.propose()
    for name, version in ((ARGV, 1), ("echo", 1)):
        tools.change(
            principal=world.person(world.owner),
            name=name,
            reason="an incident",
            seen_version=version,
            enabled=False,
            now=utc_now(),
        )
    world.run(world.allowed(waiting))
    world.run(queued)
    for view in (waiting, queued):
        assert_refused(view, "schema.tool_disabled", "tool_intake")


def test_a_tool_whose_hosts_or_secrets_nobody_provides_asks_nobody(world: World) -> None:
    reach: dict[str, Any] = {"egress_hosts": ("a.example",), "sinks": frozenset({"external_communication"})}
    register(world, "ops.out", capabilities=frozenset({"process_exec", "network"}), **reach)
    slot = SecretSlot("key", ("file",))
    register(world, "ops.key", capabilities=frozenset({"process_exec", "secrets_read"}), secrets=(slot,))
    for tool, code in (("ops.out", "egress.host_not_allowed"), ("ops.key", "vault.slot_unbound")):
        view = call(world, "a", tool)
        assert (view.state, view.call.reason_code) == ("denied", code)
        assert view.call.approval_id is None


def test_a_tier_that_no_worker_has_asks_nobody(world: World) -> None:
    register(world, tier="B")
    assert again(call(world, "a")).call.reason_code == "schema.tool_disabled"
    tools.change(
        principal=world.person(world.owner),
        name=ARGV,
        reason="the only administrator",
        seen_version=1,
        enabled=True,
        now=utc_now(),
    )
    view = call(world, "a")
    assert (view.state, view.call.reason_code) == ("denied", "sandbox.backend_unavailable")
