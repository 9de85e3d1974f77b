"""Domains as people bring them into force over REST: drafted, filled, validated, simulated, activated."""

from __future__ import annotations

import json

from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.world import Answer, Caller, World
from tests.policy import authzen_fixture as cert


def put_in_force(
    owner: Caller, domain: str, *, policies: str, schema: str, entities: str, start: str | None = None
) -> str:
    """Bring a version of a domain into force and return its id. The owner is alone in the instance."""
    fresh(owner)
    made = _ok(owner.post("policy-sets", {"name": "A domain", "domain": domain, "from": start}))
    path, tag = f"policy-sets/{made.json()['id']}", made.headers["ETag"]
    for name, value in (("schema_text", schema), ("entities_json", entities)):
        tag = _ok(_send(owner, "PATCH", path, {name: value}, tag)).headers["ETag"]
    tag = _ok(_send(owner, "PUT", f"{path}/files/rules.cedar", {"text": policies}, tag)).headers["ETag"]
    tag = _ok(owner.post(f"{path}/validate", {})).headers["ETag"]
    number = _ok(owner.post(f"{path}/simulate", {})).json()["number"]
    wish = {"reason": "asked for in a test", "simulation": number, "acknowledged_loosened": 0}
    _ok(_send(owner, "POST", f"{path}/activate", wish, tag))
    return str(made.json()["id"])


def put_certification_in_force(world: World) -> str:
    """Bring the fixture of the certification into force, with the feature on."""
    switch_on("authzen_api")
    return put_in_force(
        world.owner, cert.DOMAIN, policies=cert.POLICIES, schema=cert.SCHEMA, entities=cert.ENTITIES
    )


def _send(owner: Caller, method: str, path: str, body: object, tag: str) -> Answer:
    return owner.send(method, path, json.dumps(body).encode(), If_Match=tag)


def _ok(answer: Answer) -> Answer:
    assert answer.status_code in (200, 201), answer.content
    return answer
