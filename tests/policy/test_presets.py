"""Presets over the catalog: what each says, what it would change, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from policy.posture import Place, effective_posture
from policy.presets import BY_ID, PRESETS, PreviewRow, Standing, only_reads, preview, proposed
from policy.types import PostureRow, PostureState, ToolFacts
from tests.policy.worlds import NOW, TOOLS

HERE = Place("workspace", "wsp_1", "wsp_1")
AGENT = Place("agent", "agt_1", "wsp_1", "agt_1")
SOON = NOW + timedelta(days=1)


def shown(
    preset: str,
    *rows: PostureRow,
    tool: ToolFacts = TOOLS["fs.write"],
    place: Place = HERE,
    locks: tuple[str, ...] = (),
    expires_at: datetime | None = None,
) -> PreviewRow:
    (found,) = preview(BY_ID[preset], [Standing(tool, rows, locks)], place, expires_at=expires_at, now=NOW)
    return found


def test_there_are_five_and_each_says_something_about_a_tool_of_the_catalog() -> None:
    assert [preset.id for preset in PRESETS] == [
        "conservative_coding", "browser_assist", "read_mostly_research", "automation_review", "lockdown",
    ]  # fmt: skip
    for preset in PRESETS:
        assert any(proposed(preset, tool) for tool in TOOLS.values())


def test_every_name_a_preset_speaks_of_is_a_tool() -> None:
    """A preset that names what does not exist protects nothing."""
    for preset in PRESETS:
        for name in preset.says:
            prefix = name.removesuffix("*")
            assert any(tool == name or (name != prefix and tool.startswith(prefix)) for tool in TOOLS), name


@pytest.mark.parametrize(
    ("preset", "tool", "state"),
    [
        ("conservative_coding", "memory.search", "always_allow"),
        ("conservative_coding", "memory.retain", None),
        ("conservative_coding", "process.run", "ask_each_time"),
        ("conservative_coding", "browser.click", "disabled"),
        ("browser_assist", "memory.retain", "always_allow"),
        ("browser_assist", "browser.title", "always_allow"),
        ("browser_assist", "browser.navigate", "ask_each_time"),
        ("browser_assist", "fs.write", None),
        ("read_mostly_research", "fs.read", "always_allow"),
        ("read_mostly_research", "http.fetch", "ask_each_time"),
        ("read_mostly_research", "process.run", "disabled"),
        ("automation_review", "memory.reflect", "always_allow"),
        ("automation_review", "echo", "ask_each_time"),
        ("lockdown", "fs.write", "disabled"),
        ("lockdown", "http.fetch", "disabled"),
        ("lockdown", "memory.retain", "disabled"),
        ("lockdown", "fs.read", None),
        ("lockdown", "memory.search", None),
    ],
)
def test_what_each_preset_says(preset: str, tool: str, state: str | None) -> None:
    assert proposed(BY_ID[preset], TOOLS[tool]) == state


def test_lockdown_vouches_for_no_tool_from_elsewhere() -> None:
    harmless = replace(TOOLS["echo"], name="x.echo", kind="upstream", capabilities=frozenset())
    assert only_reads(TOOLS["echo"])
    assert not only_reads(harmless)
    assert proposed(BY_ID["lockdown"], harmless) is PostureState.DISABLED
    for change in ({"sinks": frozenset({"destructive"})}, {"sensitive": True}):
        assert not only_reads(replace(TOOLS["echo"], **change))


def test_what_is_so_already_is_not_changed() -> None:
    assert not shown("conservative_coding").changed
    row = PostureRow("workspace", "wsp_1", "disabled")
    assert shown("lockdown").changed
    assert not shown("lockdown", row).changed
    assert not shown("lockdown", replace(row, scope_kind="global", scope_id="")).changed


def test_what_is_so_only_for_a_while_is_made_lasting() -> None:
    """A lockdown over a row that ends tomorrow would otherwise end tomorrow."""
    assert shown("lockdown", PostureRow("workspace", "wsp_1", "disabled", expires_at=SOON)).changed
    assert shown("lockdown", PostureRow("global", "", "disabled", expires_at=SOON)).changed


def test_locked_and_shadowed_tools_are_left_alone_and_say_why() -> None:
    locked = shown("lockdown", locks=("Off here.",))
    assert (locked.locked, locked.lock_reason, locked.changed) == (True, "Off here.", False)
    shadowed = shown("conservative_coding", PostureRow("global", "", "disabled"))
    assert (shadowed.locked, shadowed.changed, shadowed.current) == (True, False, "disabled")
    pinned = PostureRow("global", "", "ask_each_time", overridable=False)
    assert shown("read_mostly_research", pinned, tool=TOOLS["fs.read"]).locked
    assert not shown("lockdown", pinned).locked


def test_a_row_that_frees_says_so() -> None:
    off = PostureRow("workspace", "wsp_1", "disabled")
    assert shown("conservative_coding", off).loosens
    assert not shown("lockdown").loosens
    assert not shown("conservative_coding", off, locks=("Off here.",)).loosens


@given(
    st.sampled_from([preset.id for preset in PRESETS]),
    st.sampled_from(sorted(TOOLS)),
    st.lists(
        st.builds(
            PostureRow,
            st.sampled_from(["global", "workspace", "agent"]),
            st.just(""),
            st.sampled_from([state.value for state in PostureState]),
            st.booleans(),
            st.sampled_from([None, SOON]),
        ),
        unique_by=lambda row: row.scope_kind,
    ),
)
def test_what_is_changed_comes_out_as_proposed(preset: str, name: str, rows: list[PostureRow]) -> None:
    ids = {"global": "", "workspace": "wsp_1", "agent": "agt_1"}
    placed = [replace(row, scope_id=ids[row.scope_kind]) for row in rows]
    tool = TOOLS[name]
    for row in preview(BY_ID[preset], [Standing(tool, placed, ())], AGENT, expires_at=None, now=NOW):
        after = [one for one in placed if one.scope_kind != "agent"]
        after += [PostureRow("agent", "agt_1", row.proposed)] if row.changed else []
        after += [one for one in placed if one.scope_kind == "agent" and not row.changed]
        state = effective_posture(
            requires_approval=tool.requires_approval, chain=AGENT.chain, overrides=after, locks=(), now=NOW
        ).state
        assert state == (row.current if row.locked else row.proposed)
