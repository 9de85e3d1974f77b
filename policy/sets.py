"""Writes to policy sets up to their validation. A draft decides nothing, so no epoch moves here.

Whoever numbers or activates sets holds the epoch's row first and a set's row second; whoever edits one
set holds its row only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import F, Max

from identity.authority import ANYWHERE
from identity.models import User
from identity.roles import Permission
from kernel.canonical import digest_bytes
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError, PreconditionFailedError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition
from policy.authority import require_governance
from policy.compilation import DOMAIN, MAX_TEXT_BYTES, SourceFile
from policy.epoch import hold_epoch
from policy.lifecycle import ALLOWED, SetState
from policy.models import PolicyFile, PolicyFinding, PolicySet
from policy.set_checking import Checked
from policy.set_files import is_file_name
from policy.set_selectors import active_set, author_ids, source_files
from policy.types import EntityRef, Finding

MAX_FILES = 200
MAX_TITLE = 120
MAX_NOTE = 500
_DOMAIN = re.compile(r"[a-z][a-z0-9-]{0,63}")
_PASSED = frozenset({SetState.ACTIVE, SetState.SUPERSEDED})
"""States of sets whose text two people have seen: taking it over makes nobody but the drafter an author."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a new set begins with, and where it came from: a `pol_` id, `import`, `shipped` or nothing."""

    files: tuple[SourceFile, ...] = ()
    source: str = ""
    schema_text: str = ""
    entities_json: str = ""
    authors: frozenset[str] = frozenset()


def text_of(policy_set: PolicySet) -> Text:
    """Return the text of a set for a draft that begins with it, with the authors it brings along."""
    return Text(
        files=source_files(policy_set),
        source=policy_set.pk,
        schema_text=policy_set.schema_text,
        entities_json=policy_set.entities_json,
        authors=frozenset() if policy_set.state in _PASSED else author_ids(policy_set),
    )


def draft_set(
    *,
    title: str,
    note: str = "",
    domain: str = DOMAIN,
    text: Text,
    actor: Actor,
    now: datetime,
    record: Record,
) -> PolicySet:
    """Start a new version of a domain's rules. Whoever drafts is an author, as are those of unseen text.

    Its base is the set in force now. Raises RefusedError without `policy.edit` in the instance,
    InvalidError for a name, a domain or files that no set can have.
    """
    if not _DOMAIN.fullmatch(domain):
        raise _invalid("/domain", "A domain is lower-case letters, digits and hyphens, at most 64.")
    require_governance(actor, Permission.POLICY_EDIT, EntityRef("PolicySet", domain), ANYWHERE, now)
    require_sound_files(text.files)
    people = {actor.id} if actor.kind == "user" else set()
    return new_draft(
        title=_checked_title(title),
        note=_checked_note(note),
        domain=domain,
        text=replace(text, authors=text.authors | people),
        actor=actor,
        now=now,
        record=record,
    )


def new_draft(
    *, title: str, note: str, domain: str, text: Text, actor: Actor, now: datetime, record: Record
) -> PolicySet:
    """Store a draft of this text and these authors. The caller has asked for authority."""
    hold_epoch()
    latest = PolicySet.objects.filter(domain=domain).aggregate(latest=Max("version"))["latest"] or 0
    base = active_set(domain)
    draft = PolicySet.objects.create(
        id=new_id("pol", now),
        domain=domain,
        version=latest + 1,
        title=title,
        reason=note,
        schema_text=text.schema_text,
        entities_json=text.entities_json,
        parent=base,
        created_at=now,
        edit_version=1,
    )
    PolicyFile.objects.bulk_create(
        PolicyFile(policy_set=draft, name=file.name, text=file.text, position=position)
        for position, file in enumerate(text.files)
    )
    draft.authors.set(User.objects.filter(pk__in=text.authors))
    data = {"version": draft.version, "domain": domain, "source": text.source, "base": base and base.pk}
    record(event="policy.drafted", actor=actor, subject=draft.pk, now=now, data=data)
    return draft


