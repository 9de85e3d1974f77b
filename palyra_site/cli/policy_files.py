"""Files of policy sets on this machine, and how findings in them are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from palyra_site.cli.failures import UsageError

MOST_BYTES = 8 * 1_048_576
SUFFIXES = (".cedar", ".test.json")
REMOVED = "policy_removed_baseline"


def read_files(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Return the texts of files, and of folders the rules and tests right in them; UsageError otherwise."""
    found: list[dict[str, str]] = []
    for path in paths:
        members = sorted(one for one in path.iterdir() if _is_of_a_set(one)) if path.is_dir() else [path]
        if not members:
            raise UsageError(f"{path} holds no .cedar or .test.json file.")
        found.extend({"name": member.name, "text": read_text(member)} for member in members)
    names = [file["name"] for file in found]
    if len(set(names)) != len(names):
        raise UsageError("Two of the files have the same name.")
    return found


def read_text(path: Path) -> str:
    """Return the text of one file as it is, line ends included."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8.") from error


def read_bytes(path: Path) -> bytes:
    """Return a file of at most 8 MiB."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read.") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path} is larger than 8 MiB.")
    return data


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, or raise UsageError."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def finding_lines(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return `file:line:col: code message` for each finding; warnings say that they are.

    Shipped policies that are not there share one line: a file checked by itself lacks all of them.
    """
    found = list(findings)
    missing = [one for one in found if one.get("code") == REMOVED]
    if len(missing) < 2:
        return [_line(finding) for finding in found]
    names = ", ".join(str(one.get("policy_id")) for one in missing)
    together = {**missing[0], "message": f"Shipped policies that are not in force in this set: {names}."}
    others = [one for one in found if one is missing[0] or one.get("code") != REMOVED]
    return [_line(together if one is missing[0] else one) for one in others]


def _line(finding: Mapping[str, Any]) -> str:
    file = finding.get("file") or str(finding.get("pointer") or "").removeprefix("/files").lstrip("/")
    message = finding.get("message") or finding.get("detail") or ""
    mark = "warning " if finding.get("severity") == "warning" else ""
    place = f"{file or '(set)'}:{finding.get('line') or 0}:{finding.get('column') or 0}"
    return f"{place}: {mark}{finding.get('code')} {message}"


def _is_of_a_set(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES)
