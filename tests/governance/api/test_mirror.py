"""A client that knows nothing but the published formats mirrors the log, and need not trust the server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction

from governance.api import views_tiles
from governance.journal.ledger import record
from governance.journal.models import JournalCheckpoint, JournalCosignature, JournalEvent, JournalLeaf
from governance.journal.sealing import seal
from kernel.clock import utc_now
from kernel.record import system_actor
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.test_journal import away, sealed
from tests.governance.api.world import Caller, World
from tests.support_append_only import guards_lifted

EVENTS = 300
ROOT = "/api/v1/journal"
KEYS = "/.well-known/palyra-keys.json"
BYTES = "application/octet-stream"
Fetch = Callable[[str], bytes]


@pytest.fixture(scope="module", autouse=True)
def written(founded: World) -> int:
    """Put so many events into the log of this module that it has a full tile, and seal them."""
    with transaction.atomic():
        for number in range(EVENTS):
            record(
                event="login.failed",
                actor=system_actor("shell"),
                subject="192.0.2.0/24",
                now=utc_now(),
                data={"network": "192.0.2.0/24", "reason": "password", "count": number},
            )
        seal(now=utc_now())
    return JournalLeaf.objects.count()


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PALYRA_JOURNAL_PUBLIC", True)


class Mirror:
    """Everything here is what C2SP tlog-tiles, tlog-checkpoint and RFC 6962 say, and nothing of Palyra."""

    def __init__(self, fetch: Fetch, vkeys: list[str]) -> None:
        self.fetch = fetch
        self.keys: dict[tuple[str, bytes], bytes] = {}
        for vkey in vkeys:
            name, digest, encoded = vkey.split("+", 2)
            data = base64.b64decode(encoded)
            assert data[:1] == b"\x01"
            assert hashlib.sha256(name.encode() + b"\n" + data).digest()[:4].hex() == digest
            self.keys[name, bytes.fromhex(digest)] = data[1:]

    def checkpoint(self) -> tuple[int, bytes]:
        """Return size and root of the newest checkpoint, whose signature holds."""
        text = self.fetch(f"{ROOT}/checkpoint").decode()
        body, _, lines = text.partition("\n\n")
        origin, size, root = body.split("\n")
        verified = 0
        for line in lines.splitlines():
            dash, name, encoded = line.split(" ")
            assert dash == "\N{EM DASH}"
            data = base64.b64decode(encoded)
            key = self.keys.get((name, data[:4]))
            if name == origin and key is not None:
                Ed25519PublicKey.from_public_bytes(key).verify(data[4:], f"{body}\n".encode())
                verified += 1
        assert verified == 1
        return int(size), base64.b64decode(root)

    def places(self, count: int) -> list[tuple[str, int]]:
        """Return path and width of the tiles that hold `count` hashes."""
        full, rest = divmod(count, 256)
        tiles = [(self.path(index), 256) for index in range(full)]
        return tiles + ([(f"{self.path(full)}.p/{rest}", rest)] if rest else [])

    @staticmethod
    def path(index: int) -> str:
        groups = [f"{index % 1000:03d}"]
        while index := index // 1000:
            groups.insert(0, f"x{index % 1000:03d}")
        return "/".join(groups)

    def level(self, level: int, size: int) -> list[bytes]:
        """Return all hashes of a level of tiles."""
        hashes = []
        for place, width in self.places(size >> (8 * level)):
            data = self.fetch(f"{ROOT}/tile/{level}/{place}")
            assert len(data) == 32 * width
            hashes += [data[at : at + 32] for at in range(0, len(data), 32)]
        return hashes

    def entries(self, size: int) -> list[bytes]:
        found = []
        for place, width in self.places(size):
            data, at, number = self.fetch(f"{ROOT}/tile/entries/{place}"), 0, 0
            while at < len(data):
                length = int.from_bytes(data[at : at + 2], "big")
                found.append(data[at + 2 : at + 2 + length])
                assert len(found[-1]) == length
                at, number = at + 2 + length, number + 1
            assert number == width
        return found


def root_of(hashes: list[bytes]) -> bytes:
    """The definition of RFC 6962, section 2.1, word for word."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + root_of(hashes[:split]) + root_of(hashes[split:])).digest()


def fetcher(caller: Caller) -> Fetch:
    def fetch(path: str) -> bytes:
        answer = caller.get(path)
        assert answer.status_code == 200, (path, answer.content)
        return answer.content

    return fetch


