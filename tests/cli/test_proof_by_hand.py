"""The check that the documentation prints, as a stranger runs it: without Palyra, with openssl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from governance.journal import note
from tests.cli.journals import ORIGIN, Log, Signer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "journal.md"
LOG = Log.of(11)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script of the page and the key."""
    assert shutil.which("openssl"), "the openssl program is what this is about"
    folder = tmp_path_factory.mktemp("stranger")
    section = PAGE.read_text("utf-8").partition("## Check a proof by hand")[2]
    found = re.search(r"```python\n(.+?)```", section, re.DOTALL)
    assert found
    (folder / "check.py").write_text(found[1], "utf-8")
    (folder / "pub.pem").write_text(LOG.signer.pem())
    return folder


def checked(place: Path, text: str, pem: str = "pub.pem") -> tuple[bool, str]:
    (place / "event.tlog-proof").write_bytes(text.encode())
    argv = [sys.executable, "-I", "check.py", "event.tlog-proof", pem]
    done = subprocess.run(argv, cwd=place, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode == 0, done.stdout


MANY = """
import runpy, sys
pem, *files = sys.argv[1:]
for file in files:
    sys.argv = ["check.py", file, pem]
    try:
        runpy.run_path("check.py")
        print("held", file, file=sys.stderr)
    except (SystemExit, ValueError):
        pass
"""


def held(place: Path, texts: Iterable[str], pem: str = "pub.pem") -> list[int]:
    """Return the places of those that hold, judged one after the other in one isolated interpreter."""
    files = []
    for number, text in enumerate(texts):
        (place / f"{number}.tlog-proof").write_bytes(text.encode())
        files.append(f"{number}.tlog-proof")
    argv = [sys.executable, "-I", "-c", MANY, pem, *files]
    done = subprocess.run(argv, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=True)
    return [int(one) for one in re.findall(r"^held (\d+)", done.stderr.decode(), re.MULTILINE)]


def test_the_script_is_short_and_imports_the_standard_library_alone(place: Path) -> None:
    lines = (place / "check.py").read_text().splitlines()
    imported = [line for line in lines if re.match(r"\s*(import|from)\b", line)]
    assert imported == ["import base64, hashlib, pathlib, subprocess, sys, tempfile"]
    assert len([line for line in lines if line.strip()]) <= 50


@pytest.mark.parametrize("seq", [0, 6, 10])
def test_a_proof_holds_for_a_stranger(place: Path, seq: int) -> None:
    holds, told = checked(place, LOG.proof(seq))
    assert (holds, json.loads(told)["subject"]) == (True, f"call_{seq}")


def test_a_checkpoint_with_more_signatures_holds_by_one_of_them(place: Path) -> None:
    text = LOG.proof(3)
    other = note.sign(ORIGIN, 11, note.parse(LOG.checkpoint).root, Signer())
    first = other.partition("\n\n")[2]
    head, body, own = text.split("\n\n")
    assert checked(place, f"{head}\n\n{body}\n\n{first}— witness.example AAAAAAA=\n{own}")[0]


def places_in(text: str) -> Iterator[int]:
    """Yield one place of every kind: of each word of each line its first, a middle and its last character."""
    start = 0
    for line in text.split("\n"):
        for word in re.finditer(r"\S+", line):
            yield from {start + at for at in (word.start(), (word.start() + word.end()) // 2, word.end() - 1)}
        start += len(line) + 1


def test_one_changed_character_fails(place: Path) -> None:
    text = LOG.proof(6)
    changed = [text]
    for at in places_in(text):
        changed.append(text[:at] + ("B" if text[at] != "B" else "C") + text[at + 1 :])
    assert len(changed) > 30
    assert held(place, changed) == [0]


def test_another_leaf_another_size_and_another_key_fail(place: Path) -> None:
    text = LOG.proof(6)
    head, rest = text.split("\n\n", 1)
    other = Log.of(11, LOG.signer)
    assert held(
        place,
        [
            text,
            text.replace("index 6", "index 7"),
            text.replace("index 6", "index 06"),
            text.replace("\n11\n", "\n12\n"),
            other.proof(6).partition("\n\n")[0] + "\n\n" + rest,
            head + "\n\n" + other.checkpoint,
            head.rsplit("\n", 1)[0] + "\n\n" + rest,
            f"{head}\n{head[-44:]}\n\n{rest}",
        ],
    ) == [0]
    (place / "other.pem").write_text(Signer().pem())
    assert held(place, [text], "other.pem") == []
