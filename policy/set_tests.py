"""Tests that a policy set carries: a request in a made-up world, and what must be decided.

They are evaluated by the function that decides live calls. The format is described in
docs/policy-tests.md; what does not fit it exactly is a finding `bad_test`, and a test that does not
hold a finding `test_failed`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

from kernel.canonical import parse
from kernel.errors import MalformedError
from policy.catalog import short_name
from policy.compilation import CompiledSet
from policy.engine import evaluate
from policy.json_members import MemberError, Members
from policy.placement import EntityHandles
from policy.reading import SourceFile
from policy.set_files import test_files
from policy.source import Lines
from policy.types import (
    AgentFacts,
    ApprovalFacts,
    Effect,
    EntityRef,
    Finding,
    PolicyDecision,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    PostureState,
    Risk,
    SkillFacts,
    ToolEntity,
    ToolFacts,
    UserFacts,
    World,
)

MAX_TESTS = 1_000
MAX_KEYS = 100_000
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORKSPACE = "wsp_test"
OWNER = "usr_test_owner"
_DEFAULTS = PolicyEvaluationConfig()
_RISKS = frozenset(Risk)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be decided; what is None may be anything. `determining` are rule ids, in any order."""

    effect: Effect
    determining: frozenset[str] | None = None
    reason_code: str | None = None


