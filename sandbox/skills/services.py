"""Writes of skills. In this release only bootstrap installs one."""

from __future__ import annotations

from datetime import datetime

from kernel.canonical import digest, digest_bytes
from kernel.errors import ConflictError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition
from sandbox.skills.lifecycle import ALLOWED, SkillStatus
from sandbox.skills.models import Skill, SkillBlob, SkillGrant, SkillPublisher, SkillVersion
from sandbox.skills.types import BuiltinSkill, payload_digest

LOCAL_PUBLISHER = "local"


def install_builtin_skill(
    *, skill: BuiltinSkill, module: bytes, actor: Actor, now: datetime, record: Record
) -> SkillVersion:
    """Install a skill that ships with the server and make it the active version.

    Repeating it with the same bytes returns the existing row and changes nothing. Raises
    ConflictError `skill.version_exists` for other bytes under a known version,
    `skill.release_rollback` for a release that is not newer, `skill.publisher_changed` for a name
    outside the publisher `local`.
    """
    if not skill.skill_id.startswith(f"{LOCAL_PUBLISHER}."):
        raise ConflictError("skill.publisher_changed", "Only skills of `local` are built in.")
    payload = payload_digest(skill.manifest(), skill.tool.module, module)
    known = SkillVersion.objects.filter(payload_digest=payload).first()
    if known is not None:
        return known
    row = _skill_row(skill, actor, now, record)
    _refuse_rewriting(row, skill)
    version = _store(row, skill, module, payload=payload, actor=actor, now=now)
    _announce(record, "skill.installed", version, actor, now)
    _activate(version, actor, now, record)
    return version


def _skill_row(skill: BuiltinSkill, actor: Actor, now: datetime, record: Record) -> Skill:
    row = Skill.objects.filter(skill_id=skill.skill_id).first()
    if row is not None:
        return row
    return Skill.objects.create(
        skill_id=skill.skill_id, publisher=_local_publisher(actor, now, record), first_seen_at=now
    )


def _local_publisher(actor: Actor, now: datetime, record: Record) -> SkillPublisher:
    row = SkillPublisher.objects.filter(name=LOCAL_PUBLISHER).first()
    if row is not None:
        return row
    row = SkillPublisher.objects.create(
        id=new_id("pub", now), name=LOCAL_PUBLISHER, state="trusted", added_by=actor.id, added_at=now
    )
    record(
        event="publisher.trusted",
        actor=actor,
        subject=row.id,
        now=now,
        data={"name": row.name, "state": row.state},
    )
    return row


def _refuse_rewriting(row: Skill, skill: BuiltinSkill) -> None:
    if row.versions.filter(version=skill.version).exists():
        raise ConflictError("skill.version_exists", "This version is known with other bytes.")
    if skill.release <= row.highest_release:
        raise ConflictError("skill.release_rollback", "The release is not newer than a known one.")


def _store(
    row: Skill, skill: BuiltinSkill, module: bytes, *, payload: str, actor: Actor, now: datetime
) -> SkillVersion:
    artifact = digest_bytes(module)
    SkillBlob.objects.get_or_create(artifact_digest=artifact, defaults={"bytes": module})
    raised = Skill.objects.filter(pk=row.pk, highest_release__lt=skill.release).update(
        highest_release=skill.release
    )
    if raised != 1:
        raise ConflictError("skill.release_rollback", "A newer release was installed meanwhile.")
    version = SkillVersion.objects.create(
        id=new_id("skl", now),
        skill=row,
        version=skill.version,
        release=skill.release,
        artifact_digest=artifact,
        payload_digest=payload,
        manifest=skill.manifest(),
        capability_digest=digest([]),
        trust="allowlisted",
        source="bootstrap",
        status=SkillStatus.STAGED,
        status_by=actor.id,
        status_at=now,
        installed_by=actor.id,
        installed_at=now,
    )
    SkillGrant.objects.create(version=version, granted_by=actor.id, granted_at=now)
    return version


def _activate(version: SkillVersion, actor: Actor, now: datetime, record: Record) -> None:
    siblings = SkillVersion.objects.filter(skill=version.skill_id, status=SkillStatus.ACTIVE)
    for old in siblings:
        _move(old, SkillStatus.DISABLED, "superseded", actor, now)
        _announce(record, "skill.disabled", old, actor, now)
    _move(version, SkillStatus.ACTIVE, "", actor, now)
    _announce(record, "skill.activated", version, actor, now)


def _move(version: SkillVersion, target: SkillStatus, code: str, actor: Actor, now: datetime) -> None:
    transition(
        SkillVersion.objects.filter(pk=version.pk, revision=version.revision),
        ALLOWED,
        source=version.status,
        target=target,
        column="status",
        status_code=code,
        status_by=actor.id,
        status_at=now,
        revision=version.revision + 1,
    )
    version.refresh_from_db()


def _announce(record: Record, event: str, version: SkillVersion, actor: Actor, now: datetime) -> None:
    record(
        event=event,
        actor=actor,
        subject=version.id,
        now=now,
        data={
            "skill_id": version.skill.skill_id,
            "version": version.version,
            "payload_digest": version.payload_digest,
            "source": version.source,
        },
    )
