"""Attestations and evidence over HTTP."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any

import pytest
from django.db import transaction

from governance.journal.models import Attestation
from governance.journal.sealing import seal
from kernel.clock import utc_now
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_matrix import hold_every_scope
from tests.governance.api.world import World


@pytest.fixture
def call(world: World) -> dict[str, Any]:
    """A call that was denied, and so has ended."""
    return world.agent.propose("no.such.tool", {})


def test_the_attestation_is_answered_byte_for_byte(world: World, call: dict[str, Any]) -> None:
    answer = world.agent.get(f"tool-calls/{call['id']}/attestation")
    row = Attestation.objects.get(call_id=call["id"])
    assert hashlib.sha256(answer.content).hexdigest() == row.envelope_sha256
    assert answer.headers["Content-Type"] == "application/json"


def test_the_call_links_to_its_evidence_and_names_its_place_once_it_is_sealed(
    world: World, call: dict[str, Any]
) -> None:
    assert call["attestation"]["journal_seq"] is None
    with transaction.atomic():
        seal(now=utc_now())
    shown = world.agent.get(f"tool-calls/{call['id']}").json()
    assert isinstance(shown["attestation"]["journal_seq"], int)
    assert shown["links"]["evidence"] == f"/api/v1/tool-calls/{call['id']}/evidence"
    assert world.agent.get(shown["links"]["events"]).status_code == 200
    assert world.ask("demo.wc")["links"]["evidence"] is None


def test_evidence_is_an_archive_to_save_and_its_contents_ask_for_a_code(
    world: World, call: dict[str, Any]
) -> None:
    path = f"tool-calls/{call['id']}/evidence"
    for accept in ("*/*", "application/zip"):
        answer = world.auditor.get(path, Accept=accept)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="evidence-{call["id"]}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert json.loads(archive.read("manifest.json"))["call"] == call["id"]
    assert_problem(world.auditor.get(f"{path}?reveal=true"), 401, "step_up_required")
    assert fresh(world.auditor).get(f"{path}?reveal=true").status_code == 200
    assert_problem(world.auditor.get(f"{path}?reveal=yes"), 400, "invalid_parameter")
    assert_problem(world.auditor.get(f"{path}?data=1"), 400, "unknown_parameter")


def test_evidence_is_for_those_who_may_take_the_journal_away(world: World, call: dict[str, Any]) -> None:
    path = f"tool-calls/{call['id']}/evidence"
    assert_problem(world.agent.get(path), 403, "role_required")
    assert world.approver.get(path).status_code == 403
    assert hold_every_scope(fresh(world.stranger)).get(path).status_code in (403, 404)
    assert_problem(world.auditor.get("tool-calls/call_01JD0000000000000000000000/evidence"), 404, "not_found")
    assert_problem(world.auditor.get(f"tool-calls/{world.ask('demo.wc')['id']}/evidence"), 404, "not_found")


def test_an_envelope_from_anywhere_is_judged(world: World, call: dict[str, Any]) -> None:
    envelope = world.agent.get(f"tool-calls/{call['id']}/attestation").json()
    answer = world.agent.post("attestations/verify", {"envelope": envelope})
    judged = answer.json()
    assert answer.status_code == 200
    assert (judged["valid"], judged["code"], judged["recorded"]) == (True, None, True)
    assert judged["statement"]["call_id"] == call["id"]
    assert (judged["statement"]["outcome"], judged["statement"]["executor"]) == ("denied", "tool_intake")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"payload": "e30="}, "attestation.signature_invalid"),
        ({"payload": "e31="}, "attestation.malformed"),
        ({"payloadType": "text/plain"}, "attestation.payload_type"),
        ({"signatures": []}, "attestation.malformed"),
        ({"signatures": [{"keyid": "sha256:0", "sig": "AA=="}]}, "attestation.key_unknown"),
        ({"more": 1}, "attestation.malformed"),
    ],
)
def test_an_envelope_that_was_touched_says_nothing(
    world: World, call: dict[str, Any], change: dict[str, object], code: str
) -> None:
    envelope = world.agent.get(f"tool-calls/{call['id']}/attestation").json()
    judged = world.agent.post("attestations/verify", {"envelope": envelope | change}).json()
    assert judged == {
        "object": "attestation_verdict",
        "valid": False,
        "code": code,
        "key_id": None,
        "recorded": False,
        "statement": None,
    }


def test_what_is_no_envelope_is_a_verdict_and_what_is_no_question_a_problem(world: World) -> None:
    wrong: tuple[object, ...] = ("text", 1, [], {}, {"payload": None, "payloadType": 1, "signatures": {}})
    for given in wrong:
        judged = world.agent.post("attestations/verify", {"envelope": given}).json()
        assert (judged["valid"], judged["code"]) == (False, "attestation.malformed"), given
    assert_problem(world.agent.post("attestations/verify", {}), 422, "invalid")
    more = {"envelope": {}, "key": "x"}
    assert_problem(world.agent.post("attestations/verify", more), 400, "unknown_field")
    large = {"envelope": {"payload": "A" * 1_100_000}}
    assert_problem(world.agent.post("attestations/verify", large), 413, "body_too_large")
    assert_problem(world.nobody.post("attestations/verify", {"envelope": {}}), 401, "unauthenticated")
