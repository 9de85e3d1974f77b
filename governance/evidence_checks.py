"""What is checked about an event or a call when somebody looks at it: item by item, from stored bytes.

Nothing here writes or raises for what does not hold: a fault is an answer. `journal verify` reads the whole
log; this recomputes what hangs on one thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from governance.evidence_documents import policy_documents
from governance.journal import envelope, note
from governance.journal.attestations import Judgement, judge
from governance.journal.chain import START, leaf_hash, link
from governance.journal.lookup import is_archived
from governance.journal.merkle import ReadHash, inclusion_proof, verify_inclusion
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf, JournalPending
from governance.journal.sealing_state import newest_checkpoint
from governance.journal.story import leaves_digest
from governance.journal.tiles import reader
from governance.journal.verify_signatures import key_ring
from governance.models import ToolCall
from governance.proposals import action_digest
from governance.results import input_digest, output_digest
from governance.safety.visible import shorten_id
from governance.selectors import CallView
from kernel.canonical import canonical
from kernel.clock import exact_time
from kernel.errors import InvalidError, NotFoundError, PalyraError
from sandbox.attestation import EXECUTION_FORMAT, Statement
from vault import services as vault
from vault.types import KeyPurpose

MOST_EVENTS = 200
"""Events of one call that are checked one by one when its page is opened; the bundle has all."""


class CheckState(StrEnum):
    """`unchecked` is what cannot be said here, with the reason; it is neither good nor bad."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Check:
    """One item: a stable code, its name for people, how it stands and what that rests on."""

    code: str
    name: str
    state: CheckState
    detail: str


def event_checks(event: JournalEvent) -> tuple[Check, ...]:
    """Check one event: envelope, leaf, chain, inclusion and the signature of the newest checkpoint."""
    return (_envelope([event]), *_sealed([event]))


def leaf_checks(leaf: JournalLeaf) -> tuple[Check, ...]:
    """Check the place of an event that is not here: its link, and its stored leaf in the tree."""
    checkpoint = newest_checkpoint()
    if checkpoint is None:
        return tuple(_unchecked(code, name, "There is no checkpoint.") for code, name in _SEALED_ITEMS[1:])
    held = _is_included(leaf, bytes(leaf.leaf_hash), checkpoint, reader(checkpoint.tree_size))
    detail = f"The stored leaf {leaf.seq} lies in the tree of checkpoint {checkpoint.tree_size}."
    return (_chain([leaf]), _said("inclusion", "Inclusion", held, detail), _signature(checkpoint))


def call_checks(view: CallView) -> tuple[Check, ...]:
    """Check the evidence of a call that has ended: what was decided about, what ran, what was signed."""
    row, call = view.attestation, view.call
    if row is None:
        return ()
    judged = judge(row.envelope)
    signed = _attestation(judged)
    if judged.statement is None:
        return (_action(call), signed)
    said: dict[str, Any] = dict(judged.statement.predicate)
    return (
        _action(call),
        _execution(view, judged.statement),
        signed,
        *_logged(call, row.pk, said),
        _policy(call, said["policy_set_hash"]),
    )


def _attestation(judged: Judgement) -> Check:
    code, name = "attestation", "Attestation signature"
    if not judged.is_valid:
        return _said(code, name, False, f"It does not hold: {judged.code}.")
    if not judged.is_recorded:
        return _said(code, name, False, "The journal holds another attestation.")
    return _said(code, name, True, f"Signed by key {shorten_id(judged.key_id or '')}.")


def _action(call: ToolCall) -> Check:
    code, name = "action", "Action digest"
    if not call.action_digest:
        return _unchecked(code, name, "What was asked for is erased, and the digest with it.")
    target: dict[str, object] = {
        "tool": call.tool_name,
        "schema_version": call.tool_version or "",
        "resource": call.resource,
    }
    found = action_digest(
        principal_id=call.principal_id,
        owner_id=call.owner_id,
        target=target,
        operation=call.operation,
        parameters=call.input,
    )
    held = found == call.action_digest
    detail = (
        "Recomputed from the stored arguments." if held else "The stored arguments are not those decided on."
    )
    return _said(code, name, held, detail)


