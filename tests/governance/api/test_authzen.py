"""The decision point of Palyra's own rules, and what holds for every decision point."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from governance.authzen import points
from governance.authzen.live import LivePoint
from governance.authzen.questions import Search, read_evaluation, read_search
from governance.freeze_scopes import FreezeScope
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.operations.freezes import FreezeWishes, set_freeze
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.ids import new_id
from policy import services as policy
from policy.models import PolicyEpoch, PolicyFile, PolicySet
from policy.types import AllowlistKind, ScopeKind
from tests.governance.api.domains import put_certification_in_force, put_in_force
from tests.governance.api.stepping import switch_on
from tests.governance.api.test_features import switch
from tests.governance.api.world import Answer, Caller, World, add_agent, add_person, owner_principal
from tests.policy import authzen_fixture as cert

ECHO = {"type": "tool", "id": "echo"}
RUN = {"name": "tool.execute"}
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def on(world: World) -> None:
    switch_on("authzen_api")


def agent(world: World) -> Json:
    return {"type": "agent", "id": world.agent.id}


def ask(caller: Caller, body: object, path: str = "/access/v1/evaluation", **headers: str) -> Answer:
    return caller.post(path, body, **headers)


def answered(caller: Caller, body: object, path: str = "/access/v1/evaluation") -> Json:
    answer = ask(caller, body, path)
    assert answer.status_code == 200, answer.content
    found: Json = answer.json()
    return found


def execution(world: World, tool: str, given: object, **more: object) -> Json:
    return {
        "subject": agent(world),
        "action": RUN,
        "resource": {"type": "tool", "id": tool},
        "context": {"input": given, **more},
    }


def outcome(caller: Caller, body: Json) -> tuple[bool, str]:
    found = answered(caller, body)
    return found["decision"], found["context"]["reason_code"]


def allowlist(world: World, tool: str) -> None:
    with transaction.atomic():
        policy.allowlist(
            workspace_id=world.workspace.pk,
            kind=AllowlistKind.TOOL,
            value=tool,
            actor=owner_principal(world, utc_now()).actor(),
            now=utc_now(),
            record=record,
        )


def test_a_permit_names_its_rules_and_the_set(world: World) -> None:
    found = answered(world.owner, execution(world, "echo", {"text": "hello"}))
    assert found["decision"] is True
    assert found["context"]["reason_code"] == "policy.allowed"
    assert found["context"]["determining_policies"] == [
        {"id": "allow_allowlisted_tool_execute", "effect": "permit"}
    ]
    active = PolicySet.objects.get(domain="palyra", state="active")
    assert found["context"]["policy_set"] == {"id": active.pk, "version": 1, "hash": active.hash}


def test_what_needs_a_person_is_no_permit_and_says_what_it_needs(world: World) -> None:
    found = answered(world.owner, execution(world, "fs.write", {"path": "a", "content": "x"}))
    assert found["decision"] is False
    assert found["context"]["reason_code"] == "policy.approval_required"
    (obligation,) = [one for one in found["context"]["obligations"] if one["kind"] == "approval"]
    assert obligation["risk"] == "high"


def test_a_posture_that_asks_turns_an_allow_into_an_obligation(world: World) -> None:
    with transaction.atomic():
        policy.set_posture(
            override=policy.OverrideInput("echo", ScopeKind.GLOBAL, "", "ask_each_time", "for a test"),
            actor=owner_principal(world, utc_now()).actor(),
            now=utc_now(),
            record=record,
        )
    found = answered(world.owner, execution(world, "echo", {"text": "x"}))
    assert (found["decision"], found["context"]["reason_code"]) == (False, "posture.ask_each_time")
    assert found["context"]["obligations"][0]["kind"] == "approval"


def test_the_answer_is_that_of_a_call_of_the_same_agent(world: World) -> None:
    allowlist(world, "http.fetch")
    for tool, given in (
        ("echo", {"text": "x"}),
        ("echo", {"text": 5}),
        ("http.fetch", {"url": "https://a.example/x"}),
        ("fs.write", {"path": "a", "content": "x"}),
        ("demo.launch", {}),
        ("no.such.tool", {}),
        ("browser.title", {}),
    ):
        call = world.agent.propose(tool, given)
        decided, code = outcome(world.owner, execution(world, tool, given))
        assert decided is (call["decision"]["effect"] == "allow"), tool
        if call["decision"]["effect"] == "deny":
            assert code == call["decision"]["reason_code"], tool


def test_what_is_frozen_here_is_permitted_to_nobody_who_asks_for_elsewhere(world: World) -> None:
    echo = execution(world, "echo", {"text": "hi"})
    assert outcome(world.owner, echo)[0]
    wishes = FreezeWishes(FreezeScope.TOOL, "the agent runs wild", "echo")
    set_freeze(principal=owner_principal(world, utc_now()), wishes=wishes, now=utc_now())
    assert outcome(world.owner, echo) == (False, "run.frozen")


def test_nothing_is_written(world: World) -> None:
    before = (JournalEvent.objects.count(), PolicyEpoch.objects.get().stamp)
    answered(world.owner, execution(world, "fs.write", {"path": "a", "content": "x"}))
    searched = {"subject": {"type": "agent"}, "action": RUN, "resource": ECHO}
    answered(world.owner, searched, "/access/v1/search/subject")
    assert (JournalEvent.objects.count(), PolicyEpoch.objects.get().stamp) == before


def test_properties_of_what_palyra_knows_are_ignored(world: World) -> None:
    asked = execution(world, "http.fetch", {"url": "https://a.example/x"})
    asked["subject"]["properties"] = {"active": True, "permissions": ["policy.activate"], "roles": ["owner"]}
    asked["resource"]["properties"] = {"sensitive": False, "enabled": True, "risk": "low"}
    asked["action"] = {**RUN, "properties": {"allow_sensitive_tools": True}}
    asked["context"] |= {"allow_sensitive_tools": True, "approval": {"count": 9}, "posture": "always_allow"}
    assert outcome(world.owner, asked)[0] is False
    manage = {"type": "policy_set", "id": "pol_x"}
    asked = {"subject": agent(world), "action": {"name": "policy.activate"}, "resource": manage}
    asked["subject"]["properties"] = {"permissions": ["policy.activate"]}
    assert outcome(world.owner, asked) == (False, "policy.no_permit")


def test_people_may_what_their_roles_hold(world: World) -> None:
    manage = {"type": "workspace", "id": world.workspace.pk}
    for person, allowed in ((world.owner, True), (world.approver, False)):
        subject = {"type": "user", "id": person.id}
        asked = {"subject": subject, "action": {"name": "policy.edit"}, "resource": manage}
        assert outcome(world.owner, asked)[0] is allowed


@pytest.mark.parametrize(
    "subject",
    [
        {"type": "user", "id": "usr_01JD0000000000000000000000"},
        {"type": "agent", "id": "agt\u0000x"},
        {"type": "agent", "id": ""},
        {"type": "service", "id": "x"},
        {"type": "spaceship", "id": "x"},
        {"type": "agent", "id": '", action, resource); permit(principal'},
    ],
)
def test_whoever_is_not_known_is_denied(world: World, subject: Json) -> None:
    asked = {"subject": subject, "action": RUN, "resource": ECHO, "context": {"input": {"text": "x"}}}
    assert outcome(world.owner, asked) == (False, "policy.invalid_request")


def test_people_and_agents_of_other_workspaces_are_not_known_here(world: World) -> None:
    switch_on("team_mode")
    now = utc_now()
    owner = owner_principal(world, now)
    with transaction.atomic():
        other = Workspace.objects.create(
            id="wsp_01JD0000000000000000000001", slug="other", name="Other", created_at=now
        )
        stranger = add_person("elsewhere", other, owner, WorkspaceRole.OPERATOR, now=now)
        foreign = add_agent("foreign", stranger.id, other, owner, now=now)
    for kind, who in (("user", stranger.id), ("agent", foreign.id)):
        asked = {"subject": {"type": kind, "id": who}, "action": {"name": "tool.list"}, "resource": ECHO}
        assert outcome(world.owner, asked) == (False, "policy.invalid_request")
        searched = {"subject": {"type": kind}, "action": {"name": "tool.list"}, "resource": ECHO}
        found = answered(world.owner, searched, "/access/v1/search/subject")["results"]
        assert who not in {one["id"] for one in found}
        assert found


@pytest.mark.parametrize("session", ["unknown", "ses_01JD0000000000000000000000", "", 5, {"id": "x"}])
def test_a_session_that_is_not_the_subjects_denies(world: World, session: object) -> None:
    asked = execution(world, "echo", {"text": "x"}, session_id=session)
    assert outcome(world.owner, asked) == (False, "policy.invalid_context")


def test_the_labels_of_a_session_count(world: World) -> None:
    """What a session has read is asked of the database; the question cannot leave it out."""
    call = world.agent.propose("fs.read", {"path": "README.txt"}, run=world.agent.open_run(session_key="s1"))
    assert call["state"] in ("queued", "awaiting_approval", "denied"), call
    clean = answered(world.owner, execution(world, "echo", {"text": "x"}, session_id="s1"))
    assert clean["decision"] is True


@pytest.mark.parametrize("given", [5, "x", [], None])
def test_an_input_that_is_no_object_denies(world: World, given: object) -> None:
    assert outcome(world.owner, execution(world, "echo", given))[0] is False


def test_the_action_may_name_the_tool_but_no_other(world: World) -> None:
    asked = execution(world, "echo", {"text": "x"})
    assert outcome(world.owner, asked | {"action": {"name": "tool.execute:echo"}})[0] is True
    other = asked | {"action": {"name": "tool.execute:fs.read"}}
    assert outcome(world.owner, other) == (False, "policy.resource_mismatch")


def test_without_a_set_in_force_everything_is_denied(world: World) -> None:
    with transaction.atomic():
        PolicySet.objects.filter(domain="palyra", state="active").update(state="superseded")
        PolicyEpoch.objects.update(stamp="x" * 32)
        asked = {"subject": agent(world), "action": {"name": "tool.list"}, "resource": ECHO}
        found = LivePoint(world.workspace.pk, utc_now()).decide(read_evaluation(asked))
        assert (found.effect.value, found.reason_code) == ("deny", "policy.no_active_set")
        transaction.set_rollback(True)


def test_searches_find_agents_tools_and_actions(world: World) -> None:
    found = answered(
        world.owner,
        {"subject": {"type": "agent"}, "action": {"name": "tool.list"}, "resource": ECHO},
        "/access/v1/search/subject",
    )
    assert {one["id"] for one in found["results"]} >= {world.agent.id, world.other_agent.id}
    given = {"subject": agent(world), "context": {"input": {"text": "x"}}}
    wanted = given | {"action": RUN, "resource": {"type": "tool"}}
    tools = answered(world.owner, wanted, "/access/v1/search/resource")
    assert {"type": "tool", "id": "echo"} in tools["results"]
    actions = answered(world.owner, given | {"resource": ECHO}, "/access/v1/search/action")
    assert {"name": "tool.execute"} in actions["results"]
    assert {"name": "tools.manage"} not in actions["results"]


def test_a_search_goes_on_behind_what_it_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages may be empty; the token leads on until everything was looked at."""
    monkeypatch.setattr(points, "MAX_LOOKED_AT", 3)
    asked = execution(world, "", {"text": "x"}) | {"resource": {"type": "tool"}}
    names: list[str] = []
    pages = 0
    page: Json = {}
    while pages == 0 or page["next_token"]:
        more = {"page": {"token": page["next_token"]}} if pages else {}
        found = answered(world.owner, asked | more, "/access/v1/search/resource")
        names.extend(one["id"] for one in found["results"])
        page, pages = found["page"], pages + 1
    assert pages > 5
    assert names == sorted(set(names))
    assert "echo" in names


