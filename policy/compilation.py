"""From policy text to a compiled set: parse, check annotations, validate strictly, key by @id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cedarpy

from kernel.canonical import digest, digest_bytes
from policy.annotations import OBLIGATIONS as OBLIGATIONS
from policy.judging import compile_bodies
from policy.reading import (
    MAX_TEXT_BYTES as MAX_TEXT_BYTES,
    Rule as Rule,
    SourceFile as SourceFile,
    TemplateError as TemplateError,
    read_set,
    static_bodies as static_bodies,
)
from policy.schema import Action, CedarSchema
from policy.set_files import policy_files
from policy.slicing import ScopeIndex, Slices
from policy.type_errors import schema_handle
from policy.types import NO_SET, Finding, PolicySetRef
from policy.validation import errors_in, text_findings

DOMAIN = "palyra"


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
    """Return the digest that names a set of the domain `palyra`."""
    return domain_hash(DOMAIN, schema.static_digest, files)


def domain_hash(domain: str, schema_digest: str, files: Sequence[SourceFile]) -> str:
    """Return the digest that names a set: domain, schema and files by name."""
    listed = [
        {"name": file.name, "sha256": digest_bytes(file.text.encode())}
        for file in sorted(files, key=lambda file: file.name)
    ]
    return digest({"domain": domain, "schema_digest": schema_digest, "files": listed})


def compile_set(
    files: Sequence[SourceFile],
    schema: CedarSchema,
    *,
    ref: PolicySetRef = NO_SET,
    catalog_digest: str = "",
) -> CompiledSet | tuple[Finding, ...]:
    """Return the compiled set, or every error found; nothing is compiled while one remains.

    The tests among the files are left out.
    """
    try:
        reading = read_set(policy_files(files))
        errors = tuple(errors_in(reading, schema))
        return errors or build_set(reading.rules, schema, ref=ref, catalog_digest=catalog_digest)
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
        schema_handle=schema_handle(schema.text),
        actions=schema.actions,
        inputs=schema.inputs,
        index=built.index,
        slices=built.slices,
    )


def read_rules(files: Sequence[SourceFile]) -> tuple[tuple[Rule, ...], tuple[Finding, ...]]:
    """Parse the files and check size, ids and annotations; types are not checked here."""
    reading = read_set(policy_files(files))
    return reading.rules, text_findings(reading)
