"""Page of what a workspace allows: limits of tool calls, lists of names, sensitive rules; and its verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.verbs import (
    Answered,
    do,
    form_of,
    notify,
    offer,
    reasoned,
    seen_version,
    text,
    verb,
)
from governance.idempotency import Ticket
from governance.operations import limits as operations
from identity.inserting import invalid
from identity.roles import Permission
from kernel.errors import NotFoundError, PalyraError
from policy.limits import BOUNDS, PRESETS, SWITCHES, limits_of
from policy.models import AllowlistEntry, SensitiveRule, ToolCallConfig
from policy.types import AllowlistKind, SensitiveKind

READ, MANAGE = Permission.TOOLS_READ, Permission.TOOLS_MANAGE
Work = Callable[[Visit, Ticket], Told]
CHANGED = "The limits changed while this page was open. Look at them again."
LONGEST = 13
MOST_LISTED = 500
LABELS = {
    "max_calls_per_run": ("Calls a run may make", "Runs"),
    "soft_calls_per_run": ("Soft limit of calls", "Runs"),
    "execution_timeout_ms": ("Longest run of a call, in ms", "Runs"),
    "process_runner_enabled": ("Processes", "Processes in tier C"),
    "process_cpu_ms": ("CPU time, in ms", "Processes in tier C"),
    "process_memory_bytes": ("Memory, in bytes", "Processes in tier C"),
    "process_output_bytes": ("Output kept, in bytes", "Processes in tier C"),
    "wasm_enabled": ("Skills", "Skills in tier A"),
    "wasm_module_bytes": ("Largest module, in bytes", "Skills in tier A"),
    "wasm_fuel": ("Fuel", "Skills in tier A"),
    "wasm_memory_bytes": ("Memory, in bytes", "Skills in tier A"),
    "wasm_table_elements": ("Table elements", "Skills in tier A"),
    "wasm_instances": ("Instances", "Skills in tier A"),
}
KINDS = {
    AllowlistKind.PRINCIPAL: ("Principals", "Who may call tools. Empty: every member of this workspace."),
    AllowlistKind.CHANNEL: ("Channels", "From where tools may be called. Empty: from everywhere."),
    AllowlistKind.SKILL: ("Skills", "Which skill versions may run. Empty: none."),
    AllowlistKind.TOOL: ("Tools", "Which tools may be called. Empty: none."),
}


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit with its present value and its bounds; a switch has none."""

    name: str
    label: str
    group: str
    value: object
    low: int | None = None
    high: int | None = None

    @property
    def is_bytes(self) -> bool:
        return self.name.endswith("_bytes")


@dataclass(frozen=True, slots=True)
class Listed:
    """One list with its entries."""

    kind: str
    title: str
    about: str
    values: tuple[str, ...]


@page(READ)
def limits(visit: Visit) -> HttpResponse:
    """Show the limits and lists of this workspace."""
    return _shown(visit, None)


