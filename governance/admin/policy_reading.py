"""The text of a policy set as it is read: files by numbered lines, differences by changed lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from governance.admin.cedar import Line, lines
from policy.compilation import SourceFile
from policy.diffing import ChangedPolicy, FileDiff, PolicyText, SetDiff
from policy.types import Finding

FILE_LINES = 1_000
"""Lines of one file on a page; a set may have hundreds of thousands."""
SET_LINES = 3_000
DIFF_LINES = 1_500
MOST_RULES = 200
LINE_CHARACTERS = 4_000
"""Of a longer line the beginning is shown, and how much of it there is beyond."""
_MARKS = {"+": "add", "-": "del", "@": "hunk", "\\": "hunk"}


@dataclass(frozen=True, slots=True)
class FileView:
    """A part of one file: numbered lines, what was found in the file, and where the rest begins.

    `after` is the first line that is not shown, `before` the first one of the part before; 0 for none.
    """

    name: str
    lines: Sequence[Line]
    findings: tuple[tuple[Finding, int], ...]
    """Each with the line at which the part begins that shows it."""
    total: int
    before: int = 0
    after: int = 0

    @property
    def marked(self) -> frozenset[int]:
        """The lines in which something was found."""
        return frozenset(one.line for one, _ in self.findings)


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a unified diff: its class and its text, sign included."""

    css: str
    text: str


@dataclass(frozen=True, slots=True)
class FileRows:
    """The unified lines of one file, as many as a page bears, and how many there are of each kind."""

    name: str
    rows: tuple[DiffLine, ...]
    added: int
    removed: int
    left_off: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a set changes, for a page: rules by id and lines by file, each list cut at a bound."""

    added: tuple[PolicyText, ...]
    removed: tuple[PolicyText, ...]
    changed: tuple[ChangedPolicy, ...]
    counts: tuple[int, int, int]
    files: tuple[FileRows, ...]
    unread: tuple[str, ...]
    is_cut: bool


def file_view(
    file: SourceFile, findings: Sequence[Finding], *, start: int = 1, most: int = FILE_LINES
) -> FileView:
    """Return `most` lines of a file from line `start` on, which counts from 1."""
    rows = file.text.split("\n")
    if rows[-1] == "" and len(rows) > 1:
        rows.pop()
    first = min(max(start, 1), len(rows))
    part = [_bounded(one) for one in rows[first - 1 : first - 1 + most]]
    end = first + len(part)
    return FileView(
        name=file.name,
        lines=lines("\n".join(part), first=first) if part else (),
        findings=tuple((one, part_of(one.line)) for one in findings if one.file == file.name),
        total=len(rows),
        before=max(1, first - most) if first > 1 else 0,
        after=end if end <= len(rows) else 0,
    )


def set_views(files: Sequence[SourceFile], findings: Sequence[Finding]) -> list[FileView]:
    """Return the beginning of each file, together not much more than `SET_LINES` lines."""
    views, left = [], SET_LINES
    for file in files:
        view = file_view(file, findings, most=max(0, min(FILE_LINES, left)))
        left -= len(view.lines)
        views.append(view)
    return views


def part_of(line: int) -> int:
    """Return the first line of the part of a file in which this line is shown."""
    return max(0, line - 1) // FILE_LINES * FILE_LINES + 1


def changes_of(diff: SetDiff) -> Changes:
    """Return a difference as a page shows it."""
    lists = (diff.added, diff.removed, diff.changed)
    return Changes(
        added=diff.added[:MOST_RULES],
        removed=diff.removed[:MOST_RULES],
        changed=diff.changed[:MOST_RULES],
        counts=(len(diff.added), len(diff.removed), len(diff.changed)),
        files=_file_rows(diff.files),
        unread=diff.unread,
        is_cut=any(len(one) > MOST_RULES for one in lists),
    )


def _file_rows(files: Sequence[FileDiff]) -> tuple[FileRows, ...]:
    left, found = DIFF_LINES, []
    for file in files:
        rows = _rows(file.unified)
        found.append(
            FileRows(
                name=file.name,
                rows=rows[:left],
                added=sum(one.css == "add" for one in rows),
                removed=sum(one.css == "del" for one in rows),
                left_off=max(0, len(rows) - left),
            )
        )
        left = max(0, left - len(rows))
    return tuple(found)


def _rows(unified: str) -> tuple[DiffLine, ...]:
    """Return the lines after the two that name the file; only a line feed ends one."""
    body = unified.removesuffix("\n").split("\n")[2:]
    return tuple(DiffLine(_MARKS.get(one[:1], "same"), _bounded(one)) for one in body)


def _bounded(line: str) -> str:
    beyond = len(line) - LINE_CHARACTERS
    return line if beyond <= 0 else f"{line[:LINE_CHARACTERS]}⟦{beyond} more characters⟧"
