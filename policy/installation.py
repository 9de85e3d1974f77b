"""First contents: the catalog's built-ins, the shipped rules as version 1, the default workspace's lists."""

from __future__ import annotations

from datetime import datetime

from identity.selectors import DEFAULT, workspace_by_slug
from kernel.errors import RefusedError
from kernel.record import Actor, Record
from policy.activation import checked_reason, put_shipped_in_force
from policy.allowlists import allowlist
from policy.catalog import BUILTINS, FIRST_ALLOWLIST
from policy.compilation import DOMAIN
from policy.epoch import hold_epoch, raise_epoch
from policy.models import AllowlistEntry, PolicySet, ToolCallConfig
from policy.runtime import load_tools
from policy.set_checking import SetText, check_text
from policy.set_selectors import active_set
from policy.sets import Text, new_draft
from policy.shipped import baseline_files as baseline_files, pack_file as pack_file, pack_names as pack_names
from policy.tools import store_tool
from policy.types import AllowlistKind


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
    active = active_set()
    if active is None:
        active = _put_shipped("Shipped rules", actor, now, record)
    _prepare_default_workspace(actor, now, record)
    return active


def restore_baseline(*, reason: str, actor: Actor, now: datetime, record: Record) -> PolicySet:
    """Put the shipped rules into force as a new set, whatever is in force now; nobody is asked.

    Only the instance itself does this, from the shell of the server. Raises InvalidError at `/reason`
    or `policy_invalid`.
    """
    if actor.kind != "system":
        raise RefusedError("role_required", "Only the server's shell restores the baseline.")
    why = checked_reason(reason)
    hold_epoch()
    left = active_set()
    restored = _put_shipped(why, actor, now, record)
    data = {
        "version": restored.version,
        "hash": restored.hash or "",
        "domain": restored.domain,
        "left": left.pk if left else None,
        "reason": why,
    }
    record(event="policy.baseline_restored", actor=actor, subject=restored.pk, now=now, data=data)
    return restored


def _put_shipped(reason: str, actor: Actor, now: datetime, record: Record) -> PolicySet:
    text = Text(files=tuple(baseline_files()), source="shipped")
    draft = new_draft(
        title="Baseline", note="Shipped rules", domain=DOMAIN, text=text, actor=actor, now=now, record=record
    )
    checked = check_text(SetText(files=text.files), load_tools())
    return put_shipped_in_force(draft, checked, reason=reason, actor=actor, now=now, record=record)


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
