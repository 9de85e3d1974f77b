"""Ways to falsify a bundle of evidence, and what its script says to each."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.selectors import CallView
from kernel.canonical import canonical, digest_bytes
from vault.types import Signer

Files = dict[str, bytes]


@dataclass(frozen=True)
class Made:
    """Two calls with what was handed out about the first, opened; and the key that signed it."""

    call: CallView
    other: CallView
    files: Files
    signer: Signer


def listed(files: Files, **changes: object) -> Files:
    """Return the files with a manifest that lists them as they are now."""
    manifest = json.loads(files["manifest.json"]) | changes
    names = {name for name in files if not name.startswith("manifest.")}
    manifest["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in names}
    return {**files, "manifest.json": canonical(manifest)}


def lines_of(files: Files) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files["events.jsonl"].splitlines()]


def with_lines(files: Files, lines: list[dict[str, Any]]) -> Files:
    changed = {**files, "events.jsonl": b"".join(canonical(line) + b"\n" for line in lines)}
    return listed(changed, events=[line["envelope"]["id"] for line in lines])


def proof_name(line: dict[str, Any]) -> str:
    return f"proofs/{line['envelope']['id']}.tlog-proof"


def edited(files: Files, name: str, change: Callable[[Any], object]) -> Files:
    """Return the files with one JSON file changed in place by `change`."""
    value = json.loads(files[name])
    change(value)
    return {**files, name: canonical(value)}


def without_event(made: Made, kind: str) -> Files:
    lines = lines_of(made.files)
    gone = next(line for line in lines if line["envelope"]["type"] == kind)
    files = {name: data for name, data in made.files.items() if name != proof_name(gone)}
    return with_lines(files, [line for line in lines if line is not gone])


def without_the_decision(made: Made) -> Files:
    return without_event(made, "approval.reviewed")


def moved_to_the_archive(made: Made) -> Files:
    files = without_event(made, "approval.reviewed")
    names, left = (set(json.loads(one["manifest.json"])["events"]) for one in (made.files, files))
    return listed(files, archived={name: base64.b64encode(bytes(32)).decode() for name in names - left})


def other_path(made: Made) -> Files:
    name = proof_name(lines_of(made.files)[2])
    text = made.files[name].decode().split("\n")
    text[4] = ("B" if text[4][0] == "A" else "A") + text[4][1:]
    return {**made.files, name: "\n".join(text).encode()}


def idle_bit(made: Made) -> Files:
    """Flip a bit that base64 does not use: two spellings of one hash."""
    name = proof_name(lines_of(made.files)[2])
    text = made.files[name].decode().split("\n")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    text[4] = text[4][:-2] + alphabet[alphabet.index(text[4][-2]) ^ 1] + "="
    return {**made.files, name: "\n".join(text).encode()}


def swapped_proofs(made: Made) -> Files:
    one, two = map(proof_name, lines_of(made.files)[2:4])
    return {**made.files, one: made.files[two], two: made.files[one]}


def other_actor(made: Made) -> Files:
    lines = lines_of(made.files)
    lines[3]["envelope"]["actor"]["id"] = "usr_somebody"
    return with_lines(made.files, lines)


def other_comment(made: Made) -> Files:
    lines = lines_of(made.files)
    review = next(line for line in lines if line["envelope"]["type"] == "approval.reviewed")
    review["data"]["comment"] = "never"
    return with_lines(made.files, lines)


def other_comment_with_its_salt(made: Made) -> Files:
    files = other_comment(made)
    review = next(line for line in lines_of(files) if line["envelope"]["type"] == "approval.reviewed")

    def follow(salts: Any) -> None:
        text = json.loads(salts["events"][review["envelope"]["id"]])
        salts["events"][review["envelope"]["id"]] = canonical({**text, "data": review["data"]}).decode()

    return edited(files, "salts.json", follow)


def twice(made: Made) -> Files:
    lines = lines_of(made.files)
    return with_lines(made.files, [*lines, lines[-1]])


def other_rules(made: Made) -> Files:
    text = made.files["policy/baseline.cedar"]
    changed = text.replace(b"forbid", b"permit", 1)
    whole = made.files["policy.cedar"].replace(text, changed)
    return {**made.files, "policy/baseline.cedar": changed, "policy.cedar": whole}


def other_rules_to_read(made: Made) -> Files:
    return {**made.files, "policy.cedar": b"permit(principal, action, resource);\n"}


def other_rules_with_their_digest(made: Made) -> Files:
    files = other_rules(made)
    new = digest_bytes(files["policy/baseline.cedar"])

    def follow(index: Any) -> None:
        next(one for one in index["files"] if one["name"] == "baseline.cedar")["sha256"] = new

    return edited(files, "policy.json", follow)


def no_rules(made: Made) -> Files:
    return {name: data for name, data in made.files.items() if not name.startswith("policy")}


def other_statement(made: Made) -> Files:
    def change(envelope: Any) -> None:
        said = base64.b64decode(envelope["payload"]).replace(b'"succeeded"', b'"ambiguous"')
        envelope["payload"] = base64.b64encode(said).decode()

    return edited(made.files, "attestation.dsse.json", change)


def statement_of_another_call(made: Made) -> Files:
    assert made.other.attestation is not None
    return {**made.files, "attestation.dsse.json": made.other.attestation.envelope.encode()}


def other_tool(made: Made) -> Files:
    return edited(made.files, "tool.json", lambda tool: tool.update(timeout_ms=1))


def other_reviewer(made: Made) -> Files:
    def change(asked: Any) -> None:
        asked[0]["reviews"][0]["reviewer"] = "usr_somebody"

    return edited(made.files, "approval.json", change)


def no_answer(made: Made) -> Files:
    return edited(made.files, "approval.json", lambda asked: asked.clear())


def other_output(made: Made) -> Files:
    def change(salts: Any) -> None:
        salts["call"]["output"] = salts["call"]["output"].replace("slept", "woke").replace("0", "1")

    return edited(made.files, "salts.json", change)


def key_under_a_foreign_id(made: Made) -> Files:
    def change(keys: Any) -> None:
        keys["keys"][0]["public_key"] = base64.b64encode(bytes(range(32))).decode()

    return edited(made.files, "keys.json", change)


def revoked_before(made: Made) -> Files:
    def change(keys: Any) -> None:
        for key in keys["keys"]:
            key["revoked_at"] = "2020-01-01T00:00:00.000000Z"

    return edited(made.files, "keys.json", change)


def other_checkpoint(made: Made) -> Files:
    """A later size under the same signature, in the note and in all proofs."""
    size = made.files["checkpoint.txt"].split(b"\n")[1]
    old, new = b"\n%b\n" % size, b"\n%d\n" % (int(size) + 1)
    names = [name for name in made.files if name.startswith(("proofs/", "checkpoint.txt"))]
    return {**made.files, **{name: made.files[name].replace(old, new) for name in names}}


def other_signature(made: Made) -> Files:
    """The note of the checkpoint signed by a key of one's own, in the note and in all proofs."""
    head, _, tail = made.files["checkpoint.txt"].partition(b"\n\n")
    line = tail.decode().split("\n")[0].split(" ")
    signature = Ed25519PrivateKey.generate().sign(head + b"\n")
    forged = f"{line[0]} {line[1]} {base64.b64encode(base64.b64decode(line[2])[:4] + signature).decode()}\n"
    names = [name for name in made.files if name.startswith(("proofs/", "checkpoint.txt"))]
    return {**made.files, **{name: made.files[name].replace(tail, forged.encode()) for name in names}}


