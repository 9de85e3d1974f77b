"""What is exported can be checked without Palyra, and whatever is changed in it is found."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.plugin import DjangoDbBlocker

from governance.journal import export as exporting, note
from governance.journal.export import Export, Shape, Wanted, newest_checkpoint
from governance.journal.keys import public_keys
from governance.journal.merkle import inclusion_proof
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
    JournalSubjectKey,
)
from governance.journal.proof import render
from governance.journal.sealing import seal
from governance.journal.tiles import reader
from kernel.errors import InvalidError, UnavailableError
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.offline import Report, check_path
from palyra_site.cli.offline_keys import read_anchors
from tests.governance.journal.tampering import guards_lifted
from tests.governance.journal.writing import NOW, propose, write
from tests.module_worlds import rolled_back
from vault import services as vault
from vault.types import KeyPurpose

MANY = 300
Fields = dict[str, Any]
Change = Callable[[list[Fields]], object]


@pytest.fixture(scope="module")
def log(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[JournalCheckpoint]:
    """A sealed log of some hundred events, one of them with a float, an emoji and a line separator."""
    with rolled_back(django_db_blocker):
        vault.ensure_ready(now=NOW)
        propose({"a": [0.5, 1e21, -7, None, True], "b": "\u2028 \U0001f511 \x7f", "": {}})
        for number in range(MANY):
            write(subject=f"call_{number}")
        sealed = seal(now=NOW)
        assert sealed is not None
        yield sealed


pytestmark = pytest.mark.usefixtures("db")


def wanted(first: int = 0, end: int | None = None, *, reveals: bool = True, **more: Any) -> Wanted:
    signed = newest_checkpoint()
    assert signed is not None
    shape = more.get("shape", Shape.JSONL)
    last = signed.tree_size if end is None else end
    return Wanted(shape, first, last, signed, reveals, "evt_1", "ins_1", NOW)


def taken(*args: Any, **more: Any) -> bytes:
    return b"".join(Export(wanted(*args, **more)).pieces())


def the_key() -> str:
    (key,) = public_keys(KeyPurpose.CHECKPOINT).values()
    return base64.b64encode(key).decode()


def checked(tmp_path: Path, data: bytes, name: str = "x.jsonl", key: str | None = None) -> Report:
    path = tmp_path / name
    path.write_bytes(data)
    return check_path(path, read_anchors([key or the_key()]), lambda size, events: None)


def codes(report: Report) -> list[str]:
    return [one.code for one in report.findings]


@pytest.mark.parametrize("reveals", [True, False])
def test_a_whole_export_holds(log: JournalCheckpoint, tmp_path: Path, reveals: bool) -> None:
    report = checked(tmp_path, taken(reveals=reveals))
    assert (report.events, report.checkpoints, report.findings) == (log.tree_size, 1, [])
    assert report.notes == ([] if reveals else [f"{log.tree_size} events came without their data"])


@pytest.mark.parametrize(
    ("first", "end"), [(0, 0), (0, 1), (5, 5), (5, 6), (17, 256), (255, 300), (256, None)]
)
def test_any_part_of_the_log_holds_under_the_same_checkpoint(
    log: JournalCheckpoint, tmp_path: Path, first: int, end: int | None
) -> None:
    data = taken(first, end)
    report = checked(tmp_path, data)
    last = log.tree_size if end is None else end
    assert (report.events, report.findings, report.checkpoints) == (last - first, [], 1)
    assert [line["seq"] for line in parsed(data)[:-1]] == list(range(first, last))
    assert any(text.startswith("not in this export") for text in report.notes)


def parsed(data: bytes) -> list[Fields]:
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def joined(lines: list[Fields]) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines).replace(
        b'{"seq": ', b'{"seq":'
    )


def swap(lines: list[Fields], one: int, other: int) -> None:
    lines[one], lines[other] = lines[other], lines[one]


def renumber(lines: list[Fields]) -> None:
    """Two events trade their places with their numbers, so that order and count look right."""
    lines[7]["seq"], lines[8]["seq"] = lines[8]["seq"], lines[7]["seq"]
    swap(lines, 7, 8)


def drop_and_count(lines: list[Fields]) -> None:
    del lines[9]
    lines[-1]["count"] -= 1


def hide_the_tail(lines: list[Fields]) -> None:
    """The newest ten are gone and the trailer knows nothing of them."""
    del lines[-11:-1]
    lines[-1].update(count=len(lines) - 1, end_seq=len(lines) - 1, tree_size=len(lines) - 1)


def rebuild(lines: list[Fields]) -> None:
    """Another envelope with the leaf that fits it: only the signed root can tell."""
    lines[4] = {**lines[3], "seq": 4}


def foreign_key(lines: list[Fields]) -> None:
    """The trailer brings the key of a stranger along; nobody asks it."""
    lines[-1]["keys"] = [{"public_key": base64.b64encode(bytes(32)).decode()}]


CHANGES: dict[str, tuple[Change, list[str]]] = {
    "nothing": (lambda lines: None, []),
    "a key brought along": (foreign_key, []),
    "envelope": (lambda lines: lines[3]["envelope"].update(subject="x"), ["leaf_mismatch"]),
    "envelope and leaf": (rebuild, ["root_mismatch", "chain_break"]),
    "leaf": (
        lambda lines: lines[3].update(leaf_hash=lines[4]["leaf_hash"]),
        ["leaf_mismatch", "root_mismatch", "chain_break"],
    ),
    "data": (lambda lines: lines[3]["data"].update(reason="else"), ["payload_mismatch"]),
    "salt": (lambda lines: lines[3].update(salt="A" * 43), ["payload_mismatch"]),
    "no salt": (lambda lines: lines[3].pop("salt"), ["payload_mismatch"]),
    "more than the mark of an erasure": (
        lambda lines: lines[3].update(salt=None, data={"_erased": True, "at": "", "reason": "else"}),
        ["payload_mismatch"],
    ),
    "no data": (lambda lines: lines[3].update(data=None, salt=None), ["payload_missing"]),
    "dropped": (lambda lines: lines.pop(9), ["truncated", "seq_gap"]),
    "dropped and counted": (drop_and_count, ["seq_gap"]),
    "twice": (lambda lines: lines.insert(9, lines[9]), ["order_mismatch"]),
    "swapped": (lambda lines: swap(lines, 7, 8), ["order_mismatch", "truncated", "seq_gap"]),
    "renumbered": (renumber, ["root_mismatch", "chain_break"]),
    "tail": (hide_the_tail, ["root_mismatch", "chain_break"]),
    "no trailer": (lambda lines: lines.pop(), ["truncated"]),
    "after the trailer": (lambda lines: lines.append(lines[0]), ["line_malformed"]),
    "checkpoint": (lambda lines: lines[-1].update(checkpoint=None), ["checkpoint_missing"]),
    "chain": (lambda lines: lines[-1].update(chain_hash=lines[0]["leaf_hash"]), ["chain_break"]),
    "format": (lambda lines: lines[-1].update(format="palyra.journal.v2"), ["trailer_malformed"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_is_changed_is_found(log: JournalCheckpoint, tmp_path: Path, name: str) -> None:
    change, expected = CHANGES[name]
    lines = parsed(taken(0, 20))
    change(lines)
    if name == "tail":
        lines[-1]["absent"] = []
    found = checked(tmp_path, joined(lines))
    assert sorted(set(codes(found))) == sorted(set(expected)), found.findings


def test_a_line_that_is_passed_off_as_archived_is_named(log: JournalCheckpoint, tmp_path: Path) -> None:
    """The file cannot prove why something is not in it, so whoever reads it is told that it is not."""
    lines = parsed(taken(0, 20))
    gone = lines.pop(9)
    lines[-1]["count"] -= 1
    lines[-1]["absent"].append(
        {"first_seq": 9, "end_seq": 10, "why": "archived", "archive": None, "hashes": [gone["leaf_hash"]]}
    )
    report = checked(tmp_path, joined(lines))
    assert report.findings == []
    assert "archived: 9 to 9, file None" in report.notes
    lines[-1]["absent"][-1]["why"] = "outside"
    assert codes(checked(tmp_path, joined(lines))) == ["event_missing"]


def test_a_checkpoint_by_another_key_or_with_another_byte_fails(
    log: JournalCheckpoint, tmp_path: Path
) -> None:
    data = taken(0, 3)
    other = base64.b64encode(bytes(range(32))).decode()
    assert codes(checked(tmp_path, data, key=other)) == ["key_unknown"]
    lines = parsed(data)
    signed = lines[-1]["checkpoint"]
    lines[-1]["checkpoint"] = signed[:-4] + ("A" if signed[-4] != "A" else "B") + signed[-3:]
    assert codes(checked(tmp_path, joined(lines))) in (["signature_invalid"], ["note_malformed"])


def test_an_archived_range_is_named_and_a_row_that_is_gone_is_a_finding(
    log: JournalCheckpoint, tmp_path: Path
) -> None:
    JournalArchive.objects.create(
        first_seq=3, end_seq=6, uri="/somewhere", sha256="ab" * 32, bytes=1, verified_at=NOW, event="evt_1"
    )
    taken_out(range(3, 6))
    data = taken()
    report = checked(tmp_path, data)
    assert (report.events, report.findings) == (log.tree_size - 3, [])
    assert f"archived: 3 to 5, file sha256:{'ab' * 32}" in report.notes
    assert b"/somewhere" not in data

    with guards_lifted():
        taken_out([9])
    assert [(one.code, one.seq) for one in checked(tmp_path, taken()).findings] == [("event_missing", 9)]


def taken_out(seqs: Any) -> None:
    ids = list(JournalLeaf.objects.filter(seq__in=list(seqs)).values_list("event_id", flat=True))
    JournalPayload.objects.filter(event_id__in=ids).delete()
    JournalEvent.objects.filter(pk__in=ids).delete()


def test_erased_and_unreadable_data_is_told_as_such(log: JournalCheckpoint, tmp_path: Path) -> None:
    key = JournalPayload.objects.get(event_id=JournalLeaf.objects.get(seq=10).event_id).key
    JournalSubjectKey.objects.filter(pk=key.pk).update(
        wrapped_key=None, destroyed_at=NOW, destroyed_event="evt_1"
    )
    for reveals in (True, False):
        *lines, trailer = parsed(taken(reveals=reveals))
        assert lines[10]["data"] == {"_erased": True, "at": "2026-03-02T09:30:00.123Z"}
        assert trailer["erased"] > 0
        assert checked(tmp_path, taken(reveals=reveals)).findings == []


def test_a_payload_that_does_not_open_ends_nothing_and_is_found(
    log: JournalCheckpoint, tmp_path: Path
) -> None:
    with guards_lifted():
        event = JournalLeaf.objects.get(seq=10).event_id
        JournalPayload.objects.filter(event_id=event).update(nonce=bytes(12))
    data = taken()
    assert parsed(data)[-1]["unreadable"] == 1
    assert [(one.code, one.seq) for one in checked(tmp_path, data).findings] == [("payload_mismatch", 10)]


def test_an_envelope_that_is_none_any_more_is_told_and_found(log: JournalCheckpoint, tmp_path: Path) -> None:
    event = JournalLeaf.objects.get(seq=10).event_id
    with guards_lifted():
        JournalEvent.objects.filter(pk=event).update(envelope=b'{"a":\n"\xff')
    report = checked(tmp_path, taken(reveals=False))
    assert [(one.code, one.seq) for one in report.findings] == [("leaf_mismatch", 10)]
    with pytest.raises(UnavailableError):
        taken(shape=Shape.CLOUDEVENTS, reveals=False)


def test_leaves_that_are_gone_leave_an_export_without_trailer(log: JournalCheckpoint) -> None:
    export = Export(wanted(log.tree_size - 1, log.tree_size + 3))
    with pytest.raises(UnavailableError):
        export.read()


@pytest.mark.parametrize("place", [(1, 0), (0, 10), (11, 11), (11, None), (5, 4)])
def test_a_range_beyond_the_log_is_refused(place: tuple[int, int | None]) -> None:
    with pytest.raises(InvalidError) as refused:
        exporting.bounds(*place, 10)
    assert refused.value.code == "invalid_range"


def test_cloud_events_hold_what_the_standard_demands(log: JournalCheckpoint) -> None:
    *events, closing = parsed(taken(0, 3, shape=Shape.CLOUDEVENTS))
    for seq, event in enumerate(events):
        leaf = JournalLeaf.objects.get(seq=seq)
        stored = json.loads(bytes(JournalEvent.objects.get(pk=leaf.event_id).envelope))
        assert event["specversion"] == "1.0"
        assert (event["id"], event["time"]) == (stored["id"], stored["time"])
        assert event["source"] == f"urn:palyra:{stored['instance']}"
        assert event["type"] == f"dev.palyra.{stored['type']}"
        assert (event["palyraseq"], event["palyradigest"]) == (str(seq), stored["data_digest"])
    for event in (*events, closing):
        assert all(name.isalnum() and name == name.lower() and len(name) <= 20 for name in event)
        assert all(isinstance(event[name], str) and event[name] for name in ("id", "source", "type", "time"))
    assert closing["type"] == "dev.palyra.journal.export_closed"
    assert closing["data"]["count"] == 3
    assert len({event["id"] for event in (*events, closing)}) == 4


def test_memory_holds_one_batch_at_a_time(log: JournalCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "BATCH", 7)
    pieces = list(Export(wanted(reveals=False)).pieces())
    assert {piece.count(b"\n") for piece in pieces[:-2]} == {7}
    assert b"".join(pieces) == taken(reveals=False)


def a_proof(seq: int, signed: JournalCheckpoint) -> str:
    leaf = JournalLeaf.objects.get(seq=seq)
    envelope = bytes(JournalEvent.objects.get(pk=leaf.event_id).envelope)
    path = inclusion_proof(reader(signed.tree_size), seq, signed.tree_size)
    return render(envelope, seq, path, signed.note)


def test_a_proof_holds_and_one_changed_character_of_it_fails(log: JournalCheckpoint, tmp_path: Path) -> None:
    text = a_proof(5, log)
    assert checked(tmp_path, text.encode(), "x.tlog-proof").findings == []
    for place in sorted({place for place in places_in(text) if place < len(text)}):
        other = "B" if text[place] == "A" else "A"
        changed = text[:place] + other + text[place + 1 :]
        assert checked(tmp_path, changed.encode(), "x.tlog-proof").findings, (place, text[place])
    for changed in (text.replace("\n", "\r\n"), text + "\n", text[:-1], " " + text, "\ufeff" + text):
        assert checked(tmp_path, changed.encode(), "x.tlog-proof").findings


def places_in(text: str) -> Iterator[int]:
    """Yield places of every kind: both ends of each line, its middle, its break, and all of one hash."""
    start = 0
    for number, line in enumerate(text.split("\n")):
        end = start + len(line)
        hash_of_a_path = range(start, end) if number == 4 else ()
        yield from {start, min(start + 1, end), (start + end) // 2, max(start, end - 2), *hash_of_a_path}
        if end < len(text):
            yield end
        start = end + 1


def test_a_directory_is_checked_whole_and_tells_what_it_left_out(
    log: JournalCheckpoint, tmp_path: Path
) -> None:
    (tmp_path / "proofs").mkdir()
    (tmp_path / "proofs" / "a.tlog-proof").write_text(a_proof(5, log))
    (tmp_path / "keys.json").write_text("{}")
    (tmp_path / "part.jsonl").write_bytes(taken(3, 9))
    report = checked(tmp_path, taken(0, 2))
    anchors = read_anchors([the_key()])
    report = check_path(tmp_path, anchors, lambda size, events: None)
    assert (report.events, report.checkpoints, report.findings) == (9, 1, [])
    assert "1 files were not checked: keys.json" in report.notes
    (tmp_path / "part.jsonl").write_bytes(b"?" + taken(3, 9))
    assert codes(check_path(tmp_path, anchors, lambda size, events: None)) == ["file_malformed"]


def test_what_is_no_journal_could_not_be_checked(tmp_path: Path, log: JournalCheckpoint) -> None:
    anchors = read_anchors([the_key()])
    for name, data in (("x.txt", b"hello"), ("empty", b""), ("x.cloud", b'{"specversion":"1.0"}\n')):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CliError) as refused:
            check_path(tmp_path / name, anchors, lambda size, events: None)
        assert refused.value.exit_code == 1
    with pytest.raises(CliError):
        check_path(tmp_path / "nowhere", anchors, lambda size, events: None)


def test_a_key_comes_in_any_form_people_have_it_in(log: JournalCheckpoint, tmp_path: Path) -> None:
    (raw,) = public_keys(KeyPurpose.CHECKPOINT).values()
    origin = note.parse(log.note).origin
    pem = (
        "-----BEGIN PUBLIC KEY-----\n"
        + base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
        + "\n-----END PUBLIC KEY-----\n"
    )
    vkey = note.verifier_key(origin, raw)
    listed = {
        "keys": [{"key_id": "x", "public_key": base64.b64encode(raw).decode(), "purpose": "checkpoint"}]
    }
    file = tmp_path / "pub.pem"
    file.write_text(pem)
    data = taken(0, 3)
    for key in (str(file), pem, vkey, json.dumps(listed), the_key()):
        assert checked(tmp_path, data, key=key).findings == [], key
    other_log = note.verifier_key("other.example/log", raw)
    assert codes(checked(tmp_path, data, key=other_log)) == ["key_unknown"]
    for wrong in (
        "", "x", vkey.replace("+", "+0", 1), "-----BEGIN PUBLIC KEY-----\n", "{}", '{"keys":[{}]}',
        the_key()[:-4],
        json.dumps({"keys": [{**listed["keys"][0], "revoked_at": "2026-01-01T00:00:00Z"}]}),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            read_anchors([wrong])
    attests = {"keys": [{**listed["keys"][0], "purpose": "attestation"}]}
    assert codes(checked(tmp_path, data, key=json.dumps(attests))) == ["key_unknown"]
