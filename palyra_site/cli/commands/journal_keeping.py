"""`palyra journal erase|hold|archive|restore|rotate-key|keys`: keeping the log over the years."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Reason, Since, Until, require_id, window
from palyra_site.cli.exits import exit_for_job
from palyra_site.cli.failures import UsageError
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import Session, current
from palyra_site.cli.waiting import wait_for_job

holds = typer.Typer(help="Legal holds: what nobody may erase or archive away.", no_args_is_help=True)

HOLDS = ("id", "state", "subject", "since", "until", "set_by", "set_at", "reason")
KEYS = ("id", "purpose", "not_before", "retired_at", "revoked_at", "verifier_key")
ARCHIVES = ("first_seq", "end_seq", "state", "file", "bytes", "verified_at")
ERASABLE = ("run", "agt", "usr")
HELD = (*ERASABLE, "call")
_LONGEST = 86_400


class Purpose(StrEnum):
    CHECKPOINT = "checkpoint"
    ATTESTATION = "attestation"


Wait = Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `palyra journal`."""
    app.command(
        epilog="Example: palyra journal erase --subject run_01JD2Q8ZV0C3M4N5P6R7S8T9VW "
        '--reason "request 4711"'
    )(erase)
    app.add_typer(holds, name="hold")
    app.command(epilog="Example: palyra journal archive --before 2025-01-01 --wait --yes")(archive)
    app.command(epilog="Example: palyra journal archives --all")(archives)
    app.command(epilog="Example: palyra journal restore 65536 --wait --yes")(restore)
    app.command("rotate-key", epilog="Example: palyra journal rotate-key --purpose attestation")(rotate_key)
    app.command("revoke-key", epilog="Example: palyra journal revoke-key sha256:… --since 2026-01-05")(
        revoke_key
    )
    app.command(epilog="Example: palyra journal keys")(keys)
    app.command(epilog="Example: palyra journal cosign 1042 cosignature.txt")(cosign)


def erase(
    ctx: typer.Context,
    *,
    subject: Annotated[str, typer.Option("--subject", help="run_…, agt_… or usr_….")],
    reason: Reason,
) -> None:
    """Ask for the erasure of all that the journal says of a run, an agent or a person.

    A second person answers the request; then the data is gone for good and every proof still holds.
    """
    session = current(ctx)
    _require_one_of(ERASABLE, subject)
    session.confirm_by_name(f"Erase what is recorded of {subject}, for good.", subject)
    _send(session, "erase", {"subject": subject, "reason": reason}, identity="approval")


