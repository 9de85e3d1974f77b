"""Bodies that are refused before anything is done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from governance.models import Run, ToolCall
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import World

NESTED = 40
MALFORMED = {
    "nothing but a comma": b",",
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "a number": b"1",
    "two values": b"{} {}",
    "a comment": b"{}//",
    "single quotes": b"{'purpose':'x'}",
    "a trailing comma": b'{"purpose":"x",}',
    "a repeated key": b'{"purpose":"x","purpose":"y"}',
    "a repeated key inside": b'{"labels":{"a":"1","a":"2"}}',
    "a repeated key, escaped": b'{"purpose":"x","\\u0070urpose":"y"}',
    "NaN": b'{"max_calls":NaN}',
    "Infinity": b'{"max_calls":Infinity}',
    "minus Infinity": b'{"max_calls":-Infinity}',
    "a number out of range": b'{"max_calls":1e400}',
    "2^53": b'{"max_calls":9007199254740992}',
    "minus 2^53": b'{"max_calls":-9007199254740992}',
    "5 000 digits": b'{"max_calls":' + b"9" * 5000 + b"}",
    "depth 33": b'{"labels":' + b"[" * 32 + b"]" * 32 + b"}",
    "depth 100 000": b'{"labels":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "10 001 keys": json.dumps({"labels": {str(n): "" for n in range(10_000)}}).encode(),
    "a lone surrogate": b'{"purpose":"\\ud800"}',
    "a lone surrogate as key": b'{"\\udfff":"x"}',
    "invalid UTF-8": b'{"purpose":"\xff"}',
    "an encoded surrogate": b'{"purpose":"\xed\xa0\x80"}',
    "Latin-1": '{"purpose":"ä"}'.encode("latin-1"),
    "UTF-16": '{"purpose":"x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"purpose":"x"}',
    "a NUL byte": b'{"purpose":"x"}\0',
    "a control character": b'{"purpose":"a\nb"}',
}


@pytest.mark.parametrize("cause", MALFORMED)
def test_what_is_not_strict_json_is_refused(world: World, cause: str) -> None:
    for path in ("runs", "tool-calls"):
        assert_problem(world.agent.send("POST", path, MALFORMED[cause]), 400, "malformed_json")
    assert not Run.objects.exists()


def test_the_greatest_integer_depth_and_number_of_keys_pass(world: World) -> None:
    run = world.agent.open_run()
    deep: Any = 9_007_199_254_740_991
    for _ in range(30):
        deep = [deep]
    wide = {str(n): None for n in range(9_990)}
    for given_input in ({"a": deep}, wide):
        answer = world.agent.post("tool-calls", {"run_id": run, "tool": "nope", "input": given_input})
        assert answer.status_code == 201, answer.content


def test_one_mebibyte_passes_and_one_byte_more_does_not(world: World) -> None:
    run = world.agent.open_run()
    frame = len(json.dumps({"run_id": run, "tool": "nope", "input": {"a": ""}}))
    for more, status in ((0, 201), (1, 413)):
        filler = "x" * (1_048_576 - frame + more)
        answer = world.agent.post("tool-calls", {"run_id": run, "tool": "nope", "input": {"a": filler}})
        assert answer.status_code == status
    assert_problem(answer, 413, "body_too_large")


def test_unknown_fields_are_named_by_pointers(world: World) -> None:
    answer = world.agent.post("runs", {"purpose": "x", "a/b~c": 1, "zeta": None})
    assert_problem(answer, 400, "unknown_field")
    assert [item["pointer"] for item in answer.json()["errors"]] == ["/a~1b~0c", "/zeta"]
    assert not Run.objects.exists()


def test_a_flood_of_unknown_fields_is_not_echoed(world: World) -> None:
    answer = world.agent.post("runs", {f"field-{n}": 1 for n in range(5000)})
    assert_problem(answer, 400, "unknown_field")
    assert len(answer.json()["errors"]) == 20


WRONG = [
    ("runs", {"max_calls": "25"}, "/max_calls"),
    ("runs", {"max_calls": 25.0}, "/max_calls"),
    ("runs", {"max_calls": True}, "/max_calls"),
    ("runs", {"max_calls": None}, "/max_calls"),
    ("runs", {"max_calls": 0}, "/max_calls"),
    ("runs", {"max_calls": -1}, "/max_calls"),
    ("runs", {"max_calls": 9_007_199_254_740_991}, "/max_calls"),
    ("runs", {"ttl_seconds": 59}, "/ttl_seconds"),
    ("runs", {"ttl_seconds": 2_592_001}, "/ttl_seconds"),
    ("runs", {"purpose": 1}, "/purpose"),
    ("runs", {"purpose": ["x"]}, "/purpose"),
    ("runs", {"purpose": "x" * 501}, "/purpose"),
    ("runs", {"purpose": "a\0b"}, "/purpose"),
    ("runs", {"labels": []}, "/labels"),
    ("runs", {"labels": "x"}, "/labels"),
    ("runs", {"labels": {"a": 1}}, "/labels/a"),
    ("runs", {"labels": {"a": "x\0"}}, "/labels/a"),
    ("runs", {"labels": {"a\0b": "x"}}, "/labels"),
    ("runs", {"labels": {"": "x"}}, "/labels"),
    ("runs", {"labels": {"x" * 65: "x"}}, "/labels"),
    ("runs", {"labels": {str(n): "x" for n in range(17)}}, "/labels"),
    ("runs", {"origin": "magic"}, "/origin"),
    ("runs", {"origin": ["manual"]}, "/origin"),
    ("runs", {"approval_channel": True}, "/approval_channel"),
    ("runs", {"agent": 7}, "/agent"),
    ("tool-calls", {}, "/run_id"),
    ("tool-calls", {"run_id": "r", "tool": "echo"}, "/input"),
    ("tool-calls", {"run_id": "r", "tool": "echo", "input": None}, "/input"),
    ("tool-calls", {"run_id": 1, "tool": "echo", "input": {}}, "/run_id"),
    ("tool-calls", {"run_id": "r", "tool": ["echo"], "input": {}}, "/tool"),
    ("tool-calls", {"run_id": "r", "tool": "", "input": {}}, "/tool"),
    ("tool-calls", {"run_id": "r", "tool": "e\0", "input": {}}, "/tool"),
    ("tool-calls", {"run_id": "r", "tool": "x" * 161, "input": {}}, "/tool"),
    ("tool-calls", {"run_id": "r", "tool": "echo", "input": {}, "dry_run": 1}, "/dry_run"),
    ("tool-calls", {"run_id": "r", "tool": "echo", "input": {}, "dry_run": "true"}, "/dry_run"),
    ("tool-calls", {"run_id": "r", "tool": "echo", "input": {}, "dry_run": None}, "/dry_run"),
]


@pytest.mark.parametrize(("path", "body", "pointer"), WRONG)
def test_a_wrong_value_is_pointed_at_and_never_converted(
    world: World, path: str, body: object, pointer: str
) -> None:
    answer = world.agent.post(path, body)
    assert_problem(answer, 422, "invalid")
    assert pointer in [item["pointer"] for item in answer.json()["errors"]]
    assert not Run.objects.exists()


@pytest.mark.parametrize("wrong", ["", "run_", "tok_01JD0000000000000000000000", "run_" + "I" * 26, "1"])
def test_an_id_of_another_form_is_refused(world: World, wrong: str) -> None:
    body = {"run_id": wrong or "x", "tool": "echo", "input": {}}
    assert_problem(world.agent.post("tool-calls", body), 400, "invalid_id")
    body = {"run_id": world.agent.open_run(), "tool": "echo", "input": {}, "parent_call_id": wrong or "x"}
    assert_problem(world.agent.post("tool-calls", body), 400, "invalid_id")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps({"run_id": value, "tool": "echo", "input": value}).encode()),
    st.integers(1, 400).map(lambda depth: b'{"input":' + b"[" * depth + b"]" * depth + b"}"),
    st.integers(1, 6000).map(lambda digits: b'{"run_id":' + b"9" * digits + b"}"),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=bodies)
def test_no_noise_gets_more_than_a_problem(
    world: World, caplog: pytest.LogCaptureFixture, noise: bytes
) -> None:
    caplog.clear()
    answer = world.agent.send("POST", "tool-calls", noise)
    assert 400 <= answer.status_code < 500, answer.content
    assert_problem(answer, answer.status_code, answer.json()["code"])
    assert not ToolCall.objects.exists()
    assert not [entry for entry in caplog.records if entry.name.startswith("governance")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tool=st.text(min_size=1, max_size=20), noise=json_values)
def test_no_input_breaks_a_proposal(world: World, tool: str, noise: object) -> None:
    run = world.agent.open_run()
    answer = world.agent.post("tool-calls", {"run_id": run, "tool": tool, "input": noise})
    if answer.status_code == 201:
        assert answer.json()["state"] == "denied"
    else:
        assert_problem(answer, answer.status_code, answer.json()["code"])
        assert answer.status_code in (400, 422)


@pytest.mark.parametrize("path", ["runs", "tool-calls", "runs?token=hunter2"])
def test_what_was_sent_stays_out_of_the_log(
    world: World, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level("DEBUG")
    body = {"purpose": "hunter2", "hunter2": 1}
    answer = world.agent.post(path, body)
    assert answer.status_code in (400, 401)
    lines = [entry.getMessage() for entry in caplog.records if entry.name != "django.db.backends"]
    assert not [line for line in lines if "hunter2" in line or world.agent.token in line]
    assert world.agent.token not in answer.content.decode()
