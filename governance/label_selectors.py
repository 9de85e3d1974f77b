"""Reads of session labels: who may see them, and in which state each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from governance.labelling import own_holder
from governance.models import Session
from identity.models import Agent
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.errors import NotFoundError
from kernel.ids import is_id
from policy.label_models import LabelHolder, SessionLabel


@dataclass(frozen=True, slots=True)
class Conversation:
    """Whose labels are asked for: a session of a principal, or a principal's runs without a session.

    `key` is empty for the latter; `is_full` says that every argument of its calls counts as tainted.
    """

    id: str
    workspace_id: str
    principal_id: str
    key: str
    is_full: bool


@dataclass(frozen=True, slots=True)
class LabelView:
    """One label and its state: active, declassified or expired."""

    row: SessionLabel
    state: str


def require_conversation(principal: Principal, session_id: str) -> Conversation:
    """Return a session by its id, or an agent or a person for their runs without one.

    Raises NotFoundError for what does not exist or is beyond the principal's reach: a person sees what is
    in their workspace, an agent only its own.
    """
    found = _conversation(principal, session_id)
    if found is None or not _is_visible(principal, found):
        raise NotFoundError("not_found", "There is no such session.")
    return found


def labels_shown(conversation: Conversation, now: datetime) -> list[LabelView]:
    """Return every label the conversation ever had, by name."""
    rows = SessionLabel.objects.filter(holder_id=conversation.id).order_by("label")
    return [LabelView(row, state_of(row, now)) for row in rows]


def state_of(row: SessionLabel, now: datetime) -> str:
    """Return active, declassified or expired."""
    if row.declassified_at is not None:
        return "declassified"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"


def _conversation(principal: Principal, session_id: str) -> Conversation | None:
    if is_id("ses", session_id):
        session = Session.objects.filter(pk=session_id).first()
        return _of(session.pk, session.workspace_id, session.principal_id, session.key) if session else None
    if is_id("agt", session_id):
        agent = Agent.objects.filter(pk=session_id).first()
        return _of(agent.pk, agent.workspace_id, agent.pk, "") if agent else None
    if is_id("usr", session_id):
        place = principal.workspace_id
        return _of(own_holder(session_id, place), place, session_id, "", only_kept=True)
    return None


def _of(
    holder_id: str, workspace_id: str, principal_id: str, key: str, *, only_kept: bool = False
) -> Conversation | None:
    row = LabelHolder.objects.filter(pk=holder_id).first()
    if row is None and only_kept:
        return None
    return Conversation(holder_id, workspace_id, principal_id, key, row is not None and row.marks_full)


def _is_visible(principal: Principal, found: Conversation) -> bool:
    if Permission.TOOLS_READ not in principal.permissions:
        return False
    if principal.kind is not PrincipalKind.USER:
        return found.principal_id == principal.id
    return bool(principal.instance_roles) or found.workspace_id == principal.workspace_id
