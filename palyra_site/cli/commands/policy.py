"""`palyra policy`: the rules in force, their versions, and what a change would do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import All, Cursor, IfMatch, Limit, Reason, require_id
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.listing import write_list
from palyra_site.cli.options import Format
from palyra_site.cli.output import pick
from palyra_site.cli.policy_files import finding_lines, read_bytes, read_files, write_bytes
from palyra_site.cli.session import Session, current

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

app = typer.Typer(help="Policy sets: the rules, their versions, tests and changes.", no_args_is_help=True)

COLUMNS = ("id", "version", "state", "name", "activated_at", "activated_by")
EXAMPLE = "pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
ACTIVE = "active"
_TEXT = "text/plain; charset=utf-8"
_ZIP = "application/zip"

SetId = Annotated[str, typer.Argument(metavar="ID", help="pol_…")]
AnySet = Annotated[str, typer.Argument(metavar="ID", help="pol_… or active.")]
Note = Annotated[str | None, typer.Option("--note", help="Why the set is made.")]
Name = Annotated[str, typer.Option("--name", help="What the set is called.")]


class State(StrEnum):
    DRAFT = "draft"
    VALIDATED = "validated"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    DISCARDED = "discarded"


class Kind(StrEnum):
    ZIP = "zip"
    CEDAR = "cedar"


@app.command("list", epilog="Example: palyra policy list --state validated")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[list[State] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    domain: Annotated[str | None, typer.Option("--domain", help="Domain; all by default.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List policy sets, newest first."""
    session = current(ctx)
    states = [one.value for one in state or ()]
    filters = {"state": states, "domain": domain, "limit": limit, "cursor": cursor}
    write_list(session, session.api.policy_sets, filters, COLUMNS, everything=all_)


@app.command(epilog="Example: palyra policy show active --source")
def show(
    ctx: typer.Context,
    *,
    set_id: AnySet,
    source: Annotated[bool, typer.Option("--source", help="The text of the rules instead.")] = False,
) -> None:
    """Show a set with its files and findings."""
    session = current(ctx)
    sets, name = session.api.policy_sets, _set_or_active(set_id)
    if source:
        session.output.raw(session.elevated(lambda: sets.export(name, Kind.CEDAR)).text)
        return
    answer = session.elevated(lambda: sets.show(name))
    session.output.one(answer.text, answer.data)


@app.command(epilog='Example: palyra policy draft --name "No FTP" --note "asked for by the network team"')
def draft(
    ctx: typer.Context,
    *,
    name: Name = "Draft",
    note: Note = None,
    source: Annotated[str, typer.Option("--from", help="pol_… to begin with, or active.")] = ACTIVE,
) -> None:
    """Begin a new version of the rules."""
    session = current(ctx)
    body = {"name": name, "note": note, "from": _set_or_active(source)}
    changes.create(session, session.api.policy_sets, body, f"Draft {name} from {source}?")


@app.command("set", epilog=f'Example: palyra policy set {EXAMPLE} --name "No FTP" --note "as agreed"')
def set_(
    ctx: typer.Context,
    *,
    set_id: SetId,
    name: Annotated[str | None, typer.Option("--name", help="New name.")] = None,
    note: Note = None,
    if_match: IfMatch = None,
) -> None:
    """Rename a draft or change its note."""
    session = current(ctx)
    given = {field: value for field, value in (("name", name), ("note", note)) if value is not None}
    changes.edit(session, session.api.policy_sets, require_id("pol", set_id), given, if_match=if_match)


@app.command(epilog=f"Example: palyra policy put {EXAMPLE} rules/custom.cedar rules/custom.test.json")
def put(
    ctx: typer.Context,
    *,
    set_id: SetId,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help=".cedar and .test.json files.")],
    if_match: IfMatch = None,
) -> None:
    """Write files into a draft, new or in place of what they were."""
    session = current(ctx)
    wanted, texts = require_id("pol", set_id), read_files(files)
    session.confirm(f"Write {', '.join(file['name'] for file in texts)} into {wanted}?")
    tag = if_match or _tag(session, wanted)
    for file in texts:
        answer = _put(session, wanted, file, tag)
        tag = _etag(answer)
    session.output.one(answer.text, answer.data)


@app.command(epilog=f"Example: palyra policy remove {EXAMPLE} pack_provenance.cedar --yes")
def remove(
    ctx: typer.Context,
    *,
    set_id: SetId,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Name of the file in the set.")],
    if_match: IfMatch = None,
) -> None:
    """Take a file out of a draft."""
    session = current(ctx)
    wanted = require_id("pol", set_id)
    session.confirm(f"Take {file} out of {wanted}?")
    tag = if_match or _tag(session, wanted)
    answer = session.elevated(lambda: session.api.policy_sets.take_out(wanted, file, if_match=tag))
    session.output.one(answer.text, answer.data)


