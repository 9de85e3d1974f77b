"""What a field is, read from its schema and its names."""

from __future__ import annotations

import pytest

from approvals.fields import Kind, ToolShape, fields_of, kind_of, program_of
from approvals.pointers import parts_of
from tests.approvals.shapes import BUILT_IN, PAY, RUN, custom, text


@pytest.mark.parametrize(
    ("tool", "pointer", "kind"),
    [
        ("fs.write", "/path", Kind.PATH),
        ("fs.write", "/content", Kind.TEXT),
        ("fs.write", "/create_only", Kind.BOOLEAN),
        ("fs.apply_patch", "/patch", Kind.COMMAND),
        ("http.fetch", "/url", Kind.HOST),
        ("http.fetch", "/body", Kind.OTHER),
        ("http.fetch", "/method", Kind.OTHER),
        ("http.fetch", "/headers", Kind.OTHER),
        ("http.fetch", "/headers/X-Id", Kind.OTHER),
        ("http.fetch", "/headers/Authorization", Kind.SECRET),
        ("http.request", "/credential_slots", Kind.SECRET),
        ("process.run", "/command", Kind.COMMAND),
        ("process.run", "/args", Kind.ARGV),
        ("process.run", "/args/0", Kind.COMMAND),
        ("process.run", "/stdin", Kind.COMMAND),
        ("process.run", "/cwd", Kind.PATH),
        ("process.run", "/env/FOO", Kind.OTHER),
        ("process.run", "/requested_egress_hosts/0", Kind.HOST),
        ("process.run", "/timeout_ms", Kind.NUMBER),
        ("plugin.run", "/skill_id", Kind.OTHER),
        ("plugin.run", "/input", Kind.OTHER),
        ("routines.control", "/operation", Kind.OTHER),
        ("tool_program.run", "/steps/0/input", Kind.OTHER),
        ("memory.search", "/query", Kind.COMMAND),
        ("memory.recall", "/prompt_budget_tokens", Kind.AMOUNT),
        ("browser.press", "/key", Kind.OTHER),
        ("fs.write", "/unheard_of", Kind.OTHER),
        ("fs.write", "/path/0", Kind.OTHER),
    ],
)
def test_the_fields_of_built_in_tools(tool: str, pointer: str, kind: Kind) -> None:
    assert kind_of(BUILT_IN[tool], parts_of(pointer) or ()) is kind


@pytest.mark.parametrize(
    ("name", "schema", "kind"),
    [
        ("note", text(), Kind.TEXT),
        ("note", text(maxLength=80), Kind.TEXT),
        ("commitMessage", text(), Kind.TEXT),
        ("repository", text(), Kind.OTHER),
        ("hotel", text(), Kind.OTHER),
        ("start_time", text(), Kind.OTHER),
        ("message_id", text(), Kind.OTHER),
        ("note_to", text(), Kind.OTHER),
        ("note", text(enum=["a"]), Kind.OTHER),
        ("note", text(const="a"), Kind.OTHER),
        ("note", text(format="email"), Kind.OTHER),
        ("note", text(format="date"), Kind.OTHER),
        ("note", text(format="uri"), Kind.HOST),
        ("note", text(format="hostname"), Kind.HOST),
        ("note", text(format="password"), Kind.SECRET),
        ("note", text(writeOnly=True), Kind.SECRET),
        ("dbPassword", text(), Kind.SECRET),
        ("API_KEY", text(), Kind.SECRET),
        ("accessTokens", text(), Kind.SECRET),
        ("pin", {"type": "integer"}, Kind.SECRET),
        ("recipients", text(), Kind.OTHER),
        ("toAddress", text(), Kind.OTHER),
        ("emailAddresses", text(), Kind.OTHER),
        ("target_user", text(), Kind.OTHER),
        ("total_cost", text(), Kind.OTHER),
        ("total_cost", {"type": "number"}, Kind.AMOUNT),
        ("amountCents", {"type": "integer"}, Kind.AMOUNT),
        ("count", {"type": "integer"}, Kind.NUMBER),
        ("count", {"type": "integer", "enum": [1, 2]}, Kind.OTHER),
        ("order", {"type": "integer"}, Kind.FIGURE),
        ("issue_number", {"type": "integer"}, Kind.FIGURE),
        ("keep_days", {"type": "integer"}, Kind.FIGURE),
        ("min_score", {"type": "number"}, Kind.FIGURE),
        ("port", {"type": "integer"}, Kind.OTHER),
        ("account_id", {"type": "integer"}, Kind.OTHER),
        ("force", {"type": "boolean"}, Kind.BOOLEAN),
        ("force", {"type": "boolean", "const": True}, Kind.OTHER),
        ("fileName", text(), Kind.PATH),
        ("output_file", text(), Kind.PATH),
        ("directories", text(), Kind.PATH),
        ("webhookURL", text(), Kind.HOST),
        ("sql", text(), Kind.COMMAND),
        ("shellScript", text(), Kind.COMMAND),
        ("branch", text(), Kind.OTHER),
        ("note", {"type": ["string", "null"]}, Kind.OTHER),
        ("note", {}, Kind.OTHER),
        ("note", {"type": "string", "format": ["uri"]}, Kind.OTHER),
        ("note", {"type": {"string": 1}}, Kind.OTHER),
        ("notes", {"type": "array", "items": text()}, Kind.OTHER),
        ("args", {"type": "array", "items": text()}, Kind.OTHER),
    ],
)
def test_a_field_is_what_its_schema_and_its_name_say(name: str, schema: object, kind: Kind) -> None:
    assert kind_of(ToolShape({"type": "object", "properties": {name: schema}}, frozenset()), (name,)) is kind


