"""Checks an evidence bundle of Palyra with Python's standard library and the `openssl` program alone.

    python3 -I verify.py [FOLDER] [--key ID]...

ID names a checkpoint key that you trust, from a source of your own (`sha256:` and 64 hex digits over its 32
bytes). Without one the keys are the bundle's own: it is whole then, but whoever made it may have made them.
Exit code 0: everything holds; 1: something does not; 2: there is no openssl.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any

PROOF = "c2sp.org/tlog-proof@v1"
STATEMENT, MANIFEST = "application/vnd.in-toto+json", "application/vnd.palyra.evidence+json"
HASHED = ["call_id", "tool", "input_digest", "outcome", "output_digest", "error_code", "timed_out"]
HASHED += ["executor", "sandbox_enforcement", "executed_at"]
ENDS = {"tool_call.closed", *(f"execution.{end}" for end in ("finished", "cancelled", "refused", "lost"))}
SPKI = bytes.fromhex("302a300506032b6570032100")  # what stands before a raw Ed25519 key in DER (RFC 8410)


def need(holds: object, reason: str) -> None:
    if not holds:
        raise ValueError(reason)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def digest(data: bytes) -> str:
    return "sha256:" + sha(data).hex()


def canonical(value: object) -> bytes:
    """RFC 8785, for what has ASCII names and no fractions; the bundle keeps everything else as text."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def b64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 is not in its one spelling")
    return data


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(SPKI + key).decode()}\n-----END PUBLIC KEY-----\n"
    command = "openssl pkeyutl -verify -pubin -inkey pub.pem -rawin -in body -sigfile sig"
    with tempfile.TemporaryDirectory() as folder:
        for name, data in ("pub.pem", pem.encode()), ("body", message), ("sig", signature):
            pathlib.Path(folder, name).write_bytes(data)
        return subprocess.run(command.split(), cwd=folder, stdout=-3, stderr=-3, check=False).returncode == 0


def root_of(leaf: bytes, at: int, size: int, path: list[bytes]) -> bytes | None:  # RFC 9162, 2.1.3.2
    last = size - 1 if 0 <= at < size else 0
    for sibling in path:
        if last == 0 or len(sibling) != 32:
            return None
        is_right = at & 1 or at == last
        leaf = sha(b"\x01" + (sibling + leaf if is_right else leaf + sibling))
        while is_right and not at & 1 and at:
            at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    return leaf if last == 0 else None


def load(folder: pathlib.Path) -> dict[str, bytes]:
    listed = json.loads((folder / "manifest.json").read_bytes())["files"]
    need(all(re.fullmatch(r"(?!.*\.\.)\w[\w./-]*", name) for name in listed), "a file lies elsewhere")
    return {name: (folder / name).read_bytes() for name in ("manifest.json", "manifest.sig", *listed)}


