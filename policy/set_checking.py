"""Checks the text of a set: every finding, the tests it brings along, and the hash that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernel.errors import Detail, InvalidError
from policy.catalog import catalog_digest
from policy.cedar_types import UnrepresentableError
from policy.compilation import DOMAIN, SourceFile, compile_set, set_hash
from policy.schema import CedarSchema, build_schema
from policy.types import Finding, ToolFacts

ERROR = "error"


@dataclass(frozen=True, slots=True)
class SetText:
    """Everything a set is made of, as plain values. Schema and entities belong to domains but `palyra`."""

    files: tuple[SourceFile, ...]
    domain: str = DOMAIN
    schema_text: str = ""
    entities_json: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. `hash` and `schema_digest` name the text that was checked."""

    findings: tuple[Finding, ...]
    hash: str
    schema_digest: str

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep the text from being validated."""
        return tuple(finding for finding in self.findings if finding.severity == ERROR)


def check_text(text: SetText, tools: Mapping[str, ToolFacts]) -> Checked:
    """Check a text against the catalog as it is. Writes nothing and may take seconds for a large set.

    The last few answers are kept: what was checked before a transaction costs little inside it.
    """
    key = (text, catalog_digest(tools.values()))
    known = _recent.get(key)
    if known is None:
        known = _check(text, tools)
        while len(_recent) >= _KEPT:
            _recent.pop(next(iter(_recent)), None)
        _recent[key] = known
    return known


def _check(text: SetText, tools: Mapping[str, ToolFacts]) -> Checked:
    try:
        schema = build_schema({name: tool.input_schema for name, tool in tools.items()})
    except (UnrepresentableError, ValueError) as error:
        return Checked((Finding(ERROR, "type_error", "", "", str(error)),), "", "")
    return Checked(_findings(text, schema), set_hash(text.files, schema), schema.static_digest)


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


def _findings(text: SetText, schema: CedarSchema) -> tuple[Finding, ...]:
    compiled = compile_set([file for file in text.files if file.name.endswith(".cedar")], schema)
    return compiled if isinstance(compiled, tuple) else ()


_KEPT = 4
_recent: dict[tuple[SetText, str], Checked] = {}