def test_people_of_other_workspaces_cost_a_search_nothing(world: World) -> None:
    now = utc_now()
    point = LivePoint(world.workspace.id, now)
    who = {"subject": {"type": "user"}, "action": {"name": "tool.list"}, "resource": ECHO}
    searched = read_search(Search.SUBJECT, who)

    def found() -> tuple[tuple[str, ...], int]:
        with CaptureQueriesContext(connection) as asked:
            names = points.search(point, searched, after="", limit=1000).names
        return names, len(asked)

    found()  # what is read once in a process has been read
    before = found()
    made = (User(id=new_id("usr", now), username=f"far-{number}", created_at=now) for number in range(30))
    User.objects.bulk_create(made)
    assert found() == before
    assert {world.owner.id, world.approver.id} <= set(before[0])


def test_the_routes_are_closed_without_the_feature_or_the_permission(world: World) -> None:
    asked = execution(world, "echo", {"text": "x"})
    assert ask(world.nobody, asked).status_code == 401
    assert ask(world.agent, asked).status_code == 403
    switch("authzen_api", False)
    closed = ask(world.owner, asked)
    assert (closed.status_code, closed.json()["code"]) == (403, "feature_disabled")
    assert Client().get("/.well-known/authzen-configuration").status_code == 404


def test_the_metadata_of_the_own_point_is_public(world: World, settings: Any) -> None:
    settings.PALYRA_PUBLIC_URL = "https://palyra.example.com"
    answer = Client().get("/.well-known/authzen-configuration")
    assert answer.status_code == 200
    assert answer.json()["policy_decision_point"] == "https://palyra.example.com"
    assert answer.json()["search_action_endpoint"] == "https://palyra.example.com/access/v1/search/action"
    assert Client().post("/.well-known/authzen-configuration").status_code == 405