def _execution(view: CallView, statement: Statement) -> Check:
    """Put the stored row in the place of what was signed about it, and hash that."""
    code, name = "execution", "Execution digest"
    call, row, said = view.call, view.attestation, statement.predicate
    assert row is not None
    if not bytes(call.salt):
        return _unchecked(code, name, "Input and output are erased, and the salt of their digests with them.")
    signed_output = said["output_digest"]
    found = {
        "call_id": call.pk,
        "tool": {
            "name": call.tool_name,
            "version": call.tool_version,
            "definition_hash": call.definition_digest,
        },
        "input_digest": input_digest(call),
        "output_digest": output_digest(call) if signed_output is not None else None,
        "outcome": row.outcome,
        "error_code": said["error_code"],
        "timed_out": row.timed_out,
        "executor": row.executor,
        "sandbox_enforcement": row.sandbox_enforcement,
        "executed_at": exact_time(row.executed_at) if row.executed_at else None,
    }
    if _hashed(found) == statement.execution_sha256 == row.execution_sha256:
        where = "input and output" if call.result else "input; output not stored"
        return _said(code, name, True, f"Recomputed from the stored {where}.")
    parts = sorted(part for part, value in found.items() if value != said[part])
    return _said(code, name, False, f"What is stored differs from what was signed: {', '.join(parts)}.")


def _logged(call: ToolCall, attestation_id: str, said: dict[str, Any]) -> tuple[Check, ...]:
    """Check the events that the attestation names, and the one that records it."""
    named = list(said["events"]["ids"]) if said.get("events") else []
    rows = list(JournalEvent.objects.filter(pk__in=named[:MOST_EVENTS]))
    recorded = JournalEvent.objects.filter(subject=attestation_id, type="attestation.recorded")
    found = {event.pk: event for event in rows}
    story = _story(said, [found[one] for one in named if one in found], named)
    return (story, *_sealed([*rows, *recorded.filter(call_id=call.pk)]))


def _sealed(events: Sequence[JournalEvent]) -> tuple[Check, ...]:
    """Check what sealing made of these events; while one of them waits there is nothing to check yet."""
    ids = [event.pk for event in events]
    waiting = set(JournalPending.objects.filter(event_id__in=ids).values_list("event_id", flat=True))
    leaves = {leaf.event_id: leaf for leaf in JournalLeaf.objects.filter(event_id__in=ids)}
    lost = set(ids) - set(leaves) - waiting
    if lost:
        detail = f"{len(lost)} of {len(ids)} events neither wait nor have a leaf."
        return tuple(_said(code, name, False, detail) for code, name in _SEALED_ITEMS)
    checkpoint = newest_checkpoint()
    if len(leaves) < len(ids) or checkpoint is None or not ids:
        reason = f"{len(ids) - len(leaves)} of {len(ids)} events wait to be sealed."
        reason = reason if ids else "The events lie in an archive."
        return tuple(_unchecked(code, name, reason) for code, name in _SEALED_ITEMS)
    return (
        _leaf(events, leaves),
        _chain(sorted(leaves.values(), key=lambda leaf: leaf.seq)),
        _inclusion(events, leaves, checkpoint),
        _signature(checkpoint),
    )


def _story(said: dict[str, Any], events: Sequence[JournalEvent], named: Sequence[str]) -> Check:
    code, name = "story", "Events of the call"
    if not named:
        return _unchecked(code, name, "The attestation names no events.")
    gone = sorted(set(named) - {event.pk for event in events})
    if gone:
        leaves = JournalLeaf.objects.filter(event_id__in=gone[:MOST_EVENTS])
        away = sum(is_archived(leaf.seq) for leaf in leaves)
        if len(named) > MOST_EVENTS or away == len(gone):
            reason = f"{away} of {len(named)} events lie in an archive." if away else "There are too many."
            return _unchecked(code, name, reason)
        return _said(code, name, False, f"{len(gone) - away} of {len(named)} attested events are gone.")
    held = leaves_digest(bytes(event.envelope) for event in events) == said["events"]["leaves_sha256"]
    detail = f"All {len(named)} attested events are here" + (" as they were." if held else ", changed.")
    return _said(code, name, held, detail)


def _policy(call: ToolCall, hash_: str | None) -> Check:
    code, name = "policy", "Policy text"
    if hash_ is None:
        return _unchecked(code, name, "No policy was asked about this call.")
    try:
        policy_documents(call, hash_)
    except PalyraError:
        return _said(code, name, False, "The stored rules are not those whose hash was attested.")
    return _said(code, name, True, f"The stored rules have the attested hash {shorten_id(hash_)}.")


def _envelope(events: Sequence[JournalEvent]) -> Check:
    wrong = [event.pk for event in events if not _is_told(event)]
    detail = f"{wrong[0]} is not what its row says." if wrong else "The row says what the envelope says."
    return _said("envelope", "Envelope", not wrong, detail)


