"""Drafts: who may write, what is kept of it, and what can no longer be changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import DatabaseError, transaction

from identity.roles import WorkspaceRole
from kernel.canonical import digest_bytes
from kernel.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError, RefusedError
from kernel.record import Actor
from policy import sets
from policy.compilation import MAX_TEXT_BYTES, SourceFile
from policy.lifecycle import SetState
from policy.models import PolicyEpoch, PolicyFile, PolicyFinding, PolicySet
from policy.selectors import has_active_set
from policy.set_selectors import author_ids, findings_of, require_set, set_text, source_files
from policy.sets import Text, text_of
from policy.shipped import pack_file
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, make_user
from tests.policy.lifecycles import (
    NO_FTP,
    activate,
    admin,
    checked,
    draft,
    person,
    put,
    ready,
    validate,
)

pytestmark = pytest.mark.django_db
BROKEN = '@id("broken")\nforbid (principal, action, resource)\nwhen { context.urll };\n'


def change(row: PolicySet, actor: Actor, seen: int, **changes: str) -> PolicySet:
    with transaction.atomic():
        return sets.change_set(
            set_id=row.pk, changes=changes, seen_version=seen, actor=actor, now=NOW, record=RecordedEvents()
        )


def remove(row: PolicySet, actor: Actor, name: str, seen: int) -> PolicySet:
    with transaction.atomic():
        return sets.remove_file(
            set_id=row.pk, name=name, seen_version=seen, actor=actor, now=NOW, record=RecordedEvents()
        )


def discard(row: PolicySet, actor: Actor, seen: int, record: RecordedEvents | None = None) -> PolicySet:
    with transaction.atomic():
        return sets.discard_set(
            set_id=row.pk, seen_version=seen, actor=actor, now=NOW, record=record or RecordedEvents()
        )


def verbs(row: PolicySet, who: Actor, seen: int) -> list[Callable[[], object]]:
    """Everything that changes a draft."""
    return [
        lambda: put(row, who, seen=seen),
        lambda: remove(row, who, "custom.cedar", seen),
        lambda: change(row, who, seen, title="x"),
        lambda: discard(row, who, seen),
        lambda: validate(row, who),
    ]


def test_a_draft_begins_as_the_set_in_force_and_names_it_as_its_base(cast: Cast) -> None:
    active = require_set("active")
    record = RecordedEvents()
    made = draft(person(cast.owner), record=record)
    assert (made.version, made.state, made.parent_id) == (active.version + 1, "draft", active.pk)
    assert source_files(made) == source_files(active)
    assert author_ids(made) == {cast.owner.pk}
    assert record.events[0].data == {
        "version": made.version,
        "domain": "palyra",
        "source": active.pk,
        "base": active.pk,
    }


def test_each_edit_counts_names_its_author_and_moves_no_epoch(cast: Cast) -> None:
    second = admin(cast, "second")
    row = draft(person(cast.owner))
    before = PolicyEpoch.objects.get().stamp
    record = RecordedEvents()
    edited = put(row, person(second), record=record)
    assert (edited.edit_version, set(author_ids(edited))) == (2, {cast.owner.pk, second.pk})
    assert record.events[0].data["sha256"] == digest_bytes(NO_FTP.encode())
    again = put(edited, person(second), NO_FTP + " ")
    assert again.files.get(name="custom.cedar").text.endswith(" ")
    gone = remove(again, person(second), "custom.cedar", 3)
    assert (gone.edit_version, gone.files.filter(name="custom.cedar").exists()) == (4, False)
    named = change(gone, person(second), 4, title="Other", note="more")
    assert (named.edit_version, named.title, named.reason) == (5, "Other", "more")
    assert PolicyEpoch.objects.get().stamp == before


def test_a_single_character_makes_an_author_and_so_does_taking_rules_away(cast: Cast) -> None:
    second, third = admin(cast, "second"), admin(cast, "third")
    row = put(draft(person(cast.owner)), person(cast.owner))
    put(row, person(second), NO_FTP + "\n")
    remove(row, person(third), "custom.cedar", 3)
    assert author_ids(row) == {cast.owner.pk, second.pk, third.pk}


def test_text_that_only_its_writer_has_seen_keeps_its_author_in_another_draft(cast: Cast) -> None:
    """Else somebody could draft from one's own draft, and one would activate one's own rules."""
    second = admin(cast, "second")
    mine = put(draft(person(cast.owner)), person(cast.owner))
    theirs = draft(person(second), text=text_of(mine))
    assert author_ids(theirs) == {cast.owner.pk, second.pk}
    validated = validate(mine, person(cast.owner))
    assert author_ids(draft(person(second), text=text_of(validated))) == {cast.owner.pk, second.pk}


def test_an_edit_of_what_changed_meanwhile_is_refused(cast: Cast) -> None:
    row = draft(person(cast.owner))
    put(row, person(cast.owner))
    for verb in verbs(row, person(cast.owner), 1)[:-1]:
        with pytest.raises(PreconditionFailedError):
            verb()


def test_who_lacks_the_permission_in_the_instance_writes_nothing(cast: Cast) -> None:
    """Two workspaces share one set, so a workspace's own administrator does not change it."""
    local = make_user("local", WorkspaceRole.OWNER, workspace=cast.default)
    row = draft(person(cast.owner))
    for who in (person(local), person(cast.approver), person(cast.stranger)):
        for verb in verbs(row, who, 1):
            with pytest.raises(RefusedError) as refused:
                verb()
            assert refused.value.code == "role_required"
    agent = Actor("agent", cast.agent.pk, "token", "api")
    with pytest.raises(RefusedError):
        draft(agent)
    row.refresh_from_db()
    assert (row.edit_version, row.state) == (1, "draft")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Rules.cedar",
        "a.txt",
        "../a.cedar",
        "a/b.cedar",
        ".cedar",
        "a.cedar ",
        "a\0.cedar",
        "a.test.jsonx",
    ],
)
def test_a_file_name_that_no_set_has_is_refused(cast: Cast, name: str) -> None:
    row = draft(person(cast.owner))
    with pytest.raises(InvalidError):
        put(row, person(cast.owner), name=name)