def test_what_lies_within_a_secret_is_one() -> None:
    inner = {"type": "object", "properties": {"note": text()}}
    for name, schema in (("login", inner | {"writeOnly": True}), ("credentials", inner)):
        shape = ToolShape({"type": "object", "properties": {name: schema}}, frozenset())
        assert kind_of(shape, (name, "note")) is Kind.SECRET


@pytest.mark.parametrize(
    "schema", [{}, {"properties": []}, {"properties": {"a": None}}, {"properties": {"a": True}}]
)
def test_a_schema_that_says_nothing_leaves_nothing_clear(schema: dict[str, object]) -> None:
    assert kind_of(ToolShape(schema, frozenset()), ("a",)) is Kind.OTHER


def test_no_text_is_free_where_programs_run_or_requests_leave() -> None:
    fields = {"content": text(), "body": text()}
    free = [kind_of(custom(fields), (name,)) for name in fields]
    assert free == [Kind.TEXT, Kind.TEXT]
    assert [kind_of(custom(fields, "network"), (name,)) for name in fields] == [Kind.TEXT, Kind.OTHER]
    assert [kind_of(custom(fields, "process_exec"), (name,)) for name in fields] == [Kind.OTHER, Kind.OTHER]


def test_the_program_of_a_call_is_one_fixed_text() -> None:
    assert program_of(RUN, {"command": "wc", "args": ["x"], "stdin": "y"}) == "wc"
    assert program_of(RUN, {"args": ["x"]}) is None
    assert program_of(RUN, {"argv": ["x", "y"]}) == "x"
    assert program_of(RUN, {"argv": ["x", "y"], "cmd": "z"}) == "z"
    assert program_of(custom({"a": text()}, argv=("wc", "{a}")), {"a": "x"}) == "wc"
    assert program_of(custom({"a": text()}, argv=("{a}", "x")), {"a": "wc"}) is None
    assert program_of(PAY, {"recipient": "wc"}) is None
    two = custom({"command": text(), "program": text()}, "process_exec")
    assert program_of(two, {"command": "wc", "program": "sh"}) is None


def test_fields_are_walked_into_objects_and_not_into_lists() -> None:
    found = dict(fields_of(PAY, {"details": {"note": "a"}, "labels": ["x"], "amount": 1}))
    assert found == {("details", "note"): Kind.TEXT, ("labels",): Kind.OTHER, ("amount",): Kind.AMOUNT}