@verb(MANAGE, sees=READ)
def change(visit: Visit) -> HttpResponse:
    """Change single limits."""
    fields = {name: text(visit, name) for name in (*LABELS, "reason", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        row, _tools = limits_of(stepped.workspace.pk)
        wanted = {name: _typed(name, fields[name]) for name in LABELS if fields[name]}
        values = {name: value for name, value in wanted.items() if value != getattr(row, name)}
        if not values:
            raise invalid("/reason", "same", "Nothing was changed.")
        _change(stepped, fields["reason"], values=values)
        return Told("The limits are changed. What is decided from now on meets them.")

    return _post(visit, "change", fields, work)


@verb(MANAGE, sees=READ)
def preset(visit: Visit) -> HttpResponse:
    """Set all limits of a preset."""
    fields = {name: text(visit, name) for name in ("preset", "reason", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        _change(stepped, fields["reason"], preset=fields["preset"])
        return Told("The limits are those of the preset.")

    return _post(visit, "preset", fields, work)


@verb(MANAGE, sees=READ)
def add(visit: Visit) -> HttpResponse:
    """Put a name on one of the lists."""
    return _list_verb(visit, "add", operations.allow, "{value} is on the list.")


@verb(MANAGE, sees=READ)
def remove(visit: Visit) -> HttpResponse:
    """Take a name off one of the lists."""
    return _list_verb(visit, "remove", operations.disallow, "{value} is off the list.")


@verb(MANAGE, sees=READ)
def hold(visit: Visit) -> HttpResponse:
    """Hold a tool, action or capability to be sensitive."""
    return _list_verb(visit, "hold", operations.hold_sensitive, "{value} is sensitive here from now on.")


@verb(MANAGE, sees=READ)
def release(visit: Visit) -> HttpResponse:
    """Take a sensitive rule back."""
    done = "{value} is sensitive here only where the defaults say so."
    return _list_verb(visit, "release", operations.release_sensitive, done)


def _shown(visit: Visit, answered: Answered | None) -> HttpResponse:
    place = visit.workspace.pk
    row = _row(place)
    offered = offer(visit, MANAGE, fresh=True)
    forms = {name: form_of(visit, name, offered, answered) for name in _FORMS}
    lists = _lists(place)
    rules = SensitiveRule.objects.filter(workspace_id=place).order_by("kind", "value")[:MOST_LISTED]
    return show(
        visit,
        "console/limits.html",
        {
            "title": "Limits",
            "row": row,
            "groups": _groups(row) if row else {},
            "switches": [("on", "On"), ("off", "Off")],
            "lists": lists,
            "rules": list(rules),
            "forms": forms,
            "presets": [(name, name) for name in PRESETS],
            "kinds": [(kind, KINDS[kind][0]) for kind in KINDS],
            "sensitive_kinds": [(kind.value, kind.value) for kind in SensitiveKind],
            "names": names_of(value for one in lists for value in one.values),
        },
        status=answered.told.status if answered else 200,
    )


def _row(place: str) -> ToolCallConfig | None:
    try:
        return limits_of(place)[0]
    except NotFoundError:
        return None


_FORMS = ("change", "preset", "add", "remove", "hold", "release")


def _groups(row: ToolCallConfig) -> dict[str, list[LimitRow]]:
    groups: dict[str, list[LimitRow]] = {}
    for name, (label, group) in LABELS.items():
        bounds = BOUNDS.get(name, (None, None))
        groups.setdefault(group, []).append(LimitRow(name, label, group, getattr(row, name), *bounds))
    return groups


def _lists(place: str) -> tuple[Listed, ...]:
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    rows = AllowlistEntry.objects.filter(workspace_id=place).order_by("kind", "value")[:MOST_LISTED]
    for kind, value in rows.values_list("kind", "value"):
        found[kind].append(value)
    return tuple(Listed(kind, *KINDS[AllowlistKind(kind)], tuple(values)) for kind, values in found.items())


def _typed(name: str, typed: str) -> object:
    if name in SWITCHES:
        if typed not in ("on", "off"):
            raise invalid(f"/{name}", "unknown", "Choose on or off.")
        return typed == "on"
    if not typed.isascii() or not typed.isdigit() or len(typed) > LONGEST:
        raise invalid(f"/{name}", "number", "This is not a whole number.")
    return int(typed)


def _change(
    visit: Visit, reason: str, *, values: Mapping[str, object] | None = None, preset: str | None = None
) -> None:
    operations.change(
        principal=visit.principal,
        reason=reasoned(reason),
        seen_version=seen_version(visit),
        values=values,
        preset=preset,
        now=visit.now,
    )


def _list_verb(visit: Visit, name: str, operation: Callable[..., object], done: str) -> HttpResponse:
    fields = {field: text(visit, field) for field in ("kind", "value")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operation(principal=stepped.principal, kind=fields["kind"], value=fields["value"], now=stepped.now)
        return Told(done.format(value=fields["value"]))

    return _post(visit, name, fields, work)


def _post(visit: Visit, name: str, fields: Mapping[str, str], work: Work) -> HttpResponse:
    told = do(visit, route=f"limits/{name}", subject=visit.workspace.pk, fields=fields, work=work, say=_say)
    if not told.is_done:
        return _shown(visit, Answered(name, told))
    notify(visit, told)
    return redirect("admin:limits")


def _say(refusal: PalyraError) -> str:
    return CHANGED if refusal.code == "precondition_failed" else refusal.detail or refusal.code
