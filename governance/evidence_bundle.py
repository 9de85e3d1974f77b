"""The evidence of one call as files that a stranger checks: events with proofs, statement, rules, answers.

Everything hangs on one checkpoint of the log. The manifest lists the digest of each file and is signed, so
that nothing can be taken out of a bundle; the attestation names the events up to the end of the call, so
that nothing could be left out when it was made. The same call gives the same bytes while its events, its
answers and the keys stay as they are.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from governance.evidence import answer_behind, threads_of
from governance.evidence_documents import answer_document, policy_documents, tool_document
from governance.journal import note
from governance.journal.attestations import stored_statement
from governance.journal.export_lines import Line, write
from governance.journal.keys import windows
from governance.journal.lookup import ARCHIVED, is_archived
from governance.journal.models import Attestation, JournalCheckpoint, JournalEvent, JournalKey, JournalLeaf
from governance.journal.proving import proof_of, served_note
from governance.journal.published import key_document, pem
from governance.journal.reading import Opened, open_salted
from governance.journal.story import MOST_EVENTS, story_of
from governance.models import ToolCall
from governance.results import salted_text, stored_output
from governance.selectors import CallView
from kernel.canonical import canonical, digest_bytes
from kernel.errors import InvalidError, NotFoundError, UnavailableError
from sandbox.attestation import pre_authentication
from vault.types import KeyPurpose, Signer

FORMAT = "palyra.evidence.v1"
MANIFEST_TYPE = "application/vnd.palyra.evidence+json"
MOST_BYTES = 32 * 1024 * 1024
_KIT = Path(settings.BASE_DIR) / "templates" / "evidence"
_OWN = frozenset({"tool_call.proposed", "attestation.recorded"})
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose evidence, with or without the data of events, and which key will sign the manifest.

    `said` is the predicate of the attestation. `reveals_all` opens also what belongs to the installation
    and not to the run.
    """

    call: ToolCall
    attestation: Attestation
    said: Mapping[str, Any]
    signed_by: JournalKey
    reveals: bool
    reveals_all: bool
    now: datetime


def wanted(
    view: CallView, signed_by: JournalKey, *, reveals: bool, reveals_all: bool, now: datetime
) -> Wanted:
    """Return what to collect; NotFoundError while the call goes on.

    UnavailableError `integrity_failed` when the stored attestation is not one that a key of ours signed.
    """
    if view.attestation is None:
        raise NotFoundError("not_found", "The call has not ended, so nothing is attested yet.")
    said = stored_statement(view.attestation).predicate
    return Wanted(view.call, view.attestation, said, signed_by, reveals, reveals_all, now)


def events_of(wanted: Wanted) -> list[JournalEvent]:
    """Return the events of the bundle: those that were attested, those since, and those of the keys.

    What lies in an archive is left out: NotFoundError `archived` when the call's own story does.
    UnavailableError `journal_inconsistent` when an event is gone without.
    """
    asked, grant = answer_behind(wanted.call)
    keys = {wanted.attestation.key.rotation_event, wanted.signed_by.rotation_event}
    named = {*wanted.said["events"]["ids"], *keys}
    found = {event.pk: event for event in story_of(threads_of(wanted.call, asked, grant))}
    found |= {event.pk: event for event in JournalEvent.objects.filter(pk__in=named - set(found))}
    if len(found) >= MOST_EVENTS:
        raise InvalidError("invalid", f"There are {MOST_EVENTS} events of this call or more.")
    away = archived_leaves(named - set(found))
    if len(away) != len(named - set(found)):
        raise UnavailableError("journal_inconsistent", "An event is gone that the attestation names.")
    types = {event.type for event in found.values() if event.call_id == wanted.call.id}
    if not types >= _OWN or wanted.said["decision_event"] not in found:
        raise NotFoundError(ARCHIVED, "Events of this call lie in an archive. Restore it to read them.")
    return list(found.values())


def archived_leaves(event_ids: Iterable[str]) -> dict[str, str]:
    """Return by event id the leaf hashes, in base64, of those events that lie in an archive."""
    leaves = JournalLeaf.objects.filter(event_id__in=list(event_ids))
    return {
        leaf.event_id: base64.b64encode(bytes(leaf.leaf_hash)).decode()
        for leaf in leaves
        if is_archived(leaf.seq)
    }


def collect(wanted: Wanted, events: Sequence[JournalEvent]) -> dict[str, bytes]:
    """Return all files but the signature of the manifest. Every event has to be sealed.

    InvalidError `invalid` when they would be larger than 32 MiB; otherwise as what it reads raises.
    """
    rows = JournalLeaf.objects.filter(event_id__in=[event.pk for event in events])
    leaves = {leaf.event_id: leaf for leaf in rows}
    ordered = sorted(events, key=lambda event: leaves[event.pk].seq)
    checkpoint = _checkpoint(leaves[ordered[-1].pk].seq)
    opened = _opened(wanted, ordered)
    lines = (_line(event, leaves[event.pk], opened.get(event.pk)) for event in ordered)
    files = {
        "attestation.dsse.json": wanted.attestation.envelope.encode(),
        "checkpoint.txt": served_note(checkpoint).encode(),
        "events.jsonl": b"".join(lines),
        **{f"proofs/{one.pk}.tlog-proof": proof_of(one, checkpoint.pk).encode() for one in ordered},
        **_keys(wanted, checkpoint),
        **_documents(wanted),
        **({"salts.json": _salts(wanted, opened)} if wanted.reveals else {}),
        **{name: (_KIT / name).read_bytes() for name in ("verify.py", "README.txt")},
    }
    files["manifest.json"] = _manifest(wanted, ordered, checkpoint, files)
    if sum(map(len, files.values())) > MOST_BYTES:
        raise InvalidError("invalid", "The evidence is larger than 32 MiB.")
    return files


