"""From policy text to a compiled set: parse, check annotations, validate strictly, key by @id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cedarpy

from identity.roles import WorkspaceRole
from kernel.canonical import digest, digest_bytes
from policy.judging import compile_bodies
from policy.schema import Action, CedarSchema
from policy.slicing import ScopeIndex, Slices
from policy.types import NO_SET, Finding, PolicySetRef, Risk

DOMAIN = "palyra"
MAX_POLICIES = 20_000
MAX_TEXT_BYTES = 8 * 1024 * 1024
MAX_NESTING = 64
OBLIGATIONS = frozenset({"approval", "step_up", "redact_output", "log_input"})
_ID = re.compile(r"[a-z][a-z0-9_]{2,63}")
_ANNOTATIONS = frozenset(
    {"id", "description", "obligation", "quorum", "approver_role", "risk", "advice", "mode"}
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|[(\[{]|[)\]}]')


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a policy set."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One static policy: its id, what its annotations ask for, and its Cedar JSON form."""

    id: str
    file: str
    effect: str
    annotations: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def obligations(self) -> frozenset[str]:
        return frozenset(_comma_list(self.annotations.get("obligation", "")))

    @property
    def needs_approval(self) -> bool:
        return bool(self.obligations & {"approval", "step_up"})

    @property
    def approver_roles(self) -> frozenset[str]:
        return frozenset(_comma_list(self.annotations.get("approver_role", "")))

    @property
    def in_force(self) -> bool:
        return self.annotations.get("mode") != "shadow"


@dataclass(frozen=True, slots=True)
class CompiledSet:
    """A set ready for evaluation: parsed handles and the rules by the id Cedar reports."""

    ref: PolicySetRef
    catalog_digest: str
    rules: Mapping[str, Rule]
    policy_handle: cedarpy.PolicySet
    schema_handle: cedarpy.Schema
    actions: Mapping[str, Action]
    inputs: Mapping[str, Mapping[str, object]]
    index: ScopeIndex
    slices: Slices

    def without(self, ids: frozenset[str]) -> CompiledSet:
        """Return the set as it would be less these rules, with slices of its own."""
        return replace(self, index=self.index.without(ids), slices=self.slices.apart())


def set_hash(files: Sequence[SourceFile], schema: CedarSchema) -> str:
    """Return the digest that names a set: domain, schema and files by name."""
    listed = [
        {"name": file.name, "sha256": digest_bytes(file.text.encode())}
        for file in sorted(files, key=lambda file: file.name)
    ]
    return digest({"domain": DOMAIN, "schema_digest": schema.static_digest, "files": listed})


def compile_set(
    files: Sequence[SourceFile],
    schema: CedarSchema,
    *,
    ref: PolicySetRef = NO_SET,
    catalog_digest: str = "",
) -> CompiledSet | tuple[Finding, ...]:
    """Return the compiled set, or every error found; nothing is compiled while one remains."""
    try:
        rules, findings = read_rules(files)
        findings = (*findings, *_type_findings(files, schema)) if not _unparsable(findings) else findings
        errors = tuple(finding for finding in findings if finding.severity == "error")
        return errors or build_set(rules, schema, ref=ref, catalog_digest=catalog_digest)
    except (ValueError, TypeError, RecursionError) as error:
        return (Finding("error", "syntax_error", "", "", str(error)),)


def build_set(
    rules: Sequence[Rule], schema: CedarSchema, *, ref: PolicySetRef, catalog_digest: str
) -> CompiledSet:
    """Parse rules into handles, without validating them. Raises ValueError from Cedar."""
    built = compile_bodies({rule.id: rule.body for rule in rules if rule.in_force})
    return CompiledSet(
        ref=ref,
        catalog_digest=catalog_digest,
        rules={rule.id: rule for rule in rules if rule.in_force},
        policy_handle=built.handle,
        schema_handle=_schema_handle(schema.text),
        actions=schema.actions,
        inputs=schema.inputs,
        index=built.index,
        slices=built.slices,
    )


def read_rules(files: Sequence[SourceFile]) -> tuple[tuple[Rule, ...], tuple[Finding, ...]]:
    """Parse the files and check size, ids and annotations; types are not checked here."""
    rules: list[Rule] = []
    findings: list[Finding] = []
    if sum(len(file.text.encode()) for file in files) > MAX_TEXT_BYTES:
        return (), (Finding("error", "too_large", "", "", "The set is larger than 8 MiB."),)
    for file in files:
        found = _parse(file)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            rules.extend(found)
    findings.extend(_duplicates(rules))
    findings.extend(finding for rule in rules for finding in _annotation_findings(rule))
    if len(rules) > MAX_POLICIES:
        findings.append(Finding("error", "too_large", "", "", f"More than {MAX_POLICIES} policies."))
    return tuple(rules), tuple(findings)


