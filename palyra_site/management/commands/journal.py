"""Work on the journal on the server's own machine, with the database and the vault at hand."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from governance.journal.findings import Finding, Report
from governance.journal.verify import Options, Step, Verification
from governance.journal.verify_anchors import Source, anchor_of, read_key
from governance.operations import journal_keeping
from kernel.clock import utc_now
from kernel.errors import PalyraError

CLEAN, FOUND, UNCHECKED = 0, 1, 2
_PAUSE_SECONDS = {True: 0.2, False: 10.0}
"""Between two lines of progress, on a terminal and elsewhere."""


class Command(BaseCommand):
    """Every verb is a parser of its own, and `run` is what it does."""

    help = "Verify the journal, or bring an archive of it back."
    requires_system_checks = ()  # `check` reads the whole web side, which this command never needs

    def add_arguments(self, parser: Any) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        _add_verify(verbs.add_parser("verify", help="check every event, checkpoint and attestation"))
        _add_restore(verbs.add_parser("restore", help="bring the events of an archive back to the byte"))

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(options["run"](self, options))


def _add_verify(parser: Any) -> None:
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEQ", help="the first leaf")
    parser.add_argument("--to", dest="last", type=int, metavar="SEQ", help="the last leaf")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="FILE|URL|CHECKPOINT",
        help="checkpoints kept elsewhere: a log of them, one note, an address that serves one, "
        "or the value of a Palyra-Checkpoint header",
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="PUB",
        help="a public key from outside, as PEM file, base64 or name+hash+key; the newest checkpoint "
        "must be signed by one of them",
    )
    parser.add_argument("--quick", action="store_true", help="the last 10,000 leaves and all signatures")
    parser.add_argument("--cross-check", action="store_true", help="compare the state with the events too")
    parser.add_argument("--without-payloads", action="store_true", help="open no payload; needs no vault")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=verify)


def _add_restore(parser: Any) -> None:
    parser.add_argument("--archive", required=True, type=Path, metavar="FILE", help="the recorded file")
    parser.set_defaults(run=restore)


def restore(command: BaseCommand, options: dict[str, Any]) -> int:
    """Bring the rows of a file back; return 0 when all are there, 2 when it is refused or cannot be done."""
    try:
        events = journal_keeping.restore_file(path=options["archive"], now=utc_now())
    except PalyraError as error:
        command.stderr.write(f"not restored: {error.detail}")
        return UNCHECKED
    command.stdout.write(f"restored {events} events")
    return CLEAN


def verify(command: BaseCommand, options: dict[str, Any]) -> int:
    """Print what was found; return 0 when all of it holds, 1 with findings, 2 when it cannot be checked."""
    try:
        verification, progress = Verification(_options(options), utc_now()), _Progress(command)
        for step in verification.steps():
            if not options["json"]:
                _print_findings(command, step)
            progress.told(step)
    except PalyraError as error:
        command.stderr.write(f"could not check: {error.detail}")
        return UNCHECKED
    except (DatabaseError, OSError) as error:
        command.stderr.write(f"could not check: {error}")
        return UNCHECKED
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # SQLite keeps whatever somebody wrote into a column, also what cannot be read as its type.
        command.stderr.write(f"could not check: a row cannot be read ({error!r})")
        return UNCHECKED
    report = verification.report
    if options["json"]:
        command.stdout.write(json.dumps(report.to_json()))
    else:
        _print_report(command, report)
    return CLEAN if report.is_clean else FOUND


def _options(options: dict[str, Any]) -> Options:
    return Options(
        first=options["first"],
        last=options["last"],
        quick=options["quick"],
        payloads=not options["without_payloads"],
        cross_check=options["cross_check"],
        against=tuple(_source(text) for text in options["against"]),
        keys=tuple(read_key(_key_text(text)) for text in options["key"]),
    )


def _source(text: str) -> Source:
    return Source("the given checkpoint", lines=(text,)) if anchor_of(text) is not None else Source(text)


def _key_text(text: str) -> str:
    path = Path(text)
    try:
        return path.read_text(encoding="ascii") if path.is_file() else text
    except (OSError, ValueError):
        return text


def _print_findings(command: BaseCommand, step: Step) -> None:
    for finding in step.findings:
        command.stdout.write(_line(finding))


def _line(finding: Finding) -> str:
    place = "-" if finding.seq is None else str(finding.seq)
    kind = "info " if finding.is_info else ""
    return f"{kind}{finding.code} seq={place} event={finding.event or '-'} {finding.detail}"


def _print_report(command: BaseCommand, report: Report) -> None:
    for key_id, proof in sorted(report.keys.items()):
        command.stdout.write(f"key {key_id}: vouched for by {proof}")
    for left_out in report.skipped:
        command.stdout.write(f"not checked: {left_out}")
    command.stdout.write(
        f"verified {report.events} events, {report.checkpoints} checkpoints, {report.attestations} "
        f"attestations, {report.findings} findings"
    )


class _Progress:
    """Says on stderr how far it is: at once, and then every few moments."""

    def __init__(self, command: BaseCommand) -> None:
        self._stream, self._is_terminal = command.stderr, command.stderr.isatty()
        self._next = 0.0

    def told(self, step: Step) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PAUSE_SECONDS[self._is_terminal]
        ending = "\r" if self._is_terminal else "\n"
        self._stream.write(f"{step.done} of {step.total} events", ending=ending)