def test_the_longest_names_of_both_kinds_are_taken(cast: Cast) -> None:
    row = draft(person(cast.owner))
    put(row, person(cast.owner), name="a" * 64 + ".cedar")
    put(row, person(cast.owner), "[]", name="b" * 64 + ".test.json")
    assert row.files.count() == len(source_files(require_set("active"))) + 2


@pytest.mark.parametrize("text", ["a\0b", "x" * (MAX_TEXT_BYTES + 1)])
def test_a_text_that_no_set_has_is_refused(cast: Cast, text: str) -> None:
    row = draft(person(cast.owner))
    with pytest.raises(InvalidError):
        put(row, person(cast.owner), text)
    assert not row.files.filter(name="custom.cedar").exists()


def test_the_size_is_counted_over_all_files_and_their_number_is_bounded(cast: Cast) -> None:
    row = draft(person(cast.owner), text=Text(files=(SourceFile("a.cedar", "x" * (MAX_TEXT_BYTES - 10)),)))
    with pytest.raises(InvalidError) as refused:
        put(row, person(cast.owner), "y" * 11)
    assert refused.value.errors[0].code == "too_large"
    many = Text(files=tuple(SourceFile(f"f{number}.cedar", "") for number in range(sets.MAX_FILES)))
    full = draft(person(cast.owner), text=many)
    with pytest.raises(InvalidError):
        put(full, person(cast.owner), "")


@pytest.mark.parametrize(
    "changes",
    [
        {"title": " "},
        {"title": "x" * 121},
        {"title": "a\0"},
        {"note": "x" * 501},
        {"schema_text": "entity User;"},
        {"entities_json": "[]"},
    ],
)
def test_a_description_that_no_set_has_is_refused(cast: Cast, changes: dict[str, str]) -> None:
    row = draft(person(cast.owner))
    with pytest.raises(InvalidError):
        change(row, person(cast.owner), 1, **changes)


def test_what_is_not_there_is_not_found(cast: Cast) -> None:
    row = draft(person(cast.owner))
    with pytest.raises(NotFoundError):
        remove(row, person(cast.owner), "other.cedar", 1)
    with pytest.raises(NotFoundError):
        require_set("pol_01JD0000000000000000000000")
    with pytest.raises(NotFoundError):
        require_set("active", domain="other")


def test_a_discarded_draft_stays_readable_and_its_number_is_not_used_again(cast: Cast) -> None:
    row, record = draft(person(cast.owner)), RecordedEvents()
    gone = discard(row, person(cast.owner), 1, record)
    assert (gone.state, record.names) == ("discarded", ["policy.discarded"])
    assert source_files(gone)
    assert draft(person(cast.owner)).version == row.version + 1
    with pytest.raises(ConflictError) as refused:
        put(gone, person(cast.owner))
    assert refused.value.code == "immutable"


def test_a_check_keeps_its_findings_and_an_error_keeps_the_draft_a_draft(cast: Cast) -> None:
    row = put(draft(person(cast.owner)), person(cast.owner), BROKEN)
    record = RecordedEvents()
    kept = validate(row, person(cast.owner), record=record)
    assert (kept.state, kept.hash, record.names) == ("draft", None, [])
    finding = next(one for one in findings_of(kept) if one.severity == "error")
    assert (finding.file, finding.policy_id, finding.line) == ("custom.cedar", "broken", 3)
    assert validate(kept, person(cast.owner)).state == "draft"
    assert PolicyFinding.objects.filter(policy_set=row).count() == len(findings_of(kept))
    put(kept, person(cast.owner))
    assert findings_of(kept) == ()