def _parse(file: SourceFile) -> list[Rule] | Finding:
    if _nesting(file.text) > MAX_NESTING:
        return Finding("error", "too_large", file.name, "", f"Nesting is deeper than {MAX_NESTING}.")
    try:
        return [_rule(file.name, body) for body in static_bodies(file.text).values()]
    except TemplateError:
        return Finding("error", "template_unsupported", file.name, "", "Templates are not supported.")
    except (ValueError, RecursionError) as error:
        return Finding("error", "syntax_error", file.name, "", str(error))


class TemplateError(Exception):
    """The text holds a template or a link of one, which nothing here evaluates."""


def static_bodies(text: str) -> dict[str, dict[str, Any]]:
    """Return the policies of a text in Cedar's JSON form, in its order, by Cedar's own positional id.

    Raises ValueError for text that does not parse, TemplateError for templates.
    """
    document = json.loads(cedarpy.policies_to_json_str(text))
    if document.get("templates") or document.get("templateLinks"):
        raise TemplateError
    found: dict[str, dict[str, Any]] = document.get("staticPolicies", {})
    return {name: found[name] for name in sorted(found, key=lambda name: int(name.removeprefix("policy")))}


def _rule(file: str, body: Mapping[str, Any]) -> Rule:
    annotations = {name: value or "" for name, value in (body.get("annotations") or {}).items()}
    return Rule(annotations.get("id", ""), file, str(body["effect"]), annotations, body)


def _unparsable(findings: Sequence[Finding]) -> bool:
    return any(finding.code in {"syntax_error", "too_large", "template_unsupported"} for finding in findings)


def _type_findings(files: Sequence[SourceFile], schema: CedarSchema) -> Iterator[Finding]:
    for file in files:
        for policy_id, message in _type_errors(file.text, schema.text):
            yield Finding("error", "type_error", file.name, policy_id, message)


@lru_cache(maxsize=8)
def _type_errors(text: str, schema_text: str) -> tuple[tuple[str, str], ...]:
    """Return (policy id, message) of everything that does not type-check; the same texts, the same answer.

    Kept for the last few texts: a set is validated on its way to activation, inside it, and after.
    """
    result = cedarpy.validate_policies(text, _schema_handle(schema_text))
    named = result.id_annotations_by_policy_id
    seen = dict.fromkeys((named.get(error.policy_id, ""), error.error) for error in result.errors)
    if not result.validation_passed and not seen:
        return (("", "The file does not validate."),)
    return tuple(seen)


@lru_cache(maxsize=8)
def _schema_handle(text: str) -> cedarpy.Schema:
    return cedarpy.Schema.from_str(text)


def _duplicates(rules: Sequence[Rule]) -> Iterator[Finding]:
    seen: set[str] = set()
    for rule in rules:
        if not rule.id:
            yield Finding("error", "missing_id", rule.file, "", "A policy has no @id.")
        elif rule.id in seen:
            yield Finding("error", "duplicate_id", rule.file, rule.id, "The @id is used twice.")
        seen.add(rule.id)


def _annotation_findings(rule: Rule) -> Iterator[Finding]:
    def bad(message: str, *, code: str = "bad_annotation", severity: str = "error") -> Finding:
        return Finding(severity, code, rule.file, rule.id, message)

    if rule.id and not _ID.fullmatch(rule.id):
        yield bad("@id must match [a-z][a-z0-9_]{2,63}.")
    for name in sorted(set(rule.annotations) - _ANNOTATIONS):
        yield bad(f"Unknown annotation @{name}.", severity="warning")
    for name in sorted(rule.obligations - OBLIGATIONS):
        yield bad(f"Unknown obligation {name!r}.")
    if rule.annotations.get("quorum", "1") not in {"1", "2", "3", "4", "5"}:
        yield bad("@quorum must be 1 to 5.")
    if rule.annotations.get("risk", "medium") not in set(Risk):
        yield bad("@risk must be low, medium, high or critical.")
    if rule.annotations.get("mode", "shadow") != "shadow":
        yield bad('@mode must be "shadow".')
    if len(rule.annotations.get("advice", "")) > 300:
        yield bad("@advice is longer than 300 characters.")
    for role in sorted(rule.approver_roles - {role.value for role in WorkspaceRole}):
        yield bad(f"Unknown role {role!r}.", code="unknown_role")


def _comma_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _nesting(text: str) -> int:
    depth = deepest = 0
    for match in _TOKEN.finditer(text):
        if match[0] in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in ")]}":
            depth -= 1
    return deepest
