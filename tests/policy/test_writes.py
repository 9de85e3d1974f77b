"""Custom tools, allowlists and postures: what is accepted, what is refused, what is recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import transaction

from kernel.errors import AuthenticationError, ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor
from policy.catalog import object_schema
from policy.epoch import raise_epoch
from policy.lifecycle import SetState
from policy.models import (
    AllowlistEntry,
    PolicyFile,
    PolicySet,
    PostureEvent,
    PostureOverride,
    Tool,
    ToolCallConfig,
)
from policy.postures import Asking, place_of
from policy.selectors import posture, resolve_tool, tool_call_config, tool_named
from policy.services import (
    OverrideInput,
    allowlist,
    clear_posture,
    expire_postures,
    register_tool,
    remove_from_allowlist,
    set_posture,
    undo_posture,
)
from policy.types import EffectivePosture, SecretSlot, ToolDefinition
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast

pytestmark = pytest.mark.django_db

LS = ToolDefinition(
    name="demo.wc",
    description="Counts lines.",
    input_schema=object_schema({"path": {"type": "string", "maxLength": 100}}, ("path",)),
    argv_template=("/usr/bin/wc", "-l", "{path}"),
    capabilities=frozenset({"process_exec"}),
    risk="medium",
    resource_template="file:{path}",
)


def register(definition: ToolDefinition = LS, actor: Actor = SYSTEM) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        register_tool(definition=definition, actor=actor, now=NOW, record=record)
    return record


def person(identifier: str) -> Actor:
    return Actor("user", identifier, "session", "console")


def test_registered_tool_resolves_with_its_argv(cast: Cast) -> None:
    assert register().names == ["tool.registered"]
    check = resolve_tool(name="demo.wc", raw_input={"path": "a.md"}, workspace_id=cast.default.pk)
    assert (check.ok, check.reason_code, check.resource) == (True, "schema.ok", "file:a.md")
    assert check.tool is not None
    assert check.tool.argv_template == ("/usr/bin/wc", "-l", "{path}")
    assert check.tool.requires_approval
    assert (check.tool.tier, check.tool.executor) == ("C", "sandbox_tier_c")


def test_value_like_an_option_is_refused_at_the_schema_gate(cast: Cast) -> None:
    register()
    check = resolve_tool(name="demo.wc", raw_input={"path": "--config=x"}, workspace_id=cast.default.pk)
    assert (check.ok, check.reason_code, check.errors[0].code) == (
        False,
        "schema.input_invalid",
        "leading_dash",
    )


def test_changed_definition_is_a_new_version_with_another_digest(cast: Cast) -> None:
    register()
    old = tool_named("demo.wc")
    assert register().names == []
    changed = register(replace(LS, argv_template=("/usr/bin/wc", "-c", "{path}")))
    new = tool_named("demo.wc")
    assert changed.names == ["tool.changed"]
    assert old is not None
    assert new is not None
    assert (old.version, new.version) == (1, 2)
    assert old.definition_digest != new.definition_digest


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bad"},
        {"name": "a." * 40 + "b"},
        {"name": "palyra.tool"},
        {"name": ""},
        {"description": ""},
        {"description": "x" * 2001},
        {"tier": "A"},
        {"tier": "none"},
        {"name": "echo"},
        {"name": "fs.remove"},
        {"name": "browser.tabs.list"},
        {"name": "mcp.server.tool"},
        {"name": "catalog"},
        {"risk": "huge"},
        {"capabilities": frozenset()},
        {"egress_hosts": ("a.example",)},
        {"secrets": (SecretSlot("token", ("file",)),)},
        {"capabilities": frozenset({"process_exec", "flying"})},
        {"sinks": frozenset({"sea"})},
        {"adds_labels": frozenset({"A!"})},
        {"max_input_bytes": 0},
        {"timeout_ms": 99},
        {"resource_template": "file:{nope}"},
        {"argv_template": ()},
        {"argv_template": ("wc", "{path}")},
        {"argv_template": ("/usr/bin/wc", "--x={path}")},
        {"input_schema": {}},
        {"input_schema": {"type": "object"}},
        {"input_schema": object_schema({"path": {"$ref": "#"}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string", "pattern": "(a+)+$"}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string", "pattern": "(?=a)"}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string", "pattern": r"(a)\1"}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string", "pattern": "("}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string", "format": "colour"}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": ["string", "null"]}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string", "oneOf": []}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string"}, "__x": {"type": "string"}}, ("path",))},
        {"input_schema": object_schema({"path": {"type": "string", "maxLength": "x"}}, ("path",))},
        {"input_schema": object_schema({f"p{n}": {"type": "string"} for n in range(129)}, ())},
    ],
)
def test_unacceptable_definition_is_refused_with_findings(cast: Cast, change: dict[str, object]) -> None:
    with pytest.raises(InvalidError) as caught:
        register(replace(LS, **change))  # type: ignore[arg-type]  # fields by name
    assert caught.value.code == "schema_invalid"
    assert caught.value.errors
    assert not Tool.objects.filter(kind="custom").exists()


def test_schema_that_nests_too_deep_is_refused(cast: Cast) -> None:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(9):
        schema = object_schema({"path": schema}, ("path",))
    with pytest.raises(InvalidError):
        register(replace(LS, input_schema=schema))


def test_tool_that_breaks_the_rules_in_force_is_refused(cast: Cast) -> None:
    active = PolicySet.objects.get(state=SetState.ACTIVE)
    text = (
        '@id("typed") permit (principal, action in Palyra::Action::"tool.execute", resource)'
        ' when { context has input && context.input has path && context.input.path like "*" };'
    )
    replacement = PolicySet.objects.create(id="pol_2", version=2, title="typed", created_at=NOW)
    PolicyFile.objects.create(policy_set=replacement, name="a.cedar", text=text, position=0)
    PolicySet.objects.filter(pk=active.pk).update(state=SetState.SUPERSEDED)
    PolicySet.objects.filter(pk="pol_2").update(state=SetState.ACTIVE, hash="sha256:2")
    numbers = object_schema({"path": {"type": "integer"}}, ("path",))
    with pytest.raises(ConflictError) as caught:
        register(replace(LS, input_schema=numbers))
    assert caught.value.code == "policy_schema_break"
    assert caught.value.errors


def test_only_holders_of_the_permission_change_the_catalog(cast: Cast) -> None:
    for nobody in (cast.auditor, cast.approver, cast.stranger, cast.agent_owner):
        with pytest.raises(RefusedError):
            register(actor=person(nobody.pk))
    with pytest.raises(RefusedError):
        register(actor=Actor("agent", cast.agent.pk, "token", "api"))
    assert register(actor=person(cast.owner.pk)).names == ["tool.registered"]


def test_cedar_can_refuse_what_the_permission_grants(cast: Cast) -> None:
    active = PolicySet.objects.get(state=SetState.ACTIVE)
    PolicySet.objects.filter(pk=active.pk).update(state=SetState.SUPERSEDED)
    raise_epoch()
    with pytest.raises(RefusedError):
        register(actor=person(cast.owner.pk))


@pytest.mark.parametrize(
    ("name", "raw", "code"),
    [
        ("nope", {}, "schema.tool_unknown"),
        ("a\0b", {}, "schema.tool_unknown"),
        ("x" * 5000, {}, "schema.tool_unknown"),
        ("http.fetch", {"url": "https://a.example/"}, "schema.runtime_unsupported"),
        ("echo", [], "schema.input_not_object"),
        ("echo", {}, "schema.input_invalid"),
        ("echo", {"text": "x" * 20_000}, "schema.input_too_large"),
    ],
)
def test_schema_gate_names_its_reason(cast: Cast, name: str, raw: object, code: str) -> None:
    check = resolve_tool(name=name, raw_input=raw, workspace_id=cast.default.pk)
    assert (check.ok, check.reason_code, check.input) == (False, code, None)
    assert check.reason


def test_disabled_tool_is_refused(cast: Cast) -> None:
    Tool.objects.filter(name="echo").update(enabled=False)
    raise_epoch()
    check = resolve_tool(name="echo", raw_input={"text": "a"}, workspace_id=cast.default.pk)
    assert check.reason_code == "schema.tool_disabled"


def test_alias_resolves_to_the_short_name(cast: Cast) -> None:
    check = resolve_tool(name="palyra.echo", raw_input={"text": "a"}, workspace_id=cast.default.pk)
    assert check.tool is not None
    assert check.tool.name == "echo"


def listed(cast: Cast, kind: str, value: str, actor: Actor = SYSTEM) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        allowlist(workspace_id=cast.default.pk, kind=kind, value=value, actor=actor, now=NOW, record=record)
    return record


def test_listing_is_recorded_once_and_normalised(cast: Cast) -> None:
    skill = "skl_01JD0000000000000000000000"
    assert listed(cast, "skill", skill).names == ["allowlist.changed"]
    assert listed(cast, "skill", skill.lower()).names == []
    assert AllowlistEntry.objects.get(kind="skill").value == skill.lower()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("tool", "../shell"), ("tool", "unknown"), ("tool", ""), ("skill", "local.echo"), ("skill", "skl_x"),
        ("planet", "earth"), ("tool_execute_channel", "a b"), ("tool_execute_principal", "a\0"),
        ("tool_execute_channel", "x" * 129),
    ],
)  # fmt: skip
def test_unknown_names_are_not_listed(cast: Cast, kind: str, value: str) -> None:
    with pytest.raises(InvalidError):
        listed(cast, kind, value)


def test_lists_need_permission_workspace_and_entry(cast: Cast) -> None:
    with pytest.raises(RefusedError):
        listed(cast, "tool", "echo", person(cast.auditor.pk))
    with pytest.raises(NotFoundError), transaction.atomic():
        allowlist(
            workspace_id="wsp_no", kind="tool", value="echo", actor=SYSTEM, now=NOW, record=RecordedEvents()
        )
    with pytest.raises(NotFoundError), transaction.atomic():
        remove_from_allowlist(
            workspace_id=cast.default.pk,
            kind="tool",
            value="http.fetch",
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def override(cast: Cast, **change: object) -> OverrideInput:
    base = OverrideInput(
        tool="fs.read", scope_kind="agent", scope_id=cast.agent.pk, state="ask_each_time", reason="careful"
    )
    return replace(base, **change)  # type: ignore[arg-type]  # fields by name


def put(cast: Cast, actor: Actor = SYSTEM, /, **change: object) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        set_posture(override=override(cast, **change), actor=actor, now=NOW, record=record)
    return record


def effective(cast: Cast, tool: str = "fs.read", locks: tuple[str, ...] = ()) -> EffectivePosture:
    known = tool_named(tool)
    assert known is not None
    return posture(
        tool=known,
        default_requires_approval=known.requires_approval,
        tool_name=tool,
        workspace_id=cast.default.pk,
        agent_id=cast.agent.pk,
        session_id="ses_1",
        locks=locks,
        now=NOW,
    )


def test_override_counts_and_is_recorded_with_what_it_replaced(cast: Cast) -> None:
    assert effective(cast).state == "always_allow"
    assert put(cast).names == ["posture.override_set"]
    assert (effective(cast).state, effective(cast).explicit) == ("ask_each_time", True)
    record = put(cast, state="disabled")
    assert (record.events[0].data["before"], record.events[0].data["after"]) == ("ask_each_time", "disabled")
    assert PostureOverride.objects.get().version == 2


def test_looser_row_below_a_disabled_one_is_refused(cast: Cast) -> None:
    put(cast, scope_kind="global", scope_id="", state="disabled")
    for state in ("always_allow", "ask_each_time"):
        with pytest.raises(ConflictError, match="posture_shadowed"):
            put(cast, state=state)
    with pytest.raises(ConflictError, match="posture_shadowed"):
        put(cast, scope_kind="session", scope_id="ses_1", agent_id=cast.agent.pk)
    put(cast, state="disabled")


def test_risky_tool_is_loosened_only_with_code_reason_and_end(cast: Cast) -> None:
    good = {"tool": "fs.write", "state": "always_allow", "expires_at": NOW + timedelta(days=30)}
    with pytest.raises(AuthenticationError):
        put(cast, **good)
    with pytest.raises(InvalidError, match="posture_too_loose"):
        put(cast, **good | {"tool": "process.run", "otp_verified_at": NOW})
    put(cast, **good | {"otp_verified_at": NOW})
    assert effective(cast, "fs.write").state == "always_allow"


def register_and_list(cast: Cast) -> None:
    register()
    with transaction.atomic():
        allowlist(
            workspace_id=cast.default.pk,
            kind="tool",
            value=LS.name,
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


ALWAYS = {"tool": "demo.wc", "state": "always_allow", "otp_verified_at": NOW}
SOON = NOW + timedelta(hours=23)


@pytest.mark.parametrize(
    ("risk", "expires_at", "reason", "stays"),
    [
        ("medium", None, "careful", True),
        ("high", None, "careful", False),
        ("high", SOON, "careful", True),
        ("high", SOON, "", False),
        ("high", NOW + timedelta(days=2), "careful", False),
        ("critical", SOON, "careful", False),
    ],
)
def test_always_allow_ends_when_the_tool_becomes_one_that_may_not_have_it(
    cast: Cast, risk: str, expires_at: datetime | None, reason: str, stays: bool
) -> None:
    register_and_list(cast)
    put(cast, **ALWAYS, expires_at=expires_at, reason=reason)
    put(cast, tool="demo.wc", scope_kind="workspace", scope_id=cast.default.pk)
    put(cast, tool="fs.read", state="always_allow", otp_verified_at=NOW)
    record = register(replace(LS, risk=risk, argv_template=("/usr/bin/wc", "-c", "{path}")))
    assert record.names == ["tool.changed"] + ["posture.override_cleared"] * (not stays)
    left = {(row.tool, row.state) for row in PostureOverride.objects.all()}
    assert left - {("demo.wc", "always_allow")} == {("demo.wc", "ask_each_time"), ("fs.read", "always_allow")}
    assert (("demo.wc", "always_allow") in left) is stays


def test_an_ended_always_allow_comes_back_by_no_undoing(cast: Cast) -> None:
    register_and_list(cast)
    put(cast, **ALWAYS)
    register(replace(LS, risk="high"))
    event = PostureEvent.objects.get(action="override_cleared")
    here = place_of("agent", cast.agent.pk)
    with pytest.raises(InvalidError, match="posture_too_loose"), transaction.atomic():
        undo_posture(event=event, place=here, asking=Asking(SYSTEM, NOW, RecordedEvents(), NOW))


@pytest.mark.parametrize(
    "change",
    [
        {"state": "maybe"}, {"reason": "x" * 501}, {"expires_at": NOW}, {"scope_kind": "planet"},
        {"scope_id": ""}, {"scope_kind": "global", "scope_id": "x"}, {"scope_id": "x" * 129},
    ],
)  # fmt: skip
def test_malformed_override_is_refused(cast: Cast, change: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        put(cast, **change)


@pytest.mark.parametrize(
    "change",
    [{"tool": "nope"}, {"scope_id": "agt_no"}, {"scope_kind": "session", "scope_id": "ses_1"}],
)
def test_override_of_what_does_not_exist_is_refused(cast: Cast, change: dict[str, object]) -> None:
    with pytest.raises(NotFoundError):
        put(cast, **change)


def test_only_holders_of_the_permission_set_postures(cast: Cast) -> None:
    for nobody in (cast.approver, cast.auditor, cast.stranger, cast.agent_owner):
        with pytest.raises(RefusedError):
            put(cast, person(nobody.pk))
    assert put(cast, person(cast.owner.pk)).names == ["posture.override_set"]


def test_override_can_be_cleared_once(cast: Cast) -> None:
    put(cast)
    place = place_of("agent", cast.agent.pk)
    record = RecordedEvents()
    with transaction.atomic():
        clear_posture(tool="fs.read", place=place, asking=Asking(SYSTEM, NOW, record, NOW))
    assert record.names == ["posture.override_cleared"]
    assert effective(cast).explicit is False
    with pytest.raises(NotFoundError), transaction.atomic():
        clear_posture(tool="fs.read", place=place, asking=Asking(SYSTEM, NOW, record, NOW))


def test_expired_overrides_are_swept_with_an_event(cast: Cast) -> None:
    put(cast, expires_at=NOW + timedelta(hours=1))
    record = RecordedEvents()
    with transaction.atomic():
        assert expire_postures(actor=SYSTEM, now=NOW, record=record) == 0
        assert expire_postures(actor=SYSTEM, now=NOW + timedelta(hours=1), record=record) == 1
    assert record.names == ["posture.override_expired"]


def test_facts_lock_a_tool(cast: Cast) -> None:
    assert effective(cast, "http.fetch").lock_reason == "The tool is not on the workspace's allowlist."
    assert effective(cast, locks=("No backend.",)).reason_code == "posture.locked"
    ToolCallConfig.objects.update(process_runner_enabled=False)
    assert effective(cast, "process.run").lock_reason == "The process runner is switched off."


def test_workspace_without_limits_has_no_posture(cast: Cast) -> None:
    with pytest.raises(NotFoundError):
        tool_call_config(cast.instance.pk)
