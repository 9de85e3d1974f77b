"""A patch in unified form beside itself: the old lines left, the new ones right. Pure.

Every line of the text is in the view, in its order: what is neither context nor a change stands as a
note across both sides. What belongs to a hunk is told by the counts in its head, as programs that apply
patches do, so that no line inside a hunk can pass for the head of another file.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field

from governance.safety.visible import visible

MOST_ROWS = 800
MOST_COMPARED = 2_000
_HUNK = re.compile(r"@@ -(\d{1,7})(?:,(\d{1,7}))? \+(\d{1,7})(?:,(\d{1,7}))? @@")
_NO_FILE = "/dev/null"


@dataclass(frozen=True, slots=True)
class Side:
    """One line of one side. Number 0 is an empty place; `css` is add, del, same or empty."""

    number: int = 0
    text: str = ""
    css: str = ""


EMPTY = Side()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two lines side by side, or a note across both."""

    left: Side = EMPTY
    right: Side = EMPTY
    note: str = ""


@dataclass(frozen=True, slots=True)
class PatchedFile:
    """One file of a patch: its name, what happens to it, and how many lines change."""

    name: str
    verb: str
    added: int
    removed: int
    rows: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """The files of a patch in order. `left_off` lines are beyond what a page bears."""

    files: tuple[PatchedFile, ...]
    left_off: int


def patch_of(text: str) -> Patch | None:
    """Return the patch that a text is, or None when it holds no file header with a hunk behind it."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not _is_patch(lines):
        return None
    reader = _Reader()
    for line in lines[:MOST_ROWS]:
        reader.read(line)
    return Patch(tuple(part.done() for part in reader.parts), max(0, len(lines) - MOST_ROWS))


def side_by_side(before: str, after: str) -> tuple[Pair, ...]:
    """Return what differs between two texts, with three lines around each change; at most `MOST_ROWS`."""
    old, new = before.split("\n")[:MOST_COMPARED], after.split("\n")[:MOST_COMPARED]
    reader = _Reader()
    for line in list(difflib.unified_diff(old, new, lineterm="", n=3))[2:MOST_ROWS]:
        reader.read(line)
    return tuple(row for part in reader.parts for row in part.done().rows)


def _is_patch(lines: list[str]) -> bool:
    return any(
        line.startswith("--- ") and lines[at + 1].startswith("+++ ") and bool(_HUNK.match(lines[at + 2]))
        for at, line in enumerate(lines[:200])
        if at + 2 < len(lines)
    )


@dataclass(slots=True)
class _Part:
    """The rows of one file while they are read; runs of changed lines wait to be put side by side."""

    old: str = ""
    new: str = ""
    rows: list[Pair] = field(default_factory=list)
    removed: list[Side] = field(default_factory=list)
    added: list[Side] = field(default_factory=list)

    def put(self, pair: Pair) -> None:
        self.flush()
        self.rows.append(pair)

    def flush(self) -> None:
        for at in range(max(len(self.removed), len(self.added))):
            left = self.removed[at] if at < len(self.removed) else EMPTY
            right = self.added[at] if at < len(self.added) else EMPTY
            self.rows.append(Pair(left, right))
        self.removed.clear()
        self.added.clear()

    def done(self) -> PatchedFile:
        self.flush()
        gone, made = self.new == _NO_FILE, self.old == _NO_FILE
        return PatchedFile(
            name=visible(_plain(self.old if gone else self.new)),
            verb="removed" if gone else "added" if made else "changed",
            added=sum(row.right.css == "add" for row in self.rows),
            removed=sum(row.left.css == "del" for row in self.rows),
            rows=tuple(self.rows),
        )


@dataclass(slots=True)
class _Reader:
    """Reads a patch line by line. `left` and `right` are the numbers of the next lines of a hunk."""

    parts: list[_Part] = field(default_factory=lambda: [_Part()])
    left: int = 0
    right: int = 0
    left_due: int = 0
    right_due: int = 0

    def read(self, line: str) -> None:
        if (self.left_due > 0 or self.right_due > 0) and self._in_hunk(line):
            return
        self.left_due = self.right_due = 0
        hunk = _HUNK.match(line)
        if hunk:
            self._begin(hunk)
        elif line.startswith("diff --git ") or (line.startswith("--- ") and self.parts[-1].old):
            self._next_file()
        if line.startswith("--- "):
            self.parts[-1].old = _name(line)
        elif line.startswith("+++ "):
            self.parts[-1].new = _name(line)
        self.parts[-1].put(Pair(note=visible(line)))

    def _begin(self, hunk: re.Match[str]) -> None:
        self.left, self.right = int(hunk[1]), int(hunk[3])
        self.left_due = int(hunk[2]) if hunk[2] is not None else 1
        self.right_due = int(hunk[4]) if hunk[4] is not None else 1

    def _next_file(self) -> None:
        if self.parts[-1].rows:
            self.parts[-1].flush()
            self.parts.append(_Part())

    def _in_hunk(self, line: str) -> bool:
        """Take a line of a hunk; False for one that cannot belong to it."""
        part, sign, text = self.parts[-1], line[:1], visible(line[1:])
        if sign == "-" and self.left_due:
            if part.added:
                part.flush()
            part.removed.append(Side(self.left, text, "del"))
            self.left, self.left_due = self.left + 1, self.left_due - 1
        elif sign == "+" and self.right_due:
            part.added.append(Side(self.right, text, "add"))
            self.right, self.right_due = self.right + 1, self.right_due - 1
        elif sign in (" ", "") and self.left_due and self.right_due:
            part.put(Pair(Side(self.left, text, "same"), Side(self.right, text, "same")))
            self.left, self.left_due = self.left + 1, self.left_due - 1
            self.right, self.right_due = self.right + 1, self.right_due - 1
        elif sign == "\\":
            part.put(Pair(note=visible(line)))
        else:
            return False
        return True


def _name(line: str) -> str:
    return line[4:].split("\t", maxsplit=1)[0].strip()


def _plain(name: str) -> str:
    return name[2:] if name[:2] in ("a/", "b/") else name or "(no file named)"