@pytest.mark.parametrize("domain", ["nowhere", "palyra", "UPPER", "a b", "%00", "..", "x" * 80])
def test_a_domain_without_a_set_in_force_is_no_decision_point(world: World, domain: str) -> None:
    assert Client().get(f"/.well-known/authzen-configuration/pdp/{domain}").status_code == 404
    asked = execution(world, "echo", {"text": "x"})
    assert ask(world.owner, asked, f"/pdp/{domain}/access/v1/evaluation").status_code == 404


def test_an_unknown_query_parameter_and_other_methods_are_refused(world: World) -> None:
    assert ask(world.owner, execution(world, "echo", {}), "/access/v1/evaluation?x=1").status_code == 400
    assert world.owner.get("/access/v1/evaluation").status_code == 405


@pytest.mark.parametrize("given", ["a\x07b", "x" * 2_000])
def test_a_request_id_that_no_header_should_hold_is_not_echoed(world: World, given: str) -> None:
    answer = ask(world.owner, execution(world, "echo", {"text": "x"}), X_Request_ID=given)
    assert answer.headers["X-Request-ID"].startswith("req_")


def test_elsewhere_a_request_id_is_echoed_only_when_it_is_well_formed(world: World) -> None:
    assert world.owner.get("whoami", X_Request_ID="any text").headers["X-Request-ID"].startswith("req_")