def test_a_finding_about_an_id_with_a_nul_is_kept(cast: Cast) -> None:
    """No column of PostgreSQL takes one."""
    nul = '@id("a\\0bc") permit (principal, action, resource);'
    kept = validate(put(draft(person(cast.owner)), person(cast.owner), nul), person(cast.owner))
    assert "abc" in {one.policy_id for one in findings_of(kept) if one.severity == "error"}


def test_without_an_error_a_set_is_validated_under_the_hash_of_its_text(cast: Cast) -> None:
    record = RecordedEvents()
    row = validate(put(draft(person(cast.owner)), person(cast.owner)), person(cast.owner), record=record)
    assert row.state == SetState.VALIDATED
    assert (row.hash, row.schema_digest) == (checked(row).hash, checked(row).schema_digest)
    assert row.hash != require_set("active").hash
    assert (row.validated_by, row.validated_at) == (cast.owner.pk, NOW)
    assert record.names == ["policy.validated"]


def test_equal_texts_have_equal_hashes_and_one_more_test_file_another(cast: Cast) -> None:
    active = require_set("active")
    same = validate(draft(person(cast.owner)), person(cast.owner))
    assert same.hash == active.hash
    more = validate(
        put(draft(person(cast.owner)), person(cast.owner), "[]", name="a.test.json"), person(cast.owner)
    )
    assert more.hash != active.hash


def test_packs_come_and_go_like_any_file(cast: Cast) -> None:
    row = draft(person(cast.owner))
    office = pack_file("office_hours")
    put(row, person(cast.owner), office.text, name=office.name)
    without = remove(row, person(cast.owner), "pack_trifecta.cedar", 2)
    assert validate(without, person(cast.owner)).state == "validated"


@pytest.mark.parametrize("state", ["validated", "active", "superseded"])
def test_what_is_no_draft_is_changed_by_nobody_neither_here_nor_by_sql(cast: Cast, state: str) -> None:
    second = admin(cast, "second")
    row = ready(cast, cast.owner)
    if state != "validated":
        activate(row, person(second))
    if state == "superseded":
        activate(ready(cast, cast.owner, NO_FTP + "\n"), person(second))
    row.refresh_from_db()
    assert row.state == state
    for verb in verbs(row, person(cast.owner), row.edit_version):
        with pytest.raises(ConflictError) as refused:
            verb()
        assert refused.value.code == "immutable"
    files, other = PolicyFile.objects.filter(policy_set=row), draft(person(cast.owner))
    for write in (
        lambda: files.update(text=""),
        lambda: files.filter(name="custom.cedar").delete(),
        lambda: PolicyFile.objects.create(policy_set=row, name="x.cedar", text="", position=99),
        lambda: files.update(policy_set=other),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            write()
    assert has_active_set()


def test_a_check_of_a_text_that_was_edited_meanwhile_is_not_kept(cast: Cast) -> None:
    row = draft(person(cast.owner))
    seen, found = row.edit_version, checked(row)
    put(row, person(cast.owner), BROKEN)
    with pytest.raises(ConflictError) as refused, transaction.atomic():
        sets.store_check(
            set_id=row.pk,
            seen_version=seen,
            checked=found,
            actor=person(cast.owner),
            now=NOW,
            record=RecordedEvents(),
        )
    assert refused.value.code == "state_changed"
    row.refresh_from_db()
    assert row.state == "draft"


def test_a_set_of_another_domain_brings_its_own_schema(cast: Cast) -> None:
    with transaction.atomic():
        row = sets.draft_set(
            title="Documents",
            domain="documents",
            text=Text(files=(SourceFile("rules.cedar", "permit (principal, action, resource);"),)),
            actor=person(cast.owner),
            now=NOW,
            record=RecordedEvents(),
        )
    schema = "entity User; entity Doc; action read appliesTo { principal: User, resource: Doc };"
    changed = change(row, person(cast.owner), 1, schema_text=schema, entities_json="[]")
    assert (changed.version, changed.parent_id) == (1, None)
    validated = validate(changed, person(cast.owner))
    assert validated.state == "validated", findings_of(validated)
    assert set_text(validated).schema_text == schema
    assert validated.hash != require_set("active").hash


@pytest.mark.parametrize("domain", ["", "Palyra", "a b", "x" * 65, "../x", "1a"])
def test_a_domain_is_a_plain_name(cast: Cast, domain: str) -> None:
    with pytest.raises(InvalidError), transaction.atomic():
        sets.draft_set(
            title="x", domain=domain, text=Text(), actor=person(cast.owner), now=NOW, record=RecordedEvents()
        )
