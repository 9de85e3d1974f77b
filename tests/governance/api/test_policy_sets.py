"""Policy sets over HTTP: drafts, edits, findings, four eyes, going back, carrying in and out."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from kernel.clock import utc_now
from policy.models import PolicySet, SimulationRun
from policy.set_selectors import require_set
from tests.governance.api.policy_drafts import (
    People,
    call,
    code_of,
    draft,
    make_people,
    put,
    tag_of,
    validate,
)
from tests.governance.api.stepping import fresh
from tests.governance.api.world import Answer, Caller, World
from tests.policy.lifecycles import NO_FTP, REASON

pytestmark = pytest.mark.django_db
THREE_FAULTS = """@id("one")
forbid (principal, action == Palyra::Action::"tool.execute:http.fetch", resource)
when { context has input && context.input.urll == "x" };
forbid (principal, action, resource);
@id("three")
permit (principal, action == Palyra::Action::"nothing.known", resource);
"""


@pytest.fixture
def people(world: World) -> People:
    return make_people(world)


def simulate(made: dict[str, Any], loosened: int = 0) -> None:
    """Leave the finished simulation that the replay would leave."""
    row, active, now = PolicySet.objects.get(pk=made["id"]), require_set("active"), utc_now()
    SimulationRun.objects.create(
        policy_set=row,
        number=row.simulations.count() + 1,
        state="succeeded",
        draft_hash=row.hash or "",
        against_set=active,
        against_hash=active.hash or "",
        epoch=1,
        available=4,
        total=4,
        loosened=loosened,
        started_by=row.validated_by,
        created_at=now - timedelta(minutes=2),
        finished_at=now - timedelta(minutes=1),
    )


def ready(author: Caller, text: str = NO_FTP, loosened: int = 0) -> dict[str, Any]:
    """Return a validated and simulated set of this author."""
    made = validate(author, put(author, draft(author), text))
    simulate(made, loosened)
    return made


def activate(caller: Caller, made: dict[str, Any], *, loosened: int = 0, **more: str) -> Answer:
    body = {"reason": REASON, "simulation": 1, "acknowledged_loosened": loosened}
    return call(caller, "POST", f"policy-sets/{made['id']}/activate", body, tag_of(made), **more)


def decide(caller: Caller, approval: str, verdict: str = "allow", *, steps: int = 0) -> Answer:
    body = {"decision": verdict, "comment": "looked at the diff", "otp": caller.code(steps=steps)}
    return caller.post(f"approvals/{approval}/decision", body)


def events(name: str) -> list[dict[str, Any]]:
    return [open_data(row) for row in JournalEvent.objects.filter(type=name).order_by("id")]


def test_a_draft_is_listed_shown_and_edited_against_what_was_seen(people: People) -> None:
    made = draft(people.author, note="asked for")
    assert (made["state"], made["note"], made["base"]) == ("draft", "asked for", require_set("active").pk)
    listed = people.world.auditor.get("policy-sets?state=draft").json()["data"]
    assert [row["id"] for row in listed] == [made["id"]]
    path = f"policy-sets/{made['id']}"
    assert (
        code_of(call(people.author, "PUT", f"{path}/files/a.cedar", {"text": ""})) == "precondition_required"
    )
    edited = put(people.author, made)
    assert code_of(call(people.author, "PATCH", path, {"name": "x"}, tag_of(made))) == "precondition_failed"
    assert code_of(call(people.author, "DELETE", path, None, tag_of(made))) == "precondition_failed"
    changed = call(people.author, "PATCH", path, {"name": "Other", "note": ""}, tag_of(edited))
    assert (changed.json()["name"], changed.headers["ETag"]) == ("Other", tag_of(changed.json()))
    shown = people.world.auditor.get(f"{path}?expand=text").json()
    assert {file["name"]: file["text"] for file in shown["files"]}["custom.cedar"] == NO_FTP
    assert "text" not in people.world.auditor.get(path).json()["files"][0]
    gone = call(people.author, "DELETE", f"{path}/files/custom.cedar", None, tag_of(shown))
    assert "custom.cedar" not in {file["name"] for file in gone.json()["files"]}
    discarded = call(people.author, "DELETE", path, None, tag_of(gone.json()))
    assert discarded.json()["state"] == "discarded"
    assert code_of(people.author.post(f"{path}/validate")) == "immutable"


def test_the_alias_active_reads_the_set_in_force_and_is_not_edited(people: People) -> None:
    active = people.world.auditor.get("policy-sets/active")
    assert (active.status_code, active.json()["state"]) == (200, "active")
    again = people.world.auditor.get("policy-sets/active", If_None_Match=active.headers["ETag"])
    assert again.status_code == 304
    assert call(people.author, "PATCH", "policy-sets/active", {"name": "x"}, '"a:1"').status_code in (
        400,
        404,
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "policy-sets", {"name": "x"}),
        ("PATCH", "policy-sets/{id}", {"name": "x"}),
        ("DELETE", "policy-sets/{id}", None),
        ("PUT", "policy-sets/{id}/files/a.cedar", {"text": ""}),
        ("DELETE", "policy-sets/{id}/files/baseline.cedar", None),
        ("POST", "policy-sets/{id}/validate", {}),
        (
            "POST",
            "policy-sets/{id}/activate",
            {"reason": REASON, "simulation": 1, "acknowledged_loosened": 0},
        ),
        ("POST", "policy-sets/{id}/rollback", {"reason": REASON}),
    ],
)
def test_an_administrator_of_one_workspace_does_not_change_what_all_share(
    people: People, method: str, path: str, body: object
) -> None:
    made = draft(people.author)
    answer = call(people.local, method, path.format(id=made["id"]), body, tag_of(made))
    assert (answer.status_code, code_of(answer)) == (403, "role_required")
    assert people.local.get(f"policy-sets/{made['id']}").status_code == 200


def test_who_may_not_read_rules_sees_none(people: People) -> None:
    for caller, status in (
        (people.world.stranger, 403),
        (people.world.agent, 403),
        (people.world.nobody, 401),
    ):
        assert caller.get("policy-sets").status_code == status
        assert caller.get("policy-sets/active/export").status_code == status


def test_a_check_tells_every_fault_with_its_place_and_keeps_the_findings(people: People) -> None:
    made = put(people.author, draft(people.author), THREE_FAULTS)
    answer = people.author.post(f"policy-sets/{made['id']}/validate")
    assert (answer.status_code, code_of(answer)) == (422, "policy_invalid")
    errors = answer.json()["errors"]
    assert {(error["code"], error["policy_id"], error["line"]) for error in errors} == {
        ("type_error", "one", 3),
        ("missing_id", "", 4),
        ("unknown_action", "three", 6),
    }
    assert {error["pointer"] for error in errors} == {"/files/custom.cedar"}
    assert all(error["column"] > 0 for error in errors)
    shown = people.author.get(f"policy-sets/{made['id']}").json()
    assert shown["state"] == "draft"
    assert sum(finding["severity"] == "error" for finding in shown["findings"]) == 3


def test_tests_that_do_not_pass_keep_a_set_from_being_validated(people: People) -> None:
    test = {
        "name": "echo is denied",
        "request": {"principal": "Agent::a", "action": "tool.execute", "resource": "Tool::echo"},
        "context": {},
        "entities": {},
        "expect": {"effect": "nothing"},
    }
    made = put(people.author, draft(people.author), json.dumps([test]), "fetch.test.json")
    answer = people.author.post(f"policy-sets/{made['id']}/validate")
    assert code_of(answer) == "policy_invalid"
    assert answer.json()["errors"][0]["pointer"] == "/files/fetch.test.json"


def test_a_text_is_checked_without_being_stored(people: People) -> None:
    before = PolicySet.objects.count()
    body = {"files": [{"name": "a.cedar", "text": THREE_FAULTS}]}
    found = people.world.auditor.post("policy/check", body).json()
    assert (found["valid"], PolicySet.objects.count()) == (False, before)
    assert [one["severity"] for one in found["findings"]].count("error") == 3
    good = people.world.auditor.post("policy/check", {"files": [{"name": "a.cedar", "text": NO_FTP}]}).json()
    assert good["valid"] is True
    wrong: list[object] = [[], [{"name": "a.cedar"}], [{"name": "a.cedar", "text": "", "more": 1}], "x", [1]]
    for files in wrong:
        assert people.world.auditor.post("policy/check", {"files": files}).status_code == 422


def test_a_validated_set_is_never_edited(people: People) -> None:
    made = ready(people.author)
    path = f"policy-sets/{made['id']}"
    for answer in (
        call(people.author, "PUT", f"{path}/files/a.cedar", {"text": ""}, tag_of(made)),
        call(people.author, "DELETE", f"{path}/files/custom.cedar", None, tag_of(made)),
        call(people.author, "PATCH", path, {"name": "x"}, tag_of(made)),
        call(people.author, "DELETE", path, None, tag_of(made)),
    ):
        assert (answer.status_code, code_of(answer)) == (409, "immutable")


def test_somebody_without_a_part_in_it_activates_at_once(people: People) -> None:
    made = ready(people.author, loosened=2)
    assert code_of(activate(people.second, made)) == "simulation_stale"
    answer = activate(people.second, made, loosened=2)
    assert (answer.status_code, answer.json()["state"]) == (200, "active")
    assert people.second.get("policy-sets/active").json()["id"] == made["id"]
    assert events("policy.activation_refused")[-1] == {
        "code": "simulation_stale",
        "hash": made["hash"],
        "in_force": PolicySet.objects.get(pk=made["base"]).hash,
        "request": None,
    }
    again = activate(people.second, answer.json()["policy_set"])
    assert (again.status_code, code_of(again)) == (409, "conflict")


def test_an_activation_needs_a_fresh_code_and_what_was_seen(people: People) -> None:
    made = ready(people.author)
    path = f"policy-sets/{made['id']}/activate"
    body = {"reason": REASON, "simulation": 1, "acknowledged_loosened": 0}
    assert code_of(call(people.second, "POST", path, body)) == "precondition_required"
    assert code_of(call(people.second, "POST", path, body, f'"{made["id"]}:1"')) == "precondition_failed"
    assert code_of(activate(people.world.owner, made)) == "step_up_required"
    for wrong in ({"reason": "short"}, {"simulation": 0}, {"simulation": "1"}, {"acknowledged_loosened": -1}):
        assert call(people.second, "POST", path, body | wrong, tag_of(made)).status_code == 422
    assert call(people.second, "POST", path, body | {"force": True}, tag_of(made)).status_code == 400


def test_an_author_asks_and_the_allow_of_a_second_person_activates(people: People) -> None:
    made = ready(people.author)
    asked = activate(people.author, made)
    assert (asked.status_code, asked.json()["state"]) == (202, "awaiting_approval")
    approval = asked.json()["approval"]["id"]
    assert asked.headers["Location"] == f"/api/v1/approvals/{approval}"
    assert require_set("active").pk == made["base"]
    shown = people.second.get(f"approvals/{approval}").json()
    assert (shown["subject_type"], shown["risk"], shown["quorum"]["needed"]) == (
        "policy_activation",
        "critical",
        1,
    )
    assert shown["context"]["diff"]["added"] == ["no_ftp"]
    assert shown["context"]["parameters_view"]["hash"] == made["hash"]
    assert shown["context"]["simulation"]["total"] == 4
    assert shown["ineligible_reason"] == "step_up_required"
    own = decide(people.author, approval)
    assert (own.status_code, code_of(own), own.json()["relation"]) == (403, "self_review", "requester")
    assert events("policy.activation_refused")[-1]["request"] == approval
    decided = decide(people.second, approval)
    assert (decided.status_code, decided.json()["state"], decided.json()["grant"]) == (200, "allowed", None)
    assert require_set("active").pk == made["id"]
    activated = events("policy.activated")[-1]
    assert (activated["request"], activated["single_operator"]) == (approval, False)


def test_asking_twice_for_the_same_is_one_question(people: People) -> None:
    made = ready(people.author)
    first, second = activate(people.author, made), activate(people.author, made)
    assert first.json()["approval"]["id"] == second.json()["approval"]["id"]


def test_a_repeat_with_the_same_key_gets_the_same_answer(people: People) -> None:
    made = ready(people.author)
    first = activate(people.second, made, Idempotency_Key="once")
    again = activate(people.second, made, Idempotency_Key="once")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len([one for one in events("policy.activated") if one["hash"] == made["hash"]]) == 1


def test_an_author_of_one_character_is_no_second_person(people: People) -> None:
    made = put(people.author, draft(people.author))
    made = validate(people.author, put(people.second, made, NO_FTP + "\n"))
    simulate(made)
    approval = activate(people.author, made).json()["approval"]["id"]
    refused = decide(people.second, approval)
    assert (code_of(refused), refused.json()["relation"]) == ("self_review", "author")
    assert decide(fresh(people.world.owner), approval).status_code == 200


def test_who_may_decide_about_calls_but_not_about_rules_is_no_second_person(people: People) -> None:
    approval = activate(people.author, ready(people.author)).json()["approval"]["id"]
    for caller in (people.world.approver, people.local, people.world.agent):
        assert decide_status(caller, approval) in (403, 404)


def decide_status(caller: Caller, approval: str) -> int:
    body = {"decision": "allow", "comment": "let me", "otp": caller.code() if caller.seed else "000000"}
    return caller.post(f"approvals/{approval}/decision", body).status_code


def test_when_everybody_who_may_activate_wrote_some_of_it_nobody_is_asked(people: People) -> None:
    made = put(people.author, draft(people.author))
    made = put(people.second, made, NO_FTP + "\n")
    made = validate(people.author, put(fresh(people.world.owner), made, NO_FTP + "\n\n"))
    simulate(made)
    answer = activate(people.author, made)
    assert (answer.status_code, code_of(answer)) == (403, "four_eyes_required")


def test_a_denial_leaves_the_set_validated(people: People) -> None:
    made = ready(people.author)
    approval = activate(people.author, made).json()["approval"]["id"]
    assert decide(people.second, approval, "deny").json()["state"] == "denied"
    shown = people.author.get(f"policy-sets/{made['id']}").json()
    assert (shown["state"], require_set("active").pk) == ("validated", made["base"])


def test_an_allow_that_comes_too_late_is_refused_and_the_question_waits_on(people: People) -> None:
    made = ready(people.author)
    approval = activate(people.author, made).json()["approval"]["id"]
    other = ready(people.author, NO_FTP + "\n")
    assert activate(people.second, other).status_code == 200
    late = decide(people.second, approval)
    assert (late.status_code, code_of(late)) == (409, "policy_base_moved")
    waiting = people.second.get(f"approvals/{approval}").json()
    assert (waiting["state"], waiting["quorum"]["allowed"]) == ("pending", 0)
    refused = events("policy.activation_refused")[-1]
    assert (refused["code"], refused["hash"], refused["in_force"]) == (
        "policy_base_moved",
        made["hash"],
        other["hash"],
    )


def test_a_simulation_that_grew_old_refuses_the_allow_too(people: People) -> None:
    made = ready(people.author)
    approval = activate(people.author, made).json()["approval"]["id"]
    SimulationRun.objects.filter(policy_set_id=made["id"]).update(finished_at=utc_now() - timedelta(hours=25))
    assert code_of(decide(people.second, approval)) == "simulation_stale"
    assert require_set("active").pk == made["base"]


def test_a_draft_of_somebody_elses_draft_keeps_its_authors(people: People) -> None:
    mine = put(people.author, draft(people.author))
    theirs = draft(people.second, **{"from": mine["id"]})
    assert theirs["authors"] == sorted([people.author.id, people.second.id])
    made = validate(people.second, theirs)
    simulate(made)
    assert activate(people.author, made).status_code == 202


def rollback(caller: Caller, made: dict[str, Any]) -> Answer:
    path = f"policy-sets/{made['id']}"
    tag = caller.get(path).headers["ETag"]
    return call(caller, "POST", f"{path}/rollback", {"reason": REASON}, tag)


def test_one_person_goes_one_step_back_and_two_go_further(people: People) -> None:
    first = people.author.get("policy-sets/active").json()
    one, two = ready(people.author), None
    activate(people.second, one)
    back = rollback(people.second, first)
    assert (back.status_code, back.json()["policy_set"]["restored_from"]) == (200, first["id"])
    assert back.json()["policy_set"]["hash"] == first["hash"]
    two = ready(people.author, NO_FTP + "\n")
    activate(people.second, two)
    asked = rollback(people.second, one)
    assert (asked.status_code, asked.json()["state"]) == (202, "awaiting_approval")
    approval = asked.json()["approval"]["id"]
    assert code_of(decide(people.second, approval)) == "self_review"
    assert decide(people.author, approval).status_code == 200
    assert require_set("active").hash == one["hash"]
    assert require_set("active").restored_from_id == one["id"]
    assert events("policy.rolled_back")[-1]["request"] == approval


def test_what_was_never_in_force_is_not_gone_back_to(people: People) -> None:
    made = ready(people.author)
    assert code_of(rollback(people.second, made)) == "conflict"
    assert code_of(rollback(people.second, people.author.get("policy-sets/active").json())) == "conflict"


def test_a_lock_out_is_refused_over_http_too(people: People) -> None:
    text = '@id("locked")\nforbid (principal, action == Palyra::Action::"policy.activate", resource);\n'
    made = ready(people.author, text)
    assert code_of(activate(people.second, made)) == "policy_lockout"
    assert code_of(activate(people.author, made)) == "policy_lockout"
