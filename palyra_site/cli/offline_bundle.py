"""Checking a bundle of evidence with the verifier that ships in every bundle — our own copy of it."""

from __future__ import annotations

import importlib.util
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError
from palyra_site.cli.offline_keys import Anchors

VERIFIER = Path(__file__).resolve().parents[2] / "templates" / "evidence" / "verify.py"
STEPS = ("events", "checkpoint", "attestation", "story", "documents", "seal")
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
MOST_FILES = 20_000
MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """What held, in the order of the checks, and why the first one that does not hold failed."""

    passed: tuple[tuple[str, str], ...]
    failed: str | None
    failure: str | None
    keys: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.failed is None

    def shown(self) -> tuple[str, dict[str, Any]]:
        """Return the verdict as JSON text and as its object."""
        steps = [{"check": name, "holds": True, "detail": told} for name, told in self.passed]
        if self.failed is not None:
            steps.append({"check": self.failed, "holds": False, "detail": self.failure})
        verdict = {
            "object": "evidence_verification",
            "holds": self.holds,
            "trusted_keys": list(self.keys),
            "checks": steps,
        }
        return json.dumps(verdict, ensure_ascii=False, separators=(",", ":")), verdict


def check_bundle(path: Path, anchors: Anchors | None) -> Checked:
    """Check the bundle, by keys of the caller's or, without any, by its own.

    CliError `not_checked` for a file that cannot be read as a bundle at all.
    """
    try:
        files = _read(path)
    except _UNREADABLE as error:
        raise CliError(
            "not_checked", f"{path} cannot be read as a bundle of evidence.", exit_code=Exit.INTERNAL
        ) from error
    trusted = set() if anchors is None else anchors.all_ids()
    return _checked(files, trusted)


def _checked(files: dict[str, bytes], trusted: set[str]) -> Checked:
    verifier = _verifier()
    passed: list[tuple[str, str]] = []
    step = "files"
    try:
        bundle = verifier.Bundle(files, trusted)
        for step in STEPS:
            passed.append((step, str(getattr(bundle, step)())))
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return Checked(tuple(passed), step, str(error) or type(error).__name__, tuple(sorted(trusted)))
    return Checked(tuple(passed), None, None, tuple(sorted(trusted)))


def _verifier() -> ModuleType:
    """Return the shipped verifier, with signatures judged by a library instead of the openssl program."""
    spec = importlib.util.spec_from_file_location("palyra_evidence_verifier", VERIFIER)
    if spec is None or spec.loader is None or not VERIFIER.is_file():
        raise CliError("not_checked", "The verifier is not installed.", exit_code=Exit.INTERNAL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.is_signed = _is_signed  # type: ignore[attr-defined]  # a module takes attributes
    return module


def _is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path) -> dict[str, bytes]:
    """Return the files by name; nothing is unpacked onto the disk, and no more than 64 MiB are read."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(names) > MOST_FILES or len(set(names)) != len(names):
            raise zipfile.BadZipFile("too many files, or one twice")
        files: dict[str, bytes] = {}
        left = MOST_BYTES
        if not {entry.compress_type for entry in entries} <= _METHODS:
            raise zipfile.BadZipFile("no bundle is compressed like this")
        for entry in entries:
            with archive.open(entry) as file:
                files[entry.filename] = file.read(left + 1)
            left -= len(files[entry.filename])
            if left < 0:
                raise zipfile.BadZipFile("larger than any bundle")
        return files
