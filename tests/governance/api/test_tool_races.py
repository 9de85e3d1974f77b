"""Administrators who change tools and limits at once: real threads, committed rows."""

from __future__ import annotations

from functools import partial

import pytest

from governance.journal.models import JournalEvent
from governance.operations import limits, tools, workspaces
from kernel.clock import utc_now
from policy.models import AllowlistEntry, Tool, ToolCallConfig, ToolVersion
from policy.types import ToolDefinition
from tests.governance.api.stepping import switch_on
from tests.governance.api.test_role_races import Work, principal, together
from tests.governance.api.world import World

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}


def definition(argument: str = "a", name: str = "ops.race") -> ToolDefinition:
    return ToolDefinition(
        name=name,
        description="Races.",
        input_schema=SCHEMA,
        argv_template=("/usr/bin/printf", argument),
        capabilities=frozenset({"process_exec"}),
        risk="low",
    )


def test_changes_at_once_leave_one_winner_each(committed_world: World) -> None:
    """One story, because founding an installation takes long: register, define anew, switch, limit, list."""
    world = committed_world
    who, now = principal(world.owner.id, world.workspace), utc_now()

    def registers(argument: str) -> Work:
        return partial(tools.register, principal=who, definition=definition(argument), now=now)

    assert together(*map(registers, "abcd")) == ["conflict"] * 3 + ["done"]
    assert ToolVersion.objects.filter(tool__name="ops.race").count() == 1

    def versions(argument: str) -> Work:
        return partial(tools.add_version, principal=who, definition=definition(argument), now=now)

    assert together(*map(versions, "wxyz")) == ["done"] * 4
    tool = Tool.objects.get(name="ops.race")
    found = ToolVersion.objects.filter(tool=tool).order_by("version")
    assert [row.version for row in found] == [1, 2, 3, 4, 5]
    assert (tool.current_version, tool.edit_version) == (5, 5)
    assert tool.timeout_ms == 10_000

    def switches(on: bool) -> Work:
        return partial(
            tools.change, principal=who, name="ops.race", reason="a race", seen_version=5, enabled=on, now=now
        )

    assert together(*map(switches, [False] * 4)) == ["done"] + ["precondition_failed"] * 3
    assert JournalEvent.objects.filter(type="tool.disabled").count() == 1

    def limited(calls: int) -> Work:
        values = {"max_calls_per_run": calls}
        return partial(limits.change, principal=who, reason="a race", seen_version=1, values=values, now=now)

    assert together(*map(limited, (30, 31, 33, 34))) == ["done"] + ["precondition_failed"] * 3
    assert ToolCallConfig.objects.get(workspace=world.workspace).version == 2

    allow = partial(limits.allow, principal=who, kind="tool", value="ops.race", now=now)
    assert together(*[allow] * 4) == ["done"] * 4
    assert AllowlistEntry.objects.filter(value="ops.race").count() == 1
    told = JournalEvent.objects.filter(type="allowlist.changed", subject=world.workspace.pk)
    before = told.count()
    drop = partial(limits.disallow, principal=who, kind="tool", value="ops.race", now=now)
    assert together(*[drop] * 4) == ["done"] + ["not_found"] * 3
    assert told.count() == before + 1


def test_a_new_workspace_has_limits_and_allows_nothing(committed_world: World) -> None:
    switch_on("team_mode")
    who = principal(committed_world.owner.id, committed_world.workspace)
    made = workspaces.create(principal=who, slug="lab", name="Lab", now=utc_now())
    assert ToolCallConfig.objects.get(workspace=made).max_calls_per_run == 32
    assert not AllowlistEntry.objects.filter(workspace=made).exists()
