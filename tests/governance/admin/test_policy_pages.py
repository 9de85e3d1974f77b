"""Policy sets through their pages: drafting, editing, checking, exchanging, and what is refused."""

from __future__ import annotations

import html as markup
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from governance.admin.site import PAGES
from governance.admin.verbs import NEEDS
from governance.journal.models import JournalEvent
from identity.models import Workspace
from identity.roles import WorkspaceRole
from policy.lifecycle import SetState
from policy.models import PolicySet
from policy.set_selectors import active_set, require_set
from tests.cast import enrol, make_user
from tests.governance.admin.posting import FRESH, form_on, page, post, text_of
from tests.governance.admin.test_pages import CORPUS, Elements
from tests.governance.admin.world import World, propose, sign_in
from tests.policy.lifecycles import NO_FTP, draft as draft_set, person, put, simulated, validate

LIST = "/admin/policy/"
BROKEN = NO_FTP.replace("url_scheme", "urll_scheme") + '\n@id("gone")\npermit (principal, action, resource'
VERBS = [route for route, view, _ in PAGES if route.startswith("policy/") and hasattr(view, NEEDS)]


@pytest.fixture
def owner(world: World) -> Client:
    return sign_in(world.owner, code_age=FRESH)


@pytest.fixture
def rules(world: World) -> PolicySet:
    """A draft of the owner's with one file of its own, saved and not checked."""
    return put(draft_set(person(world.owner)), person(world.owner))


def of(row: PolicySet) -> str:
    return f"{LIST}{row.pk}/"


def editor_of(row: PolicySet, name: str = "custom.cedar") -> str:
    return f"{of(row)}edit/{name}/"


def stored(row: PolicySet, name: str = "custom.cedar") -> str:
    return str(row.files.get(name=name).text)


def save(client: Client, row: PolicySet, text: str, **values: Any) -> Any:
    return form_on(client, editor_of(row), f"{editor_of(row)}save/").send(text=text, **values)


def typed(answer: Any) -> str:
    """Return what stands in the editor's field, as a browser would show it."""
    found = re.search(r'<textarea class="editor"[^>]*>\n(.*?)</textarea>', text_of(answer), re.DOTALL)
    assert found is not None
    return markup.unescape(found[1])


def test_the_list_tells_who_made_what_and_what_it_decided(world: World, rules: PolicySet) -> None:
    propose(world.agent, "echo", {"text": "hello"})
    html = page(sign_in(world.auditor), LIST)
    assert f"Version {rules.version}<" in html
    row = html[html.index("Version 1<") :]
    assert re.search(r'data-label="Decided" class="num">[1-9]', row)
    assert "Owner" in html
    assert "Draft" in html
    assert "/admin/policy/explain/" in html
    assert "New draft" in html
    only = page(sign_in(world.auditor), f"{LIST}?state=active")
    assert f"Version {rules.version}<" not in only.partition("<tbody>")[2].partition("</tbody>")[0]
    assert "No sets here" in page(sign_in(world.auditor), f"{LIST}?state=discarded")


def test_a_draft_begins_with_the_rules_in_force_with_nothing_or_with_another_set(
    owner: Client, rules: PolicySet
) -> None:
    for source, files in (("active", 3), ("", 0), (rules.pk, 4)):
        form_on(owner, LIST, f"{LIST}new/").send(name=f"from {source}", source=source)
        made = PolicySet.objects.latest("version")
        assert (made.title, made.state, made.files.count()) == (f"from {source}".strip(), "draft", files)


def test_what_is_exported_comes_back_byte_for_byte(owner: Client, rules: PolicySet) -> None:
    for kind, name in (("zip", "a.zip"), ("cedar", "a.cedar")):
        export = owner.get(f"{of(rules)}export/?format={kind}")
        assert f'filename="palyra-v{rules.version}.{kind}"' in export["Content-Disposition"]
        file = SimpleUploadedFile(name, export.content)
        answer = form_on(owner, LIST, f"{LIST}import/").send(name="again", file=file)
        assert answer.status_code == 302
        made = PolicySet.objects.latest("version")
        assert owner.get(f"{of(made)}export/?format={kind}").content == export.content


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.zip", b"PK\x03\x04 nothing", "zip"),
        ("a.cedar", b"\xff\xfe", "UTF-8"),
        ("a.cedar", b"x" * (8 * 1_048_576 + 1), "8 MiB"),
    ],
)
def test_a_file_that_is_no_set_is_refused_and_leaves_nothing(
    owner: Client, name: str, data: bytes, said: str
) -> None:
    before = PolicySet.objects.count()
    file = SimpleUploadedFile(name, data)
    answer = form_on(owner, LIST, f"{LIST}import/").send(name="kept name", file=file)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert 'value="kept name"' in text_of(answer)
    assert PolicySet.objects.count() == before


