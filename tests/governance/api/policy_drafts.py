"""People who write policy sets over HTTP, and how they do it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from identity.models import Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from tests.governance.api.stepping import fresh
from tests.governance.api.world import Answer, Caller, World, add_person, owner_principal
from tests.policy.lifecycles import NO_FTP


@dataclass(frozen=True, slots=True)
class People:
    """Two administrators of the instance besides its owner, and one of the workspace `default` alone."""

    world: World
    author: Caller
    second: Caller
    local: Caller


def make_people(world: World) -> People:
    now = utc_now()
    with transaction.atomic():
        owner = owner_principal(world, now)
        instance = Workspace.objects.get(slug="instance")
        author = add_person("author", instance, owner, WorkspaceRole.ADMIN, now=now)
        second = add_person("second", instance, owner, WorkspaceRole.ADMIN, now=now)
        local = add_person("local-admin", world.workspace, owner, WorkspaceRole.ADMIN, now=now)
    return People(world, fresh(author), fresh(second), fresh(local))


def call(caller: Caller, method: str, path: str, body: object = None, tag: str = "", **more: str) -> Answer:
    headers = {"If_Match": tag} if tag else {}
    data = None if body is None else json.dumps(body).encode()
    return caller.send(method, path, data, **headers, **more)


def draft(caller: Caller, **body: object) -> dict[str, Any]:
    answer = caller.post("policy-sets", {"name": "No FTP"} | body)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def tag_of(made: dict[str, Any]) -> str:
    return f'"{made["id"]}:{made["edit_version"]}"'


def put(
    caller: Caller, made: dict[str, Any], text: str = NO_FTP, name: str = "custom.cedar"
) -> dict[str, Any]:
    answer = call(caller, "PUT", f"policy-sets/{made['id']}/files/{name}", {"text": text}, tag_of(made))
    assert answer.status_code == 200, answer.content
    edited: dict[str, Any] = answer.json()
    return edited


def validate(caller: Caller, made: dict[str, Any]) -> dict[str, Any]:
    answer = caller.post(f"policy-sets/{made['id']}/validate")
    assert answer.status_code == 200, answer.content
    validated: dict[str, Any] = answer.json()
    return validated


def code_of(answer: Answer) -> str:
    return str(answer.json()["code"])
