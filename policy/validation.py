"""Everything that is wrong with a policy set, and everything that is probably not meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from policy.annotations import annotation_errors, annotation_warnings
from policy.reading import MAX_FINDINGS, FileReading, PlacedRule, Reading, SourceFile, read_set
from policy.schema import CedarSchema
from policy.set_files import policy_files
from policy.type_errors import type_findings
from policy.types import Finding
from policy.warnings import KnownNames as KnownNames, warnings_about


def validate_files(
    files: Sequence[SourceFile], schema: CedarSchema, known: KnownNames | None
) -> tuple[Finding, ...]:
    """Return errors and warnings of a set, errors first, each kind by file and place; 200 at most.

    Without `known` the text belongs to another domain: a policy needs no @id, annotations mean
    nothing, and no warning is given. Tests that the set carries are not read here.
    """
    reading = read_set(policy_files(files), positional=known is None)
    errors = errors_in(reading, schema, annotated=known is not None)
    warnings: list[Finding] = []
    if known is not None and reading.files:
        unexpected = islice(warnings_about(reading, schema, known), MAX_FINDINGS)
        warnings = [*_annotation_warnings(reading), *unexpected]
    return tuple([*_ordered(reading, errors), *_ordered(reading, warnings)][:MAX_FINDINGS])


def errors_in(reading: Reading, schema: CedarSchema, *, annotated: bool = True) -> list[Finding]:
    """Return what keeps a set from being compiled: its text, ids, annotations and types."""
    errors = [*reading.errors, *_duplicates(reading)]
    if annotated:
        errors.extend(_annotation_errors(reading))
    if reading.files:
        errors.extend(_types(reading, schema))
    return errors


def text_findings(reading: Reading) -> tuple[Finding, ...]:
    """Return what can be said of a set without a schema: errors of text and ids, all about annotations."""
    return (
        *reading.errors,
        *_duplicates(reading),
        *_annotation_errors(reading),
        *_annotation_warnings(reading),
    )


def _types(reading: Reading, schema: CedarSchema) -> list[Finding]:
    try:
        return list(type_findings(reading.files, schema))
    except ValueError as error:
        return [Finding("error", "syntax_error", "", "", f"The schema does not parse: {error}")]


def _duplicates(reading: Reading) -> Iterator[Finding]:
    seen: set[str] = set()
    for file, placed in _placed(reading):
        identifier = placed.rule.id
        if identifier and identifier in seen:
            start = placed.statement.start
            yield file.finding("duplicate_id", "The @id is used twice.", start, policy_id=identifier)
        seen.add(identifier)


def _annotation_errors(reading: Reading) -> list[Finding]:
    """Return at most as many as are ever shown: each takes some looking up."""
    found = (one for file, placed in _placed(reading) for one in annotation_errors(file, placed))
    return list(islice(found, MAX_FINDINGS))


def _annotation_warnings(reading: Reading) -> list[Finding]:
    found = (one for file, placed in _placed(reading) for one in annotation_warnings(file, placed))
    return list(islice(found, MAX_FINDINGS))


def _placed(reading: Reading) -> Iterator[tuple[FileReading, PlacedRule]]:
    return ((file, placed) for file in reading.files for placed in file.placed)


def _ordered(reading: Reading, findings: Sequence[Finding]) -> list[Finding]:
    """Return findings by file, in the order of the set, and place; those about the whole set first."""
    order = {file.file.name: number for number, file in enumerate(reading.files)}
    return sorted(findings, key=lambda one: (order.get(one.file, -1), one.line, one.column, one.code))