def vkeys(world: World) -> list[str]:
    return [key["vkey"] for key in world.nobody.get(KEYS).json()["keys"] if key["vkey"]]


def test_a_client_of_the_formats_alone_mirrors_the_log(world: World, public: None) -> None:
    mirror = Mirror(fetcher(world.nobody), vkeys(world))
    size, root = mirror.checkpoint()
    assert size == JournalLeaf.objects.count() > 256

    leaves = mirror.level(0, size)
    entries = mirror.entries(size)
    assert [hashlib.sha256(b"\0" + entry).digest() for entry in entries] == leaves
    assert root_of(leaves) == root
    assert mirror.level(1, size) == [root_of(leaves[:256])]
    told = [json.loads(entry)["id"] for entry in entries]
    assert told == list(JournalLeaf.objects.order_by("seq").values_list("event_id", flat=True))

    sealed_before, root_before = size, root
    world.agent.open_run()
    sealed()
    size, root = mirror.checkpoint()
    assert size > sealed_before
    newer = mirror.level(0, size)
    assert root_of(newer) == root
    assert root_of(newer[:sealed_before]) == root_before


def test_a_private_log_is_mirrored_by_who_reads_all_of_it(world: World) -> None:
    mirror = Mirror(fetcher(world.owner), vkeys(world))
    size, root = mirror.checkpoint()
    assert root_of([hashlib.sha256(b"\0" + one).digest() for one in mirror.entries(size)]) == root


@pytest.mark.parametrize(
    "path", ["checkpoint", "checkpoints", "tile/0/000", "tile/entries/000", "tile/1/000.p/1"]
)
def test_a_private_log_is_not_there_for_others(world: World, path: str) -> None:
    assert world.nobody.get(f"journal/{path}").status_code == 401
    for caller in (world.agent, world.approver, world.stranger):
        assert caller.get(f"journal/{path}").status_code == 403
    within_one = world.auditor.get(f"journal/{path}")
    assert within_one.status_code == (404 if "entries" in path else 200)


def test_full_tiles_may_be_kept_and_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for public, shared in ((False, "private"), (True, "public")):
        monkeypatch.setattr(settings, "PALYRA_JOURNAL_PUBLIC", public)
        for path in ("tile/0/000", "tile/entries/000"):
            full = world.owner.get(f"journal/{path}")
            assert full.headers["Cache-Control"] == f"{shared}, max-age=31536000, immutable"
            assert full.headers["Content-Type"] == BYTES
            assert full.headers["X-Content-Type-Options"] == "nosniff"
        for path in ("tile/0/001.p/1", "tile/0/000.p/255", "tile/1/000.p/1", "checkpoint", "tile/0/009"):
            assert world.owner.get(f"journal/{path}").headers["Cache-Control"] == "no-store", path


def test_a_partial_tile_is_the_beginning_of_a_full_one(world: World) -> None:
    full = world.owner.get("journal/tile/0/000").content
    for width in (1, 7, 255):
        assert world.owner.get(f"journal/tile/0/000.p/{width}").content == full[: 32 * width]
    entries = world.owner.get("journal/tile/entries/000").content
    assert entries.startswith(world.owner.get("journal/tile/entries/000.p/9").content)


def test_an_address_without_a_tile_is_not_found(world: World) -> None:
    """Which texts are addresses at all: `tests.governance.journal.test_places`."""
    for place in ("000.p/256", "0", "x001/x234/067", "x999/" * 6 + "999", "%2e%2e/000"):
        for kind in ("0", "entries"):
            assert_problem(world.owner.get(f"journal/tile/{kind}/{place}"), 404, "not_found")
    for level in ("2", "63", "64", "x", "9" * 30):
        assert_problem(world.owner.get(f"journal/tile/{level}/000.p/1"), 404, "not_found")


def test_nothing_is_served_beyond_the_newest_checkpoint(world: World) -> None:
    size = JournalLeaf.objects.count()
    world.agent.open_run()
    assert world.owner.get(f"journal/tile/0/001.p/{size - 256}").status_code == 200
    for kind in ("0", "entries"):
        assert world.owner.get(f"journal/tile/{kind}/001.p/{size - 255}").status_code == 404


def test_a_public_log_has_a_limit_for_each_address(
    world: World, public: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_tiles, "PUBLIC_A_MINUTE", 2)
    codes = [world.nobody.get("journal/checkpoint").status_code for _ in range(40)]
    assert codes[-1] == 429
    assert_problem(world.nobody.get("journal/tile/0/000"), 429, "rate_limited")


