"""Policy sets over HTTP: compared with each other, carried out and brought in again."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from policy.models import PolicySet
from tests.governance.api.policy_drafts import People, code_of, draft, make_people, put, validate
from tests.governance.api.world import Answer, World
from tests.policy.lifecycles import NO_FTP

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(world: World) -> People:
    return make_people(world)


def test_two_sets_are_compared_by_rule_and_as_text(people: People) -> None:
    made = put(people.author, draft(people.author))
    found = people.world.auditor.get(f"policy-sets/{made['id']}/diff").json()
    assert ([rule["id"] for rule in found["added"]], found["removed"], found["changed"]) == (
        ["no_ftp"],
        [],
        [],
    )
    assert found["files"][0]["name"] == "custom.cedar"
    back = people.world.auditor.get(f"policy-sets/active/diff?against={made['id']}").json()
    assert [rule["id"] for rule in back["removed"]] == ["no_ftp"]
    for query in ("against=pol_1", "against=", "other=1"):
        assert people.world.auditor.get(f"policy-sets/active/diff?{query}").status_code in (400, 404)


@pytest.mark.parametrize("kind", ["zip", "cedar"])
def test_a_set_carried_out_comes_back_the_same_to_the_byte(people: People, kind: str) -> None:
    made = validate(people.author, put(people.author, draft(people.author), NO_FTP.replace("\n", "\r\n")))
    out = people.world.auditor.get(f"policy-sets/{made['id']}/export?format={kind}")
    assert out.headers["Content-Disposition"].endswith(f'.{kind}"')
    type_ = {"zip": "application/zip", "cedar": "text/plain; charset=utf-8"}[kind]
    answer = people.second.send("POST", "policy-sets/import?name=Back", out.content, kind=type_)
    assert answer.status_code == 201, answer.content
    assert answer.json()["authors"] == [people.second.id]
    assert validate(people.second, answer.json())["hash"] == made["hash"]


def test_an_archive_that_is_not_plain_is_refused(people: People) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("../rules.cedar", NO_FTP)
    send: Callable[..., Answer] = people.author.send
    path = "policy-sets/import?name=x"
    assert code_of(send("POST", path, held.getvalue(), kind="application/zip")) == "policy_invalid"
    assert code_of(send("POST", path, b"\xff\xfe", kind="text/plain")) == "policy_invalid"
    assert send("POST", path, b"{}", kind="application/json").status_code == 415
    assert send("POST", path, b"x", kind="text/plain; charset=latin-1").status_code == 415
    assert send("POST", "policy-sets/import", b"x", kind="text/plain").status_code == 400
    large = b"/" * (8 * 1024 * 1024 + 1)
    assert send("POST", path, large, kind="text/plain").status_code == 413
    assert not PolicySet.objects.filter(title="x").exists()


def test_a_large_set_passes_where_other_bodies_may_not(people: People) -> None:
    text = b"// " + b"x" * (2 * 1024 * 1024) + b"\n" + NO_FTP.encode()
    answer = people.author.send("POST", "policy-sets/import?name=Large", text, kind="text/plain")
    assert answer.status_code == 201
    again = people.author.send(
        "POST", "policy-sets/import?name=Large", text, kind="text/plain", Idempotency_Key="k1"
    )
    repeat = people.author.send(
        "POST", "policy-sets/import?name=Large", text, kind="text/plain", Idempotency_Key="k1"
    )
    assert again.json()["id"] == repeat.json()["id"]
    other = people.author.send(
        "POST", "policy-sets/import?name=Large", text + b"\n", kind="text/plain", Idempotency_Key="k1"
    )
    assert code_of(other) == "idempotency_key_reused"
