"""Roles of a person or a team in one workspace: found, and brought to what is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kernel.ids import is_id
from palyra_site.cli.arguments import require_id
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.listing import every_item
from palyra_site.cli.output import pick
from palyra_site.cli.session import Session

COLUMNS = ("id", "role", "state", "user.id", "user.username", "team.id", "team.name", "expires_at")
_KINDS = {"usr": "user", "tm": "team"}


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a role: `kind` is the API's field, user or team."""

    kind: str
    id: str


def holder_of(text: str) -> Holder:
    """Return who a `usr_…` or `tm_…` is, or raise UsageError."""
    prefix = text.partition("_")[0]
    if prefix not in _KINDS:
        raise UsageError(f"{text} is neither a person (usr_…) nor a team (tm_…).")
    return Holder(_KINDS[prefix], require_id(prefix, text))


def workspace_id_of(session: Session, text: str) -> str:
    """Return the id of a workspace given by id or slug; CliError `not_found` for an unknown slug."""
    if is_id("wsp", text):
        return text
    for item in every_item(session, session.api.workspaces, {}):
        if item.get("slug") == text:
            return str(item.get("id"))
    raise CliError("not_found", f"There is no workspace {text}.", exit_code=Exit.NOT_FOUND)


def held_by(session: Session, workspace_id: str, holder: Holder) -> list[Mapping[str, Any]]:
    """Return the memberships that somebody has here directly, those that have ended too."""
    collection = session.api.workspaces.within(workspace_id, "memberships")
    filters = {"user": holder.id} if holder.kind == "user" else {}
    items = every_item(session, collection, filters)
    return [item for item in items if pick(item, f"{holder.kind}.id") == holder.id]


def grant(
    session: Session,
    workspace_id: str,
    holder: Holder,
    roles: Sequence[Role],
    *,
    expires_at: str | None,
) -> None:
    """Give roles one by one, each told on standard error; a refusal leaves those before it."""
    collection = session.api.workspaces.within(workspace_id, "memberships")
    for role in roles:
        key = session.new_key(role.value)
        body = {holder.kind: holder.id, "role": role.value, "expires_at": expires_at}
        session.elevated(lambda: collection.create(body, key=key))  # noqa: B023 - called at once
        session.say(f"granted {role} to {holder.id}")


def take_away(session: Session, workspace_id: str, memberships: Sequence[Mapping[str, Any]]) -> None:
    """Remove memberships one by one, each told on standard error."""
    collection = session.api.workspaces.within(workspace_id, "memberships")
    for membership in memberships:
        membership_id = str(membership.get("id"))
        session.elevated(lambda: collection.delete(membership_id))  # noqa: B023 - called at once
        session.say(f"removed {membership.get('role')} ({membership_id})")


def set_roles(
    session: Session, workspace: str, holder: Holder, roles: Sequence[Role], expires_at: str | None
) -> None:
    """Show what changes, ask, grant what is missing, remove the rest, and write what is held now.

    Granting comes first, so that nobody is without any role in between.
    """
    session.require_consent()
    workspace_id = workspace_id_of(session, workspace)
    held = _live(held_by(session, workspace_id, holder))
    names = {str(one.get("role")) for one in held}
    missing = [role for role in dict.fromkeys(roles) if role.value not in names]
    extra = [one for one in held if one.get("role") not in {role.value for role in roles}]
    session.say(f"{holder.id} in {workspace}: {_listed(names)} -> {_listed({*map(str, roles)})}")
    if missing or extra:
        session.confirm("Change these roles?")
        grant(session, workspace_id, holder, missing, expires_at=expires_at)
        take_away(session, workspace_id, extra)
        held = _live(held_by(session, workspace_id, holder))
    write_memberships(session, held)


def write_memberships(session: Session, memberships: Sequence[Mapping[str, Any]]) -> None:
    """Write memberships as a list of the API's shape."""
    data = {"object": "list", "data": list(memberships), "has_more": False, "next_cursor": None}
    session.output.page(json.dumps(data, ensure_ascii=False), data, COLUMNS)


def _live(memberships: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in memberships if one.get("state") != "expired"]


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "(no role)"