def _is_told(event: JournalEvent) -> bool:
    try:
        fields: dict[str, Any] = envelope.parse(bytes(event.envelope))
        told = (
            fields["id"], fields["type"], fields["time"], fields["actor"]["id"], fields["subject"],
            fields["run"], fields["run_seq"], fields["call"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return False
    return told == (
        event.pk, event.type, exact_time(event.time), event.actor, event.subject,
        event.run_id, event.run_seq, event.call_id,
    )  # fmt: skip


def _leaf(events: Sequence[JournalEvent], leaves: dict[str, JournalLeaf]) -> Check:
    wrong = [
        leaves[event.pk].seq
        for event in events
        if leaf_hash(bytes(event.envelope)) != bytes(leaves[event.pk].leaf_hash)
    ]
    detail = f"Leaf {wrong[0]} is not that of its envelope." if wrong else _recomputed(len(events), "leaf")
    return _said("leaf", "Leaf", not wrong, detail)


def _chain(leaves: Sequence[JournalLeaf]) -> Check:
    before = JournalLeaf.objects.filter(seq__in=[leaf.seq - 1 for leaf in leaves])
    previous = {-1: START} | {leaf.seq: bytes(leaf.chain_hash) for leaf in before}
    wrong = [
        leaf.seq
        for leaf in leaves
        if link(previous.get(leaf.seq - 1, b""), bytes(leaf.leaf_hash)) != bytes(leaf.chain_hash)
    ]
    broken = f"Link {wrong[0]} does not follow the one before." if wrong else ""
    return _said("chain", "Chain link", not wrong, broken or _recomputed(len(leaves), "link"))


def _inclusion(
    events: Sequence[JournalEvent], leaves: dict[str, JournalLeaf], checkpoint: JournalCheckpoint
) -> Check:
    read = reader(checkpoint.tree_size)
    wrong = [
        leaves[event.pk].seq
        for event in events
        if not _is_included(leaves[event.pk], leaf_hash(bytes(event.envelope)), checkpoint, read)
    ]
    numbers = sorted(leaf.seq for leaf in leaves.values())
    span = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    detail = (
        f"Leaf {wrong[0]} does not lead to the signed root."
        if wrong
        else f"Number {span}, proven against checkpoint {checkpoint.tree_size}."
    )
    return _said("inclusion", "Inclusion", not wrong, detail)


def _is_included(leaf: JournalLeaf, hashed: bytes, checkpoint: JournalCheckpoint, read: ReadHash) -> bool:
    size = checkpoint.tree_size
    try:
        root = note.parse(checkpoint.note).root
        path = inclusion_proof(read, leaf.seq, size)
    except (ValueError, InvalidError, NotFoundError):
        return False
    return verify_inclusion(hashed, leaf.seq, size, path, root)


def _signature(checkpoint: JournalCheckpoint) -> Check:
    code, name = "signature", "Checkpoint signature"
    ring = key_ring(KeyPurpose.CHECKPOINT, (), ask_vault=vault.is_ready())
    try:
        signed = note.open(checkpoint.note, ring.publics)
    except InvalidError as error:
        return _said(code, name, False, f"It does not hold: {error.code}.")
    if (signed.size, signed.root) != (checkpoint.tree_size, bytes(checkpoint.root)):
        return _said(code, name, False, "The note is about another tree.")
    counting = [
        key_id
        for key_id in signed.signed_by
        if ring.keys[key_id].counts_at(checkpoint.sealed_at, checkpoint.tree_size)
    ]
    if not counting:
        return _said(code, name, False, "The key that signed does not count at this time.")
    return _said(
        code, name, True, f"Checkpoint {checkpoint.tree_size}, signed by key {shorten_id(counting[0])}."
    )


_SEALED_ITEMS = (
    ("leaf", "Leaf"),
    ("chain", "Chain link"),
    ("inclusion", "Inclusion"),
    ("signature", "Checkpoint signature"),
)


def _hashed(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical({"v": EXECUTION_FORMAT, **facts})).hexdigest()


def _recomputed(count: int, what: str) -> str:
    plural = {"leaf": "leaves", "link": "links"}[what]
    return f"The {what} is recomputed and as stored." if count == 1 else f"{count} {plural} recomputed."


def _said(code: str, name: str, held: bool, detail: str) -> Check:
    return Check(code, name, CheckState.HOLDS if held else CheckState.BROKEN, detail)


def _unchecked(code: str, name: str, reason: str) -> Check:
    return Check(code, name, CheckState.UNCHECKED, reason)
