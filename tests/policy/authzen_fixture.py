"""The fixture of the AuthZEN certification as a domain: two people, two records, eight decisions.

The rules are our own; the scenario names subjects, resources, actions and what must be decided.
"""

from __future__ import annotations

import json

from policy.compilation import SourceFile
from policy.domains import CompiledDomain, compile_domain

DOMAIN = "authzen-cert"
SCHEMA = """
entity team;
entity user in [team] { role?: String };
entity record { status?: String };
action read, write appliesTo { principal: [user], resource: [record], context: {} };
action delete appliesTo {
  principal: [user],
  resource: [record],
  context: { action_properties?: { soft?: Bool } }
};
"""
POLICIES = """
@id("staff_read")
permit(principal in team::"staff", action == Action::"read", resource);

@id("alice_writes_what_is_live")
permit(principal == user::"alice", action == Action::"write", resource)
unless { resource has status && resource.status == "archived" };

@id("admins_write_archives")
permit(principal, action == Action::"write", resource)
when {
  principal has role && principal.role == "admin" &&
  resource has status && resource.status == "archived"
};

@id("soft_delete")
@description("What is deleted softly can be brought back.")
permit(principal == user::"alice", action == Action::"delete", resource)
when { context has action_properties.soft && context.action_properties.soft };
"""


def entity(kind: str, name: str, *teams: str, **attrs: object) -> dict[str, object]:
    """Return one stored entity."""
    parents = [{"type": "team", "id": team} for team in teams]
    return {"uid": {"type": kind, "id": name}, "attrs": attrs, "parents": parents}


ENTITIES = json.dumps(
    [
        entity("team", "staff"),
        entity("user", "alice", "staff"),
        entity("user", "bob", "staff", role="admin"),
        entity("record", "record-1", status="active"),
        entity("record", "record-2", status="archived"),
    ]
)
FILES = (SourceFile("cert.cedar", POLICIES),)


def compiled() -> CompiledDomain:
    """Return the fixture, compiled."""
    found = compile_domain(FILES, SCHEMA, ENTITIES)
    assert isinstance(found, CompiledDomain), found
    return found
