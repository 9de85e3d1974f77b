"""Requests to a domain: properties over stored entities, unknown means no, obligations are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from policy.compilation import SourceFile
from policy.domain_requests import (
    DomainRequest,
    Party,
    decide_in,
    judged_actions,
    judged_resources,
    judged_subjects,
)
from policy.domains import CompiledDomain, compile_domain
from policy.types import Code, Effect
from tests.policy.authzen_fixture import SCHEMA, compiled, entity

CERT = compiled()


def ask(
    subject: str = "alice",
    action: str = "read",
    resource: str = "record-1",
    *,
    domain: CompiledDomain = CERT,
    role: object = None,
    status: object = None,
    soft: object = None,
    **context: object,
) -> Any:
    """Ask the domain, with the properties that are given."""
    return decide_in(
        domain,
        DomainRequest(
            subject=Party("user", subject, {} if role is None else {"role": role}),
            action=action,
            resource=Party("record", resource, {} if status is None else {"status": status}),
            context=context,
            action_properties={} if soft is None else {"soft": soft},
        ),
    )


def domain_of(
    text: str, entities: list[dict[str, object]] | None = None, schema: str = SCHEMA
) -> CompiledDomain:
    found = compile_domain([SourceFile("a.cedar", text)], schema, json.dumps(entities or []))
    assert isinstance(found, CompiledDomain), found
    return found


def permitted(judged: Iterator[tuple[str, bool]]) -> list[str]:
    """Return what a search found among all it looked at."""
    return [name for name, allowed in judged if allowed]


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({}, True),
        ({"action": "write"}, True),
        ({"subject": "bob"}, True),
        ({"subject": "bob", "action": "write"}, False),
        ({"action": "write", "resource": "record-2", "status": "archived"}, False),
        ({"subject": "bob", "role": "admin", "action": "write", "resource": "r", "status": "archived"}, True),
        ({"action": "delete", "soft": True}, True),
        ({"action": "delete", "soft": False}, False),
    ],
)  # fmt: skip
def test_the_eight_decisions_of_the_certification(asked: dict[str, Any], allowed: bool) -> None:
    assert (ask(**asked).effect is Effect.ALLOW) is allowed


def test_properties_are_laid_over_the_stored_entity_and_only_for_this_request() -> None:
    assert ask(action="write", resource="record-1", status="archived").effect is Effect.DENY
    assert ask(action="write", resource="record-1").effect is Effect.ALLOW
    assert ask("zoe", "write", "anything", role="admin", status="archived").effect is Effect.ALLOW
    assert ask("zoe", "write", "anything", role="admin").effect is Effect.DENY


def test_a_request_cannot_say_what_an_entity_belongs_to() -> None:
    asked = DomainRequest(
        Party("user", "zoe", {"parents": [{"type": "team", "id": "staff"}], "team": "staff"}),
        "read",
        Party("record", "record-1"),
    )
    assert decide_in(CERT, asked).reason_code == Code.NO_PERMIT


def test_action_properties_reach_the_rules_as_such_and_from_nowhere_else() -> None:
    assert ask(action="delete", action_properties={"soft": True}).effect is Effect.DENY
    assert ask(action="delete", soft=False, action_properties={"soft": True}).effect is Effect.DENY


def test_what_the_schema_does_not_declare_changes_nothing() -> None:
    asked = DomainRequest(
        Party("user", "alice", {"department": "Sales", "role": "manager"}),
        "read",
        Party("record", "record-1", {"status": "active", "owner": "bob", "n": {"deep": [1, None]}}),
        {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"},
        {"method": "GET"},
    )
    assert decide_in(CERT, asked).effect is Effect.ALLOW


@pytest.mark.parametrize("wrong", [5, True, ["admin"], {"a": 1}, 1.5])
def test_a_property_of_the_wrong_type_denies_instead_of_switching_a_rule_off(wrong: object) -> None:
    """Kept as it is, it would not equal "archived", and `unless` would let the write through."""
    found = ask(action="write", status=wrong)
    assert (found.effect, found.reason_code) == (Effect.DENY, Code.INVALID_REQUEST)


def test_an_action_property_of_the_wrong_type_denies() -> None:
    found = ask(action="delete", soft="yes")
    assert (found.effect, found.reason_code) == (Effect.DENY, Code.INVALID_CONTEXT)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"action": "fly"}, Code.NO_PERMIT),
        ({"subject": Party("dragon", "alice")}, Code.NO_PERMIT),
        ({"resource": Party("user", "alice")}, Code.NO_PERMIT),
        ({"subject": Party("user", "")}, Code.INVALID_REQUEST),
        ({"subject": Party("user", "a\0b")}, Code.INVALID_REQUEST),
        ({"subject": Party("user", "a" * 513)}, Code.INVALID_REQUEST),
        ({"subject": Party('user::"alice"; //', "alice")}, Code.NO_PERMIT),
        ({"subject": Party("user", 'alice"\n::"')}, Code.NO_PERMIT),
        ({"subject": Party("user", "\ud800")}, Code.INVALID_REQUEST),
    ],
)
def test_what_means_nothing_is_denied(change: dict[str, Any], code: Code) -> None:
    asked = DomainRequest(Party("user", "alice"), "read", Party("record", "record-1"))
    found = decide_in(CERT, replace(asked, **change))
    assert (found.effect, found.reason_code) == (Effect.DENY, code)


def test_an_error_beside_an_allow_denies() -> None:
    schema = "entity user { n: Long }; action go appliesTo { principal: user, resource: user };"
    rules = (
        "permit(principal, action, resource);"
        "forbid(principal, action, resource) when { principal.n + 1 > 9 };"
    )
    domain = domain_of(rules, [entity("user", "a", n=2**63 - 1)], schema)
    found = decide_in(domain, DomainRequest(Party("user", "a"), "go", Party("user", "a")))
    assert (found.effect, found.reason_code) == (Effect.DENY, Code.EVALUATION_FAILED)
    assert len(found.explanation.diagnostics_errors) == 1


def test_a_permit_that_asks_for_an_approval_is_none_yet() -> None:
    domain = domain_of(
        '@id("ask_two") @obligation("approval") @quorum("2") permit(principal, action, resource);\n'
        '@id("log_it") @obligation("log_input") permit(principal, action, resource);'
    )
    found = ask(domain=domain)
    assert (found.effect, found.reason_code) == (Effect.REQUIRE_APPROVAL, Code.APPROVAL_REQUIRED)
    assert [(item.kind, item.quorum) for item in found.obligations] == [("approval", 2), ("log_input", 1)]
    asked = DomainRequest(Party("user", ""), "read", Party("record", "r", {"status": "x"}))
    assert permitted(judged_subjects(domain, asked, "")) == []


def test_an_obligation_that_can_be_met_by_the_caller_travels_with_the_allow() -> None:
    domain = domain_of('@id("log_it") @obligation("log_input") permit(principal, action, resource);')
    found = ask(domain=domain)
    assert found.effect is Effect.ALLOW
    assert [item.kind for item in found.obligations] == ["log_input"]


def test_a_decision_names_the_rules_that_made_it() -> None:
    found = ask(action="delete", soft=True)
    assert [rule.id for rule in found.explanation.determining_policies] == ["soft_delete"]
    assert found.reason == "What is deleted softly can be brought back."
    forbidding = domain_of('@id("not_today") forbid(principal, action, resource);')
    found = ask(domain=forbidding)
    assert (found.reason_code, [rule.effect for rule in found.explanation.determining_policies]) == (
        Code.DENIED,
        ["forbid"],
    )


def test_searches_find_what_a_decision_would_permit() -> None:
    asked = DomainRequest(Party("user", ""), "read", Party("record", "record-1"))
    assert permitted(judged_subjects(CERT, asked, "")) == ["alice", "bob"]
    assert permitted(judged_subjects(CERT, asked, "alice")) == ["bob"]
    archived = replace(asked, action="write", resource=Party("record", "record-2", {"status": "archived"}))
    assert permitted(judged_subjects(CERT, archived, "")) == ["bob"]
    bob = DomainRequest(Party("user", "bob", {"role": "admin"}), "write", Party("record", ""))
    assert permitted(judged_resources(CERT, bob, "")) == ["record-2"]
    alice = DomainRequest(Party("user", "alice"), "", Party("record", "record-1"))
    assert permitted(judged_actions(CERT, alice, "")) == ["read", "write"]


@pytest.mark.parametrize(
    "unknown", [Party("user", "nobody"), Party("dragon", "alice"), Party("user", "x", {"role": 5})]
)
def test_a_search_about_what_is_not_known_finds_nothing(unknown: Party) -> None:
    stored = [entity("record", "r"), entity("user", "u")]
    open_to_all = domain_of("permit(principal, action, resource);", stored)
    record = Party("record", "r")
    assert permitted(judged_actions(open_to_all, DomainRequest(unknown, "", record), "")) == []
    assert permitted(judged_resources(open_to_all, DomainRequest(unknown, "read", record), "")) == []
    assert (
        permitted(judged_subjects(open_to_all, DomainRequest(Party("dragon", ""), "read", record), "")) == []
    )
    assert permitted(judged_actions(open_to_all, DomainRequest(Party("user", "u"), "", record), ""))


NAMES = ("a", "b", "c", "d")
GRAPH = """
entity team in [team] { open?: Bool };
entity user in [team] { boss?: user, role?: String };
entity record in [record] { owner?: user, status?: String };
action read appliesTo { principal: user, resource: record };
"""
RULES = """
permit(principal, action, resource) when { resource has owner.boss.role && resource.owner.boss.role == "x" };
permit(principal in team::"a", action, resource) unless { resource has status && resource.status == "x" };
forbid(principal, action, resource) when { team::"b" has open && team::"b".open && principal in team::"c" };
forbid(principal, action, resource in record::"d")
unless { principal has boss && principal.boss in team::"a" };
permit(principal, action, resource)
when { principal has boss && resource has owner && principal.boss == resource.owner };
"""
some = st.sampled_from(NAMES)
optional_role = st.one_of(st.none(), st.sampled_from(["x", "y"]))
graphs = st.fixed_dictionaries(
    {
        "bosses": st.dictionaries(some, some),
        "roles": st.dictionaries(some, st.sampled_from(["x", "y"])),
        "owners": st.dictionaries(some, some),
        "teams": st.dictionaries(some, some),
        "open": st.dictionaries(some, st.booleans()),
        "within": st.dictionaries(some, some),
    }
)


def graph_of(drawn: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return teams, users and records; parents go from earlier to later names only, so no cycle."""

    def up(kind: str, name: str, parents: dict[str, str]) -> list[dict[str, str]]:
        parent = parents.get(name)
        return [{"type": kind, "id": parent}] if parent and parent > name else []

    built: list[dict[str, Any]] = []
    for name in NAMES:
        teams, records = up("team", name, drawn["within"]), up("record", name, drawn["within"])
        member = [{"type": "team", "id": drawn["teams"][name]}] if name in drawn["teams"] else []
        user: dict[str, Any] = {"role": drawn["roles"][name]} if name in drawn["roles"] else {}
        if name in drawn["bosses"]:
            user["boss"] = {"__entity": {"type": "user", "id": drawn["bosses"][name]}}
        owner = {"owner": {"type": "user", "id": drawn["owners"][name]}} if name in drawn["owners"] else {}
        opened = {"open": drawn["open"][name]} if name in drawn["open"] else {}
        built += [
            {"uid": {"type": "team", "id": name}, "attrs": opened, "parents": teams},
            {"uid": {"type": "user", "id": name}, "attrs": user, "parents": member},
            {"uid": {"type": "record", "id": name}, "attrs": owner, "parents": records},
        ]
    return built


@given(graphs, some, some, optional_role, optional_role)
@settings(max_examples=300)
def test_what_is_sent_to_cedar_decides_as_all_entities_do(
    drawn: dict[str, dict[str, Any]], who: str, what: str, role: str | None, status: str | None
) -> None:
    domain = domain_of(RULES, graph_of(drawn), GRAPH)
    subject = Party("user", who, {"role": role} if role else {})
    record = Party("record", what, {"status": status} if status else {})
    asked = DomainRequest(subject, "read", record)
    stored = graph_of(drawn)
    for one in stored:
        uid = (one["uid"]["type"], one["uid"]["id"])
        if uid == subject.uid and role:
            one["attrs"]["role"] = role
        if uid == record.uid and status:
            one["attrs"]["status"] = status
    plain = domain_of(RULES, stored, GRAPH)
    expected = decide_in(plain, DomainRequest(Party("user", who), "read", Party("record", what)))
    found = decide_in(domain, asked)
    assert (found.effect, found.reason_code) == (expected.effect, expected.reason_code)
    assert found.explanation.matched_policy_ids == expected.explanation.matched_policy_ids