class Bundle:
    def __init__(self, files: dict[str, bytes], trusted: set[str]) -> None:
        self.files, self.trusted, self.lines = files, trusted, dict[str, Any]()
        self.manifest, rows = self.json("manifest.json"), self.json("keys.json")["keys"]
        listed = {name: sha(data).hex() for name, data in files.items() if name[:9] != "manifest."}
        need(listed == self.manifest["files"], "the files are not those that the manifest lists")
        self.keys = {digest(b64(row["public_key"])): b64(row["public_key"]) for row in rows}
        self.revoked = {row["key_id"]: row["revoked_at"] or "9" for row in rows}
        self.told = self.json("salts.json") if "salts.json" in files else {"events": {}, "call": {}}

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])

    def events(self) -> str:
        for row in map(json.loads, self.files["events.jsonl"].splitlines()):
            name, stored = row["envelope"]["id"], canonical(row["envelope"])
            head, _, note = self.files[f"proofs/{name}.tlog-proof"].decode().partition("\n\n")
            (form, extra, index, *path), (_, size, root) = head.split("\n"), note.split("\n")[:3]
            need(form == PROOF and name not in self.lines, f"{name} has no proof of its own")
            need(note.encode() == self.files["checkpoint.txt"], f"{name} is proven to another checkpoint")
            own = extra == f"extra {base64.b64encode(stored).decode()}" and index == f"index {row['seq']}"
            top = root_of(sha(b"\0" + stored), row["seq"], int(size), list(map(b64, path)))
            need(own and top == b64(root), f"{name} is not proven")
            text, data = self.told["events"].get(name), row["data"] or {}
            same = text and digest(text.encode()) == row["envelope"]["data_digest"]
            same = json.loads(text)["data"] == data if same else not text and set(data) <= {"_erased", "at"}
            need(same, f"{name} was recorded with other data")
            self.lines[name] = row["envelope"] | {"leaf": sha(b"\0" + stored)}
        need(list(self.lines) == self.manifest["events"], "the events are not those that the manifest names")
        return f"{len(self.lines)} events, each in the log under one checkpoint"

    def checkpoint(self) -> str:
        body, _, tail = self.files["checkpoint.txt"].decode().partition("\n\n")
        origin, by = body.split("\n")[0], set()
        self.latest = max(line["time"] for line in self.lines.values())
        for text in re.findall(f"^\u2014 {re.escape(origin)} (.+)$", tail, re.MULTILINE):
            for known, key in self.keys.items():
                if sha(f"{origin}\n\x01".encode() + key)[:4] == b64(text)[:4]:
                    need(is_signed(key, f"{body}\n".encode(), b64(text)[4:]), "the checkpoint's signature")
                    by |= {known} if self.latest < self.revoked[known] else set()
        need(by & self.trusted if self.trusted else by, "no trusted key signed the checkpoint")
        return f"checkpoint of {origin} by {' and '.join(sorted(by))}"

    def statement(self, name: str, kind: str, payload: bytes, signed: Any, at: str) -> None:
        """The log announces the keys that sign statements, so that they need no trust of their own."""
        key = signed["keyid"]
        announced = {one["subject"] for one in self.lines.values() if one["type"] == "journal.key_rotated"}
        need(key in announced | self.trusted and at < self.revoked[key], f"{name}: no key that counts")
        message = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
        need(is_signed(self.keys[key], message, b64(signed["sig"])), f"the signature of {name}")

    def attestation(self) -> str:
        envelope = self.json("attestation.dsse.json")
        (event,) = (one for one in self.lines.values() if one["type"] == "attestation.recorded")
        payload, whole = b64(envelope["payload"]), sha(self.files["attestation.dsse.json"]).hex()
        self.statement("the attestation", STATEMENT, payload, envelope["signatures"][0], event["time"])
        said = self.said = json.loads(payload)["predicate"]
        happened = {"v": "palyra.execution.v1"} | {name: said[name] for name in HASHED}
        subject = {"name": self.manifest["call"], "digest": {"sha256": sha(canonical(happened)).hex()}}
        need(json.loads(payload)["subject"] == [subject], "execution_sha256")
        opened = self.manifest["recorded"]  # null once the run is erased
        is_bound = not opened or (digest(opened.encode()) == event["data_digest"] and whole in opened)
        need(is_bound and said["call_id"] == event["call"], "another attestation was recorded")
        return f"attestation of {said['call_id']}: {said['verdict']}, {said['outcome']}, {said['executor']}"

    def story(self) -> str:
        told, away = self.said["events"]["ids"], self.manifest["archived"]  # of these only leaves are here
        need(set(told) <= {*self.lines, *away}, "an event is missing that the attestation names")
        leaves = [self.lines[name]["leaf"] if name in self.lines else b64(away[name]) for name in told]
        listed = sha(b"".join(leaves)).hex()
        need(listed == self.said["events"]["leaves_sha256"], "the events are not those attested")
        types = {self.lines[name]["type"] for name in told if name in self.lines}
        need("tool_call.proposed" in types and types & ENDS, "the story has a gap")
        need(self.said["decision_event"] in self.lines, "the decision is missing")
        return f"all {len(told)} events up to the end of the call, {len(away)} of them in an archive"

    def documents(self) -> str:
        rules, said, files = self.files.get("policy.json"), self.said, self.files
        need(said["policy_set_hash"] == (digest(rules) if rules else None), "policy.json")
        named = json.loads(rules)["files"] if rules else []
        need(all(digest(files[f"policy/{one['name']}"]) == one["sha256"] for one in named), "policy")
        cedar = [files[f"policy/{one['name']}"] for one in named if one["name"].endswith(".cedar")]
        need(files.get("policy.cedar", b"") == b"".join(cedar), "policy.cedar")
        schema = files.get("policy.cedarschema")
        need(not schema or digest(schema) == self.json("policy.json")["schema_digest"], "policy.cedarschema")
        tool, hashed = files.get("tool.json"), said["tool"]["definition_hash"]
        need(not tool or digest(tool) == hashed, "tool.json")
        for name, text in self.told["call"].items():
            need(digest(text.encode()) == said[f"{name}_digest"], f"the {name} is not the one attested")
        answers = {one["id"]: {by["reviewer"] for by in one["reviews"]} for one in self.json("approval.json")}
        need(answers == {one["id"]: set(one["reviewers"]) for one in said["approvals"]}, "approval.json")
        return "rules, tool and answers are those attested"

    def seal(self) -> str:
        manifest = self.files["manifest.json"]
        self.statement("the manifest", MANIFEST, manifest, self.json("manifest.sig"), self.latest)
        return f"the manifest and with it all {len(self.files)} files"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--key", action="append", default=[])
    given = parser.parse_args()
    if shutil.which("openssl") is None:
        return 2
    try:
        bundle = Bundle(load(given.folder), set(given.key))
        for check in ("events", "checkpoint", "attestation", "story", "documents", "seal"):
            print(f"ok      {repr(getattr(bundle, check)())[1:-1]}")  # its words may hold control characters
    except (LookupError, ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        print(f"FAILED  {error!r}")
        return 1
    print("holds" if given.key else "holds by its own keys: compare their ids with a source that you trust")
    return 0


if __name__ == "__main__":
    sys.exit(main())