def test_a_public_log_is_public_in_hashes_and_ids_and_nothing_more(world: World, public: None) -> None:
    for path in ("journal/events", "journal/events/evt_01JD0000000000000000000000", "journal/consistency"):
        assert world.nobody.get(path).status_code == 401, path
    for method in ("POST", "PUT", "DELETE"):
        assert world.nobody.send(method, "journal/checkpoint", b"{}").status_code == 405


def test_checkpoints_are_listed_with_what_was_signed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.agent.open_run()
    sealed()
    rows = {row.tree_size: row for row in JournalCheckpoint.objects.all()}
    listed = world.auditor.get("journal/checkpoints").json()["data"]
    assert [one["tree_size"] for one in listed] == sorted(rows, reverse=True)
    for one in listed:
        row = rows[one["tree_size"]]
        assert (one["note"], one["key_id"], one["witnesses"]) == (row.note, row.key_id, [])
        assert base64.b64decode(one["root"]) == bytes(row.root)
    after = world.auditor.get(f"journal/checkpoints?after={min(rows)}").json()["data"]
    assert [one["tree_size"] for one in after] == sorted(rows)[1:]
    monkeypatch.setattr(settings, "PALYRA_JOURNAL_PUBLIC", True)
    first = world.nobody.get("journal/checkpoints?order=asc&limit=1").json()
    assert first["has_more"] is True
    rest = world.nobody.get(f"journal/checkpoints?order=asc&limit=1&cursor={first['next_cursor']}").json()
    assert rest["data"][0]["tree_size"] == sorted(rows)[1]
    for query in ("after=x", "after=1&after=2"):
        assert_problem(world.auditor.get(f"journal/checkpoints?{query}"), 400, "invalid_parameter")


def test_a_witness_stands_under_what_it_has_seen(world: World) -> None:
    newest = JournalCheckpoint.objects.order_by("-tree_size")[0]
    line = f"\N{EM DASH} witness.example/w1 {base64.b64encode(bytes(76)).decode()}"
    JournalCosignature.objects.create(checkpoint=newest, witness="witness.example/w1", line=f"{line}\n")
    assert world.auditor.get("journal/checkpoint").content.decode() == f"{newest.note}{line}\n"
    assert world.auditor.get("journal/checkpoints").json()["data"][0]["witnesses"] == ["witness.example/w1"]
    assert Mirror(fetcher(world.owner), vkeys(world)).checkpoint()[0] == newest.tree_size


def test_entries_that_lie_in_an_archive_are_named_and_their_hashes_stay(world: World) -> None:
    leaf = JournalLeaf.objects.get(seq=5)
    away(JournalEvent.objects.get(pk=leaf.event_id), first=0, end=100)
    gone = world.owner.get("journal/tile/entries/000")
    assert_problem(gone, 404, "archived")
    assert "Event 5 " in gone.json()["detail"]
    assert world.owner.get("journal/tile/entries/000.p/5").status_code == 200
    assert world.owner.get("journal/tile/0/000").status_code == 200


def test_entries_that_are_gone_without_an_archive_are_no_bundle(world: World) -> None:
    leaf = JournalLeaf.objects.get(seq=5)
    with guards_lifted():
        JournalEvent.objects.get(pk=leaf.event_id).payload.delete()
        JournalEvent.objects.filter(pk=leaf.event_id).delete()
    assert_problem(world.owner.get("journal/tile/entries/000"), 503, "journal_inconsistent")


def test_keys_are_there_for_everybody_in_three_spellings(world: World) -> None:
    answer = world.nobody.get(KEYS)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=60")
    document: dict[str, Any] = answer.json()
    assert {key["purpose"] for key in document["keys"]} >= {"checkpoint"}
    for key in document["keys"]:
        raw = base64.b64decode(key["public_key"])
        assert key["key_id"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"
        assert base64.b64decode("".join(key["pem"].splitlines()[1:-1]))[-32:] == raw
        assert (key["algorithm"], key["retired_at"], key["revoked_at"]) == ("ed25519", None, None)
        if key["vkey"]:
            assert key["vkey"].startswith(f"{document['origin']}+")
            assert base64.b64decode(key["vkey"].split("+", 2)[2]) == b"\x01" + raw
        assert (key["vkey"] is None) == (key["purpose"] != "checkpoint")
    assert world.nobody.post(KEYS).status_code == 405