def sign(files: Mapping[str, bytes], signer: Signer) -> dict[str, bytes]:
    """Return the files with `manifest.sig`: DSSE's signature over the manifest's bytes."""
    signature = signer.sign(pre_authentication(MANIFEST_TYPE, files["manifest.json"]))
    signed = {"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}
    return {**files, "manifest.sig": canonical(signed)}


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the archive: the manifest first, and nothing compressed: no library has a say in the bytes."""
    first = ("manifest.json", "manifest.sig", "README.txt")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in (*first, *sorted(set(files) - set(first))):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, _MODE
            archive.writestr(entry, files[name])
    return packed.getvalue()


def _checkpoint(last: int) -> JournalCheckpoint:
    """Return the first checkpoint over leaf `last` whose key was never revoked."""
    rows = JournalCheckpoint.objects.filter(tree_size__gt=last, key__revoked_at__isnull=True)
    found = rows.order_by("tree_size").first()
    if found is None:
        raise NotFoundError("not_sealed", "No checkpoint covers the events yet.", retry_after=1)
    return found


def _opened(wanted: Wanted, events: Sequence[JournalEvent]) -> dict[str, Opened]:
    """Return the events that the bundle opens."""
    run = wanted.call.run_id
    shown = [one for one in events if wanted.reveals_all or one.run_id == run] if wanted.reveals else []
    return {event.pk: one for event, one in zip(shown, open_salted(shown), strict=True)}


def _line(event: JournalEvent, leaf: JournalLeaf, opened: Opened | None) -> bytes:
    data = opened.data if opened is not None else None
    return write(Line(leaf.seq, bytes(event.envelope), bytes(leaf.leaf_hash), data, None))


def _text(opened: Opened) -> str | None:
    """Return the text whose digest the envelope holds, None once it is erased."""
    return canonical({"data": opened.data, "salt": opened.salt}).decode() if opened.salt else None


def _salts(wanted: Wanted, opened: Mapping[str, Opened]) -> bytes:
    """Return what the salted digests are over, as text: no reader's numbers change it."""
    events = {name: text for name, text in ((one, _text(opened[one])) for one in sorted(opened)) if text}
    texts = {
        "input": salted_text(wanted.call, wanted.call.input),
        "output": salted_text(wanted.call, stored_output(wanted.call)),
    }
    call = {
        name: text.decode()
        for name, text in texts.items()
        if digest_bytes(text) == wanted.said[f"{name}_digest"]
    }
    return canonical({"events": events, "call": call})


def _keys(wanted: Wanted, checkpoint: JournalCheckpoint) -> dict[str, bytes]:
    """Return the keys that signed something here, and the first one of the checkpoint as PEM."""
    signed = note.parse(checkpoint.note)
    known = windows(KeyPurpose.CHECKPOINT)
    by_mark = {note.key_hash(signed.origin, one.public_key): key_id for key_id, one in known.items()}
    used = [by_mark[data[:4]] for name, data in signed.signatures if data[:4] in by_mark]
    ids = {*used, wanted.attestation.key_id, wanted.signed_by.key_id}
    published = key_document(wanted.now)
    keys = [key for key in published["keys"] if key["key_id"] in ids]
    return {
        "keys.json": canonical({**published, "keys": keys}),
        "checkpoint-key.pem": pem(known[used[0]].public_key).encode(),
    }


def _documents(wanted: Wanted) -> dict[str, bytes]:
    asked, _ = answer_behind(wanted.call)
    tool = tool_document(wanted.call)
    return {
        "approval.json": answer_document(asked, wanted.call.id),
        **policy_documents(wanted.call, wanted.said["policy_set_hash"]),
        **({} if tool is None else {"tool.json": tool}),
    }


def _manifest(
    wanted: Wanted,
    events: Sequence[JournalEvent],
    checkpoint: JournalCheckpoint,
    files: Mapping[str, bytes],
) -> bytes:
    recorded = next(event for event in events if event.type == "attestation.recorded")
    (opened,) = open_salted([recorded])
    return canonical(
        {
            "format": FORMAT,
            "call": wanted.call.id,
            "run": wanted.call.run_id,
            "reveals": wanted.reveals,
            "checkpoint": {
                "tree_size": checkpoint.tree_size,
                "root": base64.b64encode(bytes(checkpoint.root)).decode(),
            },
            "events": [event.pk for event in events],
            "archived": archived_leaves(set(wanted.said["events"]["ids"]) - {event.pk for event in events}),
            "recorded": _text(opened),
            "files": {name: digest_bytes(data).removeprefix("sha256:") for name, data in files.items()},
        }
    )
