"""The evidence of a call, checked by its own script as a stranger runs it, and every way to falsify it."""

from __future__ import annotations

import ast
import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.apps import apps
from django.conf import settings
from django.db import transaction
from pytest_django.plugin import DjangoDbBlocker

from governance import runner
from governance.evidence_bundle import pack, sign
from governance.journal.erase import erase, hold, reach_of
from governance.journal.ledger import record
from governance.journal.models import JournalArchive, JournalEvent, JournalKey, JournalLeaf
from governance.journal.reading import open_data
from governance.journal.rotation import rotate
from governance.operations import runs, sealing
from governance.operations.evidence import EvidenceFile, take_evidence
from governance.selectors import CallView
from kernel.canonical import canonical, digest_bytes
from kernel.clock import utc_now
from kernel.errors import AuthenticationError, NotFoundError, RefusedError, UnavailableError
from tests.governance.pipeline import test_attested as ends
from tests.governance.pipeline.falsifying import (
    FALSIFIED,
    Files,
    Made,
    edited,
    lines_of,
    listed,
    other_tool,
    without_event,
)
from tests.governance.pipeline.world import World, again
from tests.support_append_only import guards_lifted
from vault import services as vault
from vault.types import KeyPurpose, Signer

SCRIPT = Path(settings.BASE_DIR) / "templates" / "evidence" / "verify.py"


pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture(scope="module")
def made(founded: World, django_db_blocker: DjangoDbBlocker) -> Iterator[Made]:
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "close_old_connections", lambda: None)
        call, other = ends.succeeded(founded), ends.succeeded(founded)
        files = opened(take(founded, call, reveal=True))
        yield Made(call, other, files, vault.signer(KeyPurpose.ATTESTATION))


def take(world: World, view: CallView, *, reveal: bool = False) -> EvidenceFile:
    return take_evidence(
        principal=world.person(world.owner), call_id=view.call.id, reveal=reveal, now=utc_now()
    )


