"""Tools, limits and lists through their pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from kernel.clock import utc_now
from kernel.record import system_actor
from policy.models import AllowlistEntry, SensitiveRule, Tool, ToolCallConfig
from policy.services import register_tool
from policy.types import ToolDefinition
from tests.governance.admin.posting import FRESH, form_on, page, post
from tests.governance.admin.world import World, sign_in

COUNT = ToolDefinition(
    name="ops.count",
    description="<script>alert(1)</script> counts \u202e lines \u200b",
    input_schema={
        "type": "object",
        "properties": {"path": {"type": "string", "maxLength": 100, "description": "<b>Which</b> file."}},
        "required": ["path"],
        "additionalProperties": False,
    },
    argv_template=("/usr/bin/wc", "-l", "<i>", "{path}"),
    capabilities=frozenset({"process_exec"}),
    risk="medium",
)
LIMITS = "/admin/tools/limits/"


def register(**changes: Any) -> str:
    """Register the tool as the instance itself would; return the path of its page."""
    fields = {name: getattr(COUNT, name) for name in COUNT.__slots__} | changes
    with transaction.atomic():
        register_tool(
            definition=ToolDefinition(**fields), actor=system_actor("shell"), now=utc_now(), record=record
        )
    return "/admin/tools/ops.count/"


def test_the_list_stands_by_category(world: World) -> None:
    register()
    html = page(sign_in(world.auditor), "/admin/tools/")
    titles = ["Custom tools", "Files and processes", "Network", "Memory and artifacts", "Browser"]
    assert [html.index(f"<h2>{title}</h2>") for title in titles] == sorted(
        html.index(f"<h2>{title}</h2>") for title in titles
    )
    assert "not built" in html
    assert "No tools here" in page(sign_in(world.auditor), "/admin/tools/?tool=zzz")


def test_a_tool_is_shown_whole_and_nothing_of_it_is_markup(world: World) -> None:
    path = register()
    html = page(sign_in(world.auditor), path)
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; counts ⟦U+202E⟧ lines ⟦U+200B⟧" in html
    assert "<i>\n" not in html
    assert "<b>Which</b>" not in html
    assert "at most 100 characters" in html
    assert "context.input: { &quot;path&quot;: String }" in html
    assert "The tool is not on the workspace&#x27;s allowlist." in html
    assert "at most 64.0 KiB" in html or "at most 64 KiB" in html


def test_every_tool_has_its_page(world: World) -> None:
    client = sign_in(world.auditor)
    for name in Tool.objects.values_list("name", flat=True):
        assert client.get(f"/admin/tools/{name}/").status_code == 200, name
    assert client.get("/admin/tools/local.echo/").status_code == 200
    assert client.get("/admin/tools/nothing/").status_code == 404
    assert client.get("/admin/tools/../").status_code == 404


def test_a_tool_is_allowed_switched_off_and_on_through_its_page(world: World) -> None:
    path = register()
    client = sign_in(world.owner, code_age=FRESH)
    assert form_on(client, path, path + "allow/").send().status_code == 302
    assert AllowlistEntry.objects.filter(workspace=world.workspace, value="ops.count").exists()
    off, late = form_on(client, path, path + "switch/"), form_on(client, path, path + "switch/")
    assert off.send(reason="An incident.").status_code == 302
    assert late.send(reason="Twice.").status_code == 412
    assert not Tool.objects.get(name="ops.count").enabled
    assert "Switch on" in page(client, path)
    assert form_on(client, path, path + "switch/").send(reason="Over.").status_code == 302
    assert (
        form_on(client, path, path + "describe/").send(description="Counts.", reason="Clearer.").status_code
        == 302
    )
    tool = Tool.objects.get(name="ops.count")
    assert (tool.enabled, tool.description) == (True, "Counts.")
    assert form_on(client, path, path + "allow/").send().status_code == 302
    assert not AllowlistEntry.objects.filter(value="ops.count").exists()


def test_verbs_on_tools_need_a_fresh_code_and_the_permission(world: World) -> None:
    path = register()
    for name, values in (
        ("switch", {"to": "off", "reason": "An incident.", "version": "1"}),
        ("describe", {"description": "x", "reason": "Clearer.", "version": "1"}),
        ("allow", {"to": "on"}),
    ):
        assert post(sign_in(world.owner), f"{path}{name}/", **values).status_code == 401, name
        denied = post(sign_in(world.approver, code_age=FRESH), f"{path}{name}/", **values)
        assert denied.status_code == 403, name
    tool = Tool.objects.get(name="ops.count")
    assert (tool.enabled, tool.edit_version) == (True, 1)
    assert not AllowlistEntry.objects.filter(value="ops.count").exists()
    assert JournalEvent.objects.filter(type="request.refused", subject="ops.count").count() == 3


@pytest.mark.parametrize(
    ("verb", "values", "status"),
    [
        ("switch", {"to": "sideways", "reason": "Why not.", "version": "1"}, 422),
        ("switch", {"to": "off", "reason": "", "version": "1"}, 422),
        ("switch", {"to": "off", "reason": "x" * 501, "version": "1"}, 422),
        ("switch", {"to": "off", "reason": "Why not.", "version": "9"}, 412),
        ("switch", {"to": "off", "reason": "Why not."}, 412),
        ("describe", {"description": "", "reason": "Why not.", "version": "1"}, 422),
        ("allow", {"to": ""}, 422),
    ],
)
def test_a_verb_that_says_nonsense_changes_nothing(
    world: World, verb: str, values: dict[str, str], status: int
) -> None:
    path = register()
    client = sign_in(world.owner, code_age=FRESH)
    assert post(client, f"{path}{verb}/", **values).status_code == status
    assert Tool.objects.get(name="ops.count").edit_version == 1
    assert post(client, "/admin/tools/nothing/switch/", to="off", reason="Why.").status_code == 404


def test_limits_are_changed_through_their_page(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    change, late = form_on(client, LIMITS, LIMITS + "change/"), form_on(client, LIMITS, LIMITS + "change/")
    wanted = {"max_calls_per_run": "64", "process_runner_enabled": "off", "reason": "Long jobs."}
    assert change.send(**wanted).status_code == 302
    row = ToolCallConfig.objects.get(workspace=world.workspace)
    assert (row.max_calls_per_run, row.process_runner_enabled, row.version) == (64, False, 2)
    assert row.process_cpu_ms == 2_000
    assert late.send(**wanted | {"max_calls_per_run": "65"}).status_code == 412
    preset = form_on(client, LIMITS, LIMITS + "preset/").send(preset="minimal", reason="An incident.")
    assert preset.status_code == 302
    row.refresh_from_db()
    assert (row.max_calls_per_run, row.execution_timeout_ms, row.wasm_enabled) == (4, 750, False)


@pytest.mark.parametrize(
    "values",
    [
        {"max_calls_per_run": "0"},
        {"max_calls_per_run": "many"},
        {"max_calls_per_run": "9" * 14},
        {"execution_timeout_ms": "99"},
        {"process_runner_enabled": "maybe"},
        {"soft_calls_per_run": "33"},
        {"reason": ""},
        {},
    ],
)
def test_limits_that_cannot_be_come_back_open(world: World, values: dict[str, str]) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    fields = {"reason": "A test."} | values
    answer = form_on(client, LIMITS, LIMITS + "change/").send(**fields)
    assert answer.status_code == 422
    assert ToolCallConfig.objects.get(workspace=world.workspace).version == 1
    assert 'role="alert"' in answer.content.decode()


def test_lists_are_edited_through_their_page(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    add = form_on(client, LIMITS, LIMITS + "add/")
    assert add.send(kind="tool_execute_principal", value=world.agent.pk).status_code == 302
    assert world.agent.name in page(client, LIMITS)
    gone = form_on(client, LIMITS, LIMITS + "remove/")
    assert gone.send(kind="tool_execute_principal", value=world.agent.pk).status_code == 302
    assert not AllowlistEntry.objects.filter(kind="tool_execute_principal").exists()
    hold = form_on(client, LIMITS, LIMITS + "hold/")
    assert hold.send(kind="capability", value="filesystem_read").status_code == 302
    assert SensitiveRule.objects.filter(workspace=world.workspace, value="filesystem_read").exists()
    release = form_on(client, LIMITS, LIMITS + "release/")
    assert release.send(kind="capability", value="filesystem_read").status_code == 302
    assert not SensitiveRule.objects.exists()
    unknown = form_on(client, LIMITS, LIMITS + "add/").send(kind="tool", value="../shell")
    assert unknown.status_code == 422
    assert form_on(client, LIMITS, LIMITS + "remove/").send(kind="tool", value="ops.none").status_code == 404


def test_lists_need_a_fresh_code_and_the_permission(world: World) -> None:
    for name in ("change", "preset", "add", "remove", "hold", "release"):
        values = {"kind": "tool", "value": "echo", "preset": "minimal", "reason": "Why.", "version": "1"}
        values["max_calls_per_run"] = "5"
        assert post(sign_in(world.owner), f"{LIMITS}{name}/", **values).status_code == 401, name
        denied = post(sign_in(world.approver, code_age=FRESH), f"{LIMITS}{name}/", **values)
        assert denied.status_code == 403, name
    assert ToolCallConfig.objects.get(workspace=world.workspace).version == 1
    assert AllowlistEntry.objects.filter(workspace=world.workspace, value="echo").exists()
    assert not SensitiveRule.objects.exists()
