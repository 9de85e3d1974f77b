"""First contents: the catalog's built-ins, the shipped rules as version 1, the default workspace's lists."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from identity.selectors import DEFAULT, workspace_by_slug
from kernel.errors import InvalidError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition
from policy.allowlists import allowlist
from policy.catalog import BUILTINS, FIRST_ALLOWLIST
from policy.compilation import DOMAIN, SourceFile, compile_set, set_hash
from policy.epoch import raise_epoch
from policy.lifecycle import ALLOWED, SetState
from policy.models import AllowlistEntry, PolicyFile, PolicySet, ToolCallConfig
from policy.runtime import load_tools
from policy.schema import CedarSchema, build_schema
from policy.tools import store_tool
from policy.types import AllowlistKind

BASELINE = Path(__file__).parent / "baseline"
PACKS = Path(__file__).parent / "packs"
PACKS_ON = ("trifecta", "provenance")
"""The packs a fresh instance starts with; the others are shipped for policy sets to include."""


def install_baseline(*, actor: Actor, now: datetime, record: Record) -> PolicySet:
    """Install or complete what a fresh instance needs, and return the set in force.

    Only the instance itself calls this. Repeating it changes nothing, except that built-in tools
    whose definition changed with the release get a new version. Raises InvalidError
    `policy_invalid` when the shipped rules do not validate, which leaves nothing installed.
    """
    if actor.kind != "system":
        raise RefusedError("role_required", "Only the instance installs its baseline.")
    raise_epoch()
    for builtin in BUILTINS:
        store_tool(builtin.facts(), actor=actor, now=now, record=record)
    active = PolicySet.objects.filter(domain=DOMAIN, state=SetState.ACTIVE).first()
    if active is None:
        active = _activate_first(actor, now, record)
    _prepare_default_workspace(actor, now, record)
    return active


def baseline_files() -> list[SourceFile]:
    """Return the shipped rules, by name, with the packs that are on."""
    packs = [pack_file(name) for name in PACKS_ON]
    return [*(_source(path) for path in sorted(BASELINE.glob("*.cedar"))), *packs]


def pack_names() -> tuple[str, ...]:
    """Return the names of all shipped packs."""
    return tuple(path.stem.removeprefix("pack_") for path in sorted(PACKS.glob("pack_*.cedar")))


def pack_file(name: str) -> SourceFile:
    """Return a shipped pack as a file of a policy set."""
    return _source(PACKS / f"pack_{name}.cedar")


def _source(path: Path) -> SourceFile:
    return SourceFile(path.name, path.read_text(encoding="utf-8"))


def _activate_first(actor: Actor, now: datetime, record: Record) -> PolicySet:
    files = baseline_files()
    schema = build_schema({name: tool.input_schema for name, tool in load_tools().items()})
    _require_valid(files, schema)
    rows = PolicySet.objects.filter(pk=_draft(files, actor, now, record).pk)
    digest = set_hash(files, schema)
    transition(
        rows,
        ALLOWED,
        source=SetState.DRAFT,
        target=SetState.VALIDATED,
        hash=digest,
        schema_digest=schema.static_digest,
        validated_by=actor.id,
        validated_at=now,
    )
    validated = rows.get()
    _record("policy.validated", validated, actor, now, record)
    transition(
        rows,
        ALLOWED,
        source=SetState.VALIDATED,
        target=SetState.ACTIVE,
        activated_by=actor.id,
        activated_at=now,
    )
    active = rows.get()
    _record("policy.activated", active, actor, now, record)
    return active


def _require_valid(files: list[SourceFile], schema: CedarSchema) -> None:
    compiled = compile_set(files, schema)
    if isinstance(compiled, tuple):
        text = "; ".join(f"{finding.file} {finding.policy_id}: {finding.message}" for finding in compiled[:5])
        raise InvalidError("policy_invalid", text)


def _draft(files: list[SourceFile], actor: Actor, now: datetime, record: Record) -> PolicySet:
    latest = PolicySet.objects.filter(domain=DOMAIN).order_by("-version").first()
    draft = PolicySet.objects.create(
        id=new_id("pol", now),
        domain=DOMAIN,
        version=1 if latest is None else latest.version + 1,
        title="Baseline",
        reason="Shipped rules",
        created_at=now,
    )
    PolicyFile.objects.bulk_create(
        PolicyFile(policy_set=draft, name=file.name, text=file.text, position=position)
        for position, file in enumerate(files)
    )
    _record("policy.drafted", draft, actor, now, record)
    return draft


def _prepare_default_workspace(actor: Actor, now: datetime, record: Record) -> None:
    """Give the workspace its limits and first allowlist; what an administrator took off stays off."""
    workspace = workspace_by_slug(DEFAULT)
    _, created = ToolCallConfig.objects.get_or_create(workspace=workspace)
    if not created or AllowlistEntry.objects.filter(workspace=workspace).exists():
        return
    for name in FIRST_ALLOWLIST:
        allowlist(
            workspace_id=workspace.pk,
            kind=AllowlistKind.TOOL,
            value=name,
            actor=actor,
            now=now,
            record=record,
        )


def _record(event: str, rules: PolicySet, actor: Actor, now: datetime, record: Record) -> None:
    data: dict[str, object] = {"version": rules.version, "hash": rules.hash or "", "domain": rules.domain}
    if event == "policy.drafted":
        data = {"version": rules.version, "domain": rules.domain, "source": "shipped", "base": None}
    if event == "policy.activated":
        more = {"reason": rules.reason, "simulation": None, "loosened": None, "request": None}
        data |= {"previous": None, "single_operator": False, **more}
    record(event=event, actor=actor, subject=rules.pk, now=now, data=data)
