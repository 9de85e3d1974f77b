"""The five presets: what each says about a tool, and what applying one would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from policy.posture import Place, effective_posture, live_rows, loosens, shadow_over
from policy.types import PostureRow, PostureState, ToolCapability, ToolFacts

_READING = frozenset(
    {ToolCapability.FILESYSTEM_READ, ToolCapability.MEMORY_READ, ToolCapability.ARTIFACTS_READ}
)
_ALLOW, _ASK, _OFF = PostureState.ALWAYS_ALLOW, PostureState.ASK_EACH_TIME, PostureState.DISABLED


@dataclass(frozen=True, slots=True)
class Preset:
    """A named stance. `says` maps a tool's name, or a prefix that ends in `.*`, to a state.

    `rest` is said about every other tool, about tools that only read too unless `spares_readers`.
    """

    id: str
    title: str
    description: str
    says: Mapping[str, PostureState]
    rest: PostureState | None = None
    spares_readers: bool = False


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """What a preset would do to one tool. `locked` rows are skipped; `changed` ones would be written.

    `loosens` rows need a fresh one-time code.
    """

    tool: str
    current: str
    proposed: str
    changed: bool
    locked: bool
    lock_reason: str
    loosens: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """One tool of the catalog with its overrides and what locks it in the place that is asked about."""

    tool: ToolFacts
    overrides: Sequence[PostureRow]
    locks: Sequence[str]


PRESETS: tuple[Preset, ...] = (
    Preset(
        id="conservative_coding",
        title="Conservative coding",
        description="Looks things up by itself; asks before it runs, writes or fetches; no browser.",
        says={
            "memory.search": _ALLOW, "memory.recall": _ALLOW,
            "process.run": _ASK, "fs.apply_patch": _ASK, "fs.write": _ASK, "http.fetch": _ASK,
            "browser.navigate": _OFF, "browser.click": _OFF, "browser.type": _OFF,
        },
    ),
    Preset(
        id="browser_assist",
        title="Browser assistant",
        description="Sees what the browser shows by itself; asks before it goes, clicks or types.",
        says={
            "memory.*": _ALLOW,
            "browser.title": _ALLOW, "browser.observe": _ALLOW, "browser.tabs_list": _ALLOW,
            "browser.navigate": _ASK, "browser.click": _ASK, "browser.type": _ASK,
        },
    ),
    Preset(
        id="read_mostly_research",
        title="Read-mostly research",
        description="Reads files and memory by itself; asks before it fetches; neither runs nor writes.",
        says={
            "memory.*": _ALLOW, "fs.read": _ALLOW, "fs.list": _ALLOW,
            "http.fetch": _ASK,
            "process.run": _OFF, "fs.write": _OFF, "fs.apply_patch": _OFF,
        },
    ),
    Preset(
        id="automation_review",
        title="Automation under review",
        description="Uses memory by itself; a person looks at everything else.",
        says={"memory.*": _ALLOW},
        rest=_ASK,
    ),
    Preset(
        id="lockdown",
        title="Lockdown",
        description="Switches off everything that does more than read.",
        says={},
        rest=_OFF,
        spares_readers=True,
    ),
)  # fmt: skip
BY_ID: Mapping[str, Preset] = {preset.id: preset for preset in PRESETS}


def only_reads(tool: ToolFacts) -> bool:
    """Tell whether a tool of ours can do no more than read. Nobody vouches for a tool from elsewhere."""
    return tool.kind == "builtin" and tool.capabilities <= _READING and not tool.sinks and not tool.sensitive


def proposed(preset: Preset, tool: ToolFacts) -> PostureState | None:
    """Return what the preset says about a tool, or None when it says nothing."""
    if tool.name in preset.says:
        return preset.says[tool.name]
    for name, state in preset.says.items():
        if name.endswith(".*") and tool.name.startswith(name[:-1]):
            return state
    if preset.spares_readers and only_reads(tool):
        return None
    return preset.rest


def preview(
    preset: Preset,
    catalog: Sequence[Standing],
    place: Place,
    *,
    expires_at: datetime | None,
    now: datetime,
) -> tuple[PreviewRow, ...]:
    """Return a row for each tool that the preset speaks about, by name. `expires_at` ends what it allows."""
    rows = [
        _row(one, state, place, expires_at if state is _ALLOW else None, now)
        for one in catalog
        if (state := proposed(preset, one.tool)) is not None
    ]
    return tuple(sorted(rows, key=lambda row: row.tool))


def _row(
    one: Standing, state: PostureState, place: Place, expires_at: datetime | None, now: datetime
) -> PreviewRow:
    current = _state(one, place, now, one.overrides)
    broader = live_rows(place.broader, one.overrides, now)
    reason = one.locks[0] if one.locks else shadow_over(state, broader)
    lasting = [row for row in one.overrides if row.expires_at is None]
    settled = current == state == _state(one, place, now, lasting)
    changed = not reason and not settled
    freer = loosens(
        before=next(iter(live_rows((place.scope,), one.overrides, now)), None),
        after=PostureRow(place.kind, place.id, state, expires_at=expires_at),
        place=place,
        broader=broader,
        requires_approval=one.tool.requires_approval,
        now=now,
    )
    return PreviewRow(
        tool=one.tool.name,
        current=current,
        proposed=state.value,
        changed=changed,
        locked=bool(reason),
        lock_reason=reason,
        loosens=changed and freer,
    )


def _state(one: Standing, place: Place, now: datetime, rows: Sequence[PostureRow]) -> str:
    return effective_posture(
        requires_approval=one.tool.requires_approval,
        chain=place.chain,
        overrides=rows,
        locks=one.locks,
        now=now,
    ).state
