"""Verbs on policy sets up to their validation.

The sets belong to the instance: all workspaces share the rules in force, so changing them needs the
permission there, whatever workspace the caller comes from. `policy.read` anywhere reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.operations import refusals
from identity.roles import Permission
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import Principal
from kernel.errors import InvalidError
from policy import sets
from policy.archive import unpack
from policy.compilation import DOMAIN, SourceFile
from policy.models import PolicySet
from policy.runtime import load_tools
from policy.set_checking import Checked, SetText, check_text, invalid
from policy.set_selectors import require_set, set_text
from policy.sets import Text, text_of
from policy.types import EntityRef

Render = Callable[[PolicySet], object]


@needs(Permission.POLICY_EDIT)
def draft(
    *,
    principal: Principal,
    name: str,
    note: str = "",
    source: str | None = "active",
    domain: str = DOMAIN,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> PolicySet:
    """Start a draft from the text of `source`, a `pol_` id or `active`; None begins empty.

    A draft begins with the text of its own domain. Raises NotFoundError for an unknown source.
    """
    with transaction.atomic(durable=True):
        _require_editor(principal, domain, now)
        text = Text() if source is None else text_of(_source(source, domain))
        made = sets.draft_set(
            title=name,
            note=note,
            domain=domain,
            text=text,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, made, status=201, object_id=made.pk)
    return made


@needs(Permission.POLICY_EDIT)
def import_set(
    *,
    principal: Principal,
    name: str,
    note: str = "",
    data: bytes,
    file_name: str,
    domain: str = DOMAIN,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> PolicySet:
    """Make a draft of an exported zip or Cedar file; `file_name` tells which it is.

    Raises InvalidError for an archive that is not acceptable.
    """
    _require_editor(principal, domain, now)
    text = Text(files=unpack(data, file_name), source="import")
    with transaction.atomic(durable=True):
        _require_editor(principal, domain, now)
        made = sets.draft_set(
            title=name,
            note=note,
            domain=domain,
            text=text,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, made, status=201, object_id=made.pk)
    return made


@needs(Permission.POLICY_EDIT)
def put_file(
    *, principal: Principal, set_id: str, file_name: str, text: str, seen_version: int, now: datetime
) -> PolicySet:
    """Write one file of a draft as it was at `seen_version`."""
    with transaction.atomic(durable=True):
        _require_editor(principal, set_id, now)
        return sets.put_file(
            set_id=set_id,
            name=file_name,
            text=text,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.POLICY_EDIT)
def remove_file(
    *, principal: Principal, set_id: str, file_name: str, seen_version: int, now: datetime
) -> PolicySet:
    """Take one file out of a draft as it was at `seen_version`."""
    with transaction.atomic(durable=True):
        _require_editor(principal, set_id, now)
        return sets.remove_file(
            set_id=set_id,
            name=file_name,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.POLICY_EDIT)
def change(
    *, principal: Principal, set_id: str, changes: Mapping[str, str], seen_version: int, now: datetime
) -> PolicySet:
    """Change `title`, `note`, `schema_text` or `entities_json` of a draft as it was at `seen_version`."""
    with transaction.atomic(durable=True):
        _require_editor(principal, set_id, now)
        return sets.change_set(
            set_id=set_id,
            changes=changes,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.POLICY_EDIT)
def discard(*, principal: Principal, set_id: str, seen_version: int, now: datetime) -> PolicySet:
    """Give a draft up as it was at `seen_version`."""
    with transaction.atomic(durable=True):
        _require_editor(principal, set_id, now)
        return sets.discard_set(
            set_id=set_id, seen_version=seen_version, actor=principal.actor(), now=now, record=record
        )


@needs(Permission.POLICY_EDIT)
def validate(
    *,
    principal: Principal,
    set_id: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> PolicySet:
    """Check a draft and keep what was found; without an error it becomes validated and immutable.

    The check runs outside the transaction that keeps its outcome. Raises ConflictError `immutable` for
    a set that is no draft, `state_changed` when it was edited meanwhile, InvalidError `policy_invalid`
    with a finding for each error; then the findings are kept.
    """
    _require_editor(principal, set_id, now)
    read = require_set(set_id)
    seen = sets.draft_version(read)
    checked = check_text(set_text(read), load_tools())
    with transaction.atomic(durable=True):
        _require_editor(principal, set_id, now)
        stored = sets.store_check(
            set_id=set_id,
            seen_version=seen,
            checked=checked,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        if not checked.errors:
            idempotency.store_rendered(ticket, render, stored, status=200, object_id=set_id)
    if checked.errors:
        refusal = invalid(checked.errors)
        refusals.record_refusal(principal, set_id, refusal, now)
        raise refusal
    return stored


@needs(Permission.POLICY_READ)
def check(*, principal: Principal, files: Sequence[SourceFile], now: datetime) -> Checked:
    """Check texts that are stored nowhere against the catalog as it is; writes nothing."""
    authority.require_verb(principal, Permission.POLICY_READ, principal.workspace_id, now)
    sets.require_sound_files(files)
    return check_text(SetText(files=tuple(files)), load_tools())


def _source(source: str, domain: str) -> PolicySet:
    found = require_set(source, domain=domain)
    if found.domain != domain:
        raise InvalidError("invalid", "The set belongs to another domain.")
    return found


def _require_editor(principal: Principal, set_id: str, now: datetime) -> None:
    """Both locks of the verb, in the instance: a workspace's own administrator does not change its rules."""
    instance = workspace_by_slug(INSTANCE).pk
    resource = EntityRef("PolicySet", set_id)
    authority.require_verb(principal, Permission.POLICY_EDIT, instance, now, resource=resource)
