"""What an evidence bundle says beside the log: the rules that decided, the tool, what people answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from approvals.models import ApprovalRequest
from governance.exporting import RELATED, records
from governance.models import ToolCall
from kernel.canonical import canonical, digest_bytes
from kernel.errors import UnavailableError
from policy.builtin_tool import definition_json
from policy.models import PolicySet, ToolVersion
from policy.runtime import facts_of
from policy.schema import build_schema
from policy.set_files import policy_files
from policy.set_selectors import source_files


def policy_documents(call: ToolCall, hash_: str | None) -> dict[str, bytes]:
    """Return the text of the set that decided, by file name; nothing for a call no set was asked about.

    `policy.json` are the bytes that the hash is over. The schema is there while it is the one that the set
    was validated under: the text of an older release's is not kept. Raises UnavailableError
    `integrity_failed` when the stored text is not what was attested.
    """
    if hash_ is None:
        return {}
    chosen = PolicySet.objects.filter(pk=(call.policy_set or {}).get("id")).first()
    files = source_files(chosen) if chosen else ()
    listed = sorted(
        ({"name": file.name, "sha256": digest_bytes(file.text.encode())} for file in files),
        key=lambda one: one["name"],
    )
    digests = (chosen.domain, chosen.schema_digest) if chosen else ("", "")
    index = canonical({"domain": digests[0], "schema_digest": digests[1], "files": listed})
    if digest_bytes(index) != hash_:
        raise UnavailableError("integrity_failed", "The rules that decided are not stored as they were.")
    rules = sorted(policy_files(files), key=lambda file: file.name)
    documents = {
        "policy.json": index,
        "policy.cedar": "".join(file.text for file in rules).encode(),
        **{f"policy/{file.name}": file.text.encode() for file in files},
    }
    schema = build_schema({})
    if schema.static_digest == digests[1]:
        documents["policy.cedarschema"] = schema.text.encode()
    return documents


def tool_document(call: ToolCall) -> bytes | None:
    """Return the bytes that the definition digest of the call is over, or None where they are not stored.

    A skill's digest is over its module. Of an earlier version of a tool its place and its risk are not kept.
    """
    rows = ToolVersion.objects.filter(tool__name=call.tool_name, definition_digest=call.definition_digest)
    version = rows.select_related("tool").first()
    if version is None:
        return None
    document = canonical(definition_json(facts_of(version.tool, version)))
    return document if digest_bytes(document) == call.definition_digest else None


def answer_document(asked: ApprovalRequest | None, call_id: str) -> bytes:
    """Return the records of what was asked about the call, none or one; of other calls it says nothing."""
    rows = ApprovalRequest.objects.filter(pk=asked.pk).prefetch_related(*RELATED) if asked else ()
    return canonical([_of_call(record, call_id) for record in records(list(rows))])


def _of_call(record: dict[str, Any], call_id: str) -> Mapping[str, object]:
    grants = [
        {**grant, "used": [use for use in grant["used"] if use["call"] == call_id]}
        for grant in record["grants"]
    ]
    return {**record, "calls": [one for one in record["calls"] if one == call_id], "grants": grants}