PDP = f"/pdp/{cert.DOMAIN}/access/v1"
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
ONE = {"type": "record", "id": "record-1"}
NAMES = ("read", "fly", "write", "delete")
ITEMS = [{"subject": ALICE, "action": {"name": name}, "resource": ONE} for name in NAMES]


def batch(caller: Caller, **body: object) -> list[Json]:
    found: list[Json] = answered(caller, body, f"{PDP}/evaluations")["evaluations"]
    return found


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_a_batch_ends_where_its_semantic_says(world: World, semantic: str, decisions: list[bool]) -> None:
    put_certification_in_force(world)
    found = batch(world.owner, evaluations=ITEMS, options={"evaluations_semantic": semantic, "other": 1})
    assert [one["decision"] for one in found] == decisions


def test_a_bad_item_counts_as_a_denial_in_every_semantic(world: World) -> None:
    put_certification_in_force(world)
    bad: list[object] = [{}, 5, {"subject": "alice"}, {"action": {"name": 1}}, {"resource": None}]
    good = {"subject": ALICE, "action": {"name": "read"}, "resource": ONE}
    first_permit = {"evaluations_semantic": "permit_on_first_permit"}
    first_deny = {"evaluations_semantic": "deny_on_first_deny"}
    found = batch(world.owner, evaluations=[*bad, good], options=first_permit)
    assert [one["decision"] for one in found] == [False] * 5 + [True]
    assert all("error" in one["context"] for one in found[:5])
    found = batch(world.owner, evaluations=[bad[0], good], options=first_deny)
    assert [one["decision"] for one in found] == [False]


def test_an_item_stands_in_place_of_the_default_but_for_a_missing_name(world: World) -> None:
    put_certification_in_force(world)
    archived = {**ONE, "properties": {"status": "archived"}}
    found = batch(
        world.owner,
        subject=ALICE,
        action={"name": "write"},
        resource=archived,
        evaluations=[{}, {"resource": {"id": "record-1"}}, {"resource": ONE}, {"subject": {"id": "zoe"}}],
    )
    # Properties of the default do not reach an item with a resource of its own.
    assert [one["decision"] for one in found] == [False, True, True, False]


