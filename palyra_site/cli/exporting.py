"""Taking records away page by page: nothing is kept, and a page that is not whole ends it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.private import replacing
from palyra_site.cli.session import Session

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

Write = Callable[[str], object]
TRAILER = "export_trailer"


@dataclass(slots=True)
class Taken:
    """How many records there were, and the trailer of the last page."""

    count: int
    trailer: Mapping[str, Any]

    def closing(self) -> str:
        """Return the trailer of everything, as one line."""
        return json.dumps({**self.trailer, "count": self.count}, ensure_ascii=False, separators=(",", ":"))


def pages(session: Session, fetch: Callable[[Mapping[str, Any]], Answer], taken: Taken) -> Iterator[str]:
    """Yield the lines of records as the server wrote them, page after page, and count them in `taken`.

    Raises CliError `invalid_answer` for a page whose trailer is missing or counts other than its lines.
    """
    cursor: str | None = None
    while True:
        answer = session.elevated(partial(fetch, {"cursor": cursor}))
        records, taken.trailer = _whole(answer.text.rstrip("\n").split("\n"))
        yield from records
        taken.count += len(records)
        session.say(f"{taken.count} exported")
        following = taken.trailer.get("next_cursor")
        if not taken.trailer.get("has_more"):
            return
        if not isinstance(following, str) or following == cursor:
            raise _broken("The server has more, and says not where.")
        cursor = following


def write_lines(lines: Iterator[str], taken: Taken, write: Write) -> None:
    """Write one record a line, and the trailer last."""
    for line in lines:
        write(line + "\n")
    write(taken.closing() + "\n")


def write_document(lines: Iterator[str], taken: Taken, write: Write) -> None:
    """Write one JSON object with all records and the trailer."""
    write('{"object":"export","data":[')
    for place, line in enumerate(lines):
        write(("," if place else "") + "\n" + line)
    write(f'\n],"trailer":{taken.closing()}}}\n')


@contextmanager
def target(path: Path) -> Iterator[TextIO]:
    """Yield a file that takes the place of `path`, whole or not at all, readable by this user alone.

    A device or a pipe is refused: replacing it would destroy it.
    """
    with _replaced(path, "w") as file:
        yield file


@contextmanager
def binary_target(path: Path) -> Iterator[BinaryIO]:
    """As `target`, for bytes."""
    with _replaced(path, "wb") as file:
        yield file


@contextmanager
def _replaced(path: Path, mode: str) -> Iterator[Any]:
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is no regular file.", hint="-o - writes to standard output")
        with replacing(path, mode) as file:
            yield file
    except OSError as error:
        raise CliError(
            "file", f"{path} could not be written: {error.strerror}.", exit_code=Exit.INTERNAL
        ) from error


def _whole(lines: list[str]) -> tuple[list[str], Mapping[str, Any]]:
    try:
        trailer = json.loads(lines[-1]) if lines else None
    except ValueError as error:
        raise _broken("The last line of the export is no JSON.") from error
    if not isinstance(trailer, dict) or trailer.get("object") != TRAILER:
        raise _broken("The export ends without its trailer.")
    if trailer.get("count") != len(lines) - 1:
        raise _broken("The export has another number of records than its trailer says.")
    return lines[:-1], trailer


def _broken(detail: str) -> CliError:
    return CliError("invalid_answer", detail, exit_code=Exit.INTERNAL)