def put_file(
    *,
    set_id: str,
    name: str,
    text: str,
    seen_version: int,
    actor: Actor,
    now: datetime,
    record: Record,
) -> PolicySet:
    """Write one file of a draft as it was at `seen_version`; whoever does is an author from then on.

    Raises as `hold_draft`, and InvalidError for a name or a size that no set can have.
    """
    draft = hold_draft(set_id, seen_version, actor, now)
    others = [file for file in source_files(draft) if file.name != name]
    require_sound_files([*others, SourceFile(name, text)])
    last = draft.files.aggregate(last=Max("position"))["last"]
    PolicyFile.objects.update_or_create(
        policy_set=draft,
        name=name,
        defaults={"text": text},
        create_defaults={"text": text, "position": 0 if last is None else last + 1},
    )
    return _edited(draft, "file_put", name, digest_bytes(text.encode()), actor, now, record)


def remove_file(
    *, set_id: str, name: str, seen_version: int, actor: Actor, now: datetime, record: Record
) -> PolicySet:
    """Take one file out of a draft; taking rules away makes an author as writing them does."""
    draft = hold_draft(set_id, seen_version, actor, now)
    deleted, _ = draft.files.filter(name=name).delete()
    if not deleted:
        raise NotFoundError("not_found", "The set has no such file.")
    return _edited(draft, "file_removed", name, "", actor, now, record)


def change_set(
    *,
    set_id: str,
    changes: Mapping[str, str],
    seen_version: int,
    actor: Actor,
    now: datetime,
    record: Record,
) -> PolicySet:
    """Change `title` or `note` of a draft, and outside the domain `palyra` its schema and entities."""
    draft = hold_draft(set_id, seen_version, actor, now)
    texts = {name: changes[name] for name in ("schema_text", "entities_json") if name in changes}
    if texts and draft.domain == DOMAIN:
        raise _invalid("/schema_text", "The schema and entities of this domain are Palyra's own.")
    if sum(len(text.encode()) for text in texts.values()) > MAX_TEXT_BYTES:
        raise InvalidError("policy_invalid", "The schema and entities are larger than 8 MiB.")
    if "title" in changes:
        texts["title"] = _checked_title(changes["title"])
    if "note" in changes:
        texts["reason"] = _checked_note(changes["note"])
    for name, text in texts.items():
        setattr(draft, name, text)
    draft.save(update_fields=list(texts))
    return _edited(draft, "described", "", "", actor, now, record)


def discard_set(*, set_id: str, seen_version: int, actor: Actor, now: datetime, record: Record) -> PolicySet:
    """Give a draft up. It stays readable; its number is not used again."""
    draft = hold_draft(set_id, seen_version, actor, now)
    rows = PolicySet.objects.filter(pk=draft.pk)
    version = F("edit_version") + 1
    transition(rows, ALLOWED, source=SetState.DRAFT, target=SetState.DISCARDED, edit_version=version)
    data = {"version": draft.version, "domain": draft.domain}
    record(event="policy.discarded", actor=actor, subject=draft.pk, now=now, data=data)
    return rows.get()


def store_check(
    *, set_id: str, seen_version: int, checked: Checked, actor: Actor, now: datetime, record: Record
) -> PolicySet:
    """Keep what a check of the draft at `seen_version` found; without an error the set is validated.

    From then on neither its text nor its hash changes. Raises as `hold_draft`; ConflictError
    `state_changed` when the draft was edited since it was read for the check.
    """
    draft = _hold(set_id, actor, now)
    if draft.edit_version != seen_version:
        raise ConflictError("state_changed", "The set was edited while it was checked.")
    PolicyFinding.objects.filter(policy_set=draft).delete()
    PolicyFinding.objects.bulk_create(_finding_row(draft, finding) for finding in checked.findings)
    if checked.errors:
        return draft
    return mark_validated(draft, checked, actor=actor, now=now, record=record)