@pytest.mark.parametrize(
    "body",
    [
        {"evaluations": {}},
        {"evaluations": "x"},
        {"evaluations": [{}] * 101},
        {"evaluations": [{}], "options": []},
        {"evaluations": [{}], "options": {"evaluations_semantic": "deny_on_last"}},
        {"evaluations": [{}], "options": {"evaluations_semantic": 5}},
        {"evaluations": [{}], "options": {"evaluations_semantic": []}},
        {"evaluations": [{}], "subject": "alice"},
        {"evaluations": [{}], "context": 1},
    ],
)
def test_a_batch_that_is_wrong_as_a_whole_is_refused(world: World, body: Json) -> None:
    answer = ask(world.owner, body, "/access/v1/evaluations")
    assert (answer.status_code, answer.json()["code"]) == (400, "authzen_invalid")


def test_a_hundred_items_are_answered(world: World) -> None:
    put_certification_in_force(world)
    good = {"subject": ALICE, "action": {"name": "read"}, "resource": ONE}
    assert [one["decision"] for one in batch(world.owner, evaluations=[good] * 100)] == [True] * 100


def search(caller: Caller, **page: object) -> Answer:
    body = {"subject": {"type": "user"}, "action": {"name": "read"}, "resource": ONE, "page": page}
    return ask(caller, body, f"{PDP}/search/subject")


def test_a_token_is_good_for_the_same_search_only(world: World) -> None:
    put_certification_in_force(world)
    token = search(world.owner, limit=1).json()["page"]["next_token"]
    other: Json = {"subject": {"type": "user"}, "action": {"name": "write"}, "resource": ONE}
    elsewhere: Json = {"subject": ALICE, "action": {"name": "read"}, "resource": ONE}
    assert search(world.owner, token=token).status_code == 200
    assert search(world.owner, token=token, limit=1).status_code == 200
    for answer in (
        search(world.owner, token=token, limit=2),
        search(world.owner, token=token[:-2]),
        search(world.owner, token="x"),
        search(world.auditor, token=token),
        ask(world.owner, other | {"page": {"token": token}}, f"{PDP}/search/subject"),
        ask(world.owner, elsewhere | {"page": {"token": token}}, f"{PDP}/search/resource"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_a_page_of_none_leads_on(world: World) -> None:
    put_certification_in_force(world)
    found = search(world.owner, limit=0).json()
    assert (found["results"], found["page"]["count"]) == ([], 0)
    assert found["page"]["next_token"]


def test_a_new_version_of_a_domain_decides_at_once(world: World) -> None:
    put_certification_in_force(world)
    asked = {"subject": ALICE, "action": {"name": "read"}, "resource": ONE}
    assert answered(world.owner, asked, f"{PDP}/evaluation")["decision"] is True
    closed = '@id("nobody") forbid(principal, action, resource);'
    put_in_force(
        world.owner, cert.DOMAIN, policies=closed, schema=cert.SCHEMA, entities=cert.ENTITIES, start=None
    )
    found = answered(world.owner, asked, f"{PDP}/evaluation")
    assert (found["decision"], found["context"]["determining_policies"][0]["id"]) == (False, "nobody")


def test_a_set_in_force_that_cannot_be_used_denies_and_finds_nothing(world: World) -> None:
    put_certification_in_force(world)
    with transaction.atomic():
        active = PolicySet.objects.get(domain=cert.DOMAIN, state="active")
        PolicySet.objects.filter(pk=active.pk).update(hash="sha256:" + "0" * 64, schema_text="entity")
        PolicyEpoch.objects.update(stamp="y" * 32)
        compiled = points.require_domain(cert.DOMAIN)
        assert compiled is None
        broken = points.DomainPoint(compiled)
        asked = read_evaluation({"subject": ALICE, "action": {"name": "read"}, "resource": ONE})
        assert broken.decide(asked).reason_code == "policy.no_active_set"
        searched = read_search(Search.ACTION, {"subject": ALICE, "resource": ONE})
        assert points.search(broken, searched, after="", limit=5).names == ()
        transaction.set_rollback(True)
    assert PolicyFile.objects.filter(policy_set=active).exists()
