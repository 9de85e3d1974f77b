"""Checks the text of a set: every finding, the tests it brings along, and the hash that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from identity.roles import WorkspaceRole
from kernel.canonical import digest, digest_bytes
from kernel.errors import Detail, InvalidError
from policy.catalog import catalog_digest
from policy.cedar_types import UnrepresentableError
from policy.compilation import DOMAIN, SourceFile, compile_set, domain_hash
from policy.domains import validate_domain
from policy.schema import CedarSchema, build_schema
from policy.set_files import policy_files
from policy.set_tests import TestResult, finding_of, read_tests, run_set_tests
from policy.shipped import baseline_ids
from policy.types import Finding, ToolEntity, ToolFacts
from policy.validation import KnownNames, validate_files

ERROR = "error"
_KEPT = 4


@dataclass(frozen=True, slots=True)
class SetText:
    """Everything a set is made of, as plain values. Schema and entities belong to domains but `palyra`."""

    files: tuple[SourceFile, ...]
    domain: str = DOMAIN
    schema_text: str = ""
    entities_json: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. `hash` and `schema_digest` name the text that was checked.

    `tests` came out like this; they run when nothing else is wrong, and each must pass.
    """

    findings: tuple[Finding, ...]
    hash: str
    schema_digest: str
    tests: tuple[TestResult, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep the text from being validated."""
        return tuple(finding for finding in self.findings if finding.severity == ERROR)


_STANDING = tuple(one.name for one in fields(ToolEntity))
_recent: dict[tuple[SetText, str, frozenset[tuple[object, ...]]], Checked] = {}


def check_text(text: SetText, tools: Mapping[str, ToolFacts]) -> Checked:
    """Check a text against the catalog as it is. Writes nothing and may take seconds for a large set.

    The last few answers are kept: what was checked before a transaction costs little inside it.
    """
    key = (text, catalog_digest(tools.values()), _standing(tools))
    known = _recent.get(key)
    if known is None:
        known = _check_palyra(text, tools) if text.domain == DOMAIN else _check_domain(text)
        while len(_recent) >= _KEPT:
            _recent.pop(next(iter(_recent), key), None)
        _recent[key] = known
    return known


def _standing(tools: Mapping[str, ToolFacts]) -> frozenset[tuple[object, ...]]:
    """Return what rules and tests read of tools besides their definitions, such as whether one is enabled."""
    return frozenset(tuple(getattr(tool, name) for name in _STANDING) for tool in tools.values())


def set_hash(text: SetText, schema_digest: str) -> str:
    """Return the hash of a set under a schema."""
    return domain_hash(text.domain, schema_digest, text.files)


def invalid(errors: Sequence[Finding]) -> InvalidError:
    """Return the 422 for a text with errors, each with its place."""
    details = tuple(
        Detail(
            pointer=f"/files/{error.file}" if error.file else "/files",
            code=error.code,
            detail=error.message,
            line=error.line,
            column=error.column,
            policy_id=error.policy_id,
        )
        for error in errors
    )
    return InvalidError("policy_invalid", f"The policies have {len(details)} errors.", errors=details)


def _check_palyra(text: SetText, tools: Mapping[str, ToolFacts]) -> Checked:
    try:
        schema = build_schema({name: tool.input_schema for name, tool in tools.items()})
    except (UnrepresentableError, ValueError) as error:
        return Checked((Finding(ERROR, "type_error", "", "", str(error)),), "", "")
    known = KnownNames(
        tools=frozenset(tools),
        groups=frozenset(),
        roles=frozenset(role.value for role in WorkspaceRole),
        baseline_ids=baseline_ids(),
    )
    findings = validate_files(text.files, schema, known)
    tests: tuple[TestResult, ...] = ()
    if not any(finding.severity == ERROR for finding in findings):
        tests, failed = _run_tests(text, schema, tools)
        findings = (*failed, *findings)
    return Checked(findings, set_hash(text, schema.static_digest), schema.static_digest, tests)


def _run_tests(
    text: SetText, schema: CedarSchema, tools: Mapping[str, ToolFacts]
) -> tuple[tuple[TestResult, ...], tuple[Finding, ...]]:
    """Run the tests that a valid text brings along; each that does not pass is a finding."""
    tests, unreadable = read_tests(text.files)
    if not tests:
        return (), unreadable
    compiled = compile_set(policy_files(text.files), schema)
    if isinstance(compiled, tuple):
        return (), compiled
    results = run_set_tests(tests, compiled, tools)
    return results, (*unreadable, *map(finding_of, (one for one in results if not one.passed)))


def _check_domain(text: SetText) -> Checked:
    """The schema and the entities of another domain are a part of its set, so both are in its digest."""
    findings = validate_domain(text.files, text.schema_text, text.entities_json)
    brought = {"schema": text.schema_text, "entities": text.entities_json}
    schema_digest = digest({name: digest_bytes(one.encode()) for name, one in brought.items()})
    return Checked(findings, set_hash(text, schema_digest), schema_digest)