def opened(taken: EvidenceFile) -> Files:
    with zipfile.ZipFile(io.BytesIO(taken.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def check(files: Files, folder: Path, *arguments: str) -> tuple[int, str]:
    """Lay the files out and run the script that lies among them, as its README says."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    command = [sys.executable, "-I", "verify.py", *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert b"Traceback" not in done.stdout
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize(("falsify", "why"), FALSIFIED)
def test_nothing_can_be_changed_even_by_whoever_signs_the_manifest(
    made: Made, tmp_path: Path, falsify: Callable[[Made], Files], why: str
) -> None:
    code, told = check(sign(listed(falsify(made)), made.signer), tmp_path)
    assert (code, told.splitlines()[-1][:6]) == (1, "FAILED")
    assert why in told.splitlines()[-1]


def test_everything_holds_as_it_was_handed_out(made: Made, tmp_path: Path) -> None:
    code, told = check(made.files, tmp_path)
    assert code == 0, told
    assert [line.split()[0] for line in told.splitlines()] == ["ok"] * 6 + ["holds"]
    lines = lines_of(made.files)
    types = [line["envelope"]["type"] for line in lines]
    path = {"run.opened", "tool_call.proposed", "approval.requested", "reservation.held", "grant.created"}
    assert path | {"approval.reviewed", "execution.started", "execution.finished"} <= set(types)
    assert {"attestation.recorded", "policy.activated", "journal.key_rotated"} <= set(types)
    assert [line["seq"] for line in lines] == sorted(line["seq"] for line in lines)
    assert all(line["envelope"]["call"] in (made.call.call.id, None) for line in lines)


def test_a_change_is_noticed_with_and_without_another_manifest(made: Made, tmp_path: Path) -> None:
    files = other_tool(made)
    assert "the manifest lists" in check(files, tmp_path / "a")[1]
    later = without_event(made, "policy.activated")
    for number, falsified in enumerate((later, listed({**made.files, "README.txt": b"Trust me."}))):
        code, told = check(falsified, tmp_path / str(number))
        assert (code, "FAILED" in told) == (1, True)
    assert "the signature of the manifest" in told


def test_a_bundle_makes_nobody_read_files_that_lie_elsewhere(made: Made, tmp_path: Path) -> None:
    for number, name in enumerate(("/dev/zero", "../secret", "policy/../../secret")):
        manifest = json.loads(made.files["manifest.json"])
        manifest["files"][name] = "0"
        code, told = check({**made.files, "manifest.json": canonical(manifest)}, tmp_path / str(number))
        assert (code, "lies elsewhere" in told) == (1, True)


def test_a_key_that_the_log_does_not_announce_signs_nothing(made: Made, tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    key_id, encoded = digest_bytes(public), base64.b64encode(public).decode()
    own = {"key_id": key_id, "public_key": encoded, "revoked_at": None}
    files = edited(made.files, "keys.json", lambda keys: keys["keys"].append(own))
    stranger = Signer(key_id=key_id, public_key=public, sign=private.sign)
    code, told = check(sign(listed({**files, "README.txt": b"Trust me."}), stranger), tmp_path)
    assert code == 1
    assert "the manifest: no key that counts" in told


def test_a_trusted_key_is_the_one_that_signed_the_checkpoint_or_nothing_holds(
    made: Made, tmp_path: Path
) -> None:
    keys = {key["purpose"]: key["key_id"] for key in json.loads(made.files["keys.json"])["keys"]}
    code, told = check(made.files, tmp_path, "--key", keys["checkpoint"])
    assert (code, told.splitlines()[-1]) == (0, "holds")
    code, told = check(made.files, tmp_path, "--key", keys["attestation"])
    assert (code, "no trusted key signed the checkpoint" in told) == (1, True)


def test_the_commands_of_the_readme_check_the_signature_by_hand(made: Made, tmp_path: Path) -> None:
    readme = made.files["README.txt"].decode()
    lines = (line.strip() for line in readme.splitlines())
    commands = "\n".join(line for line in lines if line.startswith(("head", "openssl")))
    (tmp_path / "checkpoint.txt").write_bytes(made.files["checkpoint.txt"])
    (tmp_path / "checkpoint-key.pem").write_bytes(made.files["checkpoint-key.pem"])
    assert b"Verified Successfully" in by_hand(commands, tmp_path).stdout
    (tmp_path / "checkpoint.txt").write_bytes(made.files["checkpoint.txt"].replace(b"palyra", b"polyra", 1))
    assert by_hand(commands, tmp_path).returncode != 0


def by_hand(commands: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["/bin/sh", "-ec", commands],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def test_the_script_is_short_and_needs_python_alone() -> None:
    text = SCRIPT.read_text()
    tree = ast.parse(text)
    named = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert named <= sys.stdlib_module_names
    assert len(text.splitlines()) <= 200


@pytest.mark.parametrize("ending", [ends.unknown, ends.denied_by_a_person, ends.refused, ends.ambiguous])
def test_a_call_that_never_ran_has_evidence_too(world: World, tmp_path: Path, ending: ends.Ending) -> None:
    files = opened(take(world, ending(world)))
    assert "salts.json" not in files
    assert all(line["data"] is None for line in lines_of(files))
    code, told = check(files, tmp_path)
    assert code == 0, told


def test_the_same_call_gives_the_same_bytes(world: World) -> None:
    view = world.run(world.propose())
    first = take(world, view)
    world.run(world.propose())
    assert take(world, view) == first
    assert pack(dict(reversed(opened(first).items()))) == first.content


def test_taking_it_is_recorded_and_asks_for_each_right(world: World) -> None:
    view = world.run(world.propose())
    before = JournalEvent.objects.filter(type="record.viewed").count()
    for who in (world.stranger, world.approver):
        with pytest.raises((RefusedError, NotFoundError)):
            take_evidence(principal=world.person(who), call_id=view.call.id, reveal=False, now=utc_now())
    assert JournalEvent.objects.filter(type="record.viewed").count() == before
    take(world, view, reveal=True)
    take(world, view)
    shown = JournalEvent.objects.filter(type="record.viewed", subject=view.call.id).order_by("id")
    assert [open_data(event)["what"] for event in shown] == ["evidence.revealed", "evidence"]
    assert {event.actor for event in shown} == {world.owner.pk}


def test_contents_need_a_fresh_code(world: World) -> None:
    view = world.run(world.propose())
    stale = world.person(world.owner, now=utc_now())
    with pytest.raises(AuthenticationError):
        take_evidence(
            principal=stale, call_id=view.call.id, reveal=True, now=utc_now().replace(year=utc_now().year + 1)
        )


def test_a_call_that_goes_on_has_none(world: World) -> None:
    with pytest.raises(NotFoundError) as refused:
        take(world, world.ask())
    assert refused.value.code == "not_found"


def test_while_another_seals_it_is_to_be_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = world.run(world.propose())
    monkeypatch.setattr(sealing, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(sealing, "seal_pending", lambda now: None)
    with pytest.raises(NotFoundError) as refused:
        take(world, view)
    assert (refused.value.code, refused.value.retry_after) == ("not_sealed", 1)


def test_rules_that_were_changed_behind_the_product_are_no_evidence(world: World) -> None:
    view = world.run(world.propose())
    view.call.policy_set = {"id": "pol_01JD0000000000000000000000"}
    view.call.save(update_fields=["policy_set"])
    with pytest.raises(UnavailableError) as refused:
        take(world, view)
    assert refused.value.code == "integrity_failed"


def test_an_event_in_an_archive_leaves_its_leaf_and_one_that_is_gone_nothing(
    world: World, tmp_path: Path
) -> None:
    view = world.run(world.propose())
    take(world, view)
    opening = JournalEvent.objects.get(run_id=view.call.run_id, type="run.opened")
    name, seq = opening.pk, JournalLeaf.objects.get(event_id=opening.pk).seq
    with guards_lifted():
        opening.payload.delete()
        opening.delete()
    with pytest.raises(UnavailableError):
        take(world, view)
    archived(seq)
    files = opened(take(world, view))
    assert list(json.loads(files["manifest.json"])["archived"]) == [name]
    assert check(files, tmp_path)[0] == 0


def test_a_call_whose_own_events_are_archived_says_so(world: World) -> None:
    view = world.run(world.propose())
    take(world, view)
    event = JournalEvent.objects.get(call_id=view.call.id, type="tool_call.proposed")
    archived(JournalLeaf.objects.get(event_id=event.pk).seq)
    with guards_lifted():
        event.payload.delete()
        event.delete()
    with pytest.raises(NotFoundError) as refused:
        take(world, view)
    assert refused.value.code == "archived"


def archived(seq: int) -> None:
    JournalArchive.objects.create(
        first_seq=seq, end_seq=seq + 1, uri="x", sha256="0", bytes=1, verified_at=utc_now(), event="evt_"
    )


def test_a_rotated_key_is_announced_by_the_log_like_the_first(world: World, tmp_path: Path) -> None:
    view = world.run(world.propose())
    before = JournalKey.objects.get(purpose=KeyPurpose.ATTESTATION, retired_at=None)
    actor = world.person(world.owner).actor()
    with transaction.atomic():
        rotate(purpose=KeyPurpose.ATTESTATION, actor=actor, now=utc_now(), record=record)
    files = opened(take(world, view))
    assert json.loads(files["manifest.sig"])["keyid"] != before.pk
    assert check(files, tmp_path)[0] == 0


def test_what_was_erased_stays_proven_and_no_salt_is_left_to_guess_with(world: World, tmp_path: Path) -> None:
    view = ends.succeeded(world)
    before = opened(take(world, view, reveal=True))
    assert set(json.loads(before["salts.json"])["call"]) == {"input", "output"}
    salt = bytes(view.call.salt)
    now, actor = utc_now(), world.person(world.owner).actor()
    runs.cancel_run(run_id=view.call.run_id, principal=world.agent, reason="done", now=now)
    with transaction.atomic():
        reach = hold(reach_of(view.call.run_id), now)
        erase(
            reach,
            reason="request 4711",
            request_id="apr_",
            single_operator=False,
            actor=actor,
            now=now,
            record=record,
        )
    stored = [repr(row) for model in apps.get_models() for row in model._default_manager.values_list()]
    assert not any(repr(salt)[2:-1] in row for row in stored)
    files = opened(take(world, again(view), reveal=True))
    told = json.loads(files["salts.json"])
    assert told["call"] == {}
    own = {line["envelope"]["id"] for line in lines_of(files) if line["envelope"]["run"]}
    assert not own & set(told["events"])
    assert json.loads(files["manifest.json"])["recorded"] is None
    code, text = check(files, tmp_path)
    assert code == 0, text