def test_a_form_without_a_file_says_so(owner: Client) -> None:
    answer = form_on(owner, LIST, f"{LIST}import/").send(name="nothing")
    assert (answer.status_code, "Choose a file." in text_of(answer)) == (422, True)


def test_the_text_is_kept_to_the_byte(owner: Client, rules: PolicySet) -> None:
    text = "\n\n// begins with empty lines \N{GREEK SMALL LETTER ALPHA} & </textarea>\n" + NO_FTP
    assert save(owner, rules, text.replace("\n", "\r\n")).status_code == 302
    assert stored(rules) == text
    assert typed(owner.get(editor_of(rules))) == text


def test_a_finding_stands_with_line_and_column_and_leads_to_its_line(owner: Client, rules: PolicySet) -> None:
    assert save(owner, rules, BROKEN, then="validate").status_code == 302
    html = page(owner, editor_of(rules))
    assert '<a href="#custom.cedar-L4">line 4, col 43</a>' in html
    assert 'id="custom.cedar-L4" class="found"' in html
    assert "did you mean `url_scheme`?" in html
    assert "line 7, col" in html
    assert "findings keep the set from being valid" in html
    whole = page(owner, of(rules))
    assert f'<a href="{editor_of(rules)}#custom.cedar-L4">custom.cedar, line 4, col 43</a>' in whole
    assert require_set(rules.pk).state == SetState.DRAFT


def test_a_valid_set_is_frozen_under_its_hash(owner: Client, rules: PolicySet) -> None:
    answer = save(owner, rules, NO_FTP, then="validate")
    assert answer["Location"] == of(rules)
    row = require_set(rules.pk)
    assert row.state == SetState.VALIDATED
    html = page(owner, of(rules))
    assert (row.hash or "none")[:15] in html
    assert "make a new draft from it" in html
    assert f"{editor_of(rules)}save/" not in page(owner, editor_of(rules))


def test_saving_may_try_the_set_on_the_past(world: World, owner: Client, rules: PolicySet) -> None:
    propose(world.agent, "echo", {"text": "hello"})
    answer = save(owner, rules, NO_FTP, then="simulate")
    assert answer["Location"] == f"{of(rules)}simulations/1/"
    answer = save(owner, rules, BROKEN, then="simulate")
    assert answer["Location"] == editor_of(rules)
    assert "from being valid" in page(owner, editor_of(rules))


def test_a_stale_edit_shows_the_newer_text_beside_the_typed_one(world: World, rules: PolicySet) -> None:
    slow, quick = (sign_in(world.owner, code_age=FRESH) for _ in range(2))
    form = form_on(slow, editor_of(rules), f"{editor_of(rules)}save/")
    assert save(quick, rules, NO_FTP + "// quick").status_code == 302
    answer = form.send(text=NO_FTP + "// slow")
    assert answer.status_code == 412
    assert typed(answer) == NO_FTP + "// slow"
    below = text_of(answer).partition('id="read"')[2]
    assert "// quick" in below
    assert "// slow" not in below
    assert "What you typed" in text_of(answer)
    assert stored(rules) == NO_FTP + "// quick"
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text_of(answer)))
    again = slow.post(form.action, {"text": "// both", "version": hidden["version"], "intent": "ab" * 16})
    assert again.status_code == 302
    assert stored(rules) == "// both"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permit (principal, action, resource);\0", "NUL"),
        ("// not \N{REPLACEMENT CHARACTER} UTF-8", "not UTF-8"),
        ("//" + "x" * (8 * 1_048_576), "too large"),
    ],
)
def test_a_refused_text_stays_in_the_field(owner: Client, rules: PolicySet, text: str, said: str) -> None:
    answer = save(owner, rules, text)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert typed(answer) == text
    assert stored(rules) == NO_FTP


def test_bytes_that_are_no_text_are_told_and_not_stored(owner: Client, rules: PolicySet) -> None:
    form = form_on(owner, editor_of(rules), f"{editor_of(rules)}save/")
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form.hidden.items()
    )
    body = (
        fields.encode() + b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n\xff\xfe\r\n--b--\r\n'
    )
    answer = owner.generic("POST", form.action, body, "multipart/form-data; boundary=b")
    assert answer.status_code == 422
    assert "not UTF-8" in text_of(answer)
    assert stored(rules) == NO_FTP


