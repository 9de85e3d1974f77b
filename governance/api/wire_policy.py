"""How policy sets travel."""

from __future__ import annotations

from typing import Any

from governance.api.wire import render_approval_brief
from governance.operations.policy_activation import Activation
from kernel.canonical import digest_bytes
from kernel.clock import wire_time
from policy.diffing import SetDiff
from policy.models import PolicySet
from policy.reading import SourceFile
from policy.set_checking import Checked
from policy.set_selectors import findings_of, source_files
from policy.types import Finding


def render_set(row: PolicySet) -> dict[str, Any]:
    """Return a set without its text."""
    return {
        "id": row.pk,
        "object": "policy_set",
        "domain": row.domain,
        "version": row.version,
        "state": row.state,
        "name": row.title,
        "note": row.reason,
        "hash": row.hash,
        "schema_digest": row.schema_digest or None,
        "edit_version": row.edit_version,
        "authors": sorted(author.pk for author in row.authors.all()),
        "base": row.parent_id,
        "restored_from": row.restored_from_id,
        "validated_by": row.validated_by or None,
        "validated_at": wire_time(row.validated_at),
        "activated_by": row.activated_by or None,
        "activated_at": wire_time(row.activated_at),
        "superseded_at": wire_time(row.superseded_at),
        "shadow_since": wire_time(row.shadow_since),
        "created_at": wire_time(row.created_at),
    }


def render_detail(row: PolicySet, *, with_text: bool = False) -> dict[str, Any]:
    """Return a set with its files and findings, and with the text of its files where that is asked for."""
    brought = {"schema_text": row.schema_text, "entities_json": row.entities_json} if with_text else {}
    return {
        **render_set(row),
        **brought,
        "files": [_file(file, with_text=with_text) for file in source_files(row)],
        "findings": [render_finding(finding) for finding in findings_of(row)],
    }


def render_finding(finding: Finding) -> dict[str, Any]:
    """Return one finding; line and column count from 1, 0 is the whole file."""
    return {
        "severity": finding.severity,
        "code": finding.code,
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "policy_id": finding.policy_id,
        "message": finding.message,
    }


def render_activation(made: Activation) -> dict[str, Any]:
    """Return what came of an activation: rules in force, or a question to a second person."""
    return {
        "object": "policy_activation",
        "state": "awaiting_approval" if made.request else "active",
        "policy_set": render_set(made.policy_set),
        "approval": render_approval_brief(made.request),
    }


def render_check(checked: Checked) -> dict[str, Any]:
    """Return what a check of unstored texts found."""
    return {
        "object": "policy_check",
        "valid": not checked.errors,
        "hash": checked.hash or None,
        "findings": [render_finding(finding) for finding in checked.findings],
        "tests": [
            {
                "name": test.name,
                "file": test.file,
                "line": test.line,
                "column": test.column,
                "passed": test.passed,
                "message": test.message,
            }
            for test in checked.tests
        ],
    }


def render_diff(old: PolicySet, new: PolicySet, diff: SetDiff) -> dict[str, Any]:
    """Return what `new` adds to, takes from and changes in `old`."""
    return {
        "object": "policy_diff",
        "from": old.pk,
        "to": new.pk,
        "added": [{"id": one.id, "file": one.file, "text": one.text} for one in diff.added],
        "removed": [{"id": one.id, "file": one.file, "text": one.text} for one in diff.removed],
        "changed": [
            {
                "id": one.id,
                "file": one.file,
                "parts": list(one.parts),
                "before": one.before,
                "after": one.after,
            }
            for one in diff.changed
        ],
        "files": [{"name": one.name, "unified": one.unified} for one in diff.files],
        "unread": list(diff.unread),
    }


def _file(file: SourceFile, *, with_text: bool) -> dict[str, Any]:
    data = file.text.encode()
    facts: dict[str, Any] = {"name": file.name, "bytes": len(data), "sha256": digest_bytes(data)}
    return facts | {"text": file.text} if with_text else facts