@app.command(epilog=f"Example: palyra policy discard {EXAMPLE} --yes")
def discard(ctx: typer.Context, *, set_id: SetId, if_match: IfMatch = None) -> None:
    """Give a draft up; it stays readable."""
    session = current(ctx)
    wanted = require_id("pol", set_id)
    session.confirm(f"Discard {wanted}?")
    tag = if_match or _tag(session, wanted)
    answer = session.elevated(lambda: session.api.policy_sets.discard(wanted, if_match=tag))
    session.output.one(answer.text, answer.data)


@app.command(epilog="Example: palyra policy validate rules/custom.cedar")
def validate(
    ctx: typer.Context,
    *,
    what: Annotated[list[str], typer.Argument(metavar="FILE…|ID", help="Local files, or one pol_….")],
) -> None:
    """Check files on the server, which stores nothing, or validate a draft there. Errors: exit 12."""
    session = current(ctx)
    if not any(one.startswith("pol_") for one in what):
        _check(session, read_files(Path(one) for one in what))
        return
    if len(what) > 1:
        raise UsageError("validate takes files or one id.")
    wanted, key = require_id("pol", what[0]), session.new_key()
    session.confirm(f"Validate {wanted}? It cannot be edited afterwards.")
    try:
        answer = session.elevated(lambda: session.api.policy_sets.act(wanted, "validate", {}, key=key))
    except CliError as error:
        if error.code != "policy_invalid" or error.document is None:
            raise
        _tell(session, _many(error.document.get("errors")), error.document)
        raise typer.Exit(Exit.FINDINGS) from error
    for line in finding_lines(_many(answer.data.get("findings"))):
        session.say(line)
    session.output.one(answer.text, answer.data)


@app.command(epilog="Example: palyra policy test rules/")
def test(
    ctx: typer.Context,
    *,
    what: Annotated[str, typer.Argument(metavar="DIR|ID", help="Folder of rules and tests, or pol_….")],
) -> None:
    """Run the tests of a folder or a set on the server, which stores nothing. A miss: exit 12."""
    session = current(ctx)
    if what == ACTIVE or what.startswith("pol_"):
        name = _set_or_active(what)
        seen = session.elevated(lambda: session.api.policy_sets.with_text(name)).data
        files = [{"name": file["name"], "text": file["text"]} for file in _many(seen.get("files"))]
    else:
        files = read_files([Path(what)])
    if not any(file["name"].endswith(".test.json") for file in files):
        raise UsageError(f"{what} holds no tests.")
    _check(session, files)


@app.command(epilog=f"Example: palyra policy diff {EXAMPLE}")
def diff(
    ctx: typer.Context,
    *,
    set_id: AnySet,
    against: Annotated[str, typer.Argument(metavar="[ID]", help="pol_… or active, the default.")] = ACTIVE,
) -> None:
    """Show what a set adds, takes away and changes."""
    session = current(ctx)
    names = _set_or_active(set_id), _set_or_active(against)
    answer = session.elevated(lambda: session.api.policy_sets.diff(*names))
    if session.output.format is not Format.TABLE:
        session.output.one(answer.text, answer.data)
        return
    for change in ("added", "removed", "changed"):
        for rule in _many(answer.data.get(change)):
            parts = f" ({', '.join(rule['parts'])})" if rule.get("parts") else ""
            session.say(f"{change} {rule.get('id')}{parts}")
    for file in _many(answer.data.get("files")):
        session.output.raw(str(file.get("unified")))


@app.command(
    epilog=f'Example: palyra policy activate {EXAMPLE} --reason "agreed in NET-7" --simulation 1'
    " --acknowledge-loosened 0"
)
def activate(
    ctx: typer.Context,
    *,
    set_id: SetId,
    reason: Reason,
    simulation: Annotated[int, typer.Option("--simulation", min=1, help="Number of the simulation.")],
    loosened: Annotated[
        int, typer.Option("--acknowledge-loosened", min=0, help="How many decisions it loosens.")
    ],
    if_match: IfMatch = None,
) -> None:
    """Put a validated set in force. Of rules one wrote oneself, a second person is asked."""
    session = current(ctx)
    wanted = require_id("pol", set_id)
    body = {"reason": reason, "simulation": simulation, "acknowledged_loosened": loosened}
    session.confirm(f"Put {wanted} in force?")
    _decide(session, wanted, "activate", body, if_match)