def test_a_text_typed_for_a_set_that_is_no_draft_any_more_is_given_back(
    world: World, owner: Client, rules: PolicySet
) -> None:
    form = form_on(owner, editor_of(rules), f"{editor_of(rules)}save/")
    validate(rules, person(world.owner))
    answer = form.send(text="// mine")
    assert answer.status_code == 409
    assert "make a new draft from it" in text_of(answer)
    assert "// mine" in text_of(answer)
    assert stored(rules) == NO_FTP


def test_the_back_button_does_not_save_twice(owner: Client, rules: PolicySet) -> None:
    form = form_on(owner, editor_of(rules), f"{editor_of(rules)}save/")
    first, second = (form.send(text="// once") for _ in range(2))
    assert (first.status_code, second.status_code) == (302, 302)
    assert require_set(rules.pk).edit_version == rules.edit_version + 1
    assert form.send(text="// other").status_code == 422


def test_packs_and_files_are_added_and_taken_out(owner: Client, rules: PolicySet) -> None:
    add = f"{of(rules)}add/"
    form_on(owner, of(rules), add).send(pack="office_hours")
    form_on(owner, of(rules), add).send(file="mine.cedar")
    names = set(require_set(rules.pk).files.values_list("name", flat=True))
    assert {"pack_office_hours.cedar", "mine.cedar"} <= names
    for values, said in (
        ({"file": "mine.cedar"}, "has a file of this name"),
        ({"file": "../x"}, "named like rules.cedar"),
        ({"pack": "no_such"}, "no such pack"),
        ({}, "Name a file"),
    ):
        answer = form_on(owner, of(rules), add).send(**values)
        assert (answer.status_code, said in text_of(answer)) == (422, True), said
    remove = f"{editor_of(rules, 'mine.cedar')}remove/"
    assert form_on(owner, editor_of(rules, "mine.cedar"), remove).send()["Location"] == of(rules)
    assert not rules.files.filter(name="mine.cedar").exists()
    assert owner.get(editor_of(rules, "mine.cedar")).status_code == 404


def test_a_draft_is_named_anew_discarded_and_drafted_from(owner: Client, rules: PolicySet) -> None:
    form_on(owner, of(rules), f"{of(rules)}describe/").send(name="Better", note="why")
    assert require_set(rules.pk).title == "Better"
    answer = form_on(owner, of(rules), f"{of(rules)}describe/").send(name=" ", note="kept note")
    assert (answer.status_code, "kept note" in text_of(answer)) == (422, True)
    form_on(owner, of(rules), f"{of(rules)}discard/").send()
    assert require_set(rules.pk).state == SetState.DISCARDED
    assert f"{of(rules)}validate/" not in page(owner, of(rules))
    form_on(owner, of(rules), f"{of(rules)}again/").send(name="Back")
    made = PolicySet.objects.latest("version")
    assert (made.title, stored(made)) == ("Back", NO_FTP)


def test_the_changes_stand_by_rule_and_by_line(world: World, owner: Client, rules: PolicySet) -> None:
    form_on(
        owner, editor_of(rules, "pack_trifecta.cedar"), f"{editor_of(rules, 'pack_trifecta.cedar')}remove/"
    ).send()
    baseline = stored(rules, "baseline.cedar").replace('@risk("medium")', '@risk("high")', 1)
    put(rules, person(world.owner), baseline, name="baseline.cedar")
    html = page(owner, f"{of(rules)}diff/")
    assert "1 added, 1 removed, 1 changed" in html
    assert '<div class="add"><span class="sr">added: </span>+@risk(&quot;high&quot;)</div>' in html
    assert '<div class="del"><span class="sr">removed: </span>-@risk(&quot;medium&quot;)</div>' in html
    assert "annotations" in html
    own = page(owner, f"{of(rules)}diff/?against={rules.pk}")
    assert "Both sets have the same text" in own or "No difference" in own
    assert owner.get(f"{of(rules)}diff/?against=pol_01ARZ3NDEKTSV4RRFFQ69G5FAV").status_code == 404
    assert owner.get(f"{of(rules)}diff/?against=odd").status_code == 200


def test_the_changes_follow_every_edit(owner: Client, rules: PolicySet) -> None:
    assert "no_ftp" in page(owner, f"{of(rules)}diff/")
    save(owner, rules, NO_FTP.replace("no_ftp", "no_ftp_at_all"))
    html = page(owner, f"{of(rules)}diff/")
    assert "+@id(&quot;no_ftp_at_all&quot;)" in html
    assert "+@id(&quot;no_ftp&quot;)" not in html


