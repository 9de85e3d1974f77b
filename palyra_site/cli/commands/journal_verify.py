"""`palyra journal verify`: the server checks its log, or this machine checks what was taken from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.options import Format
from palyra_site.cli.session import Session, current

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

FINDINGS = ("code", "seq", "event", "detail")
_LONGEST = 86_400
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="PUB", help="Key you trust: PEM, base64, vkey or keys.json; repeat it."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `palyra journal`."""
    app.command(
        epilog="Example: palyra journal verify --offline journal.jsonl --key pub.pem",
    )(verify)


def verify(
    ctx: typer.Context,
    *,
    first: Annotated[int | None, typer.Option("--from", min=0, help="Number of the first event.")] = None,
    last: Annotated[int | None, typer.Option("--to", min=0, help="Number of the last event.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The last 10,000 events only.")] = False,
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="Compare the events with the state of calls and grants.")
    ] = False,
    offline: Annotated[
        Path | None,
        typer.Option("--offline", metavar="PATH", help="Check files or a folder here."),
    ] = None,
    key: Keys = None,
) -> None:
    """Verify the journal. Exit 0 when everything holds, 12 when something does not.

    Where it could not be checked, the exit code is 4 for the server and 1 for files.
    """
    if offline is None and key:
        raise UsageError("--key goes with --offline; the server has its own.")
    session = current(ctx)
    if offline is None:
        wishes = {"from": first, "to": last, "quick": quick or None, "cross_check": cross_check or None}
        _on_the_server(session, {name: value for name, value in wishes.items() if value is not None})
        return
    if first is not None or last is not None or quick or cross_check:
        raise UsageError("--offline checks all that the files hold.")
    if not key:
        raise UsageError(
            "--offline needs --key: without a key from elsewhere a file only vouches for itself.",
            hint="the server shows its keys at /.well-known/palyra-keys.json",
        )
    _here(session, offline, key)


def _here(session: Session, path: Path, key: Sequence[str]) -> None:
    from palyra_site.cli.offline import check_path
    from palyra_site.cli.offline_keys import read_anchors
    from palyra_site.cli.progress import Progress

    anchors = read_anchors(key)
    for line in anchors.left_out:
        session.say(line)
    progress = Progress(session, path.stat().st_size if path.is_file() else None)
    report = check_path(path, anchors, progress.told)
    progress.end()
    findings = [one.shown() for one in report.findings]
    write_report(
        session,
        {
            "object": "journal_verification",
            "events": report.events,
            "checkpoints": report.checkpoints,
            "findings": findings,
            "findings_total": report.total,
            "notes": report.notes,
            "signed": [
                {"origin": origin, "tree_size": size, "root": root.hex()}
                for (origin, size), root in sorted(report.signed.items())
            ],
        },
        total=report.total,
    )


def _on_the_server(session: Session, wishes: Mapping[str, Any]) -> None:
    from palyra_site.cli.journal_api import journal_of
    from palyra_site.cli.progress import Progress
    from palyra_site.cli.waiting import wait_for_job

    key = session.new_key()
    started = session.elevated(lambda: journal_of(session).act("verify", wishes, key=key))
    progress = Progress(session)
    job = wait_for_job(
        session, str(started.data.get("id")), seconds=_LONGEST, seen=started, tell=progress.of_job
    )
    progress.end()
    result = job.data.get("result")
    if job.data.get("state") != "succeeded" or not isinstance(result, dict):
        raise _not_checked(job)
    write_report(session, result, total=_total(result))


def write_report(session: Session, report: Mapping[str, Any], *, total: int) -> None:
    """Write findings and the line that sums them up; ends with exit code 12 when there is a finding."""
    if session.output.format is not Format.TABLE or session.output.quiet or session.output.columns:
        session.output.value(report)
    else:
        found = [one for one in report.get("findings") or () if isinstance(one, dict)]
        if found:
            session.output.items(found, FINDINGS)
        for note in report.get("notes") or report.get("skipped") or ():
            session.say(str(note))
        session.output.raw(summary(report, total))
    if total:
        raise typer.Exit(Exit.FINDINGS)


def summary(report: Mapping[str, Any], total: int) -> str:
    """Return `verified 1 204 331 events, 312 checkpoints, 0 findings`."""
    events, checkpoints = (_grouped(report.get(name)) for name in ("events", "checkpoints"))
    return f"verified {events} events, {checkpoints} checkpoints, {_grouped(total)} findings"


def _grouped(number: object) -> str:
    return f"{number:,}".replace(",", " ") if isinstance(number, int) else "?"


def _total(result: Mapping[str, Any]) -> int:
    """Return how many findings there are; a result that does not say so is none."""
    total = result.get("findings_total")
    if isinstance(total, int) and not isinstance(total, bool):
        return total
    raise CliError("invalid_answer", "The server does not say what it found.", exit_code=Exit.UNREACHABLE)


def _not_checked(job: Answer) -> CliError:
    state, code = job.data.get("state"), job.data.get("error_code")
    return CliError(
        "not_checked",
        f"The journal could not be checked: the job is {state}" + (f" ({code})." if code else "."),
        exit_code=Exit.UNREACHABLE,
    )