@dataclass(frozen=True, slots=True)
class SetTest:
    """One test as read, with its place in its file.

    `tool` holds the attributes that differ from the catalog's; `from_tool` names the parts of the context
    that the test leaves to the tool's definition.
    """

    name: str
    file: str
    line: int
    column: int
    request: PolicyRequest
    context: PolicyRequestContext
    config: PolicyEvaluationConfig
    world: World
    tool: Mapping[str, object]
    from_tool: frozenset[str]
    expected: Expected


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test came out: what was decided, and in one sentence what was expected instead."""

    name: str
    file: str
    line: int
    column: int
    passed: bool
    effect: Effect
    determining: tuple[str, ...]
    reason_code: str
    message: str = ""


def read_tests(files: Sequence[SourceFile]) -> tuple[tuple[SetTest, ...], tuple[Finding, ...]]:
    """Return the tests among the files of a set, and a finding for each that cannot be read."""
    tests: list[SetTest] = []
    findings: list[Finding] = []
    for file in test_files(files):
        for line, column, written in _written(file, findings):
            try:
                tests.append(_test(written, file.name, line, column))
            except MemberError as error:
                findings.append(Finding("error", "bad_test", file.name, "", f"{error}.", line, column))
    if len(tests) > MAX_TESTS:
        text = f"The set has more than {MAX_TESTS} tests."
        return (), (*findings, Finding("error", "too_large", "", "", text))
    return tuple(tests), tuple(findings)


def run_set_tests(
    tests: Sequence[SetTest], compiled: CompiledSet, tools: Mapping[str, ToolFacts]
) -> tuple[TestResult, ...]:
    """Evaluate every test against a compiled set and the catalog. Never raises."""
    handles = EntityHandles(compiled.schema_handle)
    return tuple(_run(test, compiled, tools, handles) for test in tests)


def finding_of(result: TestResult) -> Finding:
    """Return a test that did not pass as a finding at its place."""
    text = f"{result.name}: {result.message}"
    return Finding("error", "test_failed", result.file, "", text, result.line, result.column)


def _written(file: SourceFile, findings: list[Finding]) -> Iterator[tuple[int, int, object]]:
    """Yield the tests of a file with their places; a file that is no JSON gives one finding."""
    try:
        document = parse(file.text.encode(), max_keys=MAX_KEYS)
    except (MalformedError, UnicodeEncodeError) as error:
        cause = error.__cause__
        line, column = (cause.lineno, cause.colno) if isinstance(cause, json.JSONDecodeError) else (0, 0)
        text = f"The file is not acceptable JSON: {getattr(error, 'detail', 'not valid Unicode')}"
        findings.append(Finding("error", "bad_test", file.name, "", text, line, column))
        return
    if not isinstance(document, list):
        yield 1, 1, document
        return
    lines, decoder, place = Lines(file.text), json.JSONDecoder(), file.text.index("[") + 1
    for written in document:
        while file.text[place] in ", \t\r\n":
            place += 1
        yield *lines.place(place), written
        _, place = decoder.raw_decode(file.text, place)


def _test(written: object, file: str, line: int, column: int) -> SetTest:
    members = Members(written)
    name = members.text("name")
    request = _request(members.inner("request"))
    entities = members.inner("entities")
    circumstances = members.inner("context")
    allow_sensitive = circumstances.flag("allow_sensitive_tools", False)
    from_tool = frozenset(part for part in ("adds_labels", "sinks") if not circumstances.has(part))
    context = _context(circumstances)
    config = replace(_config(entities), allow_sensitive_tools=allow_sensitive)
    world = _world(entities, request)
    tool = _tool_changes(entities.inner("tool")) if entities.has("tool") else {}
    entities.done()
    expected = _expected(members.inner("expect"))
    members.done()
    return SetTest(name, file, line, column, request, context, config, world, tool, from_tool, expected)


def _request(members: Members) -> PolicyRequest:
    principal, resource = members.inner("principal"), members.inner("resource")
    kind = principal.choice("type", frozenset({"User", "Agent"}))
    request = PolicyRequest(
        EntityRef(kind, principal.text("id")),
        members.text("action"),
        EntityRef(resource.text("type"), resource.text("id")),
    )
    for read in (principal, resource, members):
        read.done()
    return request


def _context(members: Members) -> PolicyRequestContext:
    context = PolicyRequestContext(
        now=members.moment("now", NOW),
        device_id=_text_or_none(members, "device_id"),
        channel=_text_or_none(members, "channel"),
        session_id=_text_or_none(members, "session_id"),
        run_id=_text_or_none(members, "run_id"),
        capabilities=members.texts("capabilities"),
        posture=members.choice("posture", frozenset({*PostureState, "none"}), "none"),
        labels=members.texts("labels"),
        adds_labels=members.texts("adds_labels"),
        sinks=members.texts("sinks"),
        approval=_approval(members.inner("approval")) if members.has("approval") else None,
        tool_input=members.mapping("input"),
        tainted_arguments=members.texts("tainted_arguments"),
        calls_in_run=members.count("calls_in_run", 0),
        auth_method=members.text("auth_method", "none"),
        source_ip=_text_or_none(members, "source_ip"),
        external_execution=members.flag("external_execution", False),
    )
    members.done()
    return context


def _approval(members: Members) -> ApprovalFacts:
    approval = ApprovalFacts(
        id=members.text("id", "apr_test"),
        scope=members.text("scope", "once"),
        risk=members.choice("risk", _RISKS, Risk.CRITICAL),
        count=members.count("count", 1),
        roles=members.texts("roles"),
        deciders=members.texts("deciders"),
    )
    members.done()
    return approval


def _config(entities: Members) -> PolicyEvaluationConfig:
    allowed, sensitive = entities.inner("allowlist"), entities.inner("sensitive")
    config = PolicyEvaluationConfig(
        allowlisted_tools=frozenset(map(short_name, allowed.texts("tools"))),
        allowlisted_skills=frozenset(one.lower() for one in allowed.texts("skills")),
        tool_execute_principal_allowlist=allowed.texts("principals"),
        tool_execute_channel_allowlist=allowed.texts("channels"),
        sensitive_tool_names=frozenset(map(short_name, sensitive.texts("tools"))),
        sensitive_actions=_DEFAULTS.sensitive_actions | sensitive.texts("actions"),
        sensitive_capability_names=_DEFAULTS.sensitive_capability_names | sensitive.texts("capabilities"),
    )
    allowed.done()
    sensitive.done()
    return config


def _world(entities: Members, request: PolicyRequest) -> World:
    workspace = entities.text("workspace", WORKSPACE)
    principal = entities.inner("principal")
    facts: UserFacts | AgentFacts
    if request.principal.type == "User":
        facts = _user(principal, request.principal.id)
    else:
        facts = _agent(principal, request.principal.id)
    skill = None
    if request.resource.type == "Skill":
        skill = _skill(entities.inner("skill"), request.resource.id)
    return World(workspace, facts, skill=skill)


def _agent(members: Members, identifier: str) -> AgentFacts:
    owner = members.inner("owner")
    facts = AgentFacts(
        id=identifier,
        active=members.flag("active", True),
        member=members.flag("member", True),
        owner=_user(owner, owner.text("id", OWNER)),
    )
    members.done()
    return facts


def _skill(members: Members, identifier: str) -> SkillFacts:
    skill = SkillFacts(
        skl_id=identifier,
        skill_id=members.text("skill_id", identifier),
        version=members.text("version", "1.0.0"),
        digest=members.text("digest", ""),
        publisher=members.text("publisher", ""),
        status=members.text("status", "active"),
        risk=members.choice("risk", _RISKS, Risk.MEDIUM),
        requires_approval=members.flag("requires_approval", False),
    )
    members.done()
    return skill


def _user(members: Members, identifier: str) -> UserFacts:
    facts = UserFacts(
        id=identifier,
        active=members.flag("active", True),
        mfa=members.flag("mfa", False),
        member=members.flag("member", True),
        permissions=members.texts("permissions"),
        roles=members.texts("roles"),
    )
    members.done()
    return facts


def _tool_changes(members: Members) -> dict[str, object]:
    """Return the attributes of the tool that the test sets, by the names of ToolEntity."""
    changes: dict[str, object] = {}
    for name in ("sensitive", "enabled", "runtime_supported"):
        if members.has(name):
            changes[name] = members.flag(name, False)
    if members.has("risk"):
        changes["risk"] = members.choice("risk", _RISKS)
    if members.has("tier"):
        changes["tier"] = members.text("tier")
    if members.has("capabilities"):
        changes["capabilities"] = members.texts("capabilities")
    members.done()
    return changes


def _expected(members: Members) -> Expected:
    expected = Expected(
        Effect(members.choice("effect", frozenset(Effect))),
        members.texts("determining") if members.has("determining") else None,
        _text_or_none(members, "reason_code"),
    )
    members.done()
    return expected


def _text_or_none(members: Members, name: str) -> str | None:
    return members.text(name) if members.has(name) else None


def _run(
    test: SetTest, compiled: CompiledSet, tools: Mapping[str, ToolFacts], handles: EntityHandles
) -> TestResult:
    context, world = test.context, test.world
    tool = tools.get(short_name(test.request.resource.id)) if test.request.resource.type == "Tool" else None
    if tool is not None:
        own = {part: getattr(tool, part) for part in test.from_tool}
        context, world = replace(context, **own), replace(world, tool=_entity(tool, test.tool))
    decision = evaluate(
        request=test.request,
        context=context,
        config=test.config,
        world=world,
        policies=compiled,
        handles=handles,
    )
    return _result(test, decision)


def _entity(tool: ToolFacts, changes: Mapping[str, object]) -> ToolEntity:
    known = {field.name: getattr(tool, field.name) for field in fields(ToolEntity)}
    return ToolEntity(**(known | dict(changes)))


def _result(test: SetTest, decision: PolicyDecision) -> TestResult:
    determining = tuple(sorted(policy.id for policy in decision.explanation.determining_policies))
    wrong = list(_differences(test.expected, decision, determining))
    return TestResult(
        name=test.name,
        file=test.file,
        line=test.line,
        column=test.column,
        passed=not wrong,
        effect=decision.effect,
        determining=determining,
        reason_code=decision.reason_code,
        message="; ".join(wrong),
    )


def _differences(expected: Expected, decision: PolicyDecision, determining: Sequence[str]) -> Iterator[str]:
    if decision.effect is not expected.effect:
        because = f"{decision.reason_code}: {decision.explanation.reason}"
        yield f"expected {expected.effect}, decided {decision.effect} ({because})"
    if expected.reason_code is not None and decision.reason_code != expected.reason_code:
        yield f"expected the code {expected.reason_code}, decided {decision.reason_code}"
    if expected.determining is not None and set(determining) != expected.determining:
        names = (", ".join(sorted(ids)) or "no policy" for ids in (expected.determining, determining))
        yield "expected {} to decide, decided by {}".format(*names)