def mark_validated(
    draft: PolicySet, checked: Checked, *, actor: Actor, now: datetime, record: Record
) -> PolicySet:
    """Make a checked draft a validated set under the hash of its text."""
    rows = PolicySet.objects.filter(pk=draft.pk)
    transition(
        rows,
        ALLOWED,
        source=SetState.DRAFT,
        target=SetState.VALIDATED,
        hash=checked.hash,
        schema_digest=checked.schema_digest,
        validated_by=actor.id,
        validated_at=now,
        edit_version=F("edit_version") + 1,
    )
    validated = rows.get()
    record(
        event="policy.validated",
        actor=actor,
        subject=validated.pk,
        now=now,
        data={"version": validated.version, "hash": checked.hash, "domain": validated.domain},
    )
    return validated


def hold_draft(set_id: str, seen_version: int, actor: Actor, now: datetime) -> PolicySet:
    """Return a draft as it was at `seen_version`, held against others.

    Raises NotFoundError, RefusedError without `policy.edit` in the instance, ConflictError `immutable`
    for a set that is no draft, PreconditionFailedError for an outdated version, in this order.
    """
    draft = _hold(set_id, actor, now)
    if draft.edit_version != seen_version:
        raise PreconditionFailedError("precondition_failed", "The set changed since it was read.")
    return draft


def draft_version(policy_set: PolicySet) -> int:
    """Return the version of a draft that was read, or raise ConflictError `immutable` for another set."""
    if policy_set.state != SetState.DRAFT:
        raise ConflictError("immutable", f"The set is {policy_set.state}; make a new draft from it.")
    return policy_set.edit_version


def require_sound_files(files: Sequence[SourceFile]) -> None:
    """Raise InvalidError for names, numbers or sizes of files that no set can have."""
    for file in files:
        if not is_file_name(file.name):
            raise _invalid("/files", "A file is named like rules.cedar or rules.test.json.")
        if "\0" in file.text:
            raise _invalid(f"/files/{file.name}", "The text holds a NUL.")
    if len({file.name for file in files}) != len(files) or len(files) > MAX_FILES:
        raise _invalid("/files", f"A set has up to {MAX_FILES} files of different names.")
    if sum(len(file.text.encode()) for file in files) > MAX_TEXT_BYTES:
        detail = Detail("/files", "too_large", "The set is larger than 8 MiB.", line=0, column=0)
        raise InvalidError("policy_invalid", "The set is too large.", errors=(detail,))


def _hold(set_id: str, actor: Actor, now: datetime) -> PolicySet:
    found = PolicySet.objects.select_for_update().filter(pk=set_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such policy set.")
    require_governance(actor, Permission.POLICY_EDIT, EntityRef("PolicySet", found.pk), ANYWHERE, now)
    draft_version(found)
    return found


def _edited(
    draft: PolicySet, change: str, file: str, sha256: str, actor: Actor, now: datetime, record: Record
) -> PolicySet:
    """Count the edit; what an earlier check found is about a text that is gone."""
    PolicyFinding.objects.filter(policy_set=draft).delete()
    draft.edit_version += 1
    draft.save(update_fields=["edit_version"])
    draft.authors.add(*User.objects.filter(pk=actor.id))
    data = {
        "version": draft.version,
        "domain": draft.domain,
        "change": change,
        "file": file,
        "sha256": sha256,
    }
    record(event="policy.edited", actor=actor, subject=draft.pk, now=now, data=data)
    return draft


def _finding_row(draft: PolicySet, finding: Finding) -> PolicyFinding:
    return PolicyFinding(
        policy_set=draft,
        severity=finding.severity,
        code=finding.code,
        file=finding.file,
        line=finding.line,
        column=finding.column,
        policy_id=finding.policy_id.replace("\0", "")[:80],  # no database column holds a NUL
        message=finding.message.replace("\0", ""),
    )


def _checked_title(text: str) -> str:
    title = text.strip()
    if not title or len(title) > MAX_TITLE or "\0" in title:
        raise _invalid("/name", f"A name is text of 1 to {MAX_TITLE} characters.")
    return title


def _checked_note(text: str) -> str:
    note = text.strip()
    if len(note) > MAX_NOTE or "\0" in note:
        raise _invalid("/note", f"A note is text of at most {MAX_NOTE} characters.")
    return note


def _invalid(pointer: str, detail: str) -> InvalidError:
    return InvalidError("invalid", detail, errors=(Detail(pointer, "invalid", detail),))