@holds.command(
    "set",
    epilog='Example: palyra journal hold set --subject run_01JD2Q8ZV0C3M4N5P6R7S8T9VW --reason "case 12"',
)
def set_(
    ctx: typer.Context,
    *,
    reason: Reason,
    subject: Annotated[str | None, typer.Option("--subject", help="run_…, agt_…, usr_… or call_….")] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Keep a subject or a period from being erased and archived away."""
    session = current(ctx)
    if subject is None and since is None and until is None:
        raise UsageError("Give --subject, --since or --until: a hold is about something.")
    if subject is not None:
        _require_one_of(HELD, subject)
    body = {"subject": subject, "reason": reason, **window(session.world, since, until)}
    session.confirm(f"Hold {subject or 'this period'}?")
    _send(session, "holds", body)


@holds.command("lift", epilog="Example: palyra journal hold lift hld_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def lift(ctx: typer.Context, *, hold_id: Annotated[str, typer.Argument(metavar="ID", help="hld_…")]) -> None:
    """Lift a hold: what it kept may be erased and archived again."""
    session = current(ctx)
    require_id("hld", hold_id)
    session.confirm(f"Lift {hold_id}?")
    _send(session, f"holds/{hold_id}/lift", {})


@holds.command("list", epilog="Example: palyra journal hold list")
def list_(ctx: typer.Context, *, limit: Limit = None, cursor: Cursor = None, all_: All = False) -> None:
    """List holds, newest first, lifted ones too."""
    _list(ctx, "holds", HOLDS, limit, cursor, everything=all_)


def archive(
    ctx: typer.Context,
    *,
    before: Annotated[
        str | None, typer.Option("--before", help="Only what is older: RFC 3339, a date, or an age.")
    ] = None,
    restored: Annotated[bool, typer.Option("--restored", help="Units that were restored, again.")] = False,
    wait: Wait = False,
) -> None:
    """Put old units into proven files and take their events out of the database, as a job.

    It is done daily by itself. Proofs, leaves and checkpoints stay, and a unit can be restored.
    """
    session = current(ctx)
    since = window(session.world, before, None)["since"]
    session.confirm("Archive what is older than the installation keeps?")
    _start(session, "archive", {"before": since, "restored": restored or None}, wait=wait)


def archives(ctx: typer.Context, *, limit: Limit = None, cursor: Cursor = None, all_: All = False) -> None:
    """List the archived units and their files."""
    _list(ctx, "archives", ARCHIVES, limit, cursor, everything=all_)


def restore(
    ctx: typer.Context,
    *,
    first_seq: Annotated[int, typer.Argument(metavar="FIRST_SEQ", min=0, help="First number of the unit.")],
    wait: Wait = False,
) -> None:
    """Bring the events of an archived unit back to the byte, as a job."""
    session = current(ctx)
    session.confirm(f"Restore the unit from {first_seq} on?")
    _start(session, f"archives/{first_seq}/restore", {}, wait=wait)


def rotate_key(
    ctx: typer.Context,
    *,
    purpose: Annotated[Purpose, typer.Option("--purpose", help="Which key.")] = Purpose.CHECKPOINT,
) -> None:
    """Let a new key sign from now on. The old one stays known, and what it signed goes on to verify."""
    session = current(ctx)
    session.confirm(f"Rotate the key that signs {purpose.value}s?")
    _send(session, "rotate-key", {"purpose": purpose.value})


def revoke_key(
    ctx: typer.Context,
    *,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="sha256:… of a retired key.")],
    since: Since = None,
) -> None:
    """Let nothing count that a retired key signed from a moment on, by default from now on."""
    session = current(ctx)
    moment = window(session.world, since, None)["since"]
    session.confirm_by_name(f"Revoke {key_id}: nothing it signed from then on counts.", key_id)
    _send(session, f"keys/{_quoted(key_id)}/revoke", {"since": moment})


def keys(ctx: typer.Context) -> None:
    """List every key that ever signed, with the time in which its signatures count."""
    _list(ctx, "keys", KEYS, None, None, everything=False)


def cosign(
    ctx: typer.Context,
    *,
    size: Annotated[int, typer.Argument(metavar="SIZE", min=1, help="Size of the checkpoint.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File with the line of a witness.")],
) -> None:
    """Bring the line with which a configured witness cosigned a checkpoint."""
    session = current(ctx)
    try:
        line = file.read_text("utf-8").strip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as text.") from error
    session.confirm(f"Add the cosignature to the checkpoint of {size}?")
    _send(session, f"checkpoints/{size}/cosignatures", {"line": line}, identity="witness")


def _send(session: Session, verb: str, body: Mapping[str, Any], *, identity: str | None = None) -> None:
    from palyra_site.cli.journal_api import journal_of

    key = session.new_key()
    answer = session.elevated(lambda: journal_of(session).act(verb, body, key=key))
    named = answer.data.get(identity) if identity else None
    session.output.one(answer.text, answer.data, identity=named)


def _start(session: Session, verb: str, body: Mapping[str, Any], *, wait: bool) -> None:
    from palyra_site.cli.journal_api import journal_of

    key = session.new_key()
    job = session.elevated(lambda: journal_of(session).act(verb, body, key=key))
    if wait:
        job = wait_for_job(session, str(job.data.get("id")), seconds=_LONGEST, seen=job)
    session.output.one(job.text, job.data)
    if wait:
        raise typer.Exit(exit_for_job(str(job.data.get("state"))))


def _list(
    ctx: typer.Context,
    name: str,
    columns: tuple[str, ...],
    limit: int | None,
    cursor: str | None,
    *,
    everything: bool,
) -> None:
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    rows = journal_of(session).collection(name)
    write_list(session, rows, {"limit": limit, "cursor": cursor}, columns, everything=everything)


def _require_one_of(prefixes: tuple[str, ...], text: str) -> None:
    prefix = text.partition("_")[0]
    if prefix not in prefixes:
        raise UsageError(f"{text} is not an id of the form {'_…, '.join(prefixes)}_….")
    require_id(prefix, text)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