@app.command(epilog='Example: palyra policy rollback --reason "it stops the nightly run"')
def rollback(
    ctx: typer.Context,
    *,
    set_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="pol_…; default what was in force before.")
    ] = None,
    reason: Reason,
    if_match: IfMatch = None,
) -> None:
    """Put the text of an earlier set in force again."""
    session = current(ctx)
    session.require_consent()
    wanted = require_id("pol", set_id) if set_id else _predecessor(session)
    session.confirm(f"Put the text of {wanted} in force again?")
    _decide(session, wanted, "rollback", {"reason": reason}, if_match)


@app.command("import", epilog='Example: palyra policy import rules.zip --name "From staging"')
def import_(
    ctx: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .zip or .cedar file.")],
    name: Name = "Import",
    note: Note = None,
) -> None:
    """Make a draft of an exported set."""
    session = current(ctx)
    data = read_bytes(file)
    kind = _ZIP if file.suffix == ".zip" else _TEXT
    session.confirm(f"Draft {name} from {file}?")
    key = session.new_key()
    answer = session.elevated(
        lambda: session.api.policy_sets.bring_in(data, kind, name=name, note=note, key=key)
    )
    session.output.one(answer.text, answer.data)


@app.command(epilog="Example: palyra policy export active --out rules.zip")
def export(
    ctx: typer.Context,
    *,
    set_id: AnySet,
    out: Annotated[Path | None, typer.Option("--out", help="File; else Cedar to stdout.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="zip or cedar; default by the file.")] = None,
) -> None:
    """Carry a set out; imported again it is the same to the byte."""
    session = current(ctx)
    name = _set_or_active(set_id)
    chosen = kind or (Kind.ZIP if out is not None and out.suffix == ".zip" else Kind.CEDAR)
    if out is None and chosen is Kind.ZIP:
        raise UsageError("A zip goes to a file: add --out.")
    answer = session.elevated(lambda: session.api.policy_sets.export(name, chosen))
    if out is None:
        session.output.raw(answer.text)
        return
    write_bytes(out, answer.content)
    session.say(f"{len(answer.content)} bytes in {out}")


def _put(session: Session, set_id: str, file: Mapping[str, str], tag: str) -> Answer:
    sets = session.api.policy_sets
    return session.elevated(lambda: sets.put(set_id, file["name"], file["text"], if_match=tag))


def _check(session: Session, files: list[dict[str, str]]) -> None:
    """Check texts on the server; exit 12 when there is an error, a failed test among them."""
    answer = session.elevated(lambda: session.api.check_policies(files))
    data = answer.data
    _tell(session, _many(data.get("findings")), data)
    if session.output.format is Format.TABLE:
        for one in _many(data.get("tests")):
            session.output.raw(
                f"{'ok' if one.get('passed') else 'FAILED'} {one.get('file')} {one.get('name')}"
            )
    if not data.get("valid"):
        raise typer.Exit(Exit.FINDINGS)


def _tell(session: Session, findings: list[Mapping[str, Any]], document: Mapping[str, Any]) -> None:
    if session.output.format is not Format.TABLE:
        session.output.value(document)
        return
    for line in finding_lines(findings):
        session.output.raw(line)


def _decide(session: Session, set_id: str, verb: str, body: Mapping[str, Any], if_match: str | None) -> None:
    tag, key = if_match or _tag(session, set_id), session.new_key()
    sets = session.api.policy_sets
    answer = session.elevated(lambda: sets.decide(set_id, verb, body, if_match=tag, key=key))
    approval = pick(answer.data, "approval.id")
    if approval is not None:
        session.say(f"waits for a second person: palyra approvals decide {approval} --decision allow|deny")
    identity = approval or pick(answer.data, "policy_set.id")
    session.output.one(answer.text, answer.data, identity=identity)


def _predecessor(session: Session) -> str:
    base = session.elevated(lambda: session.api.policy_sets.show(ACTIVE)).data.get("base")
    if not isinstance(base, str):
        raise CliError("not_found", "Nothing was in force before.", exit_code=Exit.NOT_FOUND)
    return base


def _tag(session: Session, set_id: str) -> str:
    return _etag(session.elevated(lambda: session.api.policy_sets.show(set_id)))


def _etag(answer: Answer) -> str:
    tag = answer.headers.get("ETag")
    if not tag:
        raise CliError("invalid_answer", "The server sent no version.", exit_code=Exit.INTERNAL)
    return tag


def _set_or_active(text: str) -> str:
    return text if text == ACTIVE else require_id("pol", text)


def _many(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
