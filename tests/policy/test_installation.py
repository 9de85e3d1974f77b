"""What a fresh instance gets, and what the database itself refuses."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, transaction

from kernel.errors import RefusedError
from kernel.record import Actor
from policy.catalog import BUILTINS, FIRST_ALLOWLIST
from policy.lifecycle import SetState
from policy.models import AllowlistEntry, PolicyFile, PolicySet, Tool, ToolCallConfig, ToolVersion
from policy.selectors import list_tools, tool_call_config
from policy.services import install_baseline, remove_from_allowlist
from policy.tools import store_tool
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast

pytestmark = pytest.mark.django_db


def install() -> tuple[PolicySet, RecordedEvents]:
    record = RecordedEvents()
    with transaction.atomic():
        return install_baseline(actor=SYSTEM, now=NOW, record=record), record


def test_installing_again_changes_nothing(cast: Cast) -> None:
    before = PolicySet.objects.get().pk
    active, record = install()
    assert (active.pk, record.names) == (before, [])
    assert PolicySet.objects.count() == 1
    assert ToolVersion.objects.count() == len(BUILTINS)


def test_default_workspace_gets_limits_and_the_tools_that_can_run(cast: Cast) -> None:
    entries = AllowlistEntry.objects.filter(workspace=cast.default, kind="tool")
    assert set(entries.values_list("value", flat=True)) == set(FIRST_ALLOWLIST)
    limits = tool_call_config(cast.default.pk)
    assert (limits.max_calls_per_run, limits.soft_calls_per_run) == (32, 24)
    assert limits.execution_timeout_ms == 10_000
    assert not AllowlistEntry.objects.filter(workspace=cast.instance).exists()


def test_what_was_taken_off_the_list_stays_off(cast: Cast) -> None:
    for name in FIRST_ALLOWLIST:
        with transaction.atomic():
            remove_from_allowlist(
                workspace_id=cast.default.pk,
                kind="tool",
                value=name,
                actor=SYSTEM,
                now=NOW,
                record=RecordedEvents(),
            )
    install()
    assert not AllowlistEntry.objects.exists()
    assert ToolCallConfig.objects.count() == 1


def test_new_release_of_a_built_in_becomes_a_new_version(cast: Cast) -> None:
    old = next(tool for tool in BUILTINS if tool.name == "echo").facts()
    ToolVersion.objects.create(
        tool=Tool.objects.get(name="echo"),
        version=2,
        input_schema=old.input_schema,
        definition_digest="sha256:other",
        created_at=NOW,
    )
    Tool.objects.filter(name="echo").update(current_version=2)
    record = RecordedEvents()
    with transaction.atomic():
        assert store_tool(old, actor=SYSTEM, now=NOW, record=record).current_version == 3
    assert record.names == ["tool.changed"]


def test_only_the_instance_installs() -> None:
    with pytest.raises(RefusedError):
        install_baseline(actor=Actor("user", "usr_1", "session", "console"), now=NOW, record=RecordedEvents())


def test_catalog_lists_every_built_in(cast: Cast) -> None:
    assert [tool.name for tool in list_tools(cast.default.pk)] == sorted(tool.name for tool in BUILTINS)


def test_files_of_an_active_set_are_immutable_in_the_database(cast: Cast) -> None:
    active = PolicySet.objects.get(state=SetState.ACTIVE)
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        PolicyFile.objects.filter(policy_set=active).update(text="permit (principal, action, resource);")
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        PolicyFile.objects.filter(policy_set=active).delete()
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        PolicyFile.objects.create(policy_set=active, name="b.cedar", text="", position=1)


def test_files_of_a_draft_can_change_but_not_move_to_an_active_set(cast: Cast) -> None:
    active = PolicySet.objects.get(state=SetState.ACTIVE)
    draft = PolicySet.objects.create(id="pol_d", version=2, title="draft", created_at=NOW)
    file = PolicyFile.objects.create(policy_set=draft, name="b.cedar", text="", position=0)
    assert PolicyFile.objects.filter(pk=file.pk).update(text="// changed") == 1
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        PolicyFile.objects.filter(pk=file.pk).update(policy_set=active)
    assert PolicyFile.objects.filter(pk=file.pk).delete()[0] == 1


def test_versions_of_a_tool_are_immutable_in_the_database(cast: Cast) -> None:
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        ToolVersion.objects.update(definition_digest="sha256:0")
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        ToolVersion.objects.filter(version=1).delete()


def test_two_active_sets_cannot_exist(cast: Cast) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        PolicySet.objects.create(
            id="pol_x", version=2, title="x", created_at=NOW, state=SetState.ACTIVE, hash="sha256:1"
        )