@pytest.mark.parametrize("hostile", CORPUS)
def test_hostile_names_ids_and_descriptions_stay_text(world: World, owner: Client, hostile: str) -> None:
    row = draft_set(person(world.owner))
    PolicySet.objects.filter(pk=row.pk).update(title=hostile, reason=hostile)
    quoted = hostile.replace('"', '\\"')
    put(
        row,
        person(world.owner),
        f'// {hostile}\n@id("{quoted}")\n@description("{quoted}")\npermit (principal, action, resource);\n',
    )
    validate(row, person(world.owner))
    simulated(row)
    for path in (
        LIST,
        of(row),
        editor_of(row),
        f"{of(row)}diff/",
        f"{of(row)}activate/",
        f"{of(row)}simulations/1/",
    ):
        html = page(owner, path)
        assert Elements.faults_of(html) == [], path
        outside = re.sub(r"<textarea.*?</textarea>|<input[^>]*>", "", html, flags=re.DOTALL)
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x1b\x07]", outside), path
        if re.search(r"[<>\"']", hostile):
            assert hostile not in html, path


def path_of(route: str, row: PolicySet) -> str:
    given = {"set_id": row.pk, "file": "custom.cedar"}
    return "/admin/" + re.sub(r"<\w+:(\w+)>", lambda found: given[found[1]], route)


@pytest.mark.parametrize("route", VERBS)
def test_a_verb_is_a_post_of_somebody_of_the_whole_installation(
    world: World, rules: PolicySet, route: str
) -> None:
    path, before = path_of(route, rules), PolicySet.objects.count()
    assert sign_in(world.owner).get(path).status_code == 405
    values = {"name": "x", "file": "x.cedar", "version": str(rules.edit_version), "text": "//", "to": "on"}
    for name in ("viewer", "auditor", "approver", "operator", "admin"):
        if name in ("admin", "operator") and route.endswith("simulate/"):
            continue  # who may simulate in a workspace replays what was decided there
        client = sign_in(world.people[name], code_age=FRESH)
        given = dict(values)
        if "import" in route:
            given["file"] = SimpleUploadedFile("x.cedar", b"//")  # type: ignore[assignment]  # posted as a file
        answer = post(client, path, **given)
        assert answer.status_code == 403, name
        assert Elements.faults_of(text_of(answer)) == []
    assert require_set(rules.pk).edit_version == rules.edit_version
    assert PolicySet.objects.count() == before
    assert require_set(rules.pk).state == SetState.DRAFT


def test_who_may_only_read_is_told_what_is_missing(world: World, rules: PolicySet) -> None:
    admin = page(sign_in(world.admin), of(rules))
    assert "The rules belong to the whole installation: this needs policy.edit in it." in admin
    viewer = page(sign_in(world.auditor), of(rules))
    assert f"{of(rules)}validate/" not in viewer
    assert "Your roles do not include policy.edit" in viewer
    assert f"{editor_of(rules)}save/" not in page(sign_in(world.auditor), editor_of(rules))


def test_a_refused_verb_leaves_its_event(world: World, rules: PolicySet) -> None:
    before = JournalEvent.objects.filter(type="request.refused").count()
    assert post(sign_in(world.admin, code_age=FRESH), f"{of(rules)}validate/").status_code == 403
    assert JournalEvent.objects.filter(type="request.refused").count() == before + 1


def test_an_edit_asks_for_no_fresh_code(world: World, rules: PolicySet) -> None:
    client = sign_in(world.owner)
    assert 'name="code"' not in page(client, editor_of(rules))
    assert save(client, rules, "// an hour later").status_code == 302
    assert stored(rules) == "// an hour later"


def test_a_set_that_does_not_exist_is_a_calm_404(owner: Client) -> None:
    for name in ("policy_set", "policy_diff", "export_policy", "activate_policy", "rollback_policy"):
        assert owner.get(reverse(f"admin:{name}", args=["pol_01ARZ3NDEKTSV4RRFFQ69G5FAV"])).status_code == 404


def test_the_set_in_force_has_an_address_of_its_own(world: World, owner: Client) -> None:
    active = active_set()
    assert active is not None
    html = page(owner, f"{LIST}active/")
    assert f"{of(active)}export/" in html
    assert 'id="policy-trifecta"' in html
    make_user("another", WorkspaceRole.VIEWER, workspace=Workspace.objects.get(slug="default"))
    PolicySet.objects.filter(pk=active.pk).update(state=SetState.SUPERSEDED)
    assert "No policy set is active" in page(owner, LIST)


def test_another_author_is_named(world: World, rules: PolicySet) -> None:
    other = make_user("other-author", WorkspaceRole.ADMIN, workspace=Workspace.objects.get(slug="instance"))
    enrol(other)
    put(rules, person(other), "// theirs", name="more.cedar")
    html = page(sign_in(world.auditor), of(rules))
    assert "other-author" in html
    assert "Owner" in html