def other_binding(made: Made) -> Files:
    opening = json.loads(json.loads(made.files["manifest.json"])["recorded"])
    opening["data"]["envelope_sha256"] = "0" * 64
    return listed(made.files, recorded=canonical(opening).decode())


FALSIFIED: list[tuple[Callable[[Made], Files], str]] = [
    (without_the_decision, "an event is missing that the attestation names"),
    (moved_to_the_archive, "the events are not those attested"),
    (other_path, "is not proven"),
    (idle_bit, "one spelling"),
    (swapped_proofs, "is not proven"),
    (other_actor, "is not proven"),
    (other_comment, "other data"),
    (other_comment_with_its_salt, "other data"),
    (twice, "no proof of its own"),
    (other_rules, "policy"),
    (other_rules_to_read, "policy.cedar"),
    (other_rules_with_their_digest, "policy.json"),
    (no_rules, "policy.json"),
    (other_statement, "the signature of the attestation"),
    (statement_of_another_call, "execution_sha256"),
    (other_tool, "tool.json"),
    (other_reviewer, "approval.json"),
    (no_answer, "approval.json"),
    (other_output, "the output is not the one attested"),
    (key_under_a_foreign_id, "KeyError"),
    (revoked_before, "no trusted key signed the checkpoint"),
    (other_checkpoint, "the checkpoint's signature"),
    (other_signature, "the checkpoint's signature"),
    (other_binding, "another attestation was recorded"),
]
